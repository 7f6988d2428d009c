// SPDX-License-Identifier: GPL-2.0-or-later
// What the public is to hear of a job, from its document alone: everything that it ever earned, each under a name that stays the same. Whoever
// writes them leaves out what was written before; so a kill at any point loses nothing and doubles nothing.
import { createHash } from 'node:crypto';
import { excerptLimit, notificationFormat, repositoriesLimit, type ClosingCommit, type Notification, type NotificationEvent, type NotifiedLog } from '../../shared/formats/notification.js';
import { matches, plainNamePattern } from '../../shared/formats/names.js';
import { partsOf, repositoryOf, suites, type Upload } from '../../shared/formats/suites.js';
import { isFailure } from '../jobs/worker.js';

interface JobStep {
  stage: string;
  dist: string | null;
}

/** As much of a job's document as is needed here. */
export interface NotifiedJob {
  job: string;
  kind?: 'build' | 'template' | 'promotion' | 'withdrawal';
  /** where a promotion goes to */
  change?: { suite: string | null } | null;
  /** of a template, which has no tag and no source */
  template?: { name: string; release: string };
  component: string;
  version: string;
  /** of a release line with suites of its own: the word before them */
  suites?: string;
  tag: string;
  url: string;
  env: string;
  dists: string[];
  state: string;
  finished: readonly JobStep[];
  /** of agents that do one step at a time */
  current?: JobStep | null;
  /** of agents that do several */
  running?: readonly JobStep[];
  logs: readonly NotifiedLog[];
  evidence: { commit: string } | null;
  uploaded: readonly Upload[];
  /** why a chain is over; agents of one step at a time have `reason` alone */
  reasons?: readonly (JobStep & { code: string; detail: string })[];
  reason: { code: string; detail: string } | null;
  ended: string | null;
  /** what the fetch found between the version before and this one */
  closes?: readonly ClosingCommit[];
}

export interface Earned {
  /** stays the same for the same fact; a second failure after a retry is another fact */
  name: string;
  event: NotificationEvent;
  dist: string | null;
  repository: string | null;
  /** of a withdrawal: what it left */
  repositories?: string[];
  reason: { code: string; detail: string } | null;
  step: JobStep | null;
}

const order = ['build', 'sign', 'publish'];

function failuresOf(job: NotifiedJob): (JobStep & { code: string; detail: string })[] {
  if (job.reasons !== undefined) return [...job.reasons];
  if (job.reason === null || (job.state !== 'failed' && job.state !== 'refused')) return [];
  const steps: JobStep[] = [{ stage: 'fetch', dist: null }, ...job.dists.flatMap((dist) => order.map((stage) => ({ stage, dist })))];
  const step = steps.find(({ stage, dist }) => !job.finished.some((one) => one.stage === stage && one.dist === dist)) ?? { stage: 'publish', dist: null };
  return [{ ...step, ...job.reason }];
}

/** An engine may call its suite what it likes; a notification has names of strict grammar, and one that has none would hold up all others. */
function announcedRepository(upload: Upload): string {
  const repository = repositoryOf(upload);
  return matches(plainNamePattern, repository) ? repository : 'elsewhere';
}

/** A suite without the distribution before it: the name of the fact, which stays as it was written before an upgrade. */
function nameOf({ dist, suite }: Upload): string {
  return suite.startsWith(`${dist}-`) ? suite.slice(dist.length + 1) : suite;
}

/** Where a version was put by all jobs, in the order of suites. */
function suitesOf({ component, version }: NotifiedJob, dist: string, jobs: readonly NotifiedJob[]): string[] {
  const uploads = jobs.filter((one) => one.component === component && one.version === version).flatMap((one) => one.uploaded).filter((upload) => upload.dist === dist);
  const place = (repository: string): number => (suites as readonly string[]).indexOf(partsOf(repository)?.suite ?? repository);
  return [...new Set(uploads.map(announcedRepository))].sort((a, b) => place(a) - place(b)).slice(0, repositoriesLimit);
}

/**
 * Everything that a job has earned so far, in the order in which it happens to a distribution.
 * @param told names that were written before: after a failure that was told, a new beginning is told too
 * @param jobs all that are known: what a withdrawal took away, they had put there
 */
