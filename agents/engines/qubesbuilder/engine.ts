// SPDX-License-Identifier: GPL-2.0-or-later
// Drives Qubes' own builder, stage by stage (docs/engines.md, "The qubes-builderv2 engine"). It builds, signs
// in place, publishes and uploads; between its stages stands the agent, who has frozen what was built and
// lets nothing else be signed or published.
import {
  copyFileSync,
  chmodSync,
  existsSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { indexNames, type EngineArtifacts, type EngineJob } from '../contract.js';
import { announce, runEngineOn } from '../engine-run.js';
import { hashFile } from '../../shared/files/frozen-files.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import { ArtifactsDir, takeInto } from './artifacts-dir.js';
import { Neighbours } from './neighbours.js';
import { readBuilderOptions, type BuilderOptions } from './options.js';
import { PublishedFolder, whileLocked } from './published-folder.js';
import { makeHome, refuseMissingBuilder, runQb, type QbOptions } from './qb.js';
import { refuseOtherTree } from './same-tree.js';
import { driveTemplate } from './template.js';
import { listedNames } from '../source-tree/listed-files.js';
import { isOfTag, withCandidate } from '../source-tree/package-version.js';

const fetchMs = 3600_000;
const signMs = 3600_000;
const publishMs = 3600_000;
const uploadMs = 3600_000;

/** Debian's suite for one of the builder's repositories. */
function suiteOf({ distName, repository }: BuilderOptions): string {
  return `${distName}-${repository === 'current-testing' ? 'testing' : repository === 'security-testing' ? 'securitytesting' : repository}`;
}

/**
 * The tag's version and the builder's VER-REL, made of the files `version` and `rel`. @throws Refusal
 * VERSION_MISMATCH
 */
export function refuseOtherVersion(version: string, versionRelease: string): void {
  if (!isOfTag(withCandidate(versionRelease), version))
    throw new Refusal(
      'VERSION_MISMATCH',
      `the tag says ${version}, the builder says ${printable(versionRelease)}`,
    );
}

/**
 * What was frozen or checked stands where the builder looks for it, whatever stood there. @throws Refusal
 * NO_BUILD_STATE
 */
function putBack(dir: ArtifactsDir, from: string): string[] {
  const names = readdirSync(from);
  // Without it a builder that is asked to sign builds first.
  if (names.some((name) => !existsSync(dir.placeOf(name))))
    throw new Refusal('NO_BUILD_STATE', 'what the builder knew of this build is gone: build it again');
  for (const name of names) {
    for (const folder of new Set([dir.placeOf(name), dir.built])) {
      const to = join(folder, name);
      rmSync(to, { recursive: true, force: true });
      copyFileSync(join(from, name), to);
      chmodSync(to, 0o644);
    }
  }
  return names;
}

/**
 * A source package has two names, and only one of them is signed and published: both were the same file.
 * @throws Refusal BAD_ARTIFACT
 */
function refuseTwoSources(dir: ArtifactsDir, files: readonly HashedFile[]): void {
  const other = files.find(
    ({ name, sha256 }) => dir.placeOf(name) !== dir.built && hashFile(dir.built, name).sha256 !== sha256,
  );
  if (other !== undefined)
    throw new Refusal('BAD_ARTIFACT', `${other.name}: what was prepared is not what was built from`);
}

async function build(job: EngineJob, dir: ArtifactsDir, qb: QbOptions, log: LineSink): Promise<HashedFile[]> {
  await runQb(
    qb,
    ['fetch'],
    { timeoutMs: fetchMs, failed: (why) => new Refusal('FETCH_FAILED', why), distribution: false },
    log,
  );
  const commit = dir.fetchedCommit();
  if (commit !== job.source.commit)
    throw new Refusal(
      'OTHER_COMMIT',
      `${job.source.tag} is the commit ${job.source.commit}, the builder fetched ${printable(commit).slice(0, 80)}`,
    );
  refuseOtherVersion(job.version, dir.versionRelease());
  refuseOtherTree(job.sourceTree, dir.sources, '', listedNames(job.sourceTree));
  log.say(`the builder fetched ${commit}, every file as verified`);
  const given = new Neighbours(job, qb.options).giveTo(dir.folder);
  if (given.length > 0)
    log.say(`the builder may take build dependencies from ${given.join(' ')}, as published here`);
  // Every build of a distribution begins with one chroot, and whoever comes first makes it.
  await whileLocked(join(job.cache, 'qubesbuilderv2'), () =>
    runQb(
      qb,
      ['init-cache'],
      { timeoutMs: job.buildSeconds * 1000, failed: (why) => new Refusal('BUILD_FAILED', why) },
      log,
    ),
  );
  await runQb(
    qb,
    ['prep', 'build'],
    { timeoutMs: job.buildSeconds * 1000, failed: (why) => new Refusal('BUILD_FAILED', why) },
    log,
  );
  refuseOtherVersion(job.version, dir.versionRelease());
  const files = takeInto(job.output, dir.builtFiles(), (name) => dir.placeOf(name));
  refuseTwoSources(dir, files);
  return files;
}

async function sign(job: EngineJob, dir: ArtifactsDir, qb: QbOptions, log: LineSink): Promise<HashedFile[]> {
  const names = putBack(dir, job.artifacts as string);
  await runQb(qb, ['sign'], { timeoutMs: signMs, failed: (why) => new Refusal('SIGN_FAILED', why) }, log);
  return takeInto(job.output, names, (name) => dir.placeOf(name));
}

async function publish(
  job: EngineJob,
  dir: ArtifactsDir,
  qb: QbOptions,
  log: LineSink,
): Promise<{ files: HashedFile[]; published: NonNullable<EngineArtifacts['published']> }> {
  const { options, kind } = qb;
  const link = join(dir.folder, 'repository-publish');
  const pointTo = (folder: string): void => {
    rmSync(link, { recursive: true, force: true });
    symlinkSync(folder, link);
  };
  const repositories = new PublishedFolder((job.repository as NonNullable<EngineJob['repository']>).folder);
  const release = join(kind, options.release);
  const path =
    kind === 'deb' ? options.packageSet : join(options.repository, options.packageSet, options.distName);
  const done = join(job.state, 'published');
  return await whileLocked(join(repositories.folder, '..'), async () => {
    const names = putBack(dir, job.signed as string);
    repositories.repair();
    repositories.refuseOtherBytes(
      names.map((name) => hashFile(dir.placeOf(name), name)),
      join(release, kind === 'deb' ? join(path, 'pool') : path),
    );
    if (!existsSync(done)) {
      // It may have noted what it did not come to the end of.
      rmSync(dir.stage('publish'), { recursive: true, force: true });
      await repositories.copy();
      pointTo(repositories.next);
      await runQb(
        qb,
        ['publish'],
        { timeoutMs: publishMs, failed: (why) => new Refusal('PUBLISH_FAILED', why) },
        log,
      );
      if (!dir.publishedTo().includes(options.repository))
        throw new Refusal(
          'PUBLISH_FAILED',
          `the builder ended well and did not publish to ${options.repository}: its log says what it skipped`,
        );
      // It signs the buildinfo of an rpm once more before it publishes: what was checked is published.
      if (kind === 'rpm')
        for (const name of names.filter((one) => one.endsWith('.buildinfo')))
          repositories.replace(join(release, path, 'rpm', name), join(job.signed as string, name));
      await repositories.become();
      writeFileSync(done, '');
    }
    pointTo(repositories.folder);
    await runQb(
      qb,
      ['upload'],
      { timeoutMs: uploadMs, failed: (why) => new Refusal('UPLOAD_FAILED', why) },
      log,
    );
    const index = join(
      repositories.folder,
      release,
      path,
      kind === 'deb' ? join('dists', suiteOf(options)) : 'repodata',
    );
    if (!existsSync(join(index, indexNames[kind])))
      throw new Refusal('PUBLISH_FAILED', `the builder left no ${indexNames[kind]}`);
    new Neighbours(job, options).take(job.signed as string, dir.versionRelease());
    return {
      files: takeInto(job.output, [indexNames[kind]], () => index),
      published: {
        path,
        ...(kind === 'deb' ? { suite: suiteOf(options) } : {}),
        repository: options.repository,
      },
    };
  });
}

export async function driveBuilder(job: EngineJob, log: LineSink): Promise<EngineArtifacts> {
  const options = readBuilderOptions(job);
  refuseMissingBuilder(options.builder, job.packages);
  // This job's alone: nothing of another one can be signed here. The cache is shared: the builder fills it
  // before a component is there.
  const artifacts = join(job.state, 'artifacts');
  const cache = join(job.cache, 'qubesbuilderv2');
  for (const folder of [artifacts, cache]) makeFolder(folder);
  if (!existsSync(join(artifacts, 'cache'))) symlinkSync(cache, join(artifacts, 'cache'));
  const dir = new ArtifactsDir(artifacts, options);
  const qb: QbOptions = { options, artifacts, home: join(job.state, 'home'), job, kind: job.packages };
  if (dir.packages !== job.packages)
    throw new Refusal('BAD_DOCUMENT', `${options.distribution} has ${dir.packages} packages`);
  await makeHome(qb.home, job);
  if (job.stage === 'publish') {
    const { files, published } = await publish(job, dir, qb, log);
    return { ...announce(files, log), published };
  }
  return announce(await (job.stage === 'sign' ? sign : build)(job, dir, qb, log), log);
}

/** @returns the exit status: 0 well, 1 not, and failure.json says why, 2 a fault */
export function runEngine(documentPath: string): Promise<number> {
  return runEngineOn(documentPath, driveBuilder, ['build', 'sign', 'publish'], driveTemplate);
}
