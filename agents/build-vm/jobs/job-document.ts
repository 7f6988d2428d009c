// SPDX-License-Identifier: GPL-2.0-or-later
// One component at one tag: everything that is known about it, in one file that is replaced durably at each
// step.
import { join } from 'node:path';
import { createHash } from 'node:crypto';
import { jobIdPattern, matches } from '../../shared/formats/names.js';
import {
  jobFormat,
  type BuildJob,
  type Job,
  type MakingJob,
  type PackageJob,
  type RebuildOrder,
  type Stage,
  type Step,
  type TemplateOrder,
  type Upload,
} from '../../shared/formats/job.js';
import { Refusal } from '../refusals.js';
import type { Component, Config } from '../configuration/config.js';
import { configurationDigests, placeOf } from './job-configuration.js';
import { distsOf, meaningOfTag, suitesOfLine } from '../configuration/release-lines.js';

export * from '../../shared/formats/job.js';

/** The same tag with the same configuration is the same job. */
export function configDigest(config: Config, component: Component): string {
  return createHash('sha256')
    .update(JSON.stringify([component, config.distributions, config.signingKey, placeOf(config), config.dnf]))
    .digest('hex');
}

/** `<component>-<version>-<12 hex>`: the version's colon becomes `_`, which no version holds. */
export function jobIdentity(
  config: Config,
  component: Component,
  tag: string,
  tagObject: string,
  version: string,
): string {
  const dists = distsOf(
    component,
    meaningOfTag(component, tag)?.line,
    config.distributions.map((d) => d.name),
  );
  const identity = [component.url, tag, tagObject, config.env, dists, configDigest(config, component)];
  const digest = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 12);
  const id = `${component.name}-${version.replaceAll(':', '_')}-${digest}`;
  if (!matches(jobIdPattern, id)) throw new Refusal('BAD_VERSION', 'component and version make no job name');
  return id;
}

export function newJob(
  config: Config,
  component: Component,
  found: { tag: string; tagObject: string; version: string; line?: string | undefined },
  number: number,
  now: Date,
): BuildJob {
  const suites = suitesOfLine(component, found.line);
  return {
    format: jobFormat,
    job: jobIdentity(config, component, found.tag, found.tagObject, found.version),
    kind: 'build',
    change: null,
    number,
    component: component.name,
    version: found.version,
    ...(found.line === undefined ? {} : { line: found.line }),
    ...(suites === undefined ? {} : { suites }),
    tag: found.tag,
    tagObject: found.tagObject,
    url: component.url,
    env: config.env,
    dists: distsOf(
      component,
      found.line,
      config.distributions.map((distribution) => distribution.name),
    ),
    created: now.toISOString(),
    state: 'queued',
    priority: 0,
    configuration: configurationDigests(config, component),
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

const chains: Record<Job['kind'], readonly Stage[]> = {
  build: ['build', 'sign', 'publish'],
  template: ['build', 'sign', 'publish'],
  promotion: ['promote'],
  withdrawal: ['withdraw'],
  renewal: ['renew'],
};

function isFinished(job: Job, step: Step): boolean {
  return job.finished.some((finished) => finished.stage === step.stage && finished.dist === step.dist);
}

/**
 * The fetch (`dist` null) or a chain's next step; undefined when that is finished or given up, or when a
 * chain still waits for the fetch.
 */
export function nextStep(job: Job, dist: string | null): Step | undefined {
  if (job.reasons.some((reason) => reason.dist === null || reason.dist === dist)) return undefined;
  const fetch: Step = { stage: 'fetch', dist: null };
  if (job.kind === 'build' && !isFinished(job, fetch)) return dist === null ? fetch : undefined;
  if (dist === null) return undefined;
  const stage = chains[job.kind].find((candidate) => !isFinished(job, { stage: candidate, dist }));
  return stage === undefined ? undefined : { stage, dist };
}

/**
 * The step that stands between a distribution's chain and its end, the fetch too; undefined when the chain is
 * over.
 */
export function chainOf(job: Job, dist: string): Step | undefined {
  return isChainDone(job, dist) ? undefined : (nextStep(job, null) ?? nextStep(job, dist));
}

export function isChainDone(job: Job, dist: string): boolean {
  return isFinished(job, { stage: chains[job.kind].at(-1) as Stage, dist });
}

/** The others move what such a job made, or only sign it anew. */
export function makesPackages(job: Job): job is MakingJob {
  return job.kind === 'build' || job.kind === 'template';
}

/** What people follow: packages, where they are and how they came there. */
export function isAboutPackages(job: Job): job is PackageJob {
  return job.kind !== 'renewal';
}

/** Distributions in whose public repository the packages were read back. */
export function uploadedDists(job: Job): string[] {
  return job.uploaded.map((upload) => upload.dist);
}

/** Whatever the world may see, or may have seen, of what this job put somewhere. */
export function publicUploads(job: Job): Upload[] {
  return [...job.uploaded, ...(job.switched ?? []).filter(({ dist }) => !uploadedDists(job).includes(dist))];
}

/** Of a template, and of what moves one. */
export function templateOf(job: Job): TemplateOrder | undefined {
  return 'template' in job ? job.template : undefined;
}

/** Of packages that were built without a new source, and of what moves them. */
export function rebuildOf(job: Job): RebuildOrder | undefined {
  return 'rebuild' in job ? job.rebuild : undefined;
}

/** The word before its suites, of a release line that has suites of its own. */
export function suitesWordOf(job: Job): string | undefined {
  return 'suites' in job ? job.suites : undefined;
}

/**
 * The version of a job's packages as people know it: of a rebuild its own. @param dist null: of all of them,
 * where that is one
 */
export function shownVersion(job: Job, dist: string | null): string {
  const own = (one: string): string => rebuildOf(job)?.sources[one]?.packages ?? job.version;
  const all = new Set((dist === null ? job.dists : [dist]).map(own));
  return all.size === 1 ? ([...all][0] as string) : job.version;
}

export function isOver(job: Job): boolean {
  return job.state === 'done' || job.state === 'failed' || job.state === 'refused';
}

/** What was built for a distribution, frozen. @param jobFolder of the job */
export function artifactsFolder(jobFolder: string, dist: string): string {
  return join(jobFolder, 'artifacts', dist);
}
