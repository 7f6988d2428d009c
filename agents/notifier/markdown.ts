// SPDX-License-Identifier: GPL-2.0-or-later
// Words of strangers in a public page that our account writes. The attacker writes log lines, commit subjects
// and reasons, and wants a link, a mention (mail to people), a reference (noise in other repositories), or
// text that looks like ours.

/** GitHub refuses a body over 65536 characters; what we write stays well below. */
export const bodyLimit = 60_000;

/**
 * Colours and cursor movements whole, then every other control byte but the newline; also those that change
 * the direction of text or have no width.
 */
export function withoutControls(untrustedText: string): string {
  return untrustedText
    .replace(/\x1b\[[0-9;:?<=>]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?/g, '')
    .replace(/\r\n?/g, '\n')
    .replace(/\t/g, ' ')
    .replace(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g, '.')
    .replace(/\p{Cs}/gu, '.');
}

/**
 * A fence or a code span already makes these harmless; a reader that knows no fences (mail, a converter)
 * shall not ring either.
 */
function withoutReferences(text: string): string {
  return text
    .replace(/@(?=[A-Za-z0-9])/g, '@\u200b')
    .replace(/#(?=[0-9])/g, '#\u200b')
    .replace(/\b(gh)-(?=[0-9])/gi, '$1-\u200b')
    .replace(/<(?=[!/?A-Za-z])/g, '<\u200b')
    .replace(/\b(https?|ftp|mailto|ssh|git):/gi, '$1\u200b:');
}

const longestRun = (text: string): number =>
  Math.max(0, ...[...text.matchAll(/`+/g)].map((run) => run[0].length));

/** The last `limit` characters, from the beginning of a line where that is possible. */
export function tailOf(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const cut = text.slice(-limit);
  const line = cut.indexOf('\n');
  return line === -1 || line === cut.length - 1 ? cut : cut.slice(line + 1);
}

/** A fenced block whose fence is longer than any in the text, so that nothing in it ends it. */
export function fenced(untrustedText: string, limit: number): string {
  const text = withoutReferences(tailOf(withoutControls(untrustedText), limit)).replace(/\n+$/, '');
  const fence = '`'.repeat(Math.max(3, longestRun(text) + 1));
  return `${fence}text\n${text}\n${fence}`;
}

/** One line as a code span; empty text gives nothing. */
export function codeSpan(untrustedText: string, limit = 200): string {
  const text = withoutReferences(withoutControls(untrustedText).replace(/\n/g, ' ').slice(0, limit)).trim();
  if (text === '') return '';
  const run = '`'.repeat(longestRun(text) + 1);
  // A span that begins or ends with a backtick needs the blank, which Markdown takes away again.
  return text.startsWith('`') || text.endsWith('`') ? `${run} ${text} ${run}` : `${run}${text}${run}`;
}

/** An HTML comment that nobody sees and by which we find again what we wrote. */
export const markerOf = (what: string): string => `<!-- build-infra ${what} -->`;
