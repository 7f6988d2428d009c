// SPDX-License-Identifier: GPL-2.0-or-later
// Attacks with what was signed as it has to be: shown to some only, shown once more when it is old, or used
// for something else than was announced.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Intent } from '../../agents/shared/formats/intent.js';
import { sha256, type Farm, type Wanted } from './farm.js';
import type { Attack } from './unwritten-farm.js';

/**
 * The repository's Release once more, with one line of difference, signed; served as it was. @returns the
 * signatures
 */
export function newRelease(
  farm: Farm,
  more: string,
  change: Partial<Wanted> = {},
  dist = 'bookworm',
): { payload: Buffer; inRelease: Buffer; detached: Buffer } {
  const payload = Buffer.from(
    readFileSync(join(farm.apt, 'dists/bookworm/Release'), 'utf8').replace(
      /^Origin: .*$/m,
      `Origin: ${more}`,
    ),
  );
  const [inRelease, detached] = farm.signAll(
    [
      { purpose: 'apt-release', name: 'Release', mode: 'clearsign', payload, ...change },
      {
        purpose: 'apt-release',
        name: 'Release',
        mode: 'detach',
        payload,
        ...change,
        ...(change.mode === undefined ? {} : { mode: 'detach' as const }),
      },
    ],
    dist,
  ) as [Buffer, Buffer];
  return { payload, inRelease, detached };
}
export function serve(farm: Farm, { payload, inRelease, detached }: ReturnType<typeof newRelease>): void {
  farm.put('dists/bookworm/Release', payload);
  farm.put('dists/bookworm/InRelease', inRelease);
  farm.put('dists/bookworm/Release.gpg', detached);
}
export const asWas = (farm: Farm): ReturnType<typeof newRelease> => ({
  payload: readFileSync(join(farm.apt, 'dists/bookworm/Release')),
  inRelease: readFileSync(join(farm.apt, 'dists/bookworm/InRelease')),
  detached: readFileSync(join(farm.apt, 'dists/bookworm/Release.gpg')),
});

export function releaseAttacks(attack: Attack): void {
  attack(
    "last month's signed Release, served again",
    ['apt-signatures OLD_RELEASE'],
    (farm) => {
      const old = asWas(farm);
      serve(farm, newRelease(farm, 'newer'));
      serve(farm, old);
    },
    { path: 'dists/bookworm/InRelease' },
  );
  attack(
    'only Release.gpg and its Release are of last month',
    ['apt-signatures OLD_RELEASE', 'apt-signatures RELEASE_DIFFERS'],
    (farm) => {
      const old = asWas(farm);
      serve(farm, { ...old, inRelease: newRelease(farm, 'newer').inRelease });
    },
  );
  attack("last month's Release, signed once more today", ['apt-signatures OLD_RELEASE'], (farm) => {
    newRelease(farm, 'newer');
    // Under another name, for one document is granted once.
    serve(farm, newRelease(farm, 'build-infra', { name: 'Release.new' }));
  });
  attack(
    'a Release that was signed and never served',
    ['apt-signatures OLD_RELEASE'],
    (farm) => void newRelease(farm, 'victim'),
  );
  attack(
    'a Release that was signed under another purpose and never served',
    ['apt-signatures OLD_RELEASE'],
    (farm) => void newRelease(farm, 'victim', { purpose: 'other', name: 'notes' }),
  );
  for (const [purpose, name] of [
    ['other', 'Release'],
    ['link', 'x.link'],
    ['deb-changes', 'Release'],
    ['rpm-repomd', 'repomd.xml'],
  ] as const) {
    attack(
      `a Release that was announced as ${purpose}`,
      ['apt-signatures WRONG_PURPOSE'],
      (farm) => serve(farm, newRelease(farm, purpose, { purpose, name })),
      { path: 'dists/bookworm/InRelease' },
    );
  }
  attack('a Release that was announced for another distribution', ['apt-signatures WRONG_NAME'], (farm) =>
    serve(farm, newRelease(farm, 'x', {}, 'trixie')),
  );
  attack('a Release that was announced for no distribution', ['apt-signatures WRONG_NAME'], (farm) =>
    serve(farm, newRelease(farm, 'x', {}, 'none')),
  );
  attack(
    'a Release that was announced for a distribution whose name only begins so',
    ['apt-signatures WRONG_NAME'],
    (farm) => serve(farm, newRelease(farm, 'x', {}, 'book')),
  );
  attack('a Release that was announced under another name', ['apt-signatures WRONG_NAME'], (farm) =>
    serve(farm, newRelease(farm, 'x', { name: 'notes' })),
  );

  /** The .dsc and .buildinfo of the good farm, announced as something else. */
  function signPoolFile(farm: Farm, name: string, change: Partial<Wanted>): void {
    const path = `pool/main/h/hello/${name}`;
    const source = readFileSync(join(farm.apt, 'pool/main/h/hello/hello_2.10-3.tar.xz'));
    // A .dsc and a .changes have to name files.
    const payload = Buffer.from(
      `Format: 1.0\nSource: hello\nVersion: ${JSON.stringify(change).length}\nChecksums-Sha256:\n ${sha256(source)} ${source.length} hello_2.10-3.tar.xz\n`,
    );
    const [signed] = farm.signAll([{ purpose: 'other', name, mode: 'clearsign', payload, ...change }]) as [
      Buffer,
    ];
    farm.put(path, signed);
  }
  for (const [name, purpose] of [
    ['hello_2.10-3_amd64.buildinfo', 'deb-buildinfo'],
    ['hello_2.10-3_amd64.changes', 'deb-changes'],
    ['other_1.dsc', 'deb-dsc'],
  ] as [string, Intent['purpose']][]) {
    attack(
      `${name} that was announced as other`,
      ['apt-signatures WRONG_PURPOSE'],
      (farm) => signPoolFile(farm, name, {}),
      { path: `pool/main/h/hello/${name}` },
    );
    attack(
      `${name} that was announced under another name`,
      ['apt-signatures WRONG_NAME'],
      (farm) => signPoolFile(farm, name, { purpose, name: `x${name}` }),
      { path: `pool/main/h/hello/${name}` },
    );
  }
}
