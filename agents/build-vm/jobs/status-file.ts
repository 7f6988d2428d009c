// SPDX-License-Identifier: GPL-2.0-or-later
// status.json: what a person wants to know about this VM now, for `build-infra status`. Made from the queue,
// never read back.
import { renameSync, writeFileSync } from 'node:fs';
import { isOver, type ChainReason, type Job, type Waiting } from './job-document.js';

interface Named {
  job: string;
  component: string;
  version: string;
}

export interface Status {
  format: 'build-infra/build-status@2';
  time: string;
  agent: { pid: number; started: string };
  /** jobs of which nothing runs, or of which a chain has to wait */
  queue: (Named & { priority: number; waiting: Waiting[] })[];
  /** one for each step that runs */
  running: (Named & { stage: string; dist: string | null; started: string; log: string | null })[];
  /**
   * latest first; of seconds, `commands` are those of tools and engines, and null where that was not measured
   */
  recent: (Named & {
    state: string;
    reason: Job['reason'];
    reasons: ChainReason[];
    ended: string | null;
    logs: string[];
    uploaded: string[];
    seconds: { stage: string; dist: string | null; seconds: number; commands: number | null }[];
  })[];
}

const recentLimit = 50;

export function statusOf(jobs: readonly Job[], started: Date, now: Date): Status {
  const open = jobs.filter((job) => !isOver(job));
  const over = jobs
    .filter(isOver)
    .sort((a, b) => (b.ended ?? '').localeCompare(a.ended ?? ''))
    .slice(0, recentLimit);
  const named = ({ job, component, version }: Job): Named => ({ job, component, version });
  return {
    format: 'build-infra/build-status@2',
    time: now.toISOString(),
    agent: { pid: process.pid, started: started.toISOString() },
    queue: open
      .filter((job) => job.running.length === 0 || job.waiting.length > 0)
      .map((job) => ({ ...named(job), priority: job.priority, waiting: job.waiting })),
    running: open.flatMap((job) =>
      job.running.map((step) => ({
        ...named(job),
        ...step,
        log:
          job.logs.findLast(
            (log) => log.commit === null && log.stage === step.stage && log.dist === step.dist,
          )?.path ?? null,
      })),
    ),
    recent: over.map((job) => ({
      ...named(job),
      state: job.state,
      reason: job.reason,
      reasons: job.reasons,
      ended: job.ended,
      logs: job.logs.map((log) => log.path),
      uploaded: job.uploaded.flatMap((upload) => upload.files.map((file) => file.name)),
      seconds: job.finished.map(({ stage, dist, started: from, ended, commandSeconds }) => ({
        stage,
        dist,
        seconds: (Date.parse(ended) - Date.parse(from)) / 1000,
        commands: commandSeconds,
      })),
    })),
  };
}

/** Replaced whole, so that a reader never sees half; not fsynced, since it can be made again. */
export function writeStatus(path: string, status: Status | number): void {
  writeFileSync(`${path}.tmp`, `${JSON.stringify(status, null, 1)}\n`);
  renameSync(`${path}.tmp`, path);
}
