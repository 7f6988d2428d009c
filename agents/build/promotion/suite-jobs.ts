// SPDX-License-Identifier: GPL-2.0-or-later
// Promotions and withdrawals as jobs: on disk before anybody is answered, done by the worker, the same job when asked for twice.
import { createHash } from 'node:crypto';
import type { AnySuite } from '../../shared/formats/suites.js';
import { Refusal } from '../../shared/refusal.js';
import type { Promotion, Promotions } from '../github-command/promotions.js';
import { isOver, jobFormat, uploadedDists, type Job, type SuiteChange } from '../jobs/job-document.js';
import type { Config } from '../config.js';
import type { JobQueue } from '../jobs/job-queue.js';
import { compareVersions } from '../source/version-tag.js';
import { templateToBuild, templateToUpload } from './template-orders.js';
import type { WithdrawnVersions } from './withdrawn-versions.js';

/** A security fix waits for nothing that is not one. */
const securityPriority = 10;

function changeJob(built: Job, kind: 'promotion' | 'withdrawal', change: SuiteChange, dists: readonly string[], identity: readonly string[], queue: JobQueue, now: Date): Job {
  const digest = createHash('sha256').update(JSON.stringify([kind, built.job, ...identity])).digest('hex').slice(0, 12);
  return {
    ...structuredClone(built), format: jobFormat, kind, change, job: `${kind}-${built.component}-${built.version.replaceAll(':', '_')}-${digest}`, number: queue.nextNumber(), dists: [...dists], created: now.toISOString(), state: 'queued',
    priority: change.suite === 'security-testing' ? securityPriority : 0, running: [], waiting: [], finished: [], logs: [], reasons: [], reason: null, ended: null,
    artifacts: built.artifacts.filter(({ dist }) => dists.includes(dist)), uploaded: [],
  };
}

/** A suite never goes back to an older version: an old command, kept back until now, cannot make it. @throws Refusal NEWER_IN_SUITE */
export function refuseOlderThanSuite(queue: JobQueue, withdrawn: WithdrawnVersions, component: string, version: string, dist: string, suite: AnySuite): void {
  const newer = queue.all().find((job) => job.kind === 'promotion' && job.component === component && job.change?.suite === suite && uploadedDists(job).includes(dist)
    && compareVersions(job.version, version) > 0 && !withdrawn.has(component, job.version, dist));
  if (newer !== undefined) throw new Refusal('NEWER_IN_SUITE', `${suite} of ${dist} has ${newer.version} already`);
}

/** @throws Refusal WITHDRAWN */
export function refuseWithdrawn(withdrawn: WithdrawnVersions, component: string, version: string, dist: string): void {
  if (withdrawn.has(component, version, dist)) throw new Refusal('WITHDRAWN', `${component} ${version} was withdrawn from ${dist}`);
}

export interface SuiteJobsOptions {
  config: Config;
  queue: JobQueue;
  withdrawn: WithdrawnVersions;
  now?(): Date;
}

/** What signed commands ask for. */
export class SuiteJobs implements Promotions {
  readonly #options: SuiteJobsOptions;

  constructor(options: SuiteJobsOptions) {
    this.#options = options;
  }

  /** @throws Refusal NOT_BUILT, WITHDRAWN, NEWER_IN_SUITE, and of templates UNKNOWN_TEMPLATE, ALREADY_BUILT, UNKNOWN_VERSION, OTHER_REPOSITORY */
  async start(promotion: Promotion): Promise<string> {
    const { config, queue, withdrawn } = this.#options;
    if (promotion.verb === 'Build-template') return this.#add(templateToBuild(promotion, config, queue, this.#now()));
    const { repository: suite, command, line, signer, signed } = promotion;
    const { job: built, dists } = promotion.verb === 'Upload-template' ? templateToUpload(promotion, config, queue) : promotion;
    for (const dist of dists) {
      if (!uploadedDists(built).includes(dist)) throw new Refusal('NOT_BUILT', `it was not published for ${dist}`);
      refuseWithdrawn(withdrawn, built.component, built.version, dist);
      refuseOlderThanSuite(queue, withdrawn, built.component, built.version, dist, suite);
    }
    return this.#add(changeJob(built, 'promotion', { of: built.job, suite, command: { sha256: command, line, signer, signed } }, dists, [command], queue, this.#now()));
  }

  /**
   * A person in this VM takes a version back, from every suite of every distribution that it was published for.
   * @throws Refusal UNKNOWN_VERSION, NOT_OVER
   */
  withdraw(component: string, version: string): string {
    const { queue, withdrawn } = this.#options;
    const built = queue.all().findLast((job) => (job.kind === 'build' || job.kind === 'template') && job.component === component && job.version === version && job.uploaded.length > 0);
    if (built === undefined) throw new Refusal('UNKNOWN_VERSION', `nothing of ${component} ${version} was published`);
    // What still goes on could bring back what is taken out.
    const open = queue.all().find((job) => job.kind !== 'withdrawal' && job.component === component && job.version === version && !isOver(job));
    if (open !== undefined) throw new Refusal('NOT_OVER', `${open.job} is ${open.state}`);
    const job = changeJob(built, 'withdrawal', { of: built.job, suite: null, command: null }, uploadedDists(built), [], queue, this.#now());
    const time = this.#now().toISOString();
    withdrawn.add(component, job.dists.map((dist) => ({ version, dist, job: job.job, time })));
    return this.#add(job);
  }

  #add(job: Job): string {
    if (this.#options.queue.get(job.job) === undefined) this.#options.queue.add(job);
    return job.job;
  }

  #now(): Date {
    return this.#options.now?.() ?? new Date();
  }
}
