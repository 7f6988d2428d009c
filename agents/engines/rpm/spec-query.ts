// SPDX-License-Identifier: GPL-2.0-or-later
// What the spec of a tree will make, asked of rpmspec before anything is built: what is not announced here is
// not taken afterwards.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { Refusal } from '../refusals.js';
import type { EngineJob } from '../contract.js';
import { ProgramFailed } from '../../shared/programs/program.js';
import { targetOf } from '../source-tree/build-file.js';
import { rebuiltRelease } from '../source-tree/package-version.js';
import { askRpm } from './rpm-jail.js';
import {
  packageQuery,
  readPackageQuery,
  readSourceQuery,
  refuseOtherVersion,
  rpmFileName,
  sourceQuery,
  specsOf,
  withRaisedRelease,
  type Spec,
  type SpecPackage,
  type SpecSource,
} from './spec-file.js';

export interface PlannedBuild {
  spec: Spec;
  source: SpecSource;
  sourcePackage: string;
  /** each of them must come out of the build */
  packages: SpecPackage[];
  /** these may come too: rpm makes them where there is something to debug */
  debugPackages: SpecPackage[];
}

const isDebug = ({ name }: SpecPackage): boolean => /-debug(?:info|source)$/.test(name);

/** `dist` is always said: no configuration of a VM or chroot decides it. */
export function distMacro(distTag: string | undefined): string[] {
  return ['--define', `dist ${distTag ?? '%{nil}'}`];
}

/** @throws Refusal as specsOf */
export function jobSpecs(job: EngineJob): Spec[] {
  return specsOf(job.sourceTree, targetOf({ name: job.dist, packages: 'rpm', options: job.options }), {
    time: job.sourceDateEpoch,
    url: job.source.url,
    modules: job.source.modules,
  });
}

/**
 * @param root where rpmspec is: '/' or a chroot
 * @throws Refusal BAD_SPEC, VERSION_MISMATCH, SOURCE_NOT_IN_TREE
 */
export async function planBuild(
  job: Pick<EngineJob, 'sourceTree' | 'work' | 'version'>,
  root: string,
  distTag: string | undefined,
  spec: Spec,
  number?: number,
): Promise<PlannedBuild> {
  const folder = join(job.sourceTree, spec.folder);
  const own = join(job.work, 'spec');
  rmSync(own, { recursive: true, force: true });
  makeFolder(own);
  writeFileSync(join(own, spec.file), spec.text);
  const ask = async (...argv: string[]): Promise<string> => {
    try {
      // %{SOURCE0} and the like of %prep are not looked for by a query; _sourcedir is for `%include` and for
      // macros that read a file.
      return await askRpm(
        root,
        folder,
        ['rpmspec', '--define', '_topdir /mnt', '--define', '_sourcedir /mnt', ...argv, `/spec/${spec.file}`],
        own,
      );
    } catch (error) {
      if (error instanceof ProgramFailed)
        throw new Refusal('BAD_SPEC', `rpmspec cannot read ${spec.file}: ${error.complaint}`);
      throw error;
    }
  };
  const plain = readSourceQuery(await ask(...distMacro(undefined), '-q', '--srpm', '--qf', sourceQuery));
  if (plain.name !== spec.name)
    throw new Refusal('BAD_SPEC', `${spec.file} says "Name: ${spec.name}" and means ${plain.name}`);
  refuseOtherVersion(
    job.version,
    number === undefined ? plain : { ...plain, release: withoutNumber(plain.release, number) },
  );
  const source = readSourceQuery(await ask(...distMacro(distTag), '-q', '--srpm', '--qf', sourceQuery));
  const built = readPackageQuery(
    await ask(...distMacro(distTag), '-q', '--builtrpms', '--qf', `${packageQuery}\\n`),
  );
  const packages = built.filter((one) => !isDebug(one));
  const arched = packages.filter((one) => one.arch !== 'noarch');
  const debugPackages = [
    ...built.filter(isDebug),
    ...arched.flatMap((one) => [
      { ...one, name: `${one.name}-debuginfo` },
      { ...one, name: `${source.name}-debugsource`, version: source.version, release: source.release },
    ]),
  ];
  return { spec, source, sourcePackage: rpmFileName({ ...source, arch: 'src' }), packages, debugPackages };
}

const withoutNumber = (release: string, number: number): string =>
  release.endsWith(`.${number}`) ? release.slice(0, -`.${number}`.length) : release;

/**
 * Anew without a new source: what is published has to be what this tree and this configuration make.
 * @throws Refusal NO_REBUILD, VERSION_MISMATCH, and as planBuild
 */
export async function planRebuild(
  job: EngineJob,
  root: string,
  distTag: string | undefined,
  spec: Spec,
  { of, number }: NonNullable<EngineJob['rebuild']>,
): Promise<PlannedBuild> {
  const { source } = await planBuild(job, root, distTag, spec);
  const now = `${source.version}-${source.release}`;
  if (now !== of)
    throw new Refusal('VERSION_MISMATCH', `the source that is published is ${of}, and this would be ${now}`);
  const plan = await planBuild(job, root, distTag, withRaisedRelease(spec, number), number);
  const made = `${plan.source.version}-${plan.source.release}`;
  if (made !== rebuiltRelease(of, number))
    throw new Refusal('NO_REBUILD', `${spec.file} would make ${made}, not ${rebuiltRelease(of, number)}`);
  return plan;
}
