// SPDX-License-Identifier: GPL-2.0-or-later
// Where a job's signed files lie, and what the gpg client is told about the job that it signs for.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeDurably } from '../../shared/durable-files.js';
import { AnyRefusal } from '../../shared/refusal.js';
import { expectFarmCalls } from '../jobs/command-clock.js';
import { type Job, rebuildOf, templateOf } from '../jobs/job-document.js';
import { hashedCommand } from '../jobs/template-job.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import { hashedEvidence } from '../source/source-evidence.js';

export interface SignOptions {
  folder: string;
  /** the drop-in gpg */
  gpg: string;
  signingKey: string;
  /** armored, for checking what came back */
  publicKey: string;
}

export function signedFolder(jobFolder: string, dist: string): string {
  return join(jobFolder, 'signed', dist);
}

/**
 * Signed files that do not verify any more, after a power cut mostly: nothing was published of a job that
 * signs, so they are made anew. @throws what is no refusal
 */
export function removeDamaged(signed: string, error: unknown, log: LineSink): void {
  if (!(error instanceof AnyRefusal)) throw error;
  log.say(
    `the signed files that are there from before are not what was signed (${error.message}): they are signed anew`,
  );
  rmSync(signed, { recursive: true });
}

/** What the gpg client reads from $BUILD_INFRA_JOB, to write its intents. */
export function writeGpgJob(path: string, job: Job, dist: string): void {
  const logs = [
    ...new Set(job.logs.filter((log) => log.dist === null || log.dist === dist).map((log) => log.path)),
  ].slice(-100);
  const made = job.artifacts.find((one) => one.dist === dist)?.files ?? [];
  const commands = [templateOf(job), rebuildOf(job)].flatMap((order) =>
    order === undefined ? [] : [hashedCommand(order.command)],
  );
  const artifacts = [...made, ...(job.evidence === null ? [] : [hashedEvidence(job.evidence)]), ...commands];
  expectFarmCalls(path);
  writeDurably(
    path,
    `${JSON.stringify({ job: job.job, component: job.component, version: job.version, dist, logs, artifacts }, null, 1)}\n`,
  );
}
