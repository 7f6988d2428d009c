// SPDX-License-Identifier: GPL-2.0-or-later
// A tag that a forge shows, and why there are no packages of it yet.
import { isChainDone, isOver, type Job } from '../jobs/job-document.js';
import type { HighestVersion } from '../jobs/job-queue.js';
import type { SeenTag } from '../triggers/newest-tags.js';
import { compareVersions } from '../configuration/version-tag.js';

export interface NewestTag extends SeenTag {
  /** published for every distribution that its job was made for */
  built: boolean;
  job: string | null;
  /** null when it is built */
  reason: { code: string; detail: string } | null;
}

type Found = Pick<NewestTag, 'built' | 'job' | 'reason'>;

function reasonOfJob(job: Job): { code: string; detail: string } {
  if (job.reason !== null) return job.reason;
  if (job.running.length > 0)
    return {
      code: 'RUNNING',
      detail: job.running
        .map((step) => (step.dist === null ? step.stage : `${step.stage} ${step.dist}`))
        .join(', '),
    };
  const waiting = job.waiting[0] ?? job.reasons[0];
  return waiting === undefined
    ? { code: 'QUEUED', detail: 'its job waits for its turn' }
    : { code: waiting.code, detail: waiting.detail };
}

export function reasonNotBuilt(
  seen: SeenTag,
  jobs: readonly Job[],
  highest: HighestVersion | undefined,
): Found {
  const its = jobs.filter((job) => job.tag === seen.tag && job.tagObject === seen.tagObject);
  const done = its.find(
    (job) =>
      job.state === 'done' || (job.dists.length > 0 && job.dists.every((dist) => isChainDone(job, dist))),
  );
  if (done !== undefined) return { built: true, job: done.job, reason: null };
  const job = its.find((candidate) => !isOver(candidate)) ?? its.at(-1);
  if (job !== undefined) return { built: false, job: job.job, reason: reasonOfJob(job) };
  if (!seen.annotated)
    return {
      built: false,
      job: null,
      reason: { code: 'NOT_ANNOTATED', detail: 'it is not an annotated tag, so nobody signed it' },
    };
  if (highest !== undefined && compareVersions(seen.version, highest.version) <= 0) {
    const detail =
      seen.version === highest.version
        ? `another tag of ${highest.version} was verified before`
        : `${highest.version} was verified before, and versions never go back`;
    return { built: false, job: null, reason: { code: 'ROLLBACK', detail } };
  }
  return { built: false, job: null, reason: { code: 'NO_JOB', detail: 'no job was made of it yet' } };
}
