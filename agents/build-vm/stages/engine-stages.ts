// SPDX-License-Identifier: GPL-2.0-or-later
// `publisher: engine`: the engine signs and publishes with a tool chain of its own. The agent believes
// nothing of it: what was signed is compared with what was frozen, and what was published is read back by the
// real client.
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { AnyRefusal } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import { callEngine, freezeAnnounced, type EngineOptions } from './engine-call.js';
import { indexNames, type EngineJob } from '../../engines/contract.js';
import { becomeDurably } from '../../shared/files/durable-folder.js';
import { hashFile } from '../../shared/files/frozen-files.js';
import { packageRepositories } from '../repositories/package-repositories.js';
import type { SignedCheck } from '../repositories/package-repository.js';
import {
  artifactsFolder,
  publicUploads,
  type Job,
  type MakingJob,
  type Upload,
} from '../jobs/job-document.js';
import { hearingRefusals } from '../gate/refusals-heard.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import { tryAgain } from '../repositories/upload-generation.js';
import { removeDamaged, signedFolder, writeGpgJob } from '../gate/signed-files.js';
import { rootEnvironment } from '../configuration/paths.js';

export interface EngineSigning extends EngineOptions {
  gpg: string;
  signingKey: string;
  publicKey: { path: string; text: string };
}

export interface EnginePublishing extends EngineSigning {
  repository: NonNullable<EngineJob['repository']>;
  /** all jobs of this VM: what they published stays as it is */
  jobs: readonly Job[];
  /**
   * durable when it returns: the engine said that it published, and nobody has read it back (job-document.ts,
   * `switched`)
   */
  noteSwitch: (upload: Upload) => void;
}

const signMs = 7200_000;
const publishMs = 7200_000;

function frozenFiles(job: Job, dist: string): HashedFile[] {
  return job.artifacts.find((made) => made.dist === dist)?.files ?? [];
}

function hashAll(folder: string, files: readonly HashedFile[]): HashedFile[] {
  return files.map(({ name }) => hashFile(folder, name));
}

function environmentOf(job: Job, dist: string, folder: string): Record<string, string> {
  const path = join(folder, `gpg-job-${dist}.json`);
  writeGpgJob(path, job, dist);
  return { ...rootEnvironment, BUILD_INFRA_JOB: path };
}

function signingOf(options: EngineSigning): NonNullable<EngineJob['signing']> {
  return { gpg: options.gpg, key: options.signingKey, publicKey: options.publicKey.path };
}

function checkOf(job: Job, dist: string, signed: string, options: EngineSigning): SignedCheck {
  return {
    signed,
    frozen: artifactsFolder(options.folder, dist),
    files: frozenFiles(job, dist),
    version: job.version,
    key: { armored: options.publicKey.text, fingerprint: options.signingKey },
    work: join(options.folder, `engine-check-${dist}.tmp`),
  };
}

/** Where the gate's own words are in the log, they are the reason. */
async function withReason<T>(log: LineSink, act: (hearing: LineSink) => Promise<T>): Promise<T> {
  const hearing = hearingRefusals(log);
  try {
    return await act(hearing);
  } catch (error) {
    const failed =
      error instanceof AnyRefusal &&
      (['SIGN_FAILED', 'PUBLISH_FAILED'] as const).find((code) => code === error.code);
    if (failed && hearing.lastRefusal !== undefined) throw hearing.refusal(failed, error.detail);
    throw error;
  }
}

/**
 * @returns the signed upload's files. @throws Refusal what the engine says, ENGINE_FAILED, and as
 * verifySigned of its kind
 */
