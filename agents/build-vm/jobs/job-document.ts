// SPDX-License-Identifier: GPL-2.0-or-later
// One component at one tag: everything that is known about it, in one file that is replaced durably at each step.
import { join } from 'node:path';
import { createHash } from 'node:crypto';
import type { HashedFile } from '../../shared/formats/intent.js';
import type { ClosingCommit } from '../../shared/formats/notification.js';
import { jobIdPattern, matches } from '../../shared/formats/names.js';
import type { AnySuite } from '../../shared/formats/suites.js';
import { Refusal } from '../refusals.js';
import type { Component, Config } from '../configuration/config.js';
import { configurationDigests, placeOf, type ConfigurationDigests } from './job-configuration.js';
import { distsOf, meaningOfTag, suitesOfLine } from '../configuration/release-lines.js';

export const jobFormat = 'build-infra/job@2';

export type JobState = 'queued' | 'running' | 'done' | 'failed' | 'refused';
export const stages = ['fetch', 'build', 'sign', 'publish', 'promote', 'withdraw', 'renew'] as const;
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

/** A signed command that was obeyed. */
export interface ObeyedCommand {
  /** its identity (used-commands.ts) */
  sha256: string;
  line: string;
  signer: { name: string; fingerprint: string };
  /** ISO 8601, as the signature says */
  signed: string;
}

/** What a template is built from: the configuration, and this. */
export interface TemplateOrder {
  name: string;
  release: string;
  /** YYYYmmddHHMM, UTC */
  timestamp: string;
  /** what stands in for a tag */
  command: ObeyedCommand;
}

/** What a rebuild is made of: a source that was published, which is not published again. */
export interface RebuildOrder {
  /** the job that published it */
  of: string;
  /** of `+b1`, or of the release 1.fc41.1 */
  number: number;
  /** of each distribution, as its repository has it; `packages` is the version of what is made, which documents of earlier releases do not say */
  sources: Record<string, { source: string; version: string; packages?: string }>;
  command: ObeyedCommand;
}

/** What is done with a version that was built, and who asked for it. */
export interface SuiteChange {
  /** the job that built it */
  of: string;
  /** where it goes to; null for a withdrawal, which is from every suite */
  suite: AnySuite | null;
  /** the signed command, or null for a person in this VM */
  command: ObeyedCommand | null;
}

/** Who signed a tag. */
export interface Signer {
  name: string;
  /** primary fingerprint */
  fingerprint: string;
  /** when the signature says it was made, ISO 8601 */
  signed: string;
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
  /** of the time between, seconds in which a tool or an engine did its own work (docs/life-of-a-build.md, "Overhead"); null where it was not measured */
  commandSeconds: number | null;
}

/** Why a chain, or the fetch where `dist` is null, does not go on just now. */
export interface Waiting {
  dist: string | null;
  code: string;
  detail: string;
  since: string;
}

/** Why a chain is over without being done; the fetch where `dist` is null, and with it every chain. */
export interface ChainReason extends Step {
  code: string;
  detail: string;
}

export interface Job {
  format: typeof jobFormat;
  job: string;
  /** a build makes packages of a tag, a template's is made by command; a promotion or withdrawal moves what was made, and has its tag, version and evidence; a renewal is of a repository, not of packages */
  kind: 'build' | 'template' | 'promotion' | 'withdrawal' | 'renewal';
  /** of a template and of what moves it: `tag`, `tagObject` and `url` are '' then, as of a renewal, and `evidence` is null */
  template?: TemplateOrder;
  /** of a build without a new source, and of what moves it; `version` is the tag's all the same */
  rebuild?: RebuildOrder;
  /** null for a build */
  change: SuiteChange | null;
  /** order in the queue */
  number: number;
  component: string;
  version: string;
  /** of a component that has release lines */
  line?: string;
  /** word before its suites, of a line that has suites of its own */
  suites?: string;
  tag: string;
  tagObject: string;
  url: string;
  env: string;
  dists: string[];
  created: string;
  state: JobState;
  /** when a person cancelled it, ISO 8601: no step begins any more */
  cancelled?: string;
  /** 0 is usual; a higher one goes before waiting steps of a lower one */
  priority: number;
  /** digests of the configuration that it was made for; null in documents of earlier releases */
  configuration: ConfigurationDigests | null;
  /** the steps that run, each in a chain of its own */
  running: (Step & { started: string })[];
  waiting: Waiting[];
  finished: StepResult[];
  logs: JobLog[];
  evidence: Evidence | null;
  /** names of the source packages that the tree's specs make, where it lists several */
  specs?: string[];
  /** submodules whose archives are sources, where the tree lists some: the commits that it pins */
  modules?: Record<string, string>;
  /** commits since the version before, for the notifier; not in documents of earlier releases */
  closes?: ClosingCommit[];
  /** seconds since 1970 that builds are to use, from debian/changelog */
  sourceDateEpoch: number | null;
  artifacts: { dist: string; files: HashedFile[] }[];
  /** what `done` rests on: files read back from the public repository. `suite` is its name there, `repository` which of ours an engine says that it is */
  uploaded: { dist: string; url: string; suite: string; repository?: string; release: string; files: HashedFile[] }[];
  /** what the world may see since then: noted before a server is told to switch to it, in `uploaded` too once it was read back; not in documents of earlier releases */
  switched?: Job['uploaded'];
  /** of every chain that is over and not done */
  reasons: ChainReason[];
  /** of them the one that says how the job ended */
  reason: { code: string; detail: string } | null;
  ended: string | null;
}

