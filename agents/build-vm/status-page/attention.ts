// SPDX-License-Identifier: GPL-2.0-or-later
// What wants a person, of jobs of every kind: chains that failed or were refused until something settles
// them, and those that wait for very long.
import { compareVersions } from '../configuration/version-tag.js';
import {
  isChainDone,
  isOver,
  makesPackages,
  shownVersion,
  suitesWordOf,
  type Job,
} from '../jobs/job-document.js';
import { chainStatus, type ChainStatus, type Why } from './chain-status.js';

/** A chain that waits for longer is told of as if it had failed. */
export const longWaitMs = 6 * 3600_000;

export interface Attention extends Omit<ChainStatus, 'state'> {
  kind: Job['kind'];
  job: string;
  version: string;
  /** where a promotion goes */
  suite: string | null;
  /** those of which the same is true */
  dists: string[];
  state: 'failed' | 'refused' | 'waiting';
  why: Why | null;
}

export const kindOf = (job: Job): Pick<Attention, 'kind' | 'suite'> => ({
  kind: job.kind,
  suite: job.kind === 'promotion' ? job.change.suite : null,
});

const isNewer = (a: Job, b: Job): boolean =>
  (compareVersions(a.version, b.version) || a.number - b.number) > 0;

export function newestOf(jobs: readonly Job[]): Job | undefined {
  return jobs.reduce<Job | undefined>(
    (newest, job) => (newest === undefined || isNewer(job, newest) ? job : newest),
    undefined,
  );
}

/** Of a chain that is over and not done: whether that is nobody's concern any more. */
function isSettled(job: Job, dist: string, jobs: readonly Job[]): boolean {
  const others = jobs.filter((other) => other !== job && other.dists.includes(dist));
  const isLater = (other: Job): boolean => other.number > job.number;
  const takenBack = others.filter(
    (other) =>
      other.kind === 'withdrawal' &&
      other.version === job.version &&
      (isLater(other) || isChainDone(other, dist)),
  );
  switch (job.kind) {
    case 'withdrawal':
      return takenBack.length > 0;
    case 'renewal':
      return others.some(isLater);
    case 'promotion':
      return (
        takenBack.some((other) => isChainDone(other, dist)) ||
        // A person ended it.
        job.reasons.some((reason) => reason.dist === dist && reason.code === 'CANCELLED') ||
        others.some(
          (other) =>
            other.kind === 'promotion' &&
            other.change.suite === job.change.suite &&
            compareVersions(other.version, job.version) >= 0 &&
            (isLater(other) || isChainDone(other, dist)),
        )
      );
    default:
      return (
        takenBack.some((other) => isLater(other) && isChainDone(other, dist)) ||
        others.some(
          (other) => makesPackages(other) && suitesWordOf(other) === suitesWordOf(job) && isNewer(other, job),
        )
      );
  }
}

/** A bad version that the world still gets goes first, what only waits last. */
const rank = ({ kind, state }: Attention): number =>
  (kind === 'withdrawal' ? 0 : 2) + (state === 'waiting' ? 1 : 0);

/**
 * @param jobs of one component, or renewals
 * @param isLive whether a distribution is configured: of others only what could not be taken back is told
 */
export function attentionOf(
  jobs: readonly Job[],
  isLive: (dist: string) => boolean,
  made: Date,
): Attention[] {
  const found = new Map<string, Attention>();
  for (const job of jobs)
    for (const dist of job.dists) {
      if (!isLive(dist) && job.kind !== 'withdrawal') continue;
      const { state, stage, why, log } = chainStatus(job, dist);
      const wants =
        state === 'waiting'
          ? !isOver(job) && made.getTime() - Date.parse(why?.since ?? '') > longWaitMs
          : (state === 'failed' || state === 'refused') && !isSettled(job, dist, jobs);
      if (!wants) continue;
      // What ended the fetch ended every distribution, and is said once.
      const version = shownVersion(job, dist);
      const key = JSON.stringify([job.job, version, state, stage, why]);
      const same = found.get(key);
      if (same !== undefined) same.dists.push(dist);
      else
        found.set(key, {
          ...kindOf(job),
          job: job.job,
          version,
          dists: [dist],
          state: state as Attention['state'],
          stage,
          why,
          log,
        });
    }
  return [...found.values()].sort((a, b) => rank(a) - rank(b));
}
