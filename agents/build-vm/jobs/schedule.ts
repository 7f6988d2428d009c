// SPDX-License-Identifier: GPL-2.0-or-later
// What runs next. A job is a fetch and then one chain of steps (build, sign, publish) for each distribution;
// chains go side by side, each step in its lane. One lane builds a distribution, another one signs and
// publishes for it: what is built never waits behind what is being built. Nothing here has an effect or a
// clock of its own.
import { chainOf, isOver, nextStep, suitesWordOf, type Job, type Step } from './job-document.js';
import { compareVersions } from '../configuration/version-tag.js';

export interface Limits {
  /** at the same time, over all distributions */
  builds: number;
}

export interface Schedule {
  start: { job: Job; step: Step }[];
  /** ms until the first pause ends; undefined when none runs */
  waitMs: number | undefined;
}

/** One step at a time in each: `fetch`, `build <dist>`, `upload <dist>` (whatever changes its repository). */
export function laneOf(step: Step): string {
  switch (step.stage) {
    case 'fetch':
      return 'fetch';
    case 'build':
      return `build ${step.dist}`;
    case 'sign':
    case 'publish':
    case 'promote':
    case 'withdraw':
    case 'renew':
      return `upload ${step.dist}`;
  }
}

/** The name of a chain, or of a job's fetch, in the table of pauses. */
export function pauseKey(job: Job, dist: string | null): string {
  return `${job.job} ${dist ?? ''}`;
}

function isEarlier(a: Job, b: Job): boolean {
  const order = compareVersions(a.version, b.version);
  return order < 0 || (order === 0 && a.number < b.number);
}

/**
 * A version never overtakes an earlier one of its component: it may be built when that is built, and
 * published when that is published or given up.
 */
function overtakes(earlier: Job, step: Step): boolean {
  if (step.stage === 'fetch') return nextStep(earlier, null) !== undefined;
  if (step.dist === null || !earlier.dists.includes(step.dist)) return false;
  const next = chainOf(earlier, step.dist);
  return next !== undefined && (step.stage !== 'build' || next.stage === 'fetch' || next.stage === 'build');
}

/**
 * What is taken back waits for no version, and none waits for it: neither is in the other's way. A renewal is
 * of no version.
 */
function standsInLine(job: Job): boolean {
  return job.kind !== 'withdrawal' && job.kind !== 'renewal';
}

/**
 * A version goes before another one where both go the same way: release lines of a component have
 * distributions or suites of their own.
 */
function standsBefore(other: Job, job: Job): boolean {
  return (
    standsInLine(other) &&
    other.component === job.component &&
    isEarlier(other, job) &&
    suitesWordOf(other) === suitesWordOf(job) &&
    other.dists.some((dist) => job.dists.includes(dist))
  );
}

/**
 * Urgent first, then first come, first served. What an urgent version of the same component has to wait for
 * is as urgent.
 */
function inOrder(open: readonly Job[]): Job[] {
  const urgency = new Map(
    open.map((job) => [
      job,
      Math.max(
        job.priority,
        ...open.filter((other) => other === job || standsBefore(job, other)).map((other) => other.priority),
      ),
    ]),
  );
  return [...open].sort((a, b) => (urgency.get(b) ?? 0) - (urgency.get(a) ?? 0) || a.number - b.number);
}

/**
 * @param pauses by pauseKey: not before this time (ms since 1970)
 * @param now ms since 1970
 */
export function schedule(
  jobs: readonly Job[],
  pauses: ReadonlyMap<string, number>,
  limits: Limits,
  now: number,
): Schedule {
  const open = jobs.filter((job) => !isOver(job));
  const busy = new Set(open.flatMap((job) => job.running.map(laneOf)));
  let builds = open.flatMap((job) => job.running).filter((step) => step.stage === 'build').length;
  const start: Schedule['start'] = [];
  let waitMs: number | undefined;
  for (const job of inOrder(open)) {
    const earlier = !standsInLine(job)
      ? []
      : open.filter((other) => other !== job && standsBefore(other, job));
    const fetch = nextStep(job, null);
    const next = fetch !== undefined ? [fetch] : job.dists.map((dist) => nextStep(job, dist));
    for (const step of next) {
      if (step === undefined || job.running.some((running) => running.dist === step.dist)) continue;
      if (earlier.some((other) => overtakes(other, step))) continue;
      const left = (pauses.get(pauseKey(job, step.dist)) ?? 0) - now;
      if (left > 0) {
        waitMs = Math.min(waitMs ?? left, left);
        continue;
      }
      if (busy.has(laneOf(step)) || (step.stage === 'build' && builds >= limits.builds)) continue;
      busy.add(laneOf(step));
      if (step.stage === 'build') builds++;
      start.push({ job, step });
    }
  }
  return { start, waitMs };
}
