// SPDX-License-Identifier: GPL-2.0-or-later
// One component at one tag: everything that is known about it, in one file that is replaced durably at each step.
import { createHash } from 'node:crypto';
import type { HashedFile } from '../shared/formats/intent.js';
import type { ClosingCommit } from '../shared/formats/notification.js';
import { jobIdPattern, matches } from '../shared/formats/names.js';
import { Refusal } from '../shared/refusal.js';
import type { Component, Config } from './config.js';
import type { Signer } from './tag-verification.js';

export const jobFormat = 'build-infra/job@1';

export type JobState = 'queued' | 'running' | 'done' | 'failed' | 'refused';
export const stages = ['fetch', 'build', 'sign', 'publish'] as const;
export type Stage = (typeof stages)[number];

/** A stage of a job; all but fetch are for one distribution. */
export interface Step {
  stage: Stage;
  dist: string | null;
}

export interface JobLog {
  stage: Stage;
  dist: string | null;
  path: string;
  /** the commit that published the whole log; null while it is open or was broken off */
  commit: string | null;
}

/** What the tag was found to be: who signed what. */
export interface Evidence {
  url: string;
  tag: string;
  tagObject: string;
  commit: string;
  tree: string;
  tagger: string;
  signers: Signer[];
  manifest: { files: number; bytes: number; sha256: string };
}

export interface StepResult extends Step {
  started: string;
  ended: string;
}

export interface Job {
  format: typeof jobFormat;
  job: string;
  /** order in the queue */
  number: number;
  component: string;
  version: string;
  tag: string;
  tagObject: string;
  url: string;
  env: string;
  dists: string[];
  created: string;
  state: JobState;
  /** the step that runs, or runs next */
  current: (Step & { started: string }) | null;
  /** why the step does not go on just now */
  waiting: { code: string; detail: string; since: string } | null;
  finished: StepResult[];
  logs: JobLog[];
  evidence: Evidence | null;
  /** commits since the version before, for the notifier; not in documents of earlier releases */
  closes?: ClosingCommit[];
  /** seconds since 1970 that builds are to use, from debian/changelog */
  sourceDateEpoch: number | null;
  artifacts: { dist: string; files: HashedFile[] }[];
  /** what `done` rests on: files read back from the public repository */
  uploaded: { dist: string; url: string; suite: string; release: string; files: HashedFile[] }[];
  reason: { code: string; detail: string } | null;
  ended: string | null;
}

/** The same tag with the same configuration is the same job. */
export function configDigest(config: Config, component: Component): string {
  return createHash('sha256').update(JSON.stringify([component, config.distributions, config.signingKey, config.apt, config.dnf])).digest('hex');
}

/** `<component>-<version>-<12 hex>`: the version's colon becomes `_`, which no version holds. */
export function jobIdentity(config: Config, component: Component, tag: string, tagObject: string, version: string): string {
  const identity = [component.url, tag, tagObject, config.env, config.distributions.map((d) => d.name), configDigest(config, component)];
  const digest = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 12);
  const id = `${component.name}-${version.replaceAll(':', '_')}-${digest}`;
  if (!matches(jobIdPattern, id)) throw new Refusal('BAD_VERSION', 'component and version make no job name');
  return id;
}

export function newJob(config: Config, component: Component, found: { tag: string; tagObject: string; version: string }, number: number, now: Date): Job {
  return {
    format: jobFormat,
    job: jobIdentity(config, component, found.tag, found.tagObject, found.version),
    number,
    component: component.name,
    version: found.version,
    tag: found.tag,
    tagObject: found.tagObject,
    url: component.url,
    env: config.env,
    dists: config.distributions.map((distribution) => distribution.name),
    created: now.toISOString(),
    state: 'queued',
    current: null,
    waiting: null,
    finished: [],
    logs: [],
    evidence: null,
    sourceDateEpoch: null,
    artifacts: [],
    uploaded: [],
    reason: null,
    ended: null,
  };
}

/** All steps of a job in order. */
export function stepsOf(job: Job): Step[] {
  const rest = job.dists.flatMap((dist): Step[] => [{ stage: 'build', dist }, { stage: 'sign', dist }, { stage: 'publish', dist }]);
  return [{ stage: 'fetch', dist: null }, ...rest];
}

export function sameStep(a: Step, b: Step): boolean {
  return a.stage === b.stage && a.dist === b.dist;
}

/** The first step that is not finished, or undefined when all are. */
export function nextStep(job: Job): Step | undefined {
  return stepsOf(job).find((step) => !job.finished.some((finished) => sameStep(finished, step)));
}

export function isOver(job: Job): boolean {
  return job.state === 'done' || job.state === 'failed' || job.state === 'refused';
}
