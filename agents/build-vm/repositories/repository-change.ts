// SPDX-License-Identifier: GPL-2.0-or-later
// A job's change of a repository, whatever its kind: from what the world sees, through a generation of the
// job's own, to what the world has to see.
import { join } from 'node:path';
import type { HashedFile } from '../../shared/formats/intent.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import type { Config } from '../configuration/config.js';
import type { Paths } from '../configuration/paths.js';
import { writeGpgJob } from '../gate/signed-files.js';
import { templateOf, type Job, type Upload } from '../jobs/job-document.js';
import { templateUploadMs } from '../jobs/template-job.js';
import { Generations, type Generation } from './repository-generations.js';
import { publishGeneration, settle, tryAgain, type UploadOptions } from './upload-generation.js';

export interface ChangeOptions {
  config: Config;
  paths: Paths;
  jobFolder: string;
  /** path of the armored signing key's public half */
  publicKey: string;
  /**
   * durable when it returns, before the server is told to switch (formats/job.ts, `switched`) @throws Refusal
   * WITHDRAWN
   */
  noteSwitch: (upload: Upload) => void;
}

export interface RepositoryChange {
  generations: Generations;
  /** what the gpg client reads as $BUILD_INFRA_JOB */
  gpgJob: string;
  /** what this job made before a kill */
  own: Generation | undefined;
  /** that, or what the world sees; undefined: nothing was ever published */
  last: Generation | undefined;
  to: Pick<UploadOptions, 'upload' | 'sshConfig' | 'timeoutMs'>;
  /** for what is read back: made anew and removed */
  work: string;
}

/**
 * @param home holds `generations/` and `public.json` @param upload where its symlinks lie @throws Refusal
 * UPLOAD_FAILED, REPOSITORY_LOST
 */
export async function beginChange(
  job: Job,
  dist: string,
  home: string,
  upload: string,
  { paths, jobFolder, publicKey }: ChangeOptions,
  log: LineSink,
): Promise<RepositoryChange> {
  const gpgJob = join(jobFolder, `gpg-job-${dist}.json`);
  writeGpgJob(gpgJob, job, dist);
  const generations = new Generations(home);
  const to = {
    upload: `${upload}/${dist}`,
    sshConfig: paths.sshConfig,
    timeoutMs: templateOf(job) === undefined ? undefined : templateUploadMs,
  };
  await settle(generations, job.job, publicKey, to, log);
  const own = generations.ofJob(job.job, publicKey);
  return {
    generations,
    gpgJob,
    own,
    last: own ?? generations.published(),
    to,
    work: join(paths.work, `read-back-${job.job}-${dist}`),
  };
}

type Parts = Pick<UploadOptions, 'packages' | 'metadata'>;

/** What nothing is added by, which nobody needs to be told of. @throws Refusal UPLOAD_FAILED */
export async function bringOut(
  { generations, to }: RepositoryChange,
  generation: Generation,
  parts: Parts,
  log: LineSink,
  note: () => void = () => undefined,
): Promise<void> {
  await publishGeneration(generations, generation, note, { ...to, ...parts }, log);
}

/** @returns with the files that came back @throws Refusal UPLOAD_FAILED, READ_BACK_FAILED */
export async function bringOutUpload(
  change: RepositoryChange,
  generation: Generation,
  upload: Upload,
  parts: Parts,
  { noteSwitch }: ChangeOptions,
  log: LineSink,
  readBack: () => Promise<HashedFile[]>,
): Promise<Upload> {
  await bringOut(change, generation, parts, log, () => noteSwitch(upload));
  return { ...upload, files: await tryAgain(log, readBack) };
}
