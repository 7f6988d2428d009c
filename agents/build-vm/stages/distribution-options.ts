// SPDX-License-Identifier: GPL-2.0-or-later
// What an engine is told of the distribution that it is called for.
import { join } from 'node:path';
import { suiteOf } from '../../shared/formats/suites.js';
import { packageRepositories } from '../repositories/package-repositories.js';
import { repositoryNames, type Config, type Distribution } from '../configuration/config.js';
import type { Paths } from '../configuration/paths.js';
import { Generations } from '../repositories/repository-generations.js';
import type { EngineOptions } from './engine-call.js';
import { engineProgram } from './engine-programs.js';

/** Of packages that this agent publishes: an engine's own repository is where that engine puts it. */
function publishedOf(
  { name, packages, publisher }: Distribution,
  config: Config,
  paths: Paths,
  word: string | undefined,
): Pick<EngineOptions, 'published'> {
  const { [repositoryNames[packages]]: repository, env, signingKey } = config;
  const generations = new Generations(join(paths[repositoryNames[packages]], env, name));
  if (publisher === 'engine' || repository === undefined || !generations.isPublic) return {};
  // Of a line of which nothing was published yet, they are not there.
  const hasOwn =
    word !== undefined &&
    generations
      .perhapsPublic()
      .every((one) =>
        packageRepositories[packages].suitesIn(one.folder, name).includes(suiteOf(word, 'current-testing')),
      );
  return {
    published: {
      url: `${repository.url.replace(/\/+$/, '')}/${name}`,
      publicKey: join(paths.publicKeys, `${signingKey}.asc`),
      ...(hasOwn ? { suites: word } : {}),
    },
  };
}

/**
 * @param folder of the job @param word of its line's suites @param work where engines work, if not where they
 * always do
 */
export function engineOptions(
  distribution: Distribution,
  folder: string,
  { config, paths }: { config: Config; paths: Paths },
  word?: string,
  work = paths.work,
): EngineOptions {
  const { engine, packages, options } = distribution;
  return {
    ...publishedOf(distribution, config, paths, word),
    engine: [engineProgram(paths.engines, engine)],
    packages,
    folder,
    work,
    cache: paths.cache,
    buildSeconds: config.buildSeconds,
    engineOptions: options,
  };
}
