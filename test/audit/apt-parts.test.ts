// SPDX-License-Identifier: GPL-2.0-or-later
// The parts of the audit that look at an APT repository, without git and gpg around them: the attacks of the
// tests beside this one, and what is no attack.
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import tap, { type Test } from 'tap';
import { aptAttacks, bomb, formAttacks, packed } from './apt-attacks.js';
import { type Farm, removedAfter, sha256, withOrigin } from './farm.js';
import { lies, places, signed, type Place } from './origin-attacks.js';
import { pens } from './pens.js';
import { asWas, newRelease, releaseAttacks, serve } from './release-attacks.js';
import { attackServed, good, look } from './served-farm.js';
import { servedFarm } from './unwritten-farm.js';

tap.setTimeout(300_000);
const attack = attackServed();

interface Wanted {
  counts?: [number, number];
  unseen?: object[];
  codes?: string[];
  now?: number;
}

/** What is no finding, but for `codes`, and what is counted and told of it. */
async function changed(
  t: Test,
  change: (farm: Farm) => void,
  { counts, unseen: told = [], codes: wrong = [], now = Date.now() }: Wanted = {},
): Promise<void> {
  const farm = servedFarm(good);
  change(farm);
  const { codes, rows, unseen } = await look(farm, { now });
  t.same(codes, wrong);
  if (counts !== undefined)
    t.same(
      ['apt-signatures', 'apt-files'].map((name) => rows.find((row) => row.name === name)?.count),
      counts,
    );
  t.match(unseen, told);
  t.equal(unseen.length, told.length);
  farm.remove();
}

aptAttacks((name, ...more) => {
  if (!name.startsWith('an index of 100 MiB')) attack(name, ...more);
}, pens);
// What a Release and an index may not say is asked of their readers alone, in apt-lists.test.ts; here that it
// is looked at.
formAttacks((name, ...more) => {
  if (!/^an? (?:Release|index) with /.test(name) || / with a (?:SHA512 list|package twice)/.test(name))
    attack(name, ...more);
}, pens);
releaseAttacks(attack);
for (const place of places.filter(({ check }) => check === 'apt-signatures')) {
  for (const [how, code, words] of lies(good.logs.head as string))
    attack(
      `${place.name} that names ${how}`,
      [`${place.check} ${code}`],
      (farm) => signed(farm, place, words),
      { path: place.path },
    );
}
attack(
  'a signature over a text as Release.gpg',
  ['apt-signatures BAD_SIGNATURE'],
  (farm) => signed(farm, places[1] as Place, (origin) => [...withOrigin(origin), '--textmode']),
  { path: 'dists/bookworm/Release.gpg' },
);
attack(
  'a signature with a weak hash',
  ['apt-signatures BAD_SIGNATURE'],
  (farm) => signed(farm, places[1] as Place, (origin) => [...withOrigin(origin), '--digest-algo', 'SHA1']),
  { path: 'dists/bookworm/Release.gpg' },
);
attack(
  'a Release.gpg without its Release, and without an InRelease',
  ['apt-files UNLISTED_FILE', 'apt-signatures FILE_MISSING'],
  (farm) => {
    for (const name of ['Release', 'InRelease']) rmSync(join(farm.apt, 'dists/bookworm', name));
  },
  { path: 'dists/bookworm/main/binary-amd64/Packages' },
);
attack('an InRelease that is no text', ['apt-signatures NOT_SIGNED'], (farm) =>
  farm.put(
    'dists/bookworm/InRelease',
    Buffer.concat([readFileSync(join(farm.apt, 'dists/bookworm/InRelease')), Buffer.from([0xff])]),
  ),
);
attack(
  'an index that is listed and is nowhere',
  ['apt-files FILE_MISSING'],
  (farm) => {
    for (const name of ['Packages', 'Packages.gz'])
      rmSync(join(farm.apt, 'dists/bookworm/main/binary-amd64', name));
    rmSync(join(farm.apt, 'pool/main/h/hello/hello_2.10-3_amd64.deb'));
  },
  { path: 'dists/bookworm/main/binary-amd64/Packages' },
);

