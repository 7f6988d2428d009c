// SPDX-License-Identifier: GPL-2.0-or-later
// How far a job is for one distribution, in one word and with its reason.
import { chainOf, isChainDone, isOver, nextStep, type Job } from '../jobs/job-document.js';

/**
 * Of one version for one distribution. `published`: in at least one of its repositories; `withdrawn`: it was,
 * and is no more.
 */
export type ChainState = 'published' | 'withdrawn' | 'building' | 'queued' | 'waiting' | 'failed' | 'refused';

export interface Why {
  code: string;
  detail: string;
  since: string | null;
}

export interface LoggedStep {
  path: string;
  commit: string | null;
}

export interface ChainStatus {
  state: ChainState;
  /** the step that runs, comes next or failed */
  stage: string | null;
  why: Why | null;
  log: LoggedStep | null;
}

/** The log that tells of a step, as far as it goes. */
export function logOf(job: Job, step: { stage: string; dist: string | null }): LoggedStep | null {
  const log = job.logs.findLast(
    (candidate) => candidate.stage === step.stage && candidate.dist === step.dist,
  );
  return log === undefined ? null : { path: log.path, commit: log.commit };
}

/** How far a job is for one distribution; the fetch, which is for all of them, counts for each. */
export function chainStatus(job: Job, dist: string): ChainStatus {
  const is = (state: ChainState, why: Why | null, stage: string | null): ChainStatus => ({
    state,
    stage,
    why,
    log: stage === null ? null : logOf(job, { stage, dist: stage === 'fetch' ? null : dist }),
  });
  if (isChainDone(job, dist) || job.uploaded.some((upload) => upload.dist === dist))
    return is('published', null, null);
  const reason =
    job.reasons.find((candidate) => candidate.dist === dist) ??
    job.reasons.find((candidate) => candidate.dist === null);
  if (reason !== undefined)
    return is(
      job.state === 'refused' ? 'refused' : 'failed',
      { code: reason.code, detail: reason.detail, since: job.ended },
      reason.stage,
    );
  const running =
    job.running.find((step) => step.dist === dist) ?? job.running.find((step) => step.dist === null);
  if (running !== undefined) return is('building', null, running.stage);
  if (isOver(job))
    return is(
      job.state === 'done' ? 'published' : job.state === 'refused' ? 'refused' : 'failed',
      job.reason === null ? null : { ...job.reason, since: job.ended },
      null,
    );
  const waiting =
    job.waiting.find((candidate) => candidate.dist === dist) ??
    job.waiting.find((candidate) => candidate.dist === null);
  const next = chainOf(job, dist)?.stage ?? nextStep(job, null)?.stage ?? null;
  return waiting === undefined
    ? is('queued', null, next)
    : is('waiting', { code: waiting.code, detail: waiting.detail, since: waiting.since }, next);
}
