// SPDX-License-Identifier: GPL-2.0-or-later
// HTML and SVG from templates in which everything that is put in is text, unless this module itself made it.
// Names, versions, tags and the details of refusals come from sources and forges: an attacker who can name a
// file writes into this page.
import { visibleText } from '../../shared/visible-text.js';

/** Text that is markup already: only html`…` makes it. */
export class Markup {
  constructor(readonly text: string) {}
}

export type Content = Markup | string | number | null | undefined | false | readonly Content[];

const entities: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
export function escapeText(untrustedText: string): string {
  return visibleText(untrustedText).replace(/[&<>"']/g, (character) => entities[character] as string);
}

function written(content: Content): string {
  if (content instanceof Markup) return content.text;
  if (Array.isArray(content)) return content.map(written).join('');
  if (content === null || content === undefined || content === false) return '';
  return escapeText(typeof content === 'number' ? String(content) : (content as string));
}

/** Every value is escaped; attributes of the template have to be in double quotes. */
export function html(parts: TemplateStringsArray, ...values: Content[]): Markup {
  return new Markup(parts.map((part, i) => (i === 0 ? part : `${written(values[i - 1])}${part}`)).join(''));
}

/** An href only to what is plainly http or https: no other scheme runs or opens anything. */
export function link(untrustedUrl: string | undefined, content: Content): Markup {
  return untrustedUrl !== undefined && /^https?:\/\/[A-Za-z0-9]/.test(untrustedUrl)
    ? html`<a href="${untrustedUrl}">${content}</a>`
    : html`${content}`;
}

/** As a folder or file in an address that is relative to the page. */
export function pathOf(...names: string[]): string {
  return names.map(encodeURIComponent).join('/');
}
