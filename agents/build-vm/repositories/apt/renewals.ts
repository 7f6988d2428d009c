// SPDX-License-Identifier: GPL-2.0-or-later
// The timer of renewals: looks at the Releases that the world sees, and makes a job for each repository of
// which one is due. Nothing else is remembered, so a restart changes nothing; what did not work is a job that
// failed, and the next one comes after a pause that grows with their number.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { AnyRefusal, printable } from '../../../shared/refusal.js';
import type { Reporter } from '../../../shared/calls/socket-service.js';
import { repositoryNames, type Config } from '../../configuration/config.js';
import { isOver, jobFormat, type Job, type RenewalJob } from '../../jobs/job-document.js';
import type { JobQueue } from '../../jobs/job-queue.js';
import { Generations } from '../repository-generations.js';
import { codenamesIn } from './apt-publication.js';
import { dueSuites } from './release-renewal.js';

export interface RenewalOptions {
  config: Config;
  queue: JobQueue;
  /** holds a folder for each distribution */
  repositories: string;
  report: Reporter;
  now?: () => Date;
}

/** In place of a component, in intents and logs. */
export const renewedName = 'apt-repository';
const lookMs = 300_000;
const firstPauseMs = 600_000;
const doublings = 3;
/** A security fix goes first, and no build may keep it waiting until a Release is over. */
const renewalPriority = 5;

function renewalJob({ env }: Config, dist: string, number: number, now: Date): RenewalJob {
  const created = now.toISOString();
  // A time is a version's spelling, as intents want one.
  const version = created.replace(/[-:]|\.[0-9]+/g, '');
  const digest = createHash('sha256')
    .update(JSON.stringify(['renewal', env, dist, number, created]))
    .digest('hex')
    .slice(0, 12);
  return {
    format: jobFormat,
    kind: 'renewal',
    change: null,
    job: `renewal-${dist}-${version}-${digest}`,
    number,
    component: renewedName,
    version,
    tag: '',
    tagObject: '',
    url: '',
    env,
    dists: [dist],
    created,
    state: 'queued',
    priority: renewalPriority,
    configuration: null,
    running: [],
    waiting: [],
    finished: [],
    logs: [],
    evidence: null,
    sourceDateEpoch: null,
    artifacts: [],
    uploaded: [],
    reasons: [],
    reason: null,
    ended: null,
  };
}

/**
 * How long after the last renewal that did not work the next one comes: ten minutes, doubled for each before
 * it, at most eighty.
 */
export function pauseAfter(renewals: readonly Job[]): number {
  const failed = renewals.length - 1 - renewals.findLastIndex(({ state }) => state === 'done');
  return failed === 0 ? 0 : firstPauseMs * 2 ** Math.min(doublings, failed - 1);
}

/** Makes the jobs that are due, of those repositories that this agent publishes itself. */
export function queueRenewals({
  config,
  queue,
  repositories,
  report,
  now = () => new Date(),
}: RenewalOptions): void {
  for (const { name: dist, packages, publisher } of config.distributions) {
    if (repositoryNames[packages] !== 'apt' || publisher === 'engine') continue;
    const renewals = queue
      .all()
      .filter((job) => job.kind === 'renewal' && job.env === config.env && job.dists.includes(dist));
    const last = renewals.at(-1);
    if (
      last !== undefined &&
      (!isOver(last) || Date.parse(last.ended ?? '') + pauseAfter(renewals) > now().getTime())
    )
      continue;
    try {
      if (!isDue(join(repositories, dist), dist, config.apt?.validDays, now())) continue;
      const job = renewalJob(config, dist, queue.nextNumber(), now());
      queue.add(job);
      report(`a Release of ${dist} is due: queued ${job.job}`);
    } catch (error) {
      report(`whether a Release of ${dist} is due is not known: ${printable(String(error))}`);
    }
  }
}

function isDue(folder: string, dist: string, validDays: number | undefined, now: Date): boolean {
  if (!existsSync(join(folder, 'generations'))) return false;
  try {
    return new Generations(folder)
      .perhapsPublic()
      .some(
        (generation) =>
          dueSuites(generation.folder, codenamesIn(generation.folder, dist), validDays, now.getTime())
            .length > 0,
      );
  } catch (error) {
    // What is public is not here any more, and so cannot be read: where it has an end the job says so until a
    // person helps.
    if (error instanceof AnyRefusal) return validDays !== undefined;
    throw error;
  }
}

/** Looks at once, and then every five minutes. */
export function startRenewals(options: RenewalOptions): void {
  queueRenewals(options);
  setInterval(() => queueRenewals(options), lookMs).unref();
}
