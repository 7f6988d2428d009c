// SPDX-License-Identifier: GPL-2.0-or-later
// The Debian engine: one job document in, artifacts out, lines on stdout (docs/engines.md).
import { join } from 'node:path';
import type { EngineArtifacts, EngineJob } from '../contract.js';
import { announce, runEngineOn } from '../engine-run.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import { targetOf } from '../source-tree/build-file.js';
import { readAptProxies, readAptSources } from '../chroot/apt-sources.js';
import { addRepositories, baseTar, unpackChroot } from '../chroot/base-chroot.js';
import { buildPackage, installBuildDependencies, takeArtifacts } from './package-build.js';
import { extraRepositories, readEngineOptions } from './engine-options.js';
import { checkPackages } from './package-checks.js';
import { packagingOf, prepareSource } from './source-package.js';

export { toolLine } from '../engine-run.js';

export async function buildDebian(job: EngineJob, log: LineSink): Promise<EngineArtifacts> {
  const options = readEngineOptions(job);
  const { suffix, ownPackages } = options;
  const target = targetOf({ name: job.dist, packages: 'deb', options: job.options });
  // Before a chroot is made for nothing.
  packagingOf(job.sourceTree, target);
  const sources = await readAptSources(job.dist, job.cache);
  const proxies = await readAptProxies();
  const tar = await baseTar(job.cache, job.dist, sources, proxies, log);
  const chroot = join(job.work, 'chroot');
  await unpackChroot(tar, chroot, sources, proxies, log);
  const source = await prepareSource(
    job.sourceTree,
    { tagVersion: job.version, target, suffix, rebuild: job.rebuild },
    chroot,
    log,
  );
  const repositories = extraRepositories(job);
  addRepositories(chroot, repositories, log);
  await installBuildDependencies(
    chroot,
    job.cache,
    job.dist,
    source,
    ownPackages !== undefined || repositories.length > 0,
    log,
  );
  await buildPackage(
    chroot,
    source,
    job.rebuild === undefined ? 'all' : 'packages',
    job.sourceDateEpoch,
    job.buildSeconds,
    log,
  );
  const artifacts = takeArtifacts(join(chroot, 'build'), job.output, source);
  await checkPackages(
    options,
    {
      cache: job.cache,
      suite: job.dist,
      output: job.output,
      artifacts,
      cleanRoot: async (name, more) => {
        const root = join(job.work, name);
        await unpackChroot(
          await baseTar(job.cache, job.dist, sources, proxies, log, more),
          root,
          sources,
          proxies,
          log,
        );
        addRepositories(root, repositories, log);
        return root;
      },
    },
    log,
  );
  return announce(artifacts, log);
}

/** @returns the exit status: 0 built, 1 not built and failure.json says why, 2 a fault */
export function runEngine(documentPath: string): Promise<number> {
  return runEngineOn(documentPath, buildDebian, ['build'], undefined, true);
}
