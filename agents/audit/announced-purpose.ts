// SPDX-License-Identifier: GPL-2.0-or-later
// Whether what a signature is used for is what its intent announced: purpose, name and distribution. One key
// signs everything, so that a Release announced for one distribution, or as something else, would be taken
// for another's by every client.
import type { Purpose } from '../shared/formats/intent.js';
import { printable } from '../shared/refusal.js';
import type { FindingCode } from './findings.js';
import type { AnnouncedIntent } from './announced-names.js';
import type { PublishedIntents } from './intents.js';
import type { Signature } from './journal.js';

interface Use {
  purpose: Purpose;
  name: RegExp;
  words: string;
  fits: (dist: string) => boolean;
}

/** The builder's distributions have a word before the name that stands in their suites. */
const isSuiteOf = (suite: string, dist: string): boolean =>
  [dist, dist.replace(/^(?:vm|host|dom0)-/, '')].some(
    (name) => suite === name || suite.startsWith(`${name}-`),
  );
const exactly = (name: string): RegExp => new RegExp(`^${name.replace(/[^A-Za-z0-9_]/g, '\\$&')}$`);

/** What a file of an APT repository is signed for, by its path; undefined for one that nobody signs. */
function useInApt(path: string): Use | undefined {
  const suite = /^dists\/(.+)\/(?:InRelease|Release\.gpg)$/.exec(path)?.[1];
  if (suite !== undefined)
    return {
      purpose: 'apt-release',
      name: /^Release(?:\.new)?$/,
      words: `Release of the distribution of ${suite}`,
      fits: (dist) => isSuiteOf(suite, dist),
    };
  const [, name, kind] = /([^/]+\.(dsc|changes|buildinfo))$/.exec(path) ?? [];
  // reprepro calls a .changes by what is in it, dpkg by where it was made: the architectures in its name are
  // a word's worth, source and version are not.
  const wanted =
    kind === 'changes'
      ? new RegExp(exactly(name ?? '').source.replace(/_[^_]*$/, '_[a-z0-9+-]+\\.changes$'))
      : exactly(name ?? '');
  return name === undefined
    ? undefined
    : {
        purpose: `deb-${kind as 'dsc' | 'changes' | 'buildinfo'}`,
        name: wanted,
        words: name,
        fits: () => true,
      };
}

/** The purpose of DNF signatures is looked at where they are met; here the rest. */
function useInDnf(path: string, place: string): Use | undefined {
  if (!/(?:^|\/)repodata\/repomd\.xml\.asc$/.test(path)) return undefined;
  return {
    purpose: 'rpm-repomd',
    name: /^repomd\.xml$/,
    words: `repomd.xml of ${place}`,
    fits: (dist) => dist === place || dist === place.replace(/^.*\//, ''),
  };
}

/** @param dist whose DNF repositories it is in; undefined for APT @returns what is wrong, if anything is */
export function judgeUse(
  path: string,
  dist: string | undefined,
  { entry }: Signature,
  intents: PublishedIntents,
): { code: FindingCode; expected: string; found: string } | undefined {
  const use = dist === undefined ? useInApt(path) : useInDnf(path, dist);
  if (use === undefined) return undefined;
  const announced = intents
    .announced(entry.intent)
    .filter((one) => one.payload.sha256 === entry.sha256 && one.mode === entry.mode && one.key === entry.key);
  const found = `intent ${entry.intent}: ${announced.map(describe).join('; ') || 'nothing about these bytes'}`;
  // Without an intent there is a finding already, in the journal.
  if (announced.length === 0) return undefined;
  const ofPurpose = announced.filter(({ purpose }) => purpose === use.purpose);
  if (ofPurpose.length === 0)
    return { code: 'WRONG_PURPOSE', expected: `an intent with purpose ${use.purpose}`, found };
  if (!ofPurpose.some((one) => use.name.test(one.payload.name) && use.fits(one.dist)))
    return { code: 'WRONG_NAME', expected: printable(`an intent about ${use.words}`), found };
  return undefined;
}

const describe = ({ purpose, payload, dist }: AnnouncedIntent): string =>
  `${purpose} ${payload.name} of ${dist}`;
