// SPDX-License-Identifier: GPL-2.0-or-later
// What a signed command about a template means here: a job to be made, or the one that made what is to be
// uploaded. What lies on a disk or in a repository is not asked, the jobs are.
import { Refusal } from '../refusals.js';
import type { Config } from '../configuration/config.js';
import type { Promotion } from '../github-command/promotions.js';
import type { TemplateJob } from '../jobs/job-document.js';
import type { JobQueue } from '../jobs/job-queue.js';
import { configuredTemplate, newTemplateJob, templateVersion } from '../jobs/template-job.js';

function buildsOf(queue: JobQueue, name: string, release: string): TemplateJob[] {
  return queue
    .all()
    .filter((job) => job.kind === 'template')
    .filter(({ template }) => template.name === name && template.release === release);
}

/**
 * The job, new or, where this very command was obeyed before a kill, the one that is there.
 * @throws Refusal UNKNOWN_TEMPLATE, ALREADY_BUILT
 */
export function templateToBuild(
  order: Extract<Promotion, { verb: 'Build-template' }>,
  config: Config,
  queue: JobQueue,
  now: Date,
): TemplateJob {
  const { template: name, release, timestamp, command: sha256, line, signer, signed } = order;
  const template = configuredTemplate(config, name, release);
  const before = buildsOf(queue, name, release);
  const mine = before.find((job) => job.template.command.sha256 === sha256);
  if (mine !== undefined) return mine;
  // A minute stands for one package, for ever, and never goes back: also where that build failed, which is
  // for Retry or for a later minute.
  const later = before.find((job) => job.template.timestamp >= timestamp);
  if (later !== undefined)
    throw new Refusal(
      'ALREADY_BUILT',
      `${name} of ${release} was commanded for ${later.template.timestamp} already, which is no earlier: ${later.job} is ${later.state}`,
    );
  return newTemplateJob(
    config,
    template,
    { name, release, timestamp, command: { sha256, line, signer, signed } },
    queue.nextNumber(),
    now,
  );
}

/**
 * The job that built exactly that version and minute, and whose package the world has.
 * @throws Refusal UNKNOWN_TEMPLATE, OTHER_REPOSITORY, UNKNOWN_VERSION
 */
export function templateToUpload(
  order: Extract<Promotion, { verb: 'Upload-template' }>,
  config: Config,
  queue: JobQueue,
): { job: TemplateJob; dists: string[] } {
  const { template: name, release, version, timestamp, repository } = order;
  const template = configuredTemplate(config, name, release);
  if (template.repository !== repository)
    throw new Refusal('OTHER_REPOSITORY', `${name} is published in ${template.repository}`);
  const job = buildsOf(queue, name, release).find(
    (one) =>
      one.version === `${version}-${timestamp}` &&
      one.version === templateVersion(release, timestamp) &&
      one.uploaded.length > 0,
  );
  if (job === undefined)
    throw new Refusal('UNKNOWN_VERSION', `no ${name} ${version}-${timestamp} was built and published here`);
  return { job, dists: job.dists };
}
