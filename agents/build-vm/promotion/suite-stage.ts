// SPDX-License-Identifier: GPL-2.0-or-later
// The stages promote and withdraw: a repository's next generation, uploaded and read back. What is promoted
// are the bytes that were published, not what lies here under their names; how long they were in testing says
// the public record, not this VM's clock or notes.
import type { HashedFile } from '../../shared/formats/intent.js';
import { partsOf, triedIn, type AnySuite } from '../../shared/formats/suites.js';
import { Refusal } from '../refusals.js';
import type { Config, Distribution } from '../configuration/config.js';
import { refuseAskedWithoutRight } from '../github-command/authorisation.js';
import {
  makesPackages,
  publicUploads,
  templateOf,
  type Job,
  type PromotionJob,
  type Upload,
  type WithdrawalJob,
} from '../jobs/job-document.js';
import type { JobQueue } from '../jobs/job-queue.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import { packageRepositories } from '../repositories/package-repositories.js';
import type { Made } from '../repositories/package-repository.js';
import type { ChangeOptions } from '../repositories/repository-change.js';
import { recordOf } from '../publication/read-back.js';
import { refuseOlderThanSuite, refuseWithdrawn } from './suite-jobs.js';
import type { WithdrawnVersions } from './withdrawn-versions.js';

export interface SuiteStageOptions extends ChangeOptions {
  queue: JobQueue;
  withdrawn: WithdrawnVersions;
  recordMs: number;
}

const dayMs = 86_400_000;

/** An engine that publishes has a repository of its own making. @throws Refusal NOT_HERE */
function refuseForeignRepository({ name, publisher }: Distribution): void {
  if (publisher === 'engine')
    throw new Refusal(
      'NOT_HERE',
      `the repository of ${name} is its engine's: move packages there with the engine's own means`,
    );
}

/** @throws Refusal NO_RECORD, TOO_YOUNG, RECORD_UNREACHABLE, RECORD_REWRITTEN, BAD_RECORD, NOT_PUBLISHED */
async function refuseTooYoung(
  built: Job,
  dist: string,
  tried: AnySuite,
  log: LineSink,
  { config, paths, recordMs }: SuiteStageOptions,
): Promise<void> {
  const { promotion, publication } = config;
  if (promotion === undefined || publication === null)
    throw new Refusal(
      'NO_RECORD',
      'no published logs are configured here, so nobody knows how long it was in testing',
    );
  const needed = promotion.minAgeDays;
  const published = built.logs.findLast(
    (one) => one.stage === 'publish' && one.dist === dist && one.commit !== null,
  );
  if (published === undefined || published.commit === null)
    throw new Refusal('NOT_PUBLISHED', `the upload of ${built.job} to ${dist} is in no published log`);
  const record = recordOf(publication, paths, { folder: paths.record, timeoutMs: recordMs });
  const now = await record.newest();
  const then = await record.published(published.commit, published.path);
  const days = (now.time.getTime() - then.time.getTime()) / dayMs;
  log.say(
    `in ${tried} since ${then.time.toISOString()}, commit ${then.commit}: ${days.toFixed(2)} days at ${now.time.toISOString()}; needed are ${needed}`,
  );
  if (days >= needed) return;
  // Up to the next whole minute: a command of that time is obeyed.
  const from = new Date(Math.ceil((then.time.getTime() + needed * dayMs) / 60_000) * 60_000);
  throw new Refusal(
    'TOO_YOUNG',
    `in ${tried} for ${days.toFixed(2)} days; ${needed} are needed, which is from ${from.toISOString().slice(0, 16)}Z on`,
  );
}

/** Whoever asked for it may have lost the right since. @throws Refusal NOT_ALLOWED */
function refuseSignerWithoutRight(
  { change: { command } }: PromotionJob,
  dist: string,
  { commands }: Config,
): void {
  const person = commands?.people.find(({ fingerprint }) => fingerprint === command.signer.fingerprint);
  if (person === undefined)
    throw new Refusal('NOT_ALLOWED', 'the key that asked for it is no longer configured');
  refuseAskedWithoutRight(person, command.line, [dist]);
}

/**
 * Stage promote. @throws Refusal as above, NOT_ALLOWED, WITHDRAWN, NEWER_IN_SUITE, NOT_IN_SUITE,
 * PUBLISH_FAILED, UPLOAD_FAILED, READ_BACK_FAILED
 */