export function earnedBy(job: NotifiedJob, told: ReadonlySet<string>, jobs: readonly NotifiedJob[] = []): Earned[] {
  const running = job.running ?? (job.current === null || job.current === undefined ? [] : [job.current]);
  const failures = failuresOf(job);
  const earned: Earned[] = [];
  const add = (event: NotificationEvent, dist: string | null, name: string, more: Partial<Earned> = {}): void => {
    earned.push({ name: `${event} ${dist ?? '*'} ${name}`.trim(), event, dist, repository: null, reason: null, step: null, ...more });
  };
  const failed = (failure: JobStep & { code: string; detail: string }): void => {
    const attempt = job.logs.filter((log) => log.stage === failure.stage && log.dist === failure.dist).length;
    const step = { stage: failure.stage, dist: failure.dist };
    const reason = { code: failure.code, detail: failure.detail.slice(0, 500) };
    const name = `${failure.stage} ${attempt}`;
    if (job.kind === 'withdrawal') return add('withdraw-failed', failure.dist, name, { reason, step });
    if (job.kind !== 'promotion') return add(failure.stage === 'publish' ? 'upload-failed' : 'failed', failure.dist, name, { reason, step });
    // Under one name, whichever of the two it is: an agent that called it otherwise before an upgrade does not say it again.
    add('upload-failed', failure.dist, name, { event: isFailure(failure.code) ? 'upload-failed' : 'refused', repository: job.change?.suite ?? null, reason, step });
  };
  for (const failure of failures.filter((one) => one.dist === null)) failed(failure);
  for (const dist of job.dists) {
    const done = (stage: string): boolean => job.finished.some((one) => one.stage === stage && one.dist === dist);
    const upload = job.uploaded.find((one) => one.dist === dist);
    const left = job.kind === 'withdrawal' && done('withdraw') ? suitesOf(job, dist, jobs) : [];
    if (left.length > 0) add('withdrawn', dist, '', { repositories: left, step: { stage: 'withdraw', dist } });
    if (job.kind !== 'promotion' && job.kind !== 'withdrawal') {
      const before = [...told].filter((name) => name.startsWith(`failed ${dist} `) || name.startsWith('failed * ')).length;
      if (running.some((step) => step.dist === dist && step.stage === 'build') || (done('build') && [...told].every((name) => !name.startsWith(`building ${dist} `)))) add('building', dist, String(before));
      if (done('build')) add('built', dist, '', { step: { stage: 'build', dist } });
    }
    for (const failure of failures.filter((one) => one.dist === dist)) failed(failure);
    if (upload !== undefined && (job.kind === 'promotion' || done('publish'))) {
      const repository = announcedRepository(upload);
      add('uploaded', dist, nameOf(upload), { repository, step: { stage: 'publish', dist } });
    }
  }
  return earned;
}

/** The document for one of them. @param excerpt last lines of the log of what failed, as they were logged */
export function notificationOf(job: NotifiedJob, earned: Earned, time: Date, excerpt: string | null = null): Notification {
  const key = createHash('sha256').update(JSON.stringify([job.env, job.job, earned.name])).digest('hex');
  const logs = job.logs.filter((log) => log.dist === null || earned.dist === null || log.dist === earned.dist);
  return {
    format: notificationFormat, key, time: time.toISOString(), event: earned.event, kind: job.template === undefined ? 'component' : 'template', component: job.template?.name ?? job.component, version: job.version, release: job.template?.release ?? null, ...(job.suites === undefined ? {} : { suites: job.suites }), packageSet: null,
    dist: earned.dist, dists: job.dists.slice(0, 20), repository: earned.repository, ...(earned.repositories === undefined ? {} : { repositories: earned.repositories }), env: job.env, job: job.job, tag: job.template === undefined ? job.tag.slice(0, 200) : null, commit: job.evidence?.commit ?? null, sourceUrl: job.template === undefined ? job.url.slice(0, 500) : null,
    logs: logs.slice(-200).map(({ stage, dist, path, commit }) => ({ stage, dist, path, commit })), reason: earned.reason, excerpt: excerpt === null ? null : excerpt.slice(-excerptLimit), commits: [...(job.closes ?? [])],
  };
}
