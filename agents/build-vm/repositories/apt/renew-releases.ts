// SPDX-License-Identifier: GPL-2.0-or-later
// Stage renew: the same indices under a new Release in every suite, signed through the gate, uploaded and
// read back.
import { Refusal } from '../../refusals.js';
import type { LineSink } from '../../../shared/programs/logged-program.js';
import type { RenewalJob } from '../../jobs/job-document.js';
import { bringOut, type ChangeOptions } from '../repository-change.js';
import { tryAgain } from '../upload-generation.js';
import { codenamesIn } from './apt-publication.js';
import { readBackReleases } from './apt-read-back.js';
import { beginAptChange } from './apt-repository.js';
import { dueSuites } from './release-renewal.js';

/**
 * @throws Refusal CONFIG_CHANGED, RELEASE_TOO_OLD, REPOSITORY_LOST, PUBLISH_FAILED, UPLOAD_FAILED,
 * READ_BACK_FAILED
 */
export async function renewReleasesFor(
  job: RenewalJob,
  dist: string,
  options: ChangeOptions,
  log: LineSink,
): Promise<void> {
  const { change, url, make } = await beginAptChange(job, dist, 'current-testing', options, log);
  const { own, last } = change;
  const validDays = options.config.apt?.validDays;
  const due =
    last === undefined ? [] : dueSuites(last.folder, codenamesIn(last.folder, dist), validDays, Date.now());
  if (own === undefined && due.length === 0) return log.say('nothing is due any more');
  if (own !== undefined && due.length > 0)
    throw new Refusal(
      'RELEASE_TOO_OLD',
      `${own.release} waited for too long to be brought to the server; another renewal comes`,
    );
  if (own === undefined)
    log.say(
      `due: ${due.join(' ')}; renewed is every suite, ${validDays === undefined ? 'without an end' : `for ${validDays} days`}`,
    );
  const generation = await make({ kind: 'renew' });
  await bringOut(change, generation, {}, log);
  await tryAgain(log, () =>
    readBackReleases(
      { url, dist, publicKey: options.publicKey, folder: change.work, generation: generation.folder },
      log,
    ),
  );
}
