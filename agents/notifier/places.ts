// SPDX-License-Identifier: GPL-2.0-or-later
// Where a version is, as its status issue says it: distributions and their suites, of all environments that
// speak there.
import type { SubjectKind } from '../shared/formats/notification.js';
import { markerOf } from './markdown.js';

/**
 * Prefix of labels (`r4.3-vm-bookworm`; of a template the release) → what its labels say. A distribution
 * without labels is there too.
 */
export type Places = ReadonlyMap<string, ReadonlySet<string>>;

const suites: Record<SubjectKind, readonly string[]> = {
  component: ['cur-test', 'sec-test', 'stable'],
  template: ['testing', 'stable'],
  iso: [],
};
const distPattern = '(?:host|vm)-[a-z0-9][a-z0-9.+-]{0,63}';
const markerPattern = new RegExp(markerOf(`distributions (${distPattern}(?:,${distPattern})*)`), 'g');

/**
 * Which distributions the job is for, in the body of its issue: labels come and go, and each environment
 * knows its own only.
 */
export const distributionsMarker = (labels: readonly string[]): string =>
  labels.length === 0 ? '' : markerOf(`distributions ${labels.join(',')}`);

/**
 * @param untrustedBody of the issue, where people write too: what they add makes it speak of more, and closes
 * nothing
 */
export function placesOf(
  kind: SubjectKind,
  release: string,
  labels: readonly string[],
  untrustedBody = '',
): Places {
  const places = new Map<string, Set<string>>();
  const at = (prefix: string): Set<string> => {
    const found = places.get(prefix) ?? new Set<string>();
    places.set(prefix, found);
    return found;
  };
  const words = ['building', 'failed', ...suites[kind]];
  for (const label of labels) {
    const word = words.find((one) => label.endsWith(`-${one}`));
    const prefix = label.slice(0, -`-${word ?? ''}`.length);
    const isPrefix =
      kind === 'component'
        ? prefix.startsWith(`${release}-`) &&
          new RegExp(`^${distPattern}$`).test(prefix.slice(release.length + 1))
        : prefix === release;
    if (word !== undefined && isPrefix) at(prefix).add(word);
  }
  if (kind === 'component')
    for (const [, dists] of untrustedBody.matchAll(markerPattern))
      for (const dist of (dists as string).split(',')) at(`${release}-${dist}`);
  return places;
}

/**
 * Whether nobody needs the older one any more: in each distribution that it speaks of the newer one is in
 * each suite that it is in, or is stable; and where it is in none, the newer one is in some. A distribution
 * that is missing, or one that is being built, keeps it.
 */
export function supersedes(kind: SubjectKind, newer: Places, older: Places): boolean {
  const inSuites = (places: Places, prefix: string): string[] =>
    suites[kind].filter((suite) => places.get(prefix)?.has(suite) === true);
  return (
    older.size > 0 &&
    [...older].every(([prefix, words]) => {
      const has = inSuites(newer, prefix);
      return (
        !words.has('building') &&
        has.length > 0 &&
        (has.includes('stable') || inSuites(older, prefix).every((suite) => has.includes(suite)))
      );
    })
  );
}
