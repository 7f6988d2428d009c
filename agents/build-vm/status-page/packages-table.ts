// SPDX-License-Identifier: GPL-2.0-or-later
// Component x distribution x repository. On a narrow screen every component becomes a card; roles are said,
// since some readers forget a table's when it is laid out as something else.
import { isTemplatePackage } from '../configuration/config.js';
import { partsOf } from '../../shared/formats/suites.js';
import { columns, type ComponentStatus, type DistStatus } from './farm-status.js';
import { html, pathOf, type Markup } from './markup.js';
import { newestText, publishedText, whyText } from './page-parts.js';
import { ageOf, timeElement } from './times.js';

export interface TableOptions {
  logsUrl: string | null;
  /** for ages; null where only times are shown */
  made: string | null;
  /** from this page to the folder of a component; undefined on its own page */
  componentLink?: (name: string) => string;
}

function repositoryCells(status: DistStatus, { logsUrl, made }: TableOptions): Markup[] {
  const others = status.published.filter((published) => partsOf(published.repository) === undefined);
  if (others.length > 0) {
    // A repository without suites: what it has belongs to none of the columns.
    const named = others.map(
      (published) =>
        html`<span class="part"><span class="soft">in ${published.repository}</span> ${publishedText(published, logsUrl, made)}</span>`,
    );
    return [
      html`<td role="cell" colspan="${columns.length}" data-label="published"><div>${named}</div></td>`,
    ];
  }
  const own = new Map(
    status.published.map((published) => [partsOf(published.repository)?.suite as string, published]),
  );
  return columns.map((column) => {
    const published = own.get(column);
    return published === undefined
      ? html`<td role="cell" class="none">–</td>`
      : html`<td role="cell" data-label="${column}"><div>${publishedText(published, logsUrl, made)}</div></td>`;
  });
}

function distRow(status: DistStatus, options: TableOptions, head: Markup | ''): Markup {
  return html`<tr role="row">${head}<th role="rowheader" scope="row">${status.dist}${status.suites !== undefined && ` ${status.suites}`}${status.retired && html` <span class="soft">(retired)</span>`}</th><td role="cell" data-label="newest"><div>${newestText(status, options.logsUrl)}</div></td>${repositoryCells(status, options)}</tr>
`;
}

function tagNotBuilt(component: ComponentStatus, made: string | null): Markup | undefined {
  const tag = component.newestTag;
  if (tag === null || tag.built || tag.reason === null) return undefined;
  return html`tag <strong>${tag.tag}</strong> seen, not built since ${timeElement(tag.firstSeen)}${made !== null && ` (${ageOf(tag.firstSeen, made)})`}${whyText(tag.reason)}`;
}

/**
 * @param made for ages; null where only times are shown
 * @param brief nothing of a tag whose job is in the component's rows
 */
export function remarksOf(component: ComponentStatus, made: string | null, brief = true): Markup[] {
  const isSaid =
    brief && component.dists.some(({ newest }) => newest !== null && newest.job === component.newestTag?.job);
  const tag = isSaid ? undefined : tagNotBuilt(component, made);
  return [
    ...(tag === undefined ? [] : [tag]),
    ...(component.unlisted === null ? [] : [html`tags cannot be listed${whyText(component.unlisted)}`]),
    ...(component.url === null && !isTemplatePackage(component.name)
      ? [html`<span class="soft">not configured any more</span>`]
      : []),
  ];
}

function componentRows(component: ComponentStatus, options: TableOptions): Markup {
  const remarks = remarksOf(component, options.made, options.componentLink !== undefined).map(
    (remark) => html`<tr role="row"><td role="cell" colspan="${columns.length + 2}">${remark}</td></tr>
`,
  );
  const rows = component.dists.length + remarks.length;
  const { componentLink } = options;
  const head =
    componentLink === undefined
      ? ''
      : html`<th role="rowheader" scope="rowgroup" rowspan="${rows}"><a href="${componentLink(component.name)}">${component.name}</a></th>`;
  const bare =
    component.dists.length === 0
      ? html`<tr role="row">${head}<td role="cell" colspan="${columns.length + 2}"><span class="soft">nothing is built of it</span></td></tr>
`
      : '';
  return html`<tbody role="rowgroup">
${component.dists.map((status, i) => distRow(status, options, i === 0 ? head : ''))}${bare}${remarks}</tbody>
`;
}

export function packagesTable(
  components: readonly ComponentStatus[],
  options: TableOptions,
  caption: string,
): Markup {
  const heads = [
    ...(options.componentLink === undefined ? [] : ['component']),
    'distribution',
    'newest version',
    ...columns,
  ];
  return html`<table role="table" class="${options.componentLink === undefined ? 'one' : 'all'}">
<caption>${caption}</caption>
<thead role="rowgroup"><tr role="row">${heads.map((head) => html`<th role="columnheader" scope="col">${head}</th>`)}</tr></thead>
${components.map((component) => componentRows(component, options))}</table>
`;
}

export function componentFolder(name: string): string {
  return `components/${pathOf(name)}`;
}
