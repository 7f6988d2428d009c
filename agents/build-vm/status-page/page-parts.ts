// SPDX-License-Identifier: GPL-2.0-or-later
// What both kinds of page are made of: the frame around them, states in words, addresses of logs, the cells
// of a repository.
import { logLink } from '../../shared/formats/log-link.js';
import type { Job } from '../jobs/job-document.js';
import type { ChainState, LoggedStep, Why } from './chain-status.js';
import type { DistStatus } from './farm-status.js';
import { html, link, Markup } from './markup.js';
import type { Published } from './published.js';
import { contentSecurityPolicy, style } from './style.js';
import { ageOf, timeElement } from './times.js';

export interface Frame {
  title: string;
  body: Markup;
}

export function page({ title, body }: Frame): string {
  return html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${contentSecurityPolicy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>${title}</title>
<style>${new Markup(style)}</style>
</head>
<body>
${body}
</body>
</html>
`.text;
}

const looks: Record<ChainState, string> = {
  published: 'good',
  withdrawn: 'bad',
  building: 'go',
  queued: 'go',
  waiting: 'go',
  failed: 'bad',
  refused: 'bad',
};

export function stateWords({ state, stage }: { state: ChainState; stage: string | null }): Markup {
  const words =
    state === 'published'
      ? 'published'
      : state === 'building'
        ? `running: ${stage ?? ''}`
        : stage === null
          ? state
          : `${state}: ${stage}`;
  return html`<span class="state ${looks[state]}">${words}</span>`;
}

/** What a job is for: a version alone is to be built. */
export function jobWords({
  kind,
  version,
  suite,
}: {
  kind: Job['kind'];
  version: string;
  suite: string | null;
}): string {
  switch (kind) {
    case 'promotion':
      return `promotion of ${version} to ${suite ?? ''}`;
    case 'withdrawal':
      return `withdrawal of ${version}`;
    case 'renewal':
      return 'renewal of what is signed';
    default:
      return version;
  }
}

export function whyText(why: Pick<Why, 'code' | 'detail'> & { since?: string | null }): Markup {
  return html`<span class="why"><code>${why.code}</code> ${why.detail}${why.since ? html`, since ${timeElement(why.since)}` : ''}</span>`;
}

/** A link where logs have an address, and the path as text where not, or where it is none of a log. */
export function logText(log: LoggedStep, logsUrl: string | null, words: string): Markup {
  const url = logsUrl === null ? undefined : logLink(logsUrl, log.path, log.commit);
  return url === undefined ? html`${words}: <code>${log.path}</code>` : link(url, words);
}

export function publishedText(published: Published, logsUrl: string | null, made: string | null): Markup {
  const { version, since } = published;
  // A table says no path that leads nowhere.
  const logs = published.logs
    .filter((log) => hasAddress(log, logsUrl))
    .map((log, i) => html`${i > 0 && ', '}${logText(log, logsUrl, log.stage)}`);
  const age =
    since === null
      ? ''
      : html`<span class="under">${made !== null && `${ageOf(since, made)}, `}${timeElement(since)}</span>`;
  return html`<strong>${version}</strong>${age}${logs.length > 0 && html`<span class="under">logs: ${logs}</span>`}`;
}

function hasAddress(log: LoggedStep, logsUrl: string | null): boolean {
  return logsUrl !== null && logLink(logsUrl, log.path, log.commit) !== undefined;
}

export function newestText({ newest }: DistStatus, logsUrl: string | null): Markup {
  if (newest === null) return html`<span class="soft">no job yet</span>`;
  const { log, stage, why } = newest;
  const logged =
    log !== null &&
    hasAddress(log, logsUrl) &&
    html`<span class="under">log: ${logText(log, logsUrl, stage ?? 'last')}</span>`;
  return html`${newest.version} ${stateWords(newest)}${why !== null && whyText(why)}${logged}`;
}
