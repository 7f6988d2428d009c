// SPDX-License-Identifier: GPL-2.0-or-later
// What a person's "retry" takes up again: every chain that failed, from the step that failed. What is done stays as it is.
import { Refusal } from '../../shared/refusal.js';
import { isChainDone, isOver, type Job } from './job-document.js';
import type { JobQueue } from './job-queue.js';

/**
 * Changes the job; saving is the caller's. While other chains of the job still run, those that failed may go on with the source that is there.
 * @throws Refusal NOT_OVER when nothing of it failed, ROLLBACK when a later version went ahead meanwhile
 */
export function reopen(job: Job, queue: JobQueue): void {
  if (isOver(job)) {
    if (job.state === 'done') throw new Refusal('NOT_OVER', 'the job is done');
    // What was cleaned up has to be made again: the source always, of an old job also what was built and signed for what is not published.
    job.finished = job.finished.filter(({ stage, dist }) => stage !== 'fetch' && dist !== null && (isChainDone(job, dist) || queue.hasArtifacts(job, dist)));
    Object.assign(job, { state: 'queued', ended: null, waiting: [], reasons: [], reason: null } satisfies Partial<Job>);
    return;
  }
  if (job.reasons.length === 0) throw new Refusal('NOT_OVER', `the job is ${job.state}`);
  // The fetch would find that out; here it is not done again.
  const highest = queue.highest(job.component);
  if (highest !== undefined && highest.tagObject !== job.tagObject) throw new Refusal('ROLLBACK', `${highest.version} was verified meanwhile`);
  job.reasons = [];
}
