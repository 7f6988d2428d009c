// SPDX-License-Identifier: GPL-2.0-or-later
// status.json: what a person wants to know about this VM now, for `build-infra status`. Made from the queue, never read back.
import { renameSync, writeFileSync } from 'node:fs';
import { isOver, type Job } from './job-document.js';

export interface Status {
  format: 'build-infra/build-status@1';
  time: string;
  agent: { pid: number; started: string };
  queue: { job: string; component: string; version: string; waiting: Job['waiting'] }[];
  running: { job: string; component: string; version: string; stage: string; dist: string | null; started: string; log: string | null; waiting: Job['waiting'] } | null;
  /** latest first */
  recent: { job: string; component: string; version: string; state: string; reason: Job['reason']; ended: string | null; logs: string[]; uploaded: string[];
    seconds: { stage: string; dist: string | null; seconds: number }[] }[];
}

const recentLimit = 50;

export function statusOf(jobs: readonly Job[], started: Date, now: Date): Status {
  const open = jobs.filter((job) => !isOver(job));
  const running = open.find((job) => job.state === 'running' && job.current !== null);
  const over = jobs.filter(isOver).sort((a, b) => (b.ended ?? '').localeCompare(a.ended ?? '')).slice(0, recentLimit);
  return {
    format: 'build-infra/build-status@1',
    time: now.toISOString(),
    agent: { pid: process.pid, started: started.toISOString() },
    queue: open.filter((job) => job !== running).map(({ job, component, version, waiting }) => ({ job, component, version, waiting })),
    running: running === undefined || running.current === null ? null : {
      job: running.job, component: running.component, version: running.version, ...running.current,
      log: running.logs.findLast((log) => log.commit === null && log.stage === running.current?.stage)?.path ?? null, waiting: running.waiting,
    },
    recent: over.map((job) => ({
      job: job.job, component: job.component, version: job.version, state: job.state, reason: job.reason, ended: job.ended,
      logs: job.logs.map((log) => log.path), uploaded: job.uploaded.flatMap((upload) => upload.files.map((file) => file.name)),
      seconds: job.finished.map(({ stage, dist, started: from, ended }) => ({ stage, dist, seconds: (Date.parse(ended) - Date.parse(from)) / 1000 })),
    })),
  };
}

/** Replaced whole, so that a reader never sees half; not fsynced, since it can be made again. */
export function writeStatus(path: string, status: Status | number): void {
  writeFileSync(`${path}.tmp`, `${JSON.stringify(status, null, 1)}\n`);
  renameSync(`${path}.tmp`, path);
}
