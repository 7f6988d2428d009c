// SPDX-License-Identifier: GPL-2.0-or-later
// Signatures that are good, by the right key, and in the journal, and yet were not made as this history says.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { SignatureOrigin } from '../../agents/shared/formats/signature-origin.js';
import { withOrigin, type Farm, type Wanted } from './farm.js';
import { testing } from './rpm-farm.js';

/** A signature over a payload of the farm, and where it is put. */
export interface Place {
  name: string;
  check: 'apt-signatures' | 'dnf-signatures';
  path: string;
  wanted: (farm: Farm) => Wanted;
}
const release = (farm: Farm): Buffer => readFileSync(join(farm.apt, 'dists/bookworm/Release'));
const repomd = `${testing}/repodata/repomd.xml`;
export const places: Place[] = [
  {
    name: 'InRelease',
    check: 'apt-signatures',
    path: 'dists/bookworm/InRelease',
    wanted: (farm) => ({
      purpose: 'apt-release',
      name: 'Release',
      mode: 'clearsign',
      payload: release(farm),
    }),
  },
  {
    name: 'Release.gpg',
    check: 'apt-signatures',
    path: 'dists/bookworm/Release.gpg',
    wanted: (farm) => ({ purpose: 'apt-release', name: 'Release', mode: 'detach', payload: release(farm) }),
  },
  {
    name: 'repomd.xml.asc',
    check: 'dnf-signatures',
    path: `${repomd}.asc`,
    wanted: (farm) => ({
      purpose: 'rpm-repomd',
      name: 'repomd.xml',
      mode: 'detach',
      payload: readFileSync(join(farm.dnf, repomd)),
    }),
  },
];

export function lay(farm: Farm, place: Place, signature: Buffer): void {
  const path = join(place.check === 'apt-signatures' ? farm.apt : farm.dnf, place.path);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, signature);
}

/**
 * Granted, claimed, signed with other words, and journaled: what a keys VM in other hands, or a journal that
 * was made up, looks like.
 */
export function signed(
  farm: Farm,
  place: Place,
  words: (origin: SignatureOrigin, farm: Farm) => readonly string[],
  dist = place.check === 'apt-signatures' ? 'bookworm' : 'fc41',
): void {
  const wanted = place.wanted(farm);
  const claimed = farm.claimAll([wanted], dist);
  const signature = farm.keys.sign(
    'signing',
    wanted.mode,
    wanted.payload,
    words(claimed.origins[0] as SignatureOrigin, farm),
  );
  farm.publishSigned(claimed, [signature]);
  lay(farm, place, signature);
}

export const other = (hex: string): string => hex.replace(/^./, (digit) => (digit === '0' ? '1' : '0'));
/**
 * What the signature says, and the code for it. @param older a commit of the history before the one that
 * grants
 */
export const lies = (
  older: string,
): [string, string, (origin: SignatureOrigin, farm: Farm) => readonly string[]][] => [
  ['no origin', 'NO_ORIGIN', () => []],
  [
    'two origins',
    'NO_ORIGIN',
    (origin) => [...withOrigin(origin), ...withOrigin({ ...origin, seq: origin.seq + 1 })],
  ],
  [
    'an origin with something behind it',
    'NO_ORIGIN',
    (origin) => withOrigin(origin).map((word) => (word.includes('=') ? `${word}:x` : word)),
  ],
  [
    'an origin in another spelling',
    'NO_ORIGIN',
    (origin) => withOrigin(origin).map((word) => word.replace(`:${origin.seq}:`, `:0${origin.seq}:`)),
  ],
  [
    'an origin under another name',
    'NO_ORIGIN',
    (origin) => withOrigin(origin).map((word) => word.replace('origin@', 'origins@')),
  ],
  [
    'a commit that nobody else saw',
    'UNKNOWN_ORIGIN',
    (origin) => withOrigin({ ...origin, commit: other(origin.commit) }),
  ],
  ['an older commit of this history', 'WRONG_ORIGIN', (origin) => withOrigin({ ...origin, commit: older })],
  ['another number', 'WRONG_ORIGIN', (origin) => withOrigin({ ...origin, seq: origin.seq - 1 })],
  ['another claim', 'WRONG_ORIGIN', (origin) => withOrigin({ ...origin, claim: other(origin.claim) })],
  [
    'the claim of another payload',
    'WRONG_ORIGIN',
    (origin, farm) => {
      const elsewhere = farm.claimAll([
        { purpose: 'other', name: 'x', mode: 'detach', payload: Buffer.from(`${origin.seq}`) },
      ]);
      farm.publishSigned(elsewhere, [Buffer.from('x')]);
      return withOrigin({ ...(elsewhere.origins[0] as SignatureOrigin), commit: origin.commit });
    },
  ],
];