export async function promoteFor(
  job: PromotionJob,
  distribution: Distribution,
  log: LineSink,
  options: SuiteStageOptions,
): Promise<Upload> {
  const { queue, withdrawn } = options;
  refuseForeignRepository(distribution);
  const dist = distribution.name;
  const { of, suite, command } = job.change;
  const built = queue.get(of);
  const uploaded = built?.uploaded.find((one) => one.dist === dist);
  if (built === undefined || uploaded === undefined)
    throw new Error(`${job.job} promotes nothing that was published`);
  const from = triedIn(suite);
  const template = templateOf(built);
  log.say(
    `${job.component} ${job.version} from ${from} to ${suite}, built by ${built.job}, ${template === undefined ? `commit ${built.evidence?.commit ?? 'unknown'}` : `command ${template.command.sha256}`}`,
  );
  log.say(
    `command ${command.sha256} of ${command.signer.name} ${command.signer.fingerprint}, signed ${command.signed}: ${command.line}`,
  );
  // Once more: the job may have waited.
  refuseSignerWithoutRight(job, dist, options.config);
  refuseWithdrawn(withdrawn, job.component, job.version, dist);
  refuseOlderThanSuite(queue, withdrawn, job.component, job.version, dist, suite);
  if (partsOf(suite)?.suite !== 'security-testing') await refuseTooYoung(built, dist, from, log, options);
  for (const file of uploaded.files) log.say(`published sha256:${file.sha256} ${file.size} ${file.name}`);
  return await packageRepositories[distribution.packages].promote(
    job,
    dist,
    { from, to: suite, files: uploaded.files },
    options,
    log,
  );
}

function madeFor({ component, version }: Job, dist: string, queue: JobQueue): Made {
  const builds = queue
    .all()
    .filter((one) => makesPackages(one) && one.component === component && one.version === version);
  const of = (all: readonly { dist: string; files: HashedFile[] }[]): HashedFile[] =>
    all.filter((one) => one.dist === dist).flatMap(({ files }) => files);
  const files = builds.flatMap((one) => of(publicUploads(one)));
  return {
    files,
    names: [...new Set([...files, ...builds.flatMap((one) => of(one.artifacts))].map(({ name }) => name))],
  };
}

/**
 * Nothing of this distribution is on this disk: it never was, or the disk is another one. @throws Refusal
 * REPOSITORY_LOST
 */
function refuseLostRepository(
  { component, version }: Job,
  dist: string,
  log: LineSink,
  { queue }: SuiteStageOptions,
): void {
  const told = queue
    .all()
    .find(
      (one) =>
        one.component === component &&
        one.version === version &&
        publicUploads(one).some((upload) => upload.dist === dist),
    );
  if (told !== undefined)
    throw new Refusal(
      'REPOSITORY_LOST',
      `${told.job} published it for ${dist}, and no repository is on this disk any more`,
    );
  log.say(`nothing was ever published for ${dist}`);
}

/**
 * Stage withdraw: from every suite. @throws Refusal CONFIG_CHANGED, NOT_HERE, REPOSITORY_LOST, NOT_IN_SUITE,
 * PUBLISH_FAILED, UPLOAD_FAILED, READ_BACK_FAILED
 */
export async function withdrawFor(
  job: WithdrawalJob,
  distribution: Distribution,
  log: LineSink,
  options: SuiteStageOptions,
): Promise<void> {
  const { config, queue } = options;
  refuseForeignRepository(distribution);
  // Its repository is not the one here: what is absent from this one may be in that one.
  if (job.env !== config.env)
    throw new Refusal(
      'CONFIG_CHANGED',
      `it was published for the environment ${job.env}, and this is ${config.env}`,
    );
  const dist = distribution.name;
  const made = madeFor(job, dist, queue);
  log.say(`withdraw ${job.component} ${job.version} from every suite of ${dist}`);
  if (made.names.length === 0) log.say(`nothing of it was built for ${dist}`);
  else if (!(await packageRepositories[distribution.packages].withdraw(job, dist, made, options, log)))
    refuseLostRepository(job, dist, log, options);
  log.say(`${job.component} ${job.version} is in no suite of ${dist}`);
}
