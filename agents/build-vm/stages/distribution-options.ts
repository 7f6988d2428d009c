// SPDX-License-Identifier: GPL-2.0-or-later
// What an engine is told of the distribution that it is called for.
import { join } from 'node:path';
import type { Config, Distribution } from '../configuration/config.js';
import type { Paths } from '../configuration/paths.js';
import { Generations } from '../repositories/repository-generations.js';
import type { EngineOptions } from './engine-call.js';
import { engineProgram } from './engine-programs.js';

/** Of packages that this agent publishes as debs: an engine's own repository is where that engine puts it. */
function publishedOf({ name, packages, publisher }: Distribution, { apt, env, signingKey }: Config, paths: Paths): Pick<EngineOptions, 'published'> {
  if (packages !== 'deb' || publisher === 'engine' || apt === undefined || !new Generations(join(paths.apt, env, name)).isPublic) return {};
  return { published: { url: `${apt.url}/${name}`, publicKey: join(paths.publicKeys, `${signingKey}.asc`) } };
}

/** @param folder of the job @param work where engines work, if not where they always do */
export function engineOptions(distribution: Distribution, folder: string, { config, paths }: { config: Config; paths: Paths }, work = paths.work): EngineOptions {
  const { engine, packages, options } = distribution;
  return { ...publishedOf(distribution, config, paths), engine: [engineProgram(paths.engines, engine)], packages, folder, work, cache: paths.cache, buildSeconds: config.buildSeconds, engineOptions: options };
}
