// SPDX-License-Identifier: GPL-2.0-or-later
// When keys end that this VM needs: said two months before, while there is time to lengthen them and to send
// the new public half around.
import type { Report } from './finding.js';

export interface ListedKey {
  /** of the primary key */
  fingerprint: string;
  isRevoked: boolean;
  /** ms since 1970, of each key of it that may sign and was not revoked; Infinity for one without end */
  ends: number[];
}

const warnMs = 60 * 24 * 3600_000;

/**
 * Rows of gpg's listing (doc/DETAILS): pub, then its fpr and what belongs to it; a subkey ends with its
 * primary key at the latest.
 */
export function keysIn(listing: string): ListedKey[] {
  const found: ListedKey[] = [];
  let primaryEnd = Infinity;
  for (const fields of listing.split('\n').map((line) => line.split(':'))) {
    const [kind, validity, , , , , end = '', , , , , can = ''] = fields;
    if (kind === 'fpr' && found.at(-1)?.fingerprint === '')
      (found.at(-1) as ListedKey).fingerprint = fields[9] ?? '';
    if (kind !== 'pub' && kind !== 'sub') continue;
    const own = end === '' ? Infinity : Number(end) * 1000;
    if (kind === 'pub') {
      primaryEnd = own;
      found.push({ fingerprint: '', isRevoked: validity === 'r', ends: [] });
    }
    if (can.includes('s') && validity !== 'r') found.at(-1)?.ends.push(Math.min(own, primaryEnd));
  }
  return found;
}

/** @param whose in words @param next what lengthens it, and in which VM */
export function checkEnd(key: ListedKey, whose: string, next: string, now: Date, report: Report): void {
  const date = (end: number): string => new Date(end).toISOString().slice(0, 10);
  const what = `the key ${key.fingerprint} of ${whose}`;
  const stop = 'take it out of farm.yaml; section 10 of docs/deploy.md, if it was stolen';
  if (!report.check(!key.isRevoked, 'KEY_REVOKED', `${what} is revoked`, stop)) return;
  const left = key.ends.filter((end) => end > now.getTime());
  const since = left.length > 0 || key.ends.length === 0 ? '' : ` since ${date(Math.max(...key.ends))}`;
  if (!report.check(left.length > 0, 'KEY_EXPIRED', `${what} can sign no more${since}`, next)) return;
  const first = Math.min(...left);
  if (first < now.getTime() + warnMs) report.note('KEY_ENDS', `${what} ends on ${date(first)}`, next);
}
