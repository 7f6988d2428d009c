// SPDX-License-Identifier: GPL-2.0-or-later
// What both kinds of page are made of: the frame around them, states in words, addresses of logs, the cells of a repository.
import { logLink } from '../../shared/formats/log-link.js';
import type { ChainState, DistStatus, LoggedStep, Why } from './farm-status.js';
import { html, link, Markup, type Content } from './markup.js';
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

const looks: Record<ChainState, string> = { published: 'good', building: 'go', queued: 'go', waiting: 'go', failed: 'bad', refused: 'bad' };

export function stateWords({ state, stage }: { state: ChainState; stage: string | null }): Markup {
  const words = state === 'published' ? 'published' : state === 'building' ? `running: ${stage ?? ''}` : stage === null ? state : `${state}: ${stage}`;
  return html`<span class="state ${looks[state]}">${words}</span>`;
}

export function whyText(why: Pick<Why, 'code' | 'detail'> & { since?: string | null }): Markup {
  return html`<span class="why"><code>${why.code}</code> ${why.detail}${why.since ? html` <span class="soft">since ${timeElement(why.since)}</span>` : ''}</span>`;
}

/** A link where logs have an address, and the path as text where not, or where it is none of a log. */
export function logText(log: LoggedStep, logsUrl: string | null, words: string): Markup {
  const url = logsUrl === null ? undefined : logLink(logsUrl, log.path, log.commit);
  return url === undefined ? html`${words}: <code>${log.path}</code>` : link(url, words);
}

export function publishedText(published: Published, logsUrl: string | null, made: string | null): Markup {
  // A page of many components says a path only where it leads somewhere.
  const logs = logsUrl === null ? [] : published.logs.filter((log) => logLink(logsUrl, log.path, log.commit) !== undefined);
  const links = logs.map((log, i) => html`${i > 0 ? ', ' : ''}${logText(log, logsUrl, `${log.stage} log`)}`);
  const since = published.since === null ? html`` : html`<span class="soft">${made === null ? html`since ${timeElement(published.since)}` : html`${ageOf(published.since, made)}, since ${timeElement(published.since)}`}</span>`;
  return html`<span><strong>${published.version}</strong>${since}${links.length > 0 && html`<span class="soft">${links}</span>`}</span>`;
}


export function newestText(status: DistStatus, logsUrl: string | null): Content {
  const { newest } = status;
  if (newest === null) return html`<span class="soft">no job yet</span>`;
  if (newest.state === 'published') return html`<span>${newest.version} ${stateWords(newest)}</span>`;
  const log = newest.log !== null && logsUrl !== null && logLink(logsUrl, newest.log.path, newest.log.commit) !== undefined ? html`<span class="soft">${logText(newest.log, logsUrl, `${newest.stage ?? 'last'} log`)}</span>` : '';
  return html`<span>${newest.version} ${stateWords(newest)}${newest.why !== null && whyText(newest.why)}${log}</span>`;
}
