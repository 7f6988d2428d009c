// SPDX-License-Identifier: GPL-2.0-or-later
// Which issues commits say they fix or close. Messages are strangers' words: what comes out is bounded and of
// one strict spelling.
import {
  commitsLimit,
  issueReferencePattern,
  issuesPerCommitLimit,
  type ClosingCommit,
} from '../../shared/formats/notification.js';
import { matches, objectIdPattern } from '../../shared/formats/names.js';
import { printable } from '../../shared/refusal.js';

const closing = /\b(?:fix(?:e[sd])?|close[sd]?|resolve[sd]?)\b:?[ \t]+/gi;
const reference = /^(?:https?:\/\/[^\s,;)<>"']+|(?:[A-Za-z0-9][A-Za-z0-9-]*\/[A-Za-z0-9._-]+)?#[0-9]+)/;
const separator = /^(?:[ \t]*(?:,|;|and|&)[ \t]*)+/i;
const messageLimit = 64 * 1024;

/**
 * The references after each "Fixes" or "Closes", as lists of them go on: `Fixes #1, owner/name#2 and
 * https://host/owner/name/issues/3`.
 */
export function issuesOf(untrustedMessage: string): string[] {
  const message = untrustedMessage.slice(0, messageLimit);
  const found = new Set<string>();
  for (const word of message.matchAll(closing)) {
    let rest = message.slice(word.index + word[0].length, word.index + word[0].length + 2000);
    for (let next = reference.exec(rest); next !== null; next = reference.exec(rest)) {
      const untrusted = next[0]
        .replace(/[.:!?]+$/, '')
        .replace(/#issuecomment-[0-9]+$/, '')
        .replace(/\/$/, '');
      if (matches(issueReferencePattern, untrusted)) found.add(untrusted);
      rest = rest.slice(next[0].length);
      const between = separator.exec(rest);
      if (between === null) break;
      rest = rest.slice(between[0].length);
    }
  }
  return [...found].slice(0, issuesPerCommitLimit);
}

/**
 * @param untrustedObjects what `git rev-list --header` writes: each commit's id, its object, and a NUL
 * @returns newest first, at most as many as a notification holds
 */
export function readCommits(untrustedObjects: string): ClosingCommit[] {
  return untrustedObjects
    .split('\0')
    .flatMap((untrustedObject): ClosingCommit[] => {
      const commit = untrustedObject.slice(0, untrustedObject.indexOf('\n'));
      const body = untrustedObject.indexOf('\n\n');
      if (!matches(objectIdPattern, commit)) return [];
      // rev-list --header indents each line of the message by four blanks.
      const message =
        body === -1
          ? ''
          : untrustedObject
              .slice(body + 2)
              .replace(/^ {4}/gm, '')
              .trim();
      return [
        { commit, subject: printable(message.split('\n')[0] ?? '').slice(0, 200), issues: issuesOf(message) },
      ];
    })
    .slice(0, commitsLimit);
}
