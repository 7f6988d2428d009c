// SPDX-License-Identifier: GPL-2.0-or-later
// Repository metadata, upload, and the proof by reading back; only then is a job's distribution done.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Refusal } from '../../refusals.js';
import { makeGeneration, type PublicationOptions } from './apt-publication.js';
import { readBack } from './apt-read-back.js';
import { publishGeneration, settle, tryAgain } from '../upload-generation.js';
import { codenameOf } from '../../../shared/formats/suites.js';
import { readChanges } from '../../../shared/formats/control-file.js';
import { hashFile, readPlainFile } from '../../../shared/files/frozen-files.js';
import type { Job } from '../../jobs/job-document.js';
import type { LineSink } from '../../../shared/programs/logged-program.js';
import { Generations } from '../repository-generations.js';
import { signedFolder, writeGpgJob } from '../../gate/signed-files.js';

export interface PublishUploadOptions extends PublicationOptions {
  jobFolder: string;
  work: string;
  sshConfig: string;
  /** durable when it returns, before the server is told to switch (job-document.ts, `switched`) */
  noteSwitch(upload: Job['uploaded'][number]): void;
}

/** @throws Refusal ALREADY_PUBLISHED, PUBLISH_FAILED, UPLOAD_FAILED, READ_BACK_FAILED */
export async function publishUploadFor(job: Job, dist: string, options: PublishUploadOptions, log: LineSink): Promise<Job['uploaded'][number]> {
  const signed = signedFolder(options.jobFolder, dist);
  const changesName = readdirSync(signed).find((name) => name.endsWith('.changes'));
  if (changesName === undefined) throw new Refusal('NO_CHANGES', 'there is no signed .changes');
  const changes = readChanges(readPlainFile(signed, changesName, 4 * 1024 * 1024).toString('utf8'));
  const files = [...changes.files.map((file) => hashFile(signed, file.name)), hashFile(signed, changesName)];
  const gpgJob = join(options.jobFolder, `gpg-job-${dist}.json`);
  writeGpgJob(gpgJob, job, dist);
  const url = `${options.apt.url}/${dist}`;
  const codename = codenameOf(dist, options.suite);
  const generations = new Generations(options.folder);
  const to = { upload: `${options.apt.upload}/${dist}`, sshConfig: options.sshConfig };
  await settle(generations, job.job, options.publicKey, to, log);
  const generation = await makeGeneration({ job: job.job }, { kind: 'include', changes: join(signed, changesName), files }, gpgJob, options, log);
  const upload = { dist, url, suite: codename, release: generation.release };
  await publishGeneration(generations, generation, () => options.noteSwitch({ ...upload, files }), to, log);
  const back = await tryAgain(log, () => readBack((name) => join(signed, name), files, { name: changes.source, version: changes.sourceVersion },
    { url, codename, publicKey: options.publicKey, folder: join(options.work, `read-back-${job.job}-${dist}`) }, log));
  return { ...upload, files: back };
}
