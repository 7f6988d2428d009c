// SPDX-License-Identifier: GPL-2.0-or-later
// Signs packages with rpmsign, which calls our gpg: that one asks for an intent, then for a signature. What
// is signed is each package's header, which holds the payload's digest. What was signed before a kill is
// kept.
import { chmodSync, copyFileSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../../shared/durable-files.js';
import { AnyRefusal } from '../../../shared/refusal.js';
import { Refusal } from '../../refusals.js';
import type { HashedFile } from '../../../shared/formats/intent.js';
import { becomeDurably } from '../../../shared/files/durable-folder.js';
import { hashFile } from '../../../shared/files/frozen-files.js';
import { artifactsFolder, rebuildOf, type Job } from '../../jobs/job-document.js';
import { templateFile } from '../../jobs/template-job.js';
import { hearingRefusals } from '../../gate/refusals-heard.js';
import { runLogged, type LineSink } from '../../../shared/programs/logged-program.js';
import { removeDamaged, signedFolder, writeGpgJob, type SignOptions } from '../../gate/signed-files.js';
import { rebuiltRelease } from '../../../engines/source-tree/package-version.js';
import { verifyPackages } from './package-signatures.js';
import { readRpmFile, type RpmFile } from './rpm-file.js';
import { rootEnvironment } from '../../configuration/paths.js';

const signMs = 1800_000;

/**
 * Is the source package of this job's version? The release may have the distribution's suffix after a dot.
 */
export function isOfVersion(jobVersion: string, { epoch, version, release }: RpmFile): boolean {
  const upTo = (said: string): boolean =>
    jobVersion === said || (said.startsWith(`${jobVersion}.`) && jobVersion.includes('-'));
  const plain = `${epoch === '' ? '' : `${epoch}:`}${version}`;
  return upTo(`${plain}-${release}`) || (jobVersion === plain && /^1(?:\.|$)/.test(release));
}

/**
 * What an engine announced as packages: .rpm files, each by its header what its name says, all of source
 * packages of this job's version: a tree may have several specs.
 * @throws Refusal BAD_ARTIFACT, VERSION_MISMATCH
 */
export function readJobPackages(job: Job, dist: string, folder: string): RpmFile[] {
  const names = (job.artifacts.find((made) => made.dist === dist)?.files ?? []).map((file) => file.name);
  const packages = names.map((name) => readRpmFile(folder, name));
  if (job.kind === 'template') return packagesOfTemplate(job, packages, names);
  refuseOtherSources(packages, job.version);
  refuseOtherRebuild(job, dist, packages);
  const sources = packages.filter((one) => one.isSource);
  if (
    sources.length > 1 &&
    sources.some(({ name }) => !('specs' in job) || job.specs?.includes(name) !== true)
  )
    throw new Refusal(
      'BAD_ARTIFACT',
      'an upload has exactly one source package, or those whose specs the tree lists',
    );
  return packages;
}

/**
 * A raised release where it was commanded, over the source that is published, and as it was commanded.
 * @throws Refusal VERSION_MISMATCH
 */
function refuseOtherRebuild(job: Job, dist: string, packages: readonly RpmFile[]): void {
  const rebuild = rebuildOf(job);
  if (rebuild === undefined) return;
  const published = rebuild.sources[dist];
  const wanted = published === undefined ? 'none' : rebuiltRelease(published.version, rebuild.number);
  const strange = packages.find((one) => one.isSource && `${one.version}-${one.release}` !== wanted);
  if (strange !== undefined)
    throw new Refusal(
      'VERSION_MISMATCH',
      `a source package is of ${strange.version}-${strange.release}, and the rebuild is ${wanted}`,
    );
}

/** @throws Refusal BAD_ARTIFACT, VERSION_MISMATCH */
export function refuseOtherSources(packages: readonly RpmFile[], jobVersion: string): void {
  const sources = packages.filter((one) => one.isSource);
  if (sources.length === 0) throw new Refusal('BAD_ARTIFACT', 'an upload has a source package');
  const strange = sources.find((one) => !isOfVersion(jobVersion, one));
  if (strange !== undefined)
    throw new Refusal(
      'VERSION_MISMATCH',
      `a source package is of ${strange.version}-${strange.release}, the tag says ${jobVersion}`,
    );
  const names = sources.map((one) => `${one.name}-${one.version}-${one.release}.src.rpm`);
  const orphan = packages.find((one) => !one.isSource && !names.includes(one.sourceRpm));
  if (orphan !== undefined)
    throw new Refusal('BAD_ARTIFACT', `${orphan.name} was not built from ${names.join(' or ')}`);
}

/**
 * The one package that was commanded, by its header what its name says: that is name, version, minute and
 * `noarch`. @throws Refusal BAD_ARTIFACT
 */
function packagesOfTemplate(job: Job, packages: RpmFile[], names: readonly string[]): RpmFile[] {
  const wanted = templateFile(job);
  if (names.length !== 1 || names[0] !== wanted)
    throw new Refusal(
      'BAD_ARTIFACT',
      `the engine made ${names.join(' ')}; a template is ${wanted} and nothing else`,
    );
  if (
    packages.some(
      (one) =>
        one.isSource ||
        one.epoch !== '' ||
        `${one.name}-${one.version}-${one.release}` !== `${job.component}-${job.version}`,
    )
  )
    throw new Refusal('BAD_ARTIFACT', `${wanted} is another package by its header`);
  return packages;
}

/**
 * @returns the signed upload's files. @throws Refusal SIGN_FAILED, BAD_SIGNATURE, BAD_ARTIFACT,
 * VERSION_MISMATCH
 */
export async function signPackagesFor(
  job: Job,
  dist: string,
  options: SignOptions,
  log: LineSink,
): Promise<HashedFile[]> {
  const signed = signedFolder(options.folder, dist);
  const frozen = artifactsFolder(options.folder, dist);
  const names = (job.artifacts.find((made) => made.dist === dist)?.files ?? []).map((file) => file.name);
  const temporary = join(options.folder, `rpmsign-${dist}.tmp`);
  const verify = (folder: string): Promise<void> =>
    verifyPackages(
      folder,
      frozen,
      names,
      { armored: options.publicKey, fingerprint: options.signingKey },
      temporary,
    );
  readJobPackages(job, dist, frozen);
  if (existsSync(signed)) {
    try {
      await verify(signed);
      log.say('the signed packages are there from before');
      return names.map((name) => hashFile(signed, name));
    } catch (error) {
      removeDamaged(signed, error, log);
    }
  }
  const part = `${signed}.part`;
  makeFolder(part);
  // What rpmsign leaves when it is killed; a package is replaced by a rename, so each is as built or signed.
  for (const name of readdirSync(part))
    if (!names.includes(name)) rmSync(join(part, name), { recursive: true });
  for (const name of names) {
    if (existsSync(join(part, name)) && isSignedAlready(part, frozen, name)) continue;
    copyFileSync(join(frozen, name), join(part, name));
    chmodSync(join(part, name), 0o644);
  }
  await rpmsign(
    part,
    names.filter((name) => readRpmFile(part, name).signatures.length === 0),
    job,
    dist,
    temporary,
    options,
    log,
  );
  try {
    await verify(part);
  } catch (error) {
    // Not worth repairing: the next attempt starts from the frozen files.
    rmSync(part, { recursive: true });
    throw error;
  }
  await becomeDurably(part, signed);
  return names.map((name) => hashFile(signed, name));
}

/** Signed before a kill. What was cut, or is of an earlier build, is copied again. */
function isSignedAlready(folder: string, frozen: string, name: string): boolean {
  try {
    const { signatures, unsigned } = readRpmFile(folder, name);
    return signatures.length > 0 && unsigned === readRpmFile(frozen, name).unsigned;
  } catch (error) {
    if (error instanceof AnyRefusal) return false;
    throw error;
  }
}

async function rpmsign(
  folder: string,
  names: readonly string[],
  job: Job,
  dist: string,
  temporary: string,
  options: SignOptions,
  log: LineSink,
): Promise<void> {
  if (names.length === 0) return;
  const jobFile = join(options.folder, `gpg-job-${dist}.json`);
  writeGpgJob(jobFile, job, dist);
  rmSync(temporary, { recursive: true, force: true });
  makeFolder(temporary, 0o700);
  const hearing = hearingRefusals(log);
  // An empty HOME: no .rpmmacros says who signs. The names are plain: rpm puts them into a macro and gives
  // that to a shell.
  const status = await runLogged(
    [
      'rpmsign',
      '--addsign',
      '--define',
      `__gpg ${options.gpg}`,
      '--define',
      `_gpg_name ${options.signingKey}`,
      '--define',
      '_gpg_sign_cmd_extra_args %{nil}',
      '--digest-algo=sha256',
      ...names,
    ],
    hearing,
    {
      cwd: folder,
      timeoutMs: signMs,
      env: { ...rootEnvironment, BUILD_INFRA_JOB: jobFile, TMPDIR: temporary, HOME: temporary },
      label: `rpmsign --addsign ${names.join(' ')}`,
    },
  );
  rmSync(temporary, { recursive: true, force: true });
  if (status !== 0) throw hearing.refusal('SIGN_FAILED', `rpmsign ended with ${status}; its log says why`);
}
