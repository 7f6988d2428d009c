// SPDX-License-Identifier: GPL-2.0-or-later
// The RPM engine: one job document in, packages out, lines on stdout (docs/engines.md).
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import { Refusal } from '../refusals.js';
import type { EngineArtifacts, EngineJob } from '../contract.js';
import { announce, runEngineOn } from '../engine-run.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import { takePackages } from './artifacts.js';
import { readEngineOptions } from './engine-options.js';
import { lintPackages } from './package-lint.js';
import { buildInChroot, buildWithMock, makeRpmChroot, usesMock } from './package-build.js';
import { rpmArchitecture, rpmFileName } from './spec-file.js';
import { prepareSources } from './source-files.js';
import { jobSpecs, planBuild, planRebuild, type PlannedBuild } from './spec-query.js';

/** @throws Refusal BAD_SPEC */
function refuseOtherArchitecture(plan: PlannedBuild): void {
  const mine = rpmArchitecture();
  const strange = plan.packages.find((one) => one.arch !== 'noarch' && one.arch !== mine);
  if (strange !== undefined)
    throw new Refusal(
      'BAD_SPEC',
      `${strange.name} is for ${strange.arch}; this VM builds noarch and ${mine}`,
    );
}

export async function buildRpm(job: EngineJob, log: LineSink): Promise<EngineArtifacts> {
  const options = readEngineOptions(job);
  // Before a chroot is made for nothing.
  const specs = jobSpecs(job);
  const withMock = usesMock(options);
  // Without them something else would be built.
  if (!withMock && (options.ownPackages ?? options.repositories) !== undefined)
    throw new Refusal('NO_BUILD_DEPENDENCIES', 'this VM has no mock, which installs build dependencies');
  const root = withMock ? '/' : await makeRpmChroot(job, options, log);
  const build = withMock ? join(job.work, 'build') : join(root, 'build');
  const taken: HashedFile[] = [];
  for (const spec of specs) {
    // One after the other, each in an empty folder.
    rmSync(build, { recursive: true, force: true });
    makeFolder(build);
    const plan =
      job.rebuild === undefined
        ? await planBuild(job, root, options.distTag, spec)
        : await planRebuild(job, root, options.distTag, spec, job.rebuild);
    refuseOtherArchitecture(plan);
    log.say(`${plan.spec.file}: ${plan.sourcePackage}, ${plan.packages.length} packages`);
    await prepareSources(job.sourceTree, plan, build, job.sourceDateEpoch, log, job.source.modules);
    if (withMock) await buildWithMock(options, plan, job, build, log);
    else await buildInChroot(root, plan, job, options.distTag, log);
    const twice = [plan.sourcePackage, ...plan.packages.map(rpmFileName)].find((name) =>
      taken.some((file) => file.name === name),
    );
    if (twice !== undefined) throw new Refusal('BAD_SPEC', `two specs make ${twice}`);
    taken.push(...(await takePackages(build, job.output, plan, root)));
  }
  if (options.lint !== undefined) await lintPackages(options.lint, taken, job, options, log);
  return announce(taken, log);
}

/** @returns the exit status: 0 built, 1 not built and failure.json says why, 2 a fault */
export function runEngine(documentPath: string): Promise<number> {
  return runEngineOn(documentPath, buildRpm, ['build'], undefined, true);
}
