// SPDX-License-Identifier: GPL-2.0-or-later
// docs/formats.md, "Jobs and their status": job.json, which the build agent writes and reads, and
// `build-infra jobs` shows. A job is of one kind, and has the fields of that kind alone; each reader below is
// tied to the type that it returns.
import type { HashedFile } from './intent.js';
import { jobIdPattern } from './names.js';
import type { ClosingCommit } from './notification.js';
import {
  anyText,
  dictionary,
  list,
  oneOf,
  orNull,
  record,
  text,
  whole,
  type Reader,
} from './strict-reader.js';
import { partsOf, templateSuites, triedIn, type AnySuite } from './suites.js';
import { readDocument } from '../json-document.js';
import { Refusal } from '../refusals.js';

export const jobFormat = 'build-infra/job@2';

export const jobStates = ['queued', 'running', 'done', 'failed', 'refused'] as const;
export type JobState = (typeof jobStates)[number];
export const jobKinds = ['build', 'template', 'promotion', 'withdrawal', 'renewal'] as const;
export const stages = ['fetch', 'build', 'sign', 'publish', 'promote', 'withdraw', 'renew'] as const;
export type Stage = (typeof stages)[number];

/** A stage of a job; all but fetch are for one distribution. */
export interface Step {
  stage: Stage;
  dist: string | null;
}

export interface JobLog extends Step {
  path: string;
  /** the commit that published the whole log; null while it is open or was broken off */
  commit: string | null;
}

interface Person {
  name: string;
  /** primary fingerprint */
  fingerprint: string;
}

/** Who signed a tag, and when the signature says that it was made, ISO 8601. */
export interface Signer extends Person {
  signed: string;
}

