// SPDX-License-Identifier: GPL-2.0-or-later
// From a notification to the values of a template. What is a name by strict grammar goes in as it is; what
// strangers wrote goes in as code.
import { logLink } from '../shared/formats/log-link.js';
import { issueReferencePattern, type Notification } from '../shared/formats/notification.js';
import { matches } from '../shared/formats/names.js';
import type { NotifyConfig } from './config.js';
import { codeSpan, fenced } from './markdown.js';
import { refusalWords } from './refusal-words.js';
import { uploadCommands } from './signed-commands.js';
import type { Subject } from './subject.js';
import type { Values } from './templates.js';

const excerptLines = 30;
const excerptCharacters = 3500;
const logLines = 50;

/** The page of the component's repository, or undefined where none can be made of what is known. */
export function pageOf(notification: Notification, config: NotifyConfig): string | undefined {
  const configured = Object.hasOwn(config.componentUrls, notification.component)
    ? config.componentUrls[notification.component]
    : undefined;
  if (configured !== undefined) return configured;
  const parts =
    /^(?:https|ssh|git):\/\/(?:[a-z_][a-z0-9_-]*@)?([A-Za-z0-9.-]+)(?::[0-9]{1,5})?\/([A-Za-z0-9][A-Za-z0-9-]{0,38})\/([A-Za-z0-9._-]{1,100}?)(?:\.git)?\/?$/.exec(
      notification.sourceUrl ?? '',
    );
  const web = new URL(config.webUrl);
  if (parts === null || parts[1]?.toLowerCase() !== web.hostname || /^\.{1,2}$/.test(parts[3] ?? ''))
    return undefined;
  return `${config.webUrl}/${parts[2] as string}/${parts[3] as string}`;
}

export interface Reference {
  repository: string;
  number: number;
}

/** Which issue on our forge is meant; undefined: none of ours, or one where we may not write. */
export function referenceOf(untrustedReference: string, config: NotifyConfig): Reference | undefined {
  if (!matches(issueReferencePattern, untrustedReference)) return undefined;
  const short = /^(?:(.+))?#([0-9]+)$/.exec(untrustedReference);
  const long =
    short === null
      ? /^(https?:\/\/[^/]+)\/([^/]+\/[^/]+)\/(?:issues|pull)\/([0-9]+)$/.exec(untrustedReference)
      : null;
  if (long !== null && new URL(long[1] as string).host !== new URL(config.webUrl).host) return undefined;
  const repository = long?.[2] ?? short?.[1] ?? config.issuesRepository;
  const number = Number(long?.[3] ?? short?.[2]);
  if (repository === null || repository === undefined) return undefined;
  const owner = (repository.split('/')[0] as string).toLowerCase();
  if (
    !config.commentIn.some(
      (allowed) =>
        allowed.toLowerCase() === repository.toLowerCase() || allowed.toLowerCase() === `${owner}/*`,
    )
  )
    return undefined;
  return { repository, number };
}

/**
 * Whoever writes commit messages decides where our account speaks: so many issues hear of one upload, and no
 * more.
 */
export const referencesLimit = 50;

/** Each issue once, those of the newest commits first; all of them. */
export function referencesOf(notification: Notification, config: NotifyConfig): Reference[] {
  const found = new Map<string, Reference>();
  for (const untrustedReference of notification.commits.flatMap((commit) => commit.issues)) {
    const reference = referenceOf(untrustedReference, config);
    if (reference !== undefined)
      found.set(`${reference.repository.toLowerCase()}#${reference.number}`, reference);
  }
  return [...found.values()];
}

/** The log of the stage that the event is about: of this distribution, the latest. */
function logOf(notification: Notification): Notification['logs'][number] | undefined {
  const { dist, logs, event } = notification;
  const stages =
    event === 'uploaded' || event === 'upload-failed'
      ? ['publish', 'upload', 'sign', 'build', 'fetch']
      : ['build', 'sign', 'fetch'];
  // What failed is what wrote last.
  if (['failed', 'refused', 'withdrawn', 'withdraw-failed'].includes(event))
    return logs.findLast((log) => dist === null || log.dist === dist || log.dist === null);
  for (const stage of stages) {
    const log = logs.findLast(
      (one) => one.stage === stage && (one.dist === dist || one.dist === null || dist === null),
    );
    if (log !== undefined) return log;
  }
  return logs.at(-1);
}