export async function signWithEngine(
  job: MakingJob,
  dist: string,
  options: EngineSigning,
  log: LineSink,
): Promise<HashedFile[]> {
  const signed = signedFolder(options.folder, dist);
  const frozen = frozenFiles(job, dist);
  if (existsSync(signed)) {
    try {
      await packageRepositories[options.packages].verifySigned(checkOf(job, dist, signed, options));
      log.say('the signed files are there from before');
      return hashAll(signed, frozen);
    } catch (error) {
      removeDamaged(signed, error, log);
    }
  }
  const part = `${signed}.part`;
  rmSync(part, { recursive: true, force: true });
  makeFolder(part);
  const env = environmentOf(job, dist, options.folder);
  const fields = {
    stage: 'sign' as const,
    artifacts: artifactsFolder(options.folder, dist),
    signing: signingOf(options),
  };
  await withReason(log, (hearing) =>
    callEngine(
      job,
      dist,
      fields,
      options,
      { timeoutMs: signMs, env },
      hearing,
      async (output, { artifacts }) => {
        const strange = artifacts.find((file) => !frozen.some((built) => built.name === file.name));
        if (strange !== undefined || artifacts.length !== frozen.length)
          throw new Refusal(
            'BAD_ARTIFACT',
            `the engine signed ${strange === undefined ? 'not everything' : strange.name}: exactly what was built is signed`,
          );
        freezeAnnounced(output, part, artifacts);
        await packageRepositories[options.packages].verifySigned(checkOf(job, dist, part, options));
      },
    ),
  );
  await becomeDurably(part, signed);
  return hashAll(signed, frozen);
}

/** A file name stands for one content in a distribution, for ever. @throws Refusal ALREADY_PUBLISHED */
export function refuseOtherPublished(
  job: Job,
  dist: string,
  files: readonly HashedFile[],
  jobs: readonly Job[],
): void {
  for (const other of jobs) {
    for (const there of other.job === job.job
      ? []
      : publicUploads(other)
          .filter((one) => one.dist === dist)
          .flatMap((one) => one.files)) {
      const mine = files.find((file) => file.name === there.name);
      if (mine !== undefined && mine.sha256 !== there.sha256)
        throw new Refusal(
          'ALREADY_PUBLISHED',
          `${mine.name} was published with other bytes by ${other.job}; a version is published once`,
        );
    }
  }
}

/**
 * @throws Refusal what the engine says, ENGINE_FAILED, ALREADY_PUBLISHED, BAD_ARTIFACT, BAD_SIGNATURE,
 * READ_BACK_FAILED
 */
export async function publishWithEngine(
  job: MakingJob,
  dist: string,
  options: EnginePublishing,
  log: LineSink,
): Promise<Upload> {
  const { packages: kind, repository } = options;
  const ours = packageRepositories[kind];
  const signed = signedFolder(options.folder, dist);
  const files = hashAll(signed, frozenFiles(job, dist));
  refuseOtherPublished(job, dist, files, options.jobs);
  makeFolder(repository.folder);
  const env = environmentOf(job, dist, options.folder);
  const fields = {
    stage: 'publish' as const,
    artifacts: artifactsFolder(options.folder, dist),
    signed,
    signing: signingOf(options),
    repository,
  };
  const index = join(options.folder, `engine-index-${dist}`);
  const key = { armored: options.publicKey.text, fingerprint: options.signingKey };
  const {
    path,
    suite,
    repository: named,
    release,
  } = await withReason(log, (hearing) =>
    callEngine(
      job,
      dist,
      fields,
      options,
      { timeoutMs: publishMs, env },
      hearing,
      async (output, { artifacts, published }) => {
        if (published === undefined)
          throw new Refusal('ENGINE_FAILED', 'its artifacts.json does not say where it published');
        if (artifacts.length !== 1 || artifacts[0]?.name !== indexNames[kind])
          throw new Refusal(
            'BAD_ARTIFACT',
            `after publishing, ${indexNames[kind]} is announced and nothing else`,
          );
        rmSync(index, { recursive: true, force: true });
        makeFolder(index);
        const [made] = freezeAnnounced(output, index, artifacts);
        await ours.verifyPublished(published, index, key);
        return { ...published, release: (made as HashedFile).sha256.slice(0, 12) };
      },
    ),
  );
  const url = `${repository.url.replace(/\/+$/, '')}/${path}`;
  options.noteSwitch({ dist, url, suite: suite ?? dist, release, files });
  const published = {
    url,
    suite,
    signed,
    files,
    index,
    publicKey: options.publicKey.path,
    folder: join(options.work, `read-back-${job.job}-${dist}`),
  };
  return {
    dist,
    url,
    suite: suite ?? dist,
    ...(named === undefined ? {} : { repository: named }),
    release,
    files: await tryAgain(log, () => ours.readBack(published, log)),
  };
}
