// SPDX-License-Identifier: GPL-2.0-or-later
// What a person's "retry" takes up again: every chain that failed, from the step that failed. What is done
// stays as it is.
import { Refusal } from '../refusals.js';
import { isChainDone, isOver, type Job } from './job-document.js';
import type { JobQueue } from './job-queue.js';

/**
 * Of a promotion these are the answer to its command. Taken up later it might come true, at a moment that
 * somebody chose: that takes a new command.
 */
const answers = new Set<string>([
  'TOO_YOUNG',
  'WITHDRAWN',
  'NEWER_IN_SUITE',
  'NOT_ALLOWED',
  'CANCELLED',
] satisfies Refusal['code'][]);

/**
 * Changes the job; saving is the caller's. While other chains of the job still run, those that failed may go
 * on with the source that is there.
 * @throws Refusal NOT_OVER when nothing of it failed, ROLLBACK when a later version went ahead meanwhile,
 * COMMAND_USED where a promotion was answered
 */
export function reopen(job: Job, queue: JobQueue): void {
  const answered = job.kind === 'promotion' ? job.reasons.filter(({ code }) => answers.has(code)) : [];
  if (answered.length > 0 && answered.length === job.reasons.length)
    throw new Refusal('COMMAND_USED', `${answered[0]?.code} was the answer to its command: sign a new one`);
  if (isOver(job)) {
    if (job.state === 'done') throw new Refusal('NOT_OVER', 'the job is done');
    // What was cleaned up has to be made again: the source always, of an old job also what was built and
    // signed for what is not published.
    job.finished = job.finished.filter(
      ({ stage, dist }) =>
        stage !== 'fetch' && dist !== null && (isChainDone(job, dist) || queue.hasArtifacts(job, dist)),
    );
    delete job.cancelled;
    Object.assign(job, {
      state: 'queued',
      ended: null,
      waiting: [],
      reasons: answered,
      reason: null,
    } satisfies Partial<Job>);
    return;
  }
  if (job.cancelled !== undefined)
    throw new Refusal('NOT_OVER', 'the job was cancelled, and one of its steps still runs to its end');
  if (job.reasons.length === 0) throw new Refusal('NOT_OVER', `the job is ${job.state}`);
  // The fetch would find that out; here it is not done again.
  const highest = job.kind === 'build' ? queue.highest(job.component, job.line) : undefined;
  if (highest !== undefined && highest.tagObject !== job.tagObject)
    throw new Refusal('ROLLBACK', `${highest.version} was verified meanwhile`);
  job.reasons = answered;
}
