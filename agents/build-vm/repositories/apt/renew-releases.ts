// SPDX-License-Identifier: GPL-2.0-or-later
// Stage renew: the same indices under a new Release in every suite, signed through the gate, uploaded and read back.
import { join } from 'node:path';
import { Refusal } from '../../refusals.js';
import type { Job } from '../../jobs/job-document.js';
import type { LineSink } from '../../../shared/programs/logged-program.js';
import { Generations } from '../repository-generations.js';
import { writeGpgJob } from '../../gate/signed-files.js';
import { publishGeneration, settle, tryAgain } from '../upload-generation.js';
import { codenamesIn, makeGeneration, type PublicationOptions } from './apt-publication.js';
import { readBackReleases } from './apt-read-back.js';
import { dueSuites } from './release-renewal.js';

export interface RenewOptions extends Omit<PublicationOptions, 'suite'> {
  jobFolder: string;
  work: string;
  sshConfig: string;
}

/** @throws Refusal RELEASE_TOO_OLD, REPOSITORY_LOST, PUBLISH_FAILED, UPLOAD_FAILED, READ_BACK_FAILED */
export async function renewReleasesFor(job: Job, { jobFolder, work, sshConfig, ...options }: RenewOptions, log: LineSink): Promise<void> {
  const { dist, apt, folder, publicKey } = options;
  const to = { upload: `${apt.upload}/${dist}`, sshConfig };
  const generations = new Generations(folder);
  await settle(generations, job.job, publicKey, to, log);
  const own = generations.ofJob(job.job, publicKey);
  const last = own ?? generations.published();
  const due = last === undefined ? [] : dueSuites(last.folder, codenamesIn(last.folder, dist), apt.validDays, Date.now());
  if (own === undefined && due.length === 0) return log.say('nothing is due any more');
  if (own !== undefined && due.length > 0) throw new Refusal('RELEASE_TOO_OLD', `${own.release} waited for too long to be brought to the server; another renewal comes`);
  if (own === undefined) log.say(`due: ${due.join(' ')}; renewed is every suite, ${apt.validDays === undefined ? 'without an end' : `for ${apt.validDays} days`}`);
  const gpgJob = join(jobFolder, `gpg-job-${dist}.json`);
  writeGpgJob(gpgJob, job, dist);
  const generation = await makeGeneration({ job: job.job }, { kind: 'renew' }, gpgJob, { ...options, suite: 'current-testing' }, log);
  await publishGeneration(generations, generation, () => undefined, to, log);
  const back = { url: `${apt.url}/${dist}`, dist, publicKey, folder: join(work, `read-back-${job.job}`), generation: generation.folder };
  await tryAgain(log, () => readBackReleases(back, log));
}