attack(
  'a packed index of another text than the plain one, which is not there',
  ['apt-files INDEX_FORMS_DIFFER'],
  (farm) => {
    const at = (path: string): string => join(farm.apt, 'dists/bookworm/main', path);
    const plain = readFileSync(at('binary-amd64/Packages'));
    const packedForm = gzipSync(plain.toString().replace('2.10-3\n', '2.10-4\n'));
    farm.put('dists/bookworm/main/binary-amd64/Packages.gz', packedForm);
    farm.publishRelease('bookworm', {
      'main/binary-amd64/Packages': plain,
      'main/binary-amd64/Packages.gz': packedForm,
      'main/source/Sources.gz': readFileSync(at('source/Sources.gz')),
    });
    rmSync(at('binary-amd64/Packages'));
  },
  { path: 'dists/bookworm/main/binary-amd64/Packages.gz' },
);

void tap.test('what is no attack', async (t) => {
  await changed(t, () => undefined, { counts: [4, 6] });
  // One form of an index may be missing, and a copy may lie under its hash, also of an earlier generation.
  await changed(t, (farm) => rmSync(join(farm.apt, 'dists/bookworm/main/binary-amd64/Packages')), {
    counts: [4, 5],
  });
  const index = readFileSync(join(good.apt, 'dists/bookworm/main/binary-amd64/Packages'));
  await changed(
    t,
    (farm) => {
      farm.put(`dists/bookworm/main/binary-amd64/by-hash/SHA256/${sha256(index)}`, index);
      farm.put(`dists/bookworm/main/binary-amd64/by-hash/SHA256/${sha256('earlier')}`, 'earlier');
    },
    { counts: [4, 8] },
  );
  for (const path of [
    'key.asc',
    `keys/${'A'.repeat(40)}.asc`,
    'made-by.json',
    'conf/distributions',
    'conf/options',
    'conf/sign-hook',
    'db/version',
    'db/packages.db',
  ])
    await changed(t, (farm) => farm.put(path, 'x'));
  // What reprepro lists and does not write.
  await changed(
    t,
    (farm) =>
      farm.publishRelease('bookworm', {
        'main/binary-amd64/Packages': index,
        'main/source/Sources.gz': readFileSync(join(farm.apt, 'dists/bookworm/main/source/Sources.gz')),
        'main/binary-i386/Packages': Buffer.alloc(0),
        'main/binary-i386/Packages.gz': gzipSync(''),
        'main/binary-amd64/Packages.gz': readFileSync(
          join(farm.apt, 'dists/bookworm/main/binary-amd64/Packages.gz'),
        ),
      }),
    { unseen: [{ state: 'earlier', names: ['bookworm'] }] },
  );
  await changed(t, (farm) => serve(farm, newRelease(farm, 'newer')), {
    unseen: [
      {
        kind: 'apt',
        state: 'earlier',
        names: ['bookworm'],
        purposes: ['apt-release'],
        payloadNames: ['Release'],
        dists: ['bookworm'],
      },
    ],
  });
  await changed(t, (farm) => serve(farm, newRelease(farm, 'x', { name: 'Release.new' })), {
    unseen: [{ state: 'earlier' }],
  });
  await changed(t, (farm) => serve(farm, newRelease(farm, 'x', {}, 'vm-bookworm')), {
    unseen: [{ state: 'earlier' }],
  });
  await changed(
    t,
    (farm) =>
      void farm.signAll([
        {
          purpose: 'apt-release',
          name: 'Release',
          mode: 'detach',
          payload: Buffer.from('Codename: bookworm-victim\nSHA256:\n'),
        },
      ]),
    {
      unseen: [
        { kind: 'apt', state: 'nowhere', names: ['bookworm-victim'], path: /^payloads\/build-debian\// },
      ],
    },
  );
  await changed(
    t,
    (farm) =>
      void farm.signAll([
        {
          purpose: 'rpm-repomd',
          name: 'repomd.xml',
          mode: 'detach',
          payload: Buffer.from('<repomd xmlns="x"><tags><content>fc99-current</content></tags></repomd>'),
        },
      ]),
    { unseen: [{ kind: 'dnf', state: 'nowhere', names: ['fc99-current'] }] },
  );
  await changed(
    t,
    (farm) =>
      void farm.signAll([
        { purpose: 'other', name: 'tag', mode: 'detach', payload: Buffer.from('object 1\n') },
      ]),
  );
  await changed(
    t,
    (farm) =>
      void farm.signAll([
        { purpose: 'rpm-header', name: 'rpm-header', mode: 'detach', payload: Buffer.from('a header') },
      ]),
    {},
  );
  await changed(t, (farm) => {
    const old = asWas(farm);
    farm.putBeside('apt.releases/1/dists/bookworm/InRelease', old.inRelease);
    serve(farm, newRelease(farm, 'newer'));
  });
  // On its way for an hour.
  for (const [age, codes, state] of [
    [3_500_000, [], 'waiting'],
    [3_700_000, ['apt-signatures OLD_RELEASE'], 'nowhere'],
    [-3_700_000, ['apt-signatures OLD_RELEASE'], 'nowhere'],
  ] as const) {
    const now = Date.parse('2026-11-29T00:00:00.000Z');
    await changed(
      t,
      (farm) => {
        farm.logs.setClock(now - age);
        newRelease(farm, 'x');
      },
      { codes: [...codes], unseen: [{ state }], now },
    );
  }
});

const until = 'Sun, 29 Nov 2026 00:00:00 UTC';
const ending = (farm: Farm, more: string, end: string): ReturnType<typeof newRelease> =>
  newRelease(farm, `${more}\nDate: Sun, 22 Nov 2026 00:00:00 UTC\nValid-Until: ${end}`);
void tap.test('until when a Release is good is said, and that it is over is found', async (t) => {
  const farm = removedAfter(t, servedFarm(good));
  const later = 'Sun, 06 Dec 2026 00:00:00 UTC';
  const [old, renewed, without] = [
    ending(farm, 'x', until),
    ending(farm, 'x', later),
    newRelease(farm, 'without'),
  ];
  serve(farm, old);
  const both = (validUntil: string | null, earlier: string | null): object[] =>
    ['InRelease', 'Release.gpg'].map((name) => ({ path: `dists/bookworm/${name}`, validUntil, earlier }));
  const at = async (now: number): Promise<[string[], unknown]> =>
    (({ codes, endings }): [string[], unknown] => [codes, endings])(await look(farm, { now }));
  const second = Date.parse(until);
  t.same(await at(second - 1000), [['apt-signatures OLD_RELEASE'], both(until, null)]);
  t.same(await at(second), [
    ['apt-signatures EXPIRED_RELEASE', 'apt-signatures OLD_RELEASE'],
    both(until, null),
  ]);
  serve(farm, renewed);
  t.same((await at(second + 1000))[1], both(later, until));
  serve(farm, without);
  t.same(await at(second + 1000), [[], both(null, later)], 'of the newest before it that had one');
});

void tap.test('suites that the auditor names, and announced ones, must be there', async (t) => {
  const farm = removedAfter(t, servedFarm(good));
  const missing = ({ rows }: Awaited<ReturnType<typeof look>>): unknown =>
    rows.find(({ name }) => name === 'apt-signatures')?.findings.map(({ code, path }) => `${code} ${path}`);
  t.same(missing(await look(farm, { suites: ['bookworm'] })), []);
  t.same(missing(await look(farm, { suites: ['bookworm', 'trixie'] })), [
    'FILE_MISSING dists/trixie/InRelease',
  ]);
  const empty = removedAfter(t, servedFarm());
  t.same(missing(await look(empty)), [], 'nothing was announced');
  rmSync(join(farm.apt, 'dists'), { recursive: true });
  rmSync(join(farm.apt, 'pool'), { recursive: true });
  t.same(
    missing(await look(farm)),
    ['FILE_MISSING dists/bookworm/InRelease'],
    'one of those that were announced',
  );
  t.same(
    missing(await look(farm, { suites: ['bookworm'] })),
    ['FILE_MISSING dists/bookworm/InRelease'],
    'once',
  );
});

void tap.test('what is read counts against the budget', async (t) => {
  const farm = removedAfter(t, servedFarm(good));
  packed(farm, bomb(1024 * 1024));
  await t.rejects(look(farm, { limits: { readMiB: 1 } }), {
    name: 'Unreadable',
    message: /--max-read of 1 MiB/,
  });
  const large = removedAfter(t, servedFarm(good));
  large.put('dists/bookworm/Release.gpg', Buffer.alloc(64 * 1024 + 1));
  await t.rejects(look(large), { name: 'Unreadable', message: /Release\.gpg is larger than 65536 bytes/ });
});
