// SPDX-License-Identifier: GPL-2.0-or-later
// Job documents of earlier releases, which had one step at a time for a whole job. They are read for ever: a job is written down once.
import { jobFormat, type Job, type StepResult } from './job-document.js';

export const earlierFormat = 'build-infra/job@1';

type Changed = 'format' | 'kind' | 'change' | 'priority' | 'configuration' | 'running' | 'waiting' | 'finished' | 'reasons';

/** What build-infra/job@1 had otherwise. */
export type EarlierJob = Omit<Job, Changed> & {
  format: typeof earlierFormat;
  current: unknown;
  waiting: { code: string; detail: string; since: string } | null;
  finished: Omit<StepResult, 'commandSeconds'>[];
};

/** The same job as of this release; a step that ran is begun again. */
export function convertJob(earlier: EarlierJob): Job {
  const { current: _, waiting, finished, ...kept } = earlier;
  const steps = [{ stage: 'fetch', dist: null }, ...earlier.dists.flatMap((dist) => (['build', 'sign', 'publish'] as const).map((stage) => ({ stage, dist })))] as const;
  const next = steps.find((step) => !finished.some((done) => done.stage === step.stage && done.dist === step.dist));
  return {
    ...kept,
    format: jobFormat,
    kind: 'build',
    change: null,
    priority: 0,
    configuration: null,
    running: [],
    waiting: waiting === null ? [] : [{ dist: next?.dist ?? null, ...waiting }],
    finished: finished.map((step) => ({ ...step, commandSeconds: null })),
    reasons: earlier.reason === null || next === undefined ? [] : [{ ...next, ...earlier.reason }],
  };
}
