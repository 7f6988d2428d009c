// SPDX-License-Identifier: GPL-2.0-or-later
// docs/formats.md, "Notification": what the build agent leaves in its outbox for the notifier to say in
// public. It is written by the agent and holds words of strangers (log lines, commit subjects): bounded here,
// made harmless where they become Markdown.
import { checkWith, object, orNull, text } from '../json-schema.js';
import type { Check } from '../json-document.js';
import {
  jobIdPattern,
  logPathPattern,
  objectIdPattern,
  plainNamePattern,
  sha256Pattern,
  versionPattern,
} from './names.js';
import { lineWordPattern } from './suites.js';

export const notificationFormat = 'build-infra/notification@1';
export const notificationLimitBytes = 256 * 1024;
export const excerptLimit = 8000;
export const commitsLimit = 200;
export const issuesPerCommitLimit = 20;
export const repositoriesLimit = 20;

export const notificationEvents = [
  'building',
  'built',
  'failed',
  'uploaded',
  'upload-failed',
  'refused',
  'withdrawn',
  'withdraw-failed',
] as const;
export type NotificationEvent = (typeof notificationEvents)[number];
export const subjectKinds = ['component', 'template', 'iso'] as const;
export type SubjectKind = (typeof subjectKinds)[number];
export const packageSets = ['host', 'vm'] as const;
export type PackageSet = (typeof packageSets)[number];

/** As signed commands spell it: r4.3, rdevel. */
export const releasePattern = '^(?=.{1,31}$)[a-z0-9]+(?:[.-][a-z0-9]+)*$';
/** A repository as forges name it: owner/name. */
export const repositoryNamePattern = '^[A-Za-z0-9][A-Za-z0-9-]{0,38}/(?!\\.{1,2}$)[A-Za-z0-9._-]{1,100}$';
/**
 * `#12`, `owner/name#12` or an address `https://host/owner/name/issues/12`; which forge is meant is for the
 * notifier to decide.
 */
export const issueReferencePattern =
  '^(?:(?:[A-Za-z0-9][A-Za-z0-9-]{0,38}/(?!\\.{1,2}#)[A-Za-z0-9._-]{1,100})?#[1-9][0-9]{0,8}|https?://[A-Za-z0-9.-]{1,200}(?::[0-9]{1,5})?/[A-Za-z0-9][A-Za-z0-9-]{0,38}/(?!\\.{1,2}/)[A-Za-z0-9._-]{1,100}/(?:issues|pull)/[1-9][0-9]{0,8})$';
/** An instant as Date.toISOString spells it. */
export const instantPattern = '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$';

/** One commit between the last announced one and this one. */
export interface ClosingCommit {
  commit: string;
  /** first line, printable, at most 200 characters */
  subject: string;
  /** what its message says it fixes or closes */
  issues: string[];
}

export interface NotifiedLog {
  stage: string;
  dist: string | null;
  path: string;
  /** of the logs repository; null while the log is not published whole */
  commit: string | null;
}

export interface Notification {
  format: typeof notificationFormat;
  /** the same for the same fact, whenever it is written: what makes a second delivery harmless */
  key: string;
  time: string;
  event: NotificationEvent;
  kind: SubjectKind;
  component: string;
  version: string;
  /** null: the notifier's own configuration says it */
  release: string | null;
  packageSet: PackageSet | null;
  /** null: of the job as a whole, i.e. of all its distributions */
  dist: string | null;
  /**
   * of a release line that has suites of its own: the word before them. It goes its own way, and its labels
   * say so
   */
  suites?: string;
  /** all distributions of the job */
  dists: string[];
  /** where it was uploaded to, or was to be promoted to: current-testing, …; null for the other events */
  repository: string | null;
  /** what it was withdrawn from; absent for the other events */
  repositories?: string[];
  env: string;
  job: string;
  tag: string | null;
  commit: string | null;
  sourceUrl: string | null;
  logs: NotifiedLog[];
  reason: { code: string; detail: string } | null;
  /** last lines of the log of what failed */
  excerpt: string | null;
  commits: ClosingCommit[];
}

const bounded = (maxLength: number) => ({ type: 'string', maxLength }) as const;

const required = object({
  format: { const: notificationFormat },
  key: text(sha256Pattern),
  time: text(instantPattern),
  event: { enum: notificationEvents },
  kind: { enum: subjectKinds },
  component: text(plainNamePattern),
  version: text(versionPattern),
  release: orNull(text(releasePattern)),
  packageSet: orNull({ enum: packageSets }),
  dist: orNull(text(plainNamePattern)),
  dists: { type: 'array', minItems: 0, maxItems: 20, uniqueItems: true, items: text(plainNamePattern) },
  repository: orNull(text(plainNamePattern)),
  env: text(plainNamePattern),
  job: text(jobIdPattern),
  tag: orNull(bounded(200)),
  commit: orNull(text(objectIdPattern)),
  sourceUrl: orNull(bounded(500)),
  logs: {
    type: 'array',
    maxItems: 200,
    items: object({
      stage: text(plainNamePattern),
      dist: orNull(text(plainNamePattern)),
      path: text(logPathPattern),
      commit: orNull(text(objectIdPattern)),
    }),
  },
  reason: orNull(object({ code: text('^[A-Z][A-Z0-9_]{0,63}$'), detail: bounded(500) })),
  excerpt: orNull(bounded(excerptLimit)),
  commits: {
    type: 'array',
    maxItems: commitsLimit,
    items: object({
      commit: text(objectIdPattern),
      subject: bounded(200),
      issues: { type: 'array', maxItems: issuesPerCommitLimit, items: text(issueReferencePattern) },
    }),
  },
});
export const notificationSchema = {
  ...required,
  properties: {
    ...required.properties,
    suites: text(lineWordPattern),
    repositories: {
      type: 'array',
      maxItems: repositoriesLimit,
      uniqueItems: true,
      items: text(plainNamePattern),
    },
  },
} as const;

/** @throws Refusal BAD_DOCUMENT */
export const checkNotification: Check<Notification> = checkWith(notificationSchema);
