// SPDX-License-Identifier: GPL-2.0-or-later
// Repository metadata, upload, and the proof by reading back; only then is a job's distribution done.
import { join } from 'node:path';
import { Refusal } from '../../refusals.js';
import { publishGeneration, settle, tryAgain } from '../upload-generation.js';
import { Generations, type Generation } from '../repository-generations.js';
import type { DnfRepository } from '../../configuration/config.js';
import { codenameOf } from '../../../shared/formats/suites.js';
import { hashFile } from '../../../shared/files/frozen-files.js';
import type { Job } from '../../jobs/job-document.js';
import type { LineSink } from '../../../shared/programs/logged-program.js';
import { signedFolder, writeGpgJob } from '../../gate/signed-files.js';
import { makeRpmGeneration, suitesIn, type RpmPublicationOptions } from './dnf-publication.js';
import { readBackPackages } from './dnf-read-back.js';

export interface RpmPublishOptions extends RpmPublicationOptions {
  dnf: DnfRepository;
  jobFolder: string;
  work: string;
  sshConfig: string;
  /** for each of the upload's steps; an hour unless told */
  uploadMs?: number | undefined;
  /** durable when it returns, before the server is told to switch (job-document.ts, `switched`) */
  noteSwitch(upload: Job['uploaded'][number]): void;
}

/** What nothing refers to yet, then what refers to it. */
export function uploadedParts({ folder }: Generation, dist: string): { packages: string[]; metadata: string[] } {
  const suites = suitesIn(folder, dist);
  return { packages: suites.map((suite) => `${suite}/packages`), metadata: suites.map((suite) => `${suite}/repodata`) };
}

/** @throws Refusal ALREADY_PUBLISHED, PUBLISH_FAILED, BAD_SIGNATURE, BAD_ARTIFACT, UPLOAD_FAILED, READ_BACK_FAILED */
export async function publishPackagesFor(job: Job, dist: string, options: RpmPublishOptions, log: LineSink): Promise<Job['uploaded'][number]> {
  const signed = signedFolder(options.jobFolder, dist);
  const files = (job.artifacts.find((made) => made.dist === dist)?.files ?? []).map((file) => hashFile(signed, file.name));
  if (files.length === 0) throw new Refusal('NO_PACKAGES', `there is nothing signed for ${dist}`);
  const gpgJob = join(options.jobFolder, `gpg-job-${dist}.json`);
  writeGpgJob(gpgJob, job, dist);
  const generations = new Generations(join(options.folder, dist));
  const to = { upload: `${options.dnf.upload}/${dist}`, sshConfig: options.sshConfig, timeoutMs: options.uploadMs };
  await settle(generations, job.job, options.publicKey, to, log);
  const generation = await makeRpmGeneration({ job: job.job, dist, sourceDateEpoch: job.sourceDateEpoch ?? 0 }, { kind: 'include', signed, files }, gpgJob, options, log);
  const url = `${options.dnf.url.replace(/\/+$/, '')}/${dist}/${options.suite}`;
  const upload = { dist, url, suite: codenameOf(dist, options.suite), release: generation.release };
  await publishGeneration(generations, generation, () => options.noteSwitch({ ...upload, files }), { ...to, ...uploadedParts(generation, dist) }, log);
  const back = await tryAgain(log, () => readBackPackages(signed, files, { url, publicKey: options.publicKey, repomd: join(generation.folder, options.suite, 'repodata/repomd.xml'), folder: join(options.work, `read-back-${job.job}-${dist}`) }, log));
  return { ...upload, files: back };
}
