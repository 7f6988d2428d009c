// SPDX-License-Identifier: GPL-2.0-or-later
// Which version lies in which repository of a distribution, and since when, from the jobs that put it there.
import { partsOf, repositoryOf, suites } from '../../shared/formats/suites.js';
import { shownVersion, type Job } from '../jobs/job-document.js';
import { toSeconds } from './times.js';

export interface Published {
  /**
   * `current-testing`, `current`, `security-testing`, with a line's word before it where it has suites of its
   * own, or as the repository calls itself where it has no suites
   */
  repository: string;
  version: string;
  /** when it was read back from the public repository; null where the job does not say */
  since: string | null;
  job: string;
  url: string;
  release: string;
  /** of its build, and of its publication */
  logs: { stage: string; path: string; commit: string | null }[];
}

/** The last step for a distribution is what ends in the upload, whatever that step is called. */
function publishedAt(job: Job, dist: string): string | null {
  const times = job.finished
    .filter((step) => step.dist === dist && step.ended !== '')
    .map((step) => step.ended)
    .sort();
  return times.at(-1) ?? job.ended;
}

interface Publication extends Published {
  /** whose withdrawal takes it back: a rebuild's own is another one */
  tagVersion: string;
}

function publicationsOf(job: Job, dist: string): Publication[] {
  return job.uploaded
    .filter((upload) => upload.dist === dist)
    .map((upload) => {
      const since = publishedAt(job, dist);
      const logs = job.logs.filter((log) => log.dist === dist && log.stage !== 'fetch');
      // Of a step that was tried several times, the time that counted.
      const last = [...new Map(logs.map((log) => [log.stage, log])).values()];
      return {
        repository: repositoryOf(upload),
        version: shownVersion(job, dist),
        tagVersion: job.version,
        since: since === null ? null : toSeconds(since),
        job: job.job,
        url: upload.url,
        release: upload.release,
        logs: last.map(({ stage, path, commit }) => ({ stage, path, commit })),
      };
    });
}

/** When each version was taken out of every suite of this distribution. */
function withdrawalsOf(jobs: readonly Job[], dist: string): Map<string, string> {
  const steps = jobs
    .filter((job) => job.kind === 'withdrawal')
    .flatMap((job) =>
      job.finished
        .filter((step) => step.stage === 'withdraw' && step.dist === dist)
        .map((step): [string, string] => [job.version, toSeconds(step.ended)]),
    );
  return new Map(steps);
}

/**
 * Each repository's newest publication, in the order of suites. In an APT suite a version took the place of
 * the one before, so that nothing is left when it is withdrawn; a DNF repository still has the one before.
 */
export function publishedIn(dist: string, jobs: readonly Job[]): Published[] {
  const withdrawn = withdrawalsOf(jobs, dist);
  const isGone = (one: Publication): boolean =>
    (withdrawn.get(one.tagVersion) ?? '') >= (one.since ?? '') && withdrawn.has(one.tagVersion);
  const hasRpms = jobs.some((job) =>
    job.uploaded.some(
      (upload) => upload.dist === dist && upload.files.some((file) => file.name.endsWith('.rpm')),
    ),
  );
  const newest = new Map<string, Publication>();
  for (const found of jobs
    .flatMap((job) => publicationsOf(job, dist))
    .filter((one) => !hasRpms || !isGone(one))) {
    const other = newest.get(found.repository);
    if (other === undefined || (found.since ?? '') >= (other.since ?? ''))
      newest.set(found.repository, found);
  }
  for (const [repository, one] of newest) if (isGone(one)) newest.delete(repository);
  const place = (repository: string): number =>
    (suites as readonly string[]).indexOf(partsOf(repository)?.suite ?? '') + 1 || suites.length + 1;
  const [own, named] = [
    [...newest.values()].filter((one) => place(one.repository) > suites.length),
    [...newest.values()].filter((one) => place(one.repository) <= suites.length),
  ];
  // A repository that was without suites once and has them now has nothing in its old place.
  return (named.length > 0 ? named : own)
    .sort((a, b) => place(a.repository) - place(b.repository) || (a.repository < b.repository ? -1 : 1))
    .map(({ tagVersion: _, ...one }) => one);
}
