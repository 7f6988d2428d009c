// SPDX-License-Identifier: GPL-2.0-or-later
// index.html: what runs and waits, what needs somebody's eyes, and every package.
import type { Attention } from './attention.js';
import type { FarmStatus, QueuedJob, RunningStep } from './farm-status.js';
import { html, type Markup } from './markup.js';
import type { EndingKey } from './needed-keys.js';
import { componentFolder, packagesTable, remarksOf } from './packages-table.js';
import { jobWords, logText, page, stateWords, whyText } from './page-parts.js';
import { timeElement } from './times.js';

const componentPage = (name: string): string => `${componentFolder(name)}/index.html`;
const named = (one: RunningStep | QueuedJob): Markup =>
  html`<a href="${componentPage(one.component)}#${encodeURIComponent(one.job)}">${one.component} ${jobWords(one)}</a>`;

function runningItem(step: RunningStep, logsUrl: string | null): Markup {
  return html`<li>${named(step)} <span class="state go">${step.stage}${step.dist !== null && ` ${step.dist}`}</span> since ${timeElement(step.started)}${step.log !== null && html`<span class="why">${logText(step.log, logsUrl, 'log')}</span>`}</li>
`;
}

function queuedItem(job: QueuedJob): Markup {
  const waiting = job.waiting.map(
    (chain) =>
      html`<span class="why"><span class="state go">waiting${chain.dist !== null && ` ${chain.dist}`}</span>${whyText(chain)}</span>`,
  );
  return html`<li>${named(job)}${job.priority > 0 && html` <span class="state go">urgent</span>`} queued ${timeElement(job.created)}${waiting}</li>
`;
}

function attentionItem(one: Attention, component: string | null): Markup {
  const { dists, state, why } = one;
  const name =
    component === null
      ? html`APT repository`
      : html`<a href="${componentPage(component)}#${encodeURIComponent(one.job)}">${component}</a>`;
  return html`<li>${name} ${jobWords(one)} for ${dists.join(', ')} ${stateWords({ state, stage: one.stage })}${why !== null && whyText(why)}</li>
`;
}

/** What does not go on by itself, or not as it should: what must not stay as it is goes first. */
function attention({ components, keys, renewals, made }: FarmStatus): Markup[] {
  const all = components.flatMap(({ name, attention: its }) => its.map((one) => ({ one, name })));
  const [public_, others] = [true, false].map((isPublic) =>
    all.filter(({ one }) => (one.kind === 'withdrawal') === isPublic),
  ) as [typeof all, typeof all];
  const remarks = components
    .filter(({ url }) => url !== null)
    .flatMap((component) =>
      remarksOf(component, made).map(
        (one) => html`<li><a href="${componentPage(component.name)}">${component.name}</a> ${one}</li>\n`,
      ),
    );
  return [
    ...public_.map(({ one, name }) => attentionItem(one, name)),
    ...renewals.map((one) => attentionItem(one, null)),
    ...keys.map(keyItem),
    ...others.map(({ one, name }) => attentionItem(one, name)),
    ...remarks,
  ];
}

function keyItem({ whose, fingerprint, code, ends }: EndingKey): Markup {
  return html`<li>key of ${whose} <span class="why"><code>${code}</code> ${ends !== null && `${code === 'KEY_ENDS' ? 'ends' : 'ended'} on ${ends}: `}<code>${fingerprint}</code></span></li>
`;
}

const none = (text: string): Markup => html`<p class="soft">${text}</p>`;
const list = (items: readonly Markup[], otherwise: string): Markup =>
  items.length === 0
    ? none(otherwise)
    : html`<ul class="list">
${items}</ul>`;

export function frontPage(status: FarmStatus): string {
  const { components, logsUrl, made } = status;
  const eyes = attention(status);
  const counts = `${components.length} ${components.length === 1 ? 'component' : 'components'}, ${status.running.length} running, ${status.queue.length} waiting, ${eyes.length} to look at`;
  return page({
    title: `Packages of ${status.env}`,
    body: html`<header>
<h1>Packages of ${status.env}</h1>
<p>Made by ${status.vm} at ${timeElement(made)}. ${counts}.</p>
<p class="soft">The page is made again when something changes, and every hour. If it is more than two hours old, the build VM is off or cannot upload: what it shows may be out of date, and what is published stays what it was. Ages are as of when the page was made.</p>
<nav aria-label="Sections"><ul><li><a href="#look">To look at</a></li><li><a href="#now">Now</a></li><li><a href="#packages">Packages</a></li><li><a href="status.json">status.json</a></li></ul></nav>
</header>
<main>
<section id="look"><h2>To look at</h2>
${list(eyes, 'Nothing failed, and every tag that was seen is built or in the queue.')}
</section>
<section id="now"><h2>Now</h2>
<h3>Running</h3>
${list(
  status.running.map((step) => runningItem(step, logsUrl)),
  'Nothing runs.',
)}
<h3>Queue</h3>
${list(status.queue.map(queuedItem), 'Nothing waits.')}
</section>
<section id="packages"><h2>Packages</h2>
${components.length === 0 ? none('No component is configured.') : packagesTable(components, { logsUrl, made, componentLink: componentPage }, 'Which version of each component lies where, for each distribution')}
</section>
</main>
<footer><p>What counts is the signed repository and the published logs; this page is for the eye, and nobody signed it.</p></footer>`,
  });
}