/** A signed command that was obeyed. */
export interface ObeyedCommand {
  /** its identity (used-commands.ts) */
  sha256: string;
  line: string;
  signer: Person;
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
  /** of each distribution, as its repository has it; `packages` is the version of what is made */
  sources: Record<string, { source: string; version: string; packages: string }>;
  command: ObeyedCommand;
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
  /**
   * of the time between, seconds in which a tool or an engine did its own work (docs/life-of-a-build.md,
   * "Overhead"); null where it was not measured
   */
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

/**
 * Files in a public repository. `suite` is its name there, `repository` which of ours an engine says that it
 * is.
 */
export interface Upload {
  dist: string;
  url: string;
  suite: string;
  repository?: string;
  release: string;
  files: HashedFile[];
}

/** SHA-256 of what concerns every chain, and of each distribution's own part. */
export interface ConfigurationDigests {
  common: string;
  dists: Record<string, string>;
}

interface AnyJob {
  format: typeof jobFormat;
  job: string;
  /** order in the queue */
  number: number;
  component: string;
  version: string;
  env: string;
  dists: string[];
  created: string;
  state: JobState;
  /** when a person cancelled it, ISO 8601: no step begins any more */
  cancelled?: string;
  /** 0 is usual; a higher one goes before waiting steps of a lower one */
  priority: number;
  /** the steps that run, each in a chain of its own */
  running: (Step & { started: string })[];
  waiting: Waiting[];
  finished: StepResult[];
  logs: JobLog[];
  /** seconds since 1970 that builds are to use, from debian/changelog */
  sourceDateEpoch: number | null;
  artifacts: { dist: string; files: HashedFile[] }[];
  /** what `done` rests on: files read back from the public repository */
  uploaded: Upload[];
  /**
   * what the world may see since then: noted before a server is told to switch to it, in `uploaded` too once
   * it was read back
   */
  switched?: Upload[];
  /** of every chain that is over and not done */
  reasons: ChainReason[];
  /** of them the one that says how the job ended */
  reason: { code: string; detail: string } | null;
  ended: string | null;
}

/** Of packages that are made of a tag. */
interface OfTag {
  tag: string;
  tagObject: string;
  url: string;
  evidence: Evidence | null;
  /** of a component that has release lines */
  line?: string;
  /** word before its suites, of a line that has suites of its own */
  suites?: string;
  /** of a build without a new source; `version` is the tag's all the same */
  rebuild?: RebuildOrder;
  /** names of the source packages that the tree's specs make, where it lists several */
  specs?: string[];
  /** submodules whose archives are sources, where the tree lists some: the commits that it pins */
  modules?: Record<string, string>;
  /** commits since the version before, for the notifier */
  closes?: ClosingCommit[];
}

/** Of what no tag is behind. */
interface OfNoTag {
  tag: '';
  tagObject: '';
  url: '';
  evidence: null;
}
interface OfTemplate extends OfNoTag {
  template: TemplateOrder;
}

/** Makes packages. */
interface Making {
  /** of the configuration that it was made for */
  configuration: ConfigurationDigests;
  change: null;
}
/** Moves what a job made, and has its tag or template, version and evidence. */
interface Moving {
  configuration: null;
}

export type BuildJob = AnyJob & OfTag & Making & { kind: 'build' };
/** Made by a signed command. */
export type TemplateJob = AnyJob & OfTemplate & Making & { kind: 'template' };
export type MakingJob = BuildJob | TemplateJob;
export type PromotionJob = AnyJob &
  (OfTag | OfTemplate) &
  Moving & { kind: 'promotion'; change: { of: string; suite: AnySuite; command: ObeyedCommand } };
/** From every suite, by a person in this VM. */
export type WithdrawalJob = AnyJob &
  (OfTag | OfTemplate) &
  Moving & { kind: 'withdrawal'; change: { of: string; suite: null; command: null } };
/** What people follow: packages, where they are and how they came there. */
export type PackageJob = MakingJob | PromotionJob | WithdrawalJob;
/** Of a repository, not of packages: signs it anew. */
export type RenewalJob = AnyJob & OfNoTag & { kind: 'renewal'; configuration: null; change: null };

/** One of five. */
export type Job = PackageJob | RenewalJob;

/** What a job takes from where to where; undefined: it makes something. */
export interface Move {
  /** the job that made it */
  of: string;
  from: AnySuite | null;
  to: AnySuite | null;
}

export function moveOf({ change }: Job): Move | undefined {
  if (change === null) return undefined;
  return { of: change.of, from: change.suite === null ? null : triedIn(change.suite), to: change.suite };
}

/** The signed command that asked for this job; undefined: a tag did, a person in this VM, or the agent. */
export function orderedBy(job: Job): ObeyedCommand | undefined {
  if (job.change !== null) return job.change.command ?? undefined;
  return ('rebuild' in job ? job.rebuild : 'template' in job ? job.template : undefined)?.command;
}

type OptionalOf<T> = { [K in keyof T as object extends Pick<T, K> ? K : never]-?: Exclude<T[K], undefined> };
type RequiredOf<T> = { [K in keyof T as object extends Pick<T, K> ? never : K]: T[K] };
type Readers<T> = { [K in keyof T]: Reader<T[K]> };
interface Fields<T> {
  required: Readers<RequiredOf<T>>;
  optional: Readers<OptionalOf<T>>;
}
/** No field of the type without its reader, and no reader without its field. */
const document = <A extends object, B extends object, C extends object>(
  a: Fields<A>,
  b: Fields<B>,
  c: Readers<C>,
): Reader<A & B & C> =>
  record({ ...a.required, ...b.required, ...c } as never, { ...a.optional, ...b.optional });

const integer = whole(-Infinity, Infinity);
const number: Reader<number> = (untrusted, at) => {
  if (typeof untrusted !== 'number') throw new Refusal('BAD_DOCUMENT', 'is not a number', at);
  return untrusted;
};
const anySuite: Reader<AnySuite> = (untrusted, at) => {
  const said = anyText(untrusted, at);
  if (partsOf(said) === undefined && !(templateSuites as readonly string[]).includes(said))
    throw new Refusal('BAD_DOCUMENT', 'is no suite', at);
  return said as AnySuite;
};
const many = <T>(reader: Reader<T>): Reader<T[]> => list(reader, 0, Infinity);
const nothing = oneOf(['']);
const absent: Reader<null> = (untrusted, at) => orNull(oneOf<never>([]))(untrusted, at);

const step: Readers<Step> = { stage: oneOf(stages), dist: orNull(anyText) };
const person: Readers<Person> = { name: anyText, fingerprint: anyText };
const command = record<ObeyedCommand>({
  sha256: anyText,
  line: anyText,
  signer: record<Person>(person),
  signed: anyText,
});
const files = many(record<HashedFile>({ name: anyText, size: integer, sha256: anyText }));
const upload = record<Omit<Upload, 'repository'>, { repository: string }>(
  { dist: anyText, url: anyText, suite: anyText, release: anyText, files },
  { repository: anyText },
);

const ofAnyJob: Fields<AnyJob> = {
  required: {
    format: oneOf([jobFormat]),
    job: text(jobIdPattern),
    number: integer,
    component: anyText,
    version: anyText,
    env: anyText,
    dists: many(anyText),
    created: anyText,
    state: oneOf(jobStates),
    priority: integer,
    running: many(record<Step & { started: string }>({ ...step, started: anyText })),
    waiting: many(record<Waiting>({ dist: orNull(anyText), code: anyText, detail: anyText, since: anyText })),
    finished: many(
      record<StepResult>({ ...step, started: anyText, ended: anyText, commandSeconds: orNull(number) }),
    ),
    logs: many(record<JobLog>({ ...step, path: anyText, commit: orNull(anyText) })),
    sourceDateEpoch: orNull(integer),
    artifacts: many(record<{ dist: string; files: HashedFile[] }>({ dist: anyText, files })),
    uploaded: many(upload),
    reasons: many(record<ChainReason>({ ...step, code: anyText, detail: anyText })),
    reason: orNull(record<{ code: string; detail: string }>({ code: anyText, detail: anyText })),
    ended: orNull(anyText),
  },
  optional: { cancelled: anyText, switched: many(upload) },
};
const ofTag: Fields<OfTag> = {
  required: {
    tag: anyText,
    tagObject: anyText,
    url: anyText,
    evidence: orNull(
      record<Evidence>({
        url: anyText,
        tag: anyText,
        tagObject: anyText,
        commit: anyText,
        tree: anyText,
        tagger: anyText,
        signers: many(record<Signer>({ ...person, signed: anyText })),
        manifest: record<Evidence['manifest']>({ files: integer, bytes: integer, sha256: anyText }),
      }),
    ),
  },
  optional: {
    line: anyText,
    suites: anyText,
    specs: many(anyText),
    modules: dictionary(anyText),
    closes: many(record<ClosingCommit>({ commit: anyText, subject: anyText, issues: many(anyText) })),
    rebuild: record<RebuildOrder>({
      of: anyText,
      number: integer,
      sources: dictionary(
        record<RebuildOrder['sources'][string]>({ source: anyText, version: anyText, packages: anyText }),
      ),
      command,
    }),
  },
};
const ofNoTag: Fields<OfNoTag> = {
  required: { tag: nothing, tagObject: nothing, url: nothing, evidence: absent },
  optional: {},
};
const ofTemplate: Fields<OfTemplate> = {
  required: {
    ...ofNoTag.required,
    template: record<TemplateOrder>({ name: anyText, release: anyText, timestamp: anyText, command }),
  },
  optional: {},
};
const making: Readers<Making> = {
  configuration: record<ConfigurationDigests>({ common: anyText, dists: dictionary(anyText) }),
  change: absent,
};
const promotion = {
  kind: oneOf(['promotion']),
  configuration: absent,
  change: record<PromotionJob['change']>({ of: anyText, suite: anySuite, command }),
};
const withdrawal = {
  kind: oneOf(['withdrawal']),
  configuration: absent,
  change: record<WithdrawalJob['change']>({ of: anyText, suite: absent, command: absent }),
};

/** By its kind, and of what is moved by what made it. */
const readers: { [K in Job['kind']]: (isTemplate: boolean) => Reader<Extract<Job, { kind: K }>> } = {
  build: () => document(ofAnyJob, ofTag, { ...making, kind: oneOf(['build']) }),
  template: () => document(ofAnyJob, ofTemplate, { ...making, kind: oneOf(['template']) }),
  promotion: (isTemplate) =>
    isTemplate ? document(ofAnyJob, ofTemplate, promotion) : document(ofAnyJob, ofTag, promotion),
  withdrawal: (isTemplate) =>
    isTemplate ? document(ofAnyJob, ofTemplate, withdrawal) : document(ofAnyJob, ofTag, withdrawal),
  renewal: () =>
    document(ofAnyJob, ofNoTag, { kind: oneOf(['renewal']), configuration: absent, change: absent }),
};

/** @throws Refusal NOT_JSON, BAD_DOCUMENT, as readDocument */
export function readJob(bytes: Uint8Array): Job {
  return readDocument(bytes, Infinity, (untrusted) => {
    const { kind, tag } = (untrusted ?? {}) as { kind?: unknown; tag?: unknown };
    return readers[oneOf(jobKinds)(kind, '/kind')](tag === '')(untrusted, '');
  });
}
