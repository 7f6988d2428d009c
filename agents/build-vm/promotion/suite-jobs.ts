// SPDX-License-Identifier: GPL-2.0-or-later
// Promotions and withdrawals as jobs: on disk before anybody is answered, done by the worker, the same job
// when asked for twice.
import { createHash } from 'node:crypto';
import { partsOf, suiteOf, type AnySuite } from '../../shared/formats/suites.js';
import { Refusal } from '../refusals.js';
import type { Promotion, Promotions } from '../github-command/promotions.js';
import {
  chainOf,
  isOver,
  makesPackages,
  publicUploads,
  suitesWordOf,
  uploadedDists,
  type Job,
  type MakingJob,
  type PromotionJob,
  type WithdrawalJob,
} from '../jobs/job-document.js';
import type { Config } from '../configuration/config.js';
import type { JobQueue } from '../jobs/job-queue.js';
import { compareVersions } from '../configuration/version-tag.js';
import { rebuildToMake } from './rebuild-orders.js';
import { templateToBuild, templateToUpload } from './template-orders.js';
import type { WithdrawnVersions } from './withdrawn-versions.js';

/** A security fix waits for nothing that is not one; what is taken back not even for that. */
const securityPriority = 10;
const withdrawalPriority = 20;

function changeJob(
  built: MakingJob,
  change: Pick<PromotionJob, 'kind' | 'change'> | Pick<WithdrawalJob, 'kind' | 'change'>,
  dists: readonly string[],
  identity: readonly string[],
  queue: JobQueue,
  now: Date,
): PromotionJob | WithdrawalJob {
  const { kind } = change;
  const digest = createHash('sha256')
    .update(JSON.stringify([kind, built.job, ...identity]))
    .digest('hex')
    .slice(0, 12);
  return {
    ...structuredClone(built),
    ...change,
    job: `${kind}-${built.component}-${built.version.replaceAll(':', '_')}-${digest}`,
    number: queue.nextNumber(),
    dists: [...dists],
    created: now.toISOString(),
    state: 'queued',
    priority:
      kind === 'withdrawal'
        ? withdrawalPriority
        : partsOf(change.change.suite)?.suite === 'security-testing'
          ? securityPriority
          : 0,
    configuration: null,
    running: [],
    waiting: [],
    finished: [],
    logs: [],
    reasons: [],
    reason: null,
    ended: null,
    artifacts: built.artifacts.filter(({ dist }) => dists.includes(dist)),
    uploaded: [],
    switched: [],
  };
}

/**
 * A suite never goes back to an older version: an old command, kept back until now, cannot make it. @throws
 * Refusal NEWER_IN_SUITE
 */
export function refuseOlderThanSuite(
  queue: JobQueue,
  withdrawn: WithdrawnVersions,
  component: string,
  version: string,
  dist: string,
  suite: AnySuite,
): void {
  const newer = queue
    .all()
    .find(
      (job) =>
        job.kind === 'promotion' &&
        job.component === component &&
        job.change.suite === suite &&
        publicUploads(job).some((one) => one.dist === dist) &&
        compareVersions(job.version, version) > 0 &&
        !withdrawn.has(component, job.version),
    );
  if (newer !== undefined)
    throw new Refusal('NEWER_IN_SUITE', `${suite} of ${dist} has ${newer.version} already`);
}

/** @throws Refusal WITHDRAWN */
export function refuseWithdrawn(
  withdrawn: WithdrawnVersions,
  component: string,
  version: string,
  dist: string,
): void {
  if (withdrawn.has(component, version))
    throw new Refusal('WITHDRAWN', `${component} ${version} was withdrawn; it does not go to ${dist}`);
}

export interface SuiteJobsOptions {
  config: Config;
  queue: JobQueue;
  withdrawn: WithdrawnVersions;
  now?: () => Date;
}

/** What signed commands ask for. */
export class SuiteJobs implements Promotions {
  readonly #options: SuiteJobsOptions;

  constructor(options: SuiteJobsOptions) {
    this.#options = options;
  }

  /**
   * @throws Refusal NOT_BUILT, WITHDRAWN, NEWER_IN_SUITE, those of rebuildToMake, and of templates
   * UNKNOWN_TEMPLATE, ALREADY_BUILT, UNKNOWN_VERSION, OTHER_REPOSITORY
   */
  async start(promotion: Promotion): Promise<string> {
    const { config, queue, withdrawn } = this.#options;
    if (promotion.verb === 'Build-template')
      return this.#add(templateToBuild(promotion, config, queue, this.#now()));
    if (promotion.verb === 'Rebuild-component') {
      for (const dist of promotion.dists)
        refuseWithdrawn(withdrawn, promotion.job.component, promotion.job.version, dist);
      return this.#add(rebuildToMake(promotion, config, queue, this.#now()));
    }
    const { command, line, signer, signed } = promotion;
    const { job: built, dists } =
      promotion.verb === 'Upload-template' ? templateToUpload(promotion, config, queue) : promotion;
    // Among the suites that its line had when it was built: there it lies.
    const suite =
      promotion.verb === 'Upload-template'
        ? promotion.repository
        : suiteOf(suitesWordOf(built), promotion.repository);
    for (const dist of dists) {
      if (!uploadedDists(built).includes(dist))
        throw new Refusal('NOT_BUILT', `it was not published for ${dist}`);
      refuseWithdrawn(withdrawn, built.component, built.version, dist);
      refuseOlderThanSuite(queue, withdrawn, built.component, built.version, dist, suite);
    }
    return this.#add(
      changeJob(
        built,
        {
          kind: 'promotion',
          change: { of: built.job, suite, command: { sha256: command, line, signer, signed } },
        },
        dists,
        [command],
        queue,
        this.#now(),
      ),
    );
  }

  /**
   * A person in this VM takes a version back, from every suite of every distribution, for good: what still
   * goes on with it ends before it is published. Asked for again it is the same job as long as that has given
   * nothing up, then another one: whoever asks is never told of what is not done.
   * @throws Refusal UNKNOWN_VERSION
   */
  withdraw(component: string, version: string): string {
    const { queue, withdrawn } = this.#options;
    const jobs = queue.all().filter((job) => job.component === component && job.version === version);
    const builds = jobs
      .filter(makesPackages)
      .filter((job) => job.evidence !== null || !isOver(job) || publicUploads(job).length > 0);
    const built = builds.findLast((job) => publicUploads(job).length > 0) ?? builds.at(-1);
    if (built === undefined)
      throw new Refusal('UNKNOWN_VERSION', `nothing of ${component} ${version} is known here`);
    const all = [...new Set(builds.flatMap((job) => job.dists))];
    // Of what was only built the withdrawal reads back that the world has none of it.
    const reached = all.filter((dist) =>
      builds.some(
        (job) =>
          [...publicUploads(job), ...job.artifacts].some((one) => one.dist === dist) ||
          (!isOver(job) && job.dists.includes(dist) && chainOf(job, dist) !== undefined),
      ),
    );
    const dists = reached.length > 0 ? reached : all;
    const before = jobs.filter((job) => job.kind === 'withdrawal');
    const job =
      before.find(
        (one) => !isOver(one) && one.reasons.length === 0 && dists.every((dist) => one.dists.includes(dist)),
      ) ??
      changeJob(
        built,
        { kind: 'withdrawal', change: { of: built.job, suite: null, command: null } },
        dists,
        [String(before.length)],
        queue,
        this.#now(),
      );
    const time = this.#now().toISOString();
    withdrawn.add(
      component,
      all.map((dist) => ({ version, dist, job: job.job, time })),
    );
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
