// SPDX-License-Identifier: GPL-2.0-or-later
// A component's own page: its packages, badges, and everything about its jobs. It has no ages and does not
// say when it was made, so that it stays the same, byte for byte, as long as nothing of its component
// changes.
import type { HashedFile } from '../../shared/formats/intent.js';
import { jobIdPattern, matches } from '../../shared/formats/names.js';
import { isTemplatePackage } from '../configuration/config.js';
import {
  moveOf,
  orderedBy,
  rebuildOf,
  shownVersion,
  templateOf,
  type Job,
  type ObeyedCommand,
} from '../jobs/job-document.js';
import { kindOf } from './attention.js';
import type { ComponentStatus } from './farm-status.js';
import { html, link, type Content, type Markup } from './markup.js';
import { packagesTable } from './packages-table.js';
import { jobWords, logText, page, whyText } from './page-parts.js';
import { secondsText, timeElement } from './times.js';

/** So many jobs are told of, the newest. */
export const jobsShown = 100;

const withDist = (stage: string, dist: string | null): string => (dist === null ? stage : `${stage} ${dist}`);
const item = (term: string, content: Content): Markup => html`<dt>${term}</dt><dd>${content}</dd>
`;
const bullets = (items: readonly Content[]): Content =>
  items.length > 0 && html`<ul>${items.map((one) => html`<li>${one}</li>`)}</ul>`;
const fileItem = (file: HashedFile): Markup =>
  html`${file.name} <span class="soft">${file.size} bytes, sha256 <code>${file.sha256}</code></span>`;
const looks: Record<Job['state'], string> = {
  queued: 'go',
  running: 'go',
  done: 'good',
  failed: 'bad',
  refused: 'bad',
};

function evidenceItems({ evidence }: Job): Content {
  if (evidence === null) return '';
  return html`${item('commit', html`<code>${evidence.commit}</code>, tree <code>${evidence.tree}</code>`)}${item('tag signed by', bullets(evidence.signers.map((signer) => html`${signer.name} <code>${signer.fingerprint}</code>, ${timeElement(signer.signed)}`)))}
${item('source', html`${evidence.manifest.files} files, ${evidence.manifest.bytes} bytes, manifest sha256 <code>${evidence.manifest.sha256}</code>`)}`;
}

function commandItems(term: string, { line, signer, signed }: ObeyedCommand): Content {
  return html`${item(term, html`<code>${line}</code>`)}${item('commanded by', html`${signer.name} <code>${signer.fingerprint}</code>, ${timeElement(signed)}`)}`;
}

/** What was moved, and who wanted that: its tag has signers of its own. */
function moveItems(job: Job): Content {
  const [move, command] = [moveOf(job), orderedBy(job)];
  if (move === undefined) return '';
  const words =
    move.to === null
      ? html`<code>${move.of}</code> out of every suite, as a person in ${job.env}'s build VM wanted`
      : html`<code>${move.of}</code> from ${move.from} to ${move.to}`;
  return html`${item('moves', words)}${command !== undefined && commandItems('promoted by', command)}
`;
}

function stepText(step: Job['finished'][number]): Markup {
  const seconds = (Date.parse(step.ended) - Date.parse(step.started)) / 1000;
  const own = step.commandSeconds === null ? '' : `, overhead ${secondsText(seconds - step.commandSeconds)}`;
  return html`${withDist(step.stage, step.dist)}: ${timeElement(step.started)}, ${Number.isNaN(seconds) ? 'unknown' : secondsText(seconds)}${own}`;
}

function jobArticle(job: Job, logsUrl: string | null): Markup {
  const [template, rebuild] = [templateOf(job), rebuildOf(job)];
  const reasons =
    job.reasons.length > 0
      ? job.reasons.map((reason) => html`${withDist(reason.stage, reason.dist)}: ${whyText(reason)}`)
      : job.reason === null
        ? []
        : [whyText(job.reason)];
  return html`<article${matches(jobIdPattern, job.job) && html` id="${job.job}"`}>
<h3>${jobWords({ ...kindOf(job), version: shownVersion(job, null) })} <span class="state ${looks[job.state]}">${job.state}</span></h3>
<dl>
${item('job', html`<code>${job.job}</code>`)}${item('kind', job.kind)}${item('made', timeElement(job.created))}${job.ended !== null && item('ended', timeElement(job.ended))}${item('for', job.dists.join(', '))}
${moveItems(job)}${template === undefined ? html`${rebuild !== undefined && commandItems('built by', rebuild.command)}${item('tag', html`${job.tag} <code>${job.tagObject}</code>`)}${evidenceItems(job)}` : commandItems('built by', template.command)}
${job.configuration !== null && item('configuration', html`sha256 <code>${job.configuration.common}</code>`)}
${job.running.length > 0 && item('running', bullets(job.running.map((step) => html`${withDist(step.stage, step.dist)} since ${timeElement(step.started)}`)))}
${job.waiting.length > 0 && item('waiting', bullets(job.waiting.map((chain) => html`${chain.dist !== null && `${chain.dist}: `}${whyText(chain)}`)))}
${reasons.length > 0 && item('reason', bullets(reasons))}
${job.finished.length > 0 && item('steps', bullets(job.finished.map(stepText)))}
${job.logs.length > 0 && item('logs', bullets(job.logs.map((log) => html`${logText(log, logsUrl, withDist(log.stage, log.dist))}${log.commit === null ? html` <span class="soft">not published whole</span>` : html` <span class="soft">commit <code>${log.commit}</code></span>`}`)))}
${job.uploaded.length > 0 && item('published', bullets(job.uploaded.map((upload) => html`${upload.suite}, release ${upload.release}, ${link(upload.url, upload.url)}`)))}
</dl>
${[...job.artifacts.map((made) => files(`built for ${made.dist}`, made.files)), ...job.uploaded.map((upload) => files(`read back from ${upload.suite}`, upload.files))]}</article>
`;
}

function files(title: string, list: readonly HashedFile[]): Content {
  return (
    list.length > 0 &&
    html`<details><summary>${list.length} ${list.length === 1 ? 'file' : 'files'} ${title}</summary>${bullets(list.map(fileItem))}</details>
`
  );
}

/** @param jobs of the component, newest first, at most jobsShown of them */
export function componentPage(
  component: ComponentStatus,
  jobs: readonly Job[],
  logsUrl: string | null,
): string {
  const { name, url } = component;
  const more = component.jobs - jobs.length;
  return page({
    title: name,
    body: html`<header>
<nav aria-label="Pages"><ul><li><a href="../../index.html">All packages</a></li><li><a href="jobs.json">jobs.json</a></li><li><a href="badge.svg">badge</a></li></ul></nav>
<h1>${name}</h1>
<p>${isTemplatePackage(name) ? 'a template, built by signed commands' : url === null ? html`<span class="soft">not configured any more</span>` : html`from ${link(url, url)}`}</p>
</header>
<main>
<section><h2>Packages</h2>
${packagesTable([component], { logsUrl, made: null }, 'Which version lies where, for each distribution')}
</section>
<section><h2>Jobs</h2>
${jobs.length === 0 && html`<p class="soft">None yet.</p>`}
${jobs.map((job) => jobArticle(job, logsUrl))}${more > 0 && html`<p class="soft">And ${more} older.</p>`}
</section>
</main>
<footer><p>When this was true last, the <a href="../../index.html">front page</a> says. What counts is the signed repository and the published logs.</p></footer>`,
  });
}
