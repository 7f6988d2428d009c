// SPDX-License-Identifier: GPL-2.0-or-later
// A row of the status page, read from its HTML over HTTP as a browser gets it.
import { setTimeout as sleep } from 'node:timers/promises';

export interface StatusRow {
  /** the newest version and how far it is */
  newest: string;
  /** column → what it shows: a version and since when, or `–` */
  cells: Map<string, string>;
}

const text = (html: string): string =>
  html
    .replace(/<[^>]*>/g, ' ')
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/&quot;/g, '"')
    .replace(/&#39;/g, "'")
    .replace(/&amp;/g, '&')
    .replace(/\s+/g, ' ')
    .trim();

/** Undefined where the page, or such a row, is not there yet. */
export async function statusRow(
  url: string,
  component: string,
  dist: string,
): Promise<StatusRow | undefined> {
  const answer = await fetch(`${url}/index.html`);
  if (!answer.ok) return undefined;
  const page = await answer.text();
  const heads = [
    ...(/<thead[\s\S]*?<\/thead>/.exec(page)?.[0] ?? '').matchAll(/<th\b[^>]*>([\s\S]*?)<\/th>/g),
  ]
    .map((head) => text(head[1] as string))
    .slice(3);
  const body = [...page.matchAll(/<tbody[\s\S]*?<\/tbody>/g)]
    .map((found) => found[0])
    .find((one) => one.includes(`href="components/${component}/index.html"`));
  const row = [...(body ?? '').matchAll(/<tr\b[\s\S]*?<\/tr>/g)]
    .map((found) => found[0])
    .find((one) => new RegExp(`scope="row">${dist}<`).test(one));
  if (row === undefined) return undefined;
  const [newest, ...cells] = [...row.matchAll(/<td\b[^>]*>([\s\S]*?)<\/td>/g)].map((cell) =>
    text(cell[1] as string),
  );
  return { newest: newest ?? '', cells: new Map(heads.map((head, index) => [head, cells[index] ?? ''])) };
}

/**
 * The row as soon as it is as wanted; the page follows a change within seconds. @throws Error after
 * `timeoutMs`
 */
export async function untilRow(
  url: string,
  component: string,
  dist: string,
  wanted: (row: StatusRow) => boolean,
  timeoutMs = 300_000,
): Promise<StatusRow> {
  let last: StatusRow | undefined;
  for (const until = Date.now() + timeoutMs; Date.now() < until; await sleep(250)) {
    last = await statusRow(url, component, dist);
    if (last !== undefined && wanted(last)) return last;
  }
  throw new Error(
    `the status page ${url} does not show it; its row: ${last === undefined ? 'none' : rowText(component, dist, last)}`,
  );
}

export function rowText(component: string, dist: string, { newest, cells }: StatusRow): string {
  return `${component} ${dist} | newest: ${newest} | ${[...cells].map(([column, cell]) => `${column}: ${cell}`).join(' | ')}`;
}