function buildLog(notification: Notification, config: NotifyConfig): string {
  const log = logOf(notification);
  if (log === undefined) return 'no log';
  const link = logLink(config.logsUrl, log.path, log.commit);
  return link === undefined ? `log ${codeSpan(log.path)}` : `[build log](${link})`;
}

function gitLog(notification: Notification, page: string | undefined): string {
  const shown = notification.commits.slice(0, logLines).map(({ commit, subject }) => {
    const short = `\`${commit.slice(0, 8)}\``;
    return `- ${page === undefined ? short : `[${short}](${page}/commit/${commit})`} ${codeSpan(subject)}`;
  });
  const more = notification.commits.length - shown.length;
  return [...shown, ...(more > 0 ? [`- and ${more} more`] : [])].join('\n') || '- none known';
}

function issueList(references: readonly Reference[]): string {
  const more = references.length - referencesLimit;
  return `${
    references
      .slice(0, referencesLimit)
      .map(({ repository, number }) => `${repository}#${number}`)
      .join(', ') || 'none'
  }${more > 0 ? `, and ${more} more` : ''}`;
}

/** Of a refusal its own words alone: a detail is for the people of this VM. */
function reasonOf({ event, reason }: Notification): string {
  if (reason === null) return '';
  return event === 'refused'
    ? `Reason: ${refusalWords(reason.code)}`
    : `Reason: \`${reason.code}\` ${codeSpan(reason.detail, 500)}`;
}

function excerptOf(notification: Notification): string {
  if (notification.event === 'refused' || notification.excerpt === null || notification.excerpt.trim() === '')
    return '';
  const tail = notification.excerpt
    .split('\n')
    .slice(-excerptLines - 1)
    .join('\n');
  return `<details><summary>Last lines of the log</summary>\n\n${fenced(tail, excerptCharacters)}\n\n</details>`;
}

export function valuesOf(notification: Notification, subject: Subject, config: NotifyConfig): Values {
  const { component, version, commit, kind } = notification;
  const page = pageOf(notification, config);
  const dists = notification.dist === null ? subject.all : subject.dists;
  const source =
    commit === null
      ? codeSpan(notification.tag ?? '') || 'unknown'
      : page === undefined
        ? `\`${commit}\``
        : `[\`${commit}\`](${page}/commit/${commit})`;
  const commands = uploadCommands({
    kind,
    release: subject.release,
    component,
    version,
    commit,
    dists: subject.all.map((dist) => dist.label),
  });
  return {
    COMPONENT: component,
    PACKAGE_NAME: kind === 'template' ? `qubes-template-${component}-${version}` : `${component}-${version}`,
    PACKAGE_SET: [...new Set(dists.map((dist) => dist.packageSet))].join(', '),
    DIST: dists.map((dist) => dist.label.slice(dist.packageSet.length + 1)).join(', '),
    REPOSITORY: notification.repository ?? '',
    RELEASE_NAME: subject.release,
    GIT_LOG: gitLog(notification, page),
    GIT_LOG_URL: page === undefined || commit === null ? config.webUrl : `${page}/commits/${commit}`,
    VERSION: version,
    MIN_AGE_DAYS: String(config.minAgeDays),
    COMMIT_SHA: commit ?? '',
    GIT_URL: page ?? '',
    ISSUES: issueList(referencesOf(notification, config)),
    TEMPLATE_NAME: kind === 'template' ? component : '',
    ISO_VERSION: kind === 'iso' ? version : '',
    SOURCE: source,
    COMMANDS: commands.map(({ command }) => `- \`${command}\``).join('\n'),
    BUILD_LOG: buildLog(notification, config),
    REASON: reasonOf(notification),
    EXCERPT: excerptOf(notification),
    REPOSITORIES:
      (notification.repositories ?? []).map((one) => `\`${one}\``).join(', ') || 'every repository',
    NEWER: '',
    ENVIRONMENT: codeSpan(notification.env),
  };
}