/** The same tag with the same configuration is the same job. */
export function configDigest(config: Config, component: Component): string {
  return createHash('sha256').update(JSON.stringify([component, config.distributions, config.signingKey, placeOf(config), config.dnf])).digest('hex');
}

/** `<component>-<version>-<12 hex>`: the version's colon becomes `_`, which no version holds. */
export function jobIdentity(config: Config, component: Component, tag: string, tagObject: string, version: string): string {
  const dists = distsOf(component, meaningOfTag(component, tag)?.line, config.distributions.map((d) => d.name));
  const identity = [component.url, tag, tagObject, config.env, dists, configDigest(config, component)];
  const digest = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 12);
  const id = `${component.name}-${version.replaceAll(':', '_')}-${digest}`;
  if (!matches(jobIdPattern, id)) throw new Refusal('BAD_VERSION', 'component and version make no job name');
  return id;
}

export function newJob(config: Config, component: Component, found: { tag: string; tagObject: string; version: string; line?: string | undefined }, number: number, now: Date): Job {
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
    dists: distsOf(component, found.line, config.distributions.map((distribution) => distribution.name)),
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

const chains: Record<Job['kind'], readonly Stage[]> = { build: ['build', 'sign', 'publish'], template: ['build', 'sign', 'publish'], promotion: ['promote'], withdrawal: ['withdraw'], renewal: ['renew'] };

function isFinished(job: Job, step: Step): boolean {
  return job.finished.some((finished) => finished.stage === step.stage && finished.dist === step.dist);
}

/** The fetch (`dist` null) or a chain's next step; undefined when that is finished or given up, or when a chain still waits for the fetch. */
export function nextStep(job: Job, dist: string | null): Step | undefined {
  if (job.reasons.some((reason) => reason.dist === null || reason.dist === dist)) return undefined;
  const fetch: Step = { stage: 'fetch', dist: null };
  if (job.kind === 'build' && !isFinished(job, fetch)) return dist === null ? fetch : undefined;
  if (dist === null) return undefined;
  const stage = chains[job.kind].find((candidate) => !isFinished(job, { stage: candidate, dist }));
  return stage === undefined ? undefined : { stage, dist };
}

/** The step that stands between a distribution's chain and its end, the fetch too; undefined when the chain is over. */
export function chainOf(job: Job, dist: string): Step | undefined {
  return isChainDone(job, dist) ? undefined : nextStep(job, null) ?? nextStep(job, dist);
}

export function isChainDone(job: Job, dist: string): boolean {
  return isFinished(job, { stage: chains[job.kind].at(-1) as Stage, dist });
}

/** The others move what such a job made, or only sign it anew. */
export function makesPackages(job: Job): boolean {
  return job.kind === 'build' || job.kind === 'template';
}

/** What people follow: packages, where they are and how they came there. */
export function isAboutPackages(job: Job): job is Job & { kind: Exclude<Job['kind'], 'renewal'> } {
  return job.kind !== 'renewal';
}

/** Distributions in whose public repository the packages were read back. */
export function uploadedDists(job: Job): string[] {
  return job.uploaded.map((upload) => upload.dist);
}

/** Whatever the world may see, or may have seen, of what this job put somewhere. */
export function publicUploads(job: Job): Job['uploaded'] {
  return [...job.uploaded, ...(job.switched ?? []).filter(({ dist }) => !uploadedDists(job).includes(dist))];
}

/** The line that asked for this job; undefined: a tag did, or a person in this VM. */
export function commandOf({ kind, change, rebuild, template }: Job): string | undefined {
  return (kind === 'promotion' || kind === 'withdrawal' ? change?.command : rebuild?.command ?? template?.command)?.line;
}

/** The version of a job's packages as people know it: of a rebuild its own. @param dist null: of all of them, where that is one */
export function shownVersion({ version, rebuild, dists }: Job, dist: string | null): string {
  const own = (one: string): string => rebuild?.sources[one]?.packages ?? version;
  const all = new Set((dist === null ? dists : [dist]).map(own));
  return all.size === 1 ? [...all][0] as string : version;
}

export function isOver(job: Job): boolean {
  return job.state === 'done' || job.state === 'failed' || job.state === 'refused';
}

/** What was built for a distribution, frozen. @param jobFolder of the job */
export function artifactsFolder(jobFolder: string, dist: string): string {
  return join(jobFolder, 'artifacts', dist);
}
