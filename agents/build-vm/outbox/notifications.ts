// SPDX-License-Identifier: GPL-2.0-or-later
// What the public is to hear of a job, from its document alone: everything that it ever earned, each under a
// name that stays the same. Whoever writes them leaves out what was written before; so a kill at any point
// loses nothing and doubles nothing.
import { createHash } from 'node:crypto';
import {
  excerptLimit,
  notificationFormat,
  repositoriesLimit,
  type Notification,
  type NotificationEvent,
} from '../../shared/formats/notification.js';
import { matches, plainNamePattern } from '../../shared/formats/names.js';
import { partsOf, repositoryOf, suites as allSuites } from '../../shared/formats/suites.js';
import {
  suitesWordOf,
  templateOf,
  type ChainReason,
  type PackageJob,
  type Step,
  type Upload,
} from '../jobs/job-document.js';
import { isFailure } from '../jobs/worker.js';

export interface Earned {
  /** stays the same for the same fact; a second failure after a retry is another fact */
  name: string;
  event: NotificationEvent;
  dist: string | null;
  repository: string | null;
  /** of a withdrawal: what it left */
  repositories?: string[];
  reason: { code: string; detail: string } | null;
  step: Step | null;
}

/**
 * An engine may call its suite what it likes; a notification has names of strict grammar, and one that has
 * none would hold up all others.
 */
function announcedRepository(upload: Upload): string {
  const repository = repositoryOf(upload);
  return matches(plainNamePattern, repository) ? repository : 'elsewhere';
}

/** A suite without the distribution before it: the name of the fact. */
function nameOf({ dist, suite }: Upload): string {
  return suite.startsWith(`${dist}-`) ? suite.slice(dist.length + 1) : suite;
}

/** Where a version was put by all jobs, in the order of suites. */
function suitesOf({ component, version }: PackageJob, dist: string, jobs: readonly PackageJob[]): string[] {
  const uploads = jobs
    .filter((one) => one.component === component && one.version === version)
    .flatMap((one) => one.uploaded)
    .filter((upload) => upload.dist === dist);
  const place = (repository: string): number =>
    (allSuites as readonly string[]).indexOf(partsOf(repository)?.suite ?? repository);
  return [...new Set(uploads.map(announcedRepository))]
    .sort((a, b) => place(a) - place(b))
    .slice(0, repositoriesLimit);
}

/**
 * Everything that a job has earned so far, in the order in which it happens to a distribution.
 * @param told names that were written before: after a failure that was told, a new beginning is told too
 * @param jobs all that are known: what a withdrawal took away, they had put there
 */
export function earnedBy(
  job: PackageJob,
  told: ReadonlySet<string>,
  jobs: readonly PackageJob[] = [],
): Earned[] {
  const earned: Earned[] = [];
  const add = (
    event: NotificationEvent,
    dist: string | null,
    name: string,
    more: Partial<Earned> = {},
  ): void => {
    earned.push({
      name: `${event} ${dist ?? '*'} ${name}`.trim(),
      event,
      dist,
      repository: null,
      reason: null,
      step: null,
      ...more,
    });
  };
  const failed = (failure: ChainReason): void => {
    const attempt = job.logs.filter((log) => log.stage === failure.stage && log.dist === failure.dist).length;
    const step = { stage: failure.stage, dist: failure.dist };
    const reason = { code: failure.code, detail: failure.detail.slice(0, 500) };
    const name = `${failure.stage} ${attempt}`;
    if (job.kind === 'withdrawal') return add('withdraw-failed', failure.dist, name, { reason, step });
    if (job.kind !== 'promotion')
      return add(failure.stage === 'publish' ? 'upload-failed' : 'failed', failure.dist, name, {
        reason,
        step,
      });
    // Under one name, whichever of the two it is.
    add('upload-failed', failure.dist, name, {
      event: isFailure(failure.code) ? 'upload-failed' : 'refused',
      repository: job.change.suite,
      reason,
      step,
    });
  };
  for (const failure of job.reasons.filter((one) => one.dist === null)) failed(failure);
  for (const dist of job.dists) {
    const done = (stage: string): boolean =>
      job.finished.some((one) => one.stage === stage && one.dist === dist);
    const upload = job.uploaded.find((one) => one.dist === dist);
    const left = job.kind === 'withdrawal' && done('withdraw') ? suitesOf(job, dist, jobs) : [];
    if (left.length > 0)
      add('withdrawn', dist, '', { repositories: left, step: { stage: 'withdraw', dist } });
    if (job.kind !== 'promotion' && job.kind !== 'withdrawal') {
      const before = [...told].filter(
        (name) => name.startsWith(`failed ${dist} `) || name.startsWith('failed * '),
      ).length;
      if (
        job.running.some((step) => step.dist === dist && step.stage === 'build') ||
        (done('build') && [...told].every((name) => !name.startsWith(`building ${dist} `)))
      )
        add('building', dist, String(before));
      if (done('build')) add('built', dist, '', { step: { stage: 'build', dist } });
    }
    for (const failure of job.reasons.filter((one) => one.dist === dist)) failed(failure);
    if (upload !== undefined && (job.kind === 'promotion' || done('publish'))) {
      const repository = announcedRepository(upload);
      add('uploaded', dist, nameOf(upload), { repository, step: { stage: 'publish', dist } });
    }
  }
  return earned;
}

/** The document for one of them. @param excerpt last lines of the log of what failed, as they were logged */
export function notificationOf(
  job: PackageJob,
  earned: Earned,
  time: Date,
  excerpt: string | null = null,
): Notification {
  const key = createHash('sha256')
    .update(JSON.stringify([job.env, job.job, earned.name]))
    .digest('hex');
  const logs = job.logs.filter(
    (log) => log.dist === null || earned.dist === null || log.dist === earned.dist,
  );
  const [template, suites] = [templateOf(job), suitesWordOf(job)];
  return {
    format: notificationFormat,
    key,
    time: time.toISOString(),
    event: earned.event,
    kind: template === undefined ? 'component' : 'template',
    component: template?.name ?? job.component,
    version: job.version,
    release: template?.release ?? null,
    ...(suites === undefined ? {} : { suites }),
    packageSet: null,
    dist: earned.dist,
    dists: job.dists.slice(0, 20),
    repository: earned.repository,
    ...(earned.repositories === undefined ? {} : { repositories: earned.repositories }),
    env: job.env,
    job: job.job,
    tag: template === undefined ? job.tag.slice(0, 200) : null,
    commit: job.evidence?.commit ?? null,
    sourceUrl: template === undefined ? job.url.slice(0, 500) : null,
    logs: logs.slice(-200).map(({ stage, dist, path, commit }) => ({ stage, dist, path, commit })),
    reason: earned.reason,
    excerpt: excerpt === null ? null : excerpt.slice(-excerptLimit),
    commits: 'closes' in job ? [...(job.closes ?? [])] : [],
  };
}
