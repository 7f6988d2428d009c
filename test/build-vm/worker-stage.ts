// SPDX-License-Identifier: GPL-2.0-or-later
// A worker whose steps only note their names, for tests of what it does with them.
import type { Test } from 'tap';
import type { Config } from '../../agents/build-vm/configuration/config.js';
import { isOver, type Job, type Step } from '../../agents/build-vm/jobs/job-document.js';
import type { JobQueue } from '../../agents/build-vm/jobs/job-queue.js';
import { Worker, type StageLog, type WorkerOptions } from '../../agents/build-vm/jobs/worker.js';
import { RelayedRefusal } from '../../agents/shared/refusal.js';
import { until } from '../support/until.js';
import { configFor, queueFor } from './jobs.js';

export interface WorkerStage {
  worker: Worker;
  queue: JobQueue;
  ran: string[];
  cleaned: string[];
  lines: Map<string, string[]>;
  over: (job: Job) => Promise<Job>;
}

/** `act` does the step; undefined is done at once. */
export function stageFor(
  test: Test,
  act: (name: string, step: Step, log: StageLog, job: Job) => Promise<void> | void,
  options: Partial<WorkerOptions> = {},
  place = queueFor(test),
): WorkerStage {
  const { queue } = place;
  const ran: string[] = [];
  const cleaned: string[] = [];
  const lines = new Map<string, string[]>();
  const worker = new Worker({
    queue,
    pauseMs: 1,
    builds: 4,
    report: () => undefined,
    cleanUp: (job) => cleaned.push(job.job),
    openLog: async (_job, step) => {
      const said: string[] = [];
      const path = `${step.stage}${step.dist === null ? '' : ` ${step.dist}`} ${lines.size}`;
      lines.set(path, said);
      return {
        path,
        say: (text: string) => void said.push(text),
        tool: () => true,
        drained: () => Promise.resolve(),
        whenFailed: new Promise(() => undefined),
        abandon: () => undefined,
        end: async () => ({ path, commit: 'a'.repeat(40) }),
      };
    },
    runStep: async (job, step, log) => {
      const name = `${job.component} ${job.version} ${step.stage}${step.dist === null ? '' : ` ${step.dist}`}`;
      ran.push(name);
      await act(name, step, log, job);
    },
    ...options,
  });
  queue.onChange(() => worker.wake());
  test.teardown(() => worker.stop());
  return {
    worker,
    queue,
    ran,
    cleaned,
    lines,
    over: (job) => until(`${job.job} to be over`, () => isOver(job) && job, 10),
  };
}

export const config: Config = configFor(['bookworm', 'trixie']);
export const failing =
  (what: string, code: string): ((name: string) => void) =>
  (name) => {
    if (name.endsWith(what)) throw new RelayedRefusal(code, `because of ${what}`);
  };
