// SPDX-License-Identifier: GPL-2.0-or-later
// Attacks on what was signed: payloads that are not public, metadata that was signed and is shown to some
// only, or shown once more when it is old, and signatures that are used for something else than was
// announced.
import tap from 'tap';
import { publishedPayloadLimitBytes } from '../../agents/shared/formats/intent.js';
import { attack, good, keys } from './attack.js';
import { Farm, removedAfter } from './farm.js';
import { payloadAttacks, small } from './payload-attacks.js';
import { asWas, newRelease, releaseAttacks, serve } from './release-attacks.js';
import { verdict } from './run-audit.js';

payloadAttacks(attack);

releaseAttacks(attack);

/** A farm that is good, and what its audit tells of signatures that nobody serves. */
function told(
  name: string,
  change: (farm: Farm) => void,
  expected: object[],
  extra: (farm: Farm) => readonly string[] = () => [],
): void {
  void tap.test(name, async (t) => {
    const farm = removedAfter(t, new Farm(keys, good));
    change(farm);
    const result = await verdict(farm, extra(farm));
    t.same(result.codes, []);
    t.match(result.unseen, expected);
    t.equal(result.unseen.length, expected.length);
    t.ok(result.ok);
    for (const one of result.unseen)
      t.equal(result.table.includes(one.sha256), one.state !== 'earlier', `the table tells of ${one.state}`);
    t.match(JSON.parse(result.json), { ok: true, unseen: expected });
  });
}
told('nothing is told of a farm whose every signature is in use', () => undefined, []);
told('a newer Release takes the place of the one before', (farm) => serve(farm, newRelease(farm, 'newer')), [
  { kind: 'apt', state: 'earlier', names: ['bookworm'], purposes: ['apt-release'] },
]);
told(
  'one signed for a suite that nobody serves is told of',
  (farm) => {
    farm.signAll([{ ...small, payload: Buffer.from('Codename: bookworm-victim\nSHA256:\n') }]);
  },
  [
    {
      kind: 'apt',
      state: 'nowhere',
      names: ['bookworm-victim'],
      purposes: ['apt-release'],
      payloadNames: ['Release'],
      dists: ['bookworm'],
    },
  ],
);
told(
  'one that is announced as notes is told of',
  (farm) => {
    farm.signAll([
      { purpose: 'other', name: 'notes', mode: 'detach', payload: Buffer.from('Suite: stable\nsha512 :\n') },
    ]);
  },
  [{ kind: 'apt', state: 'nowhere', names: ['stable'], purposes: ['other'], payloadNames: ['notes'] }],
);
told(
  'one that is padded until it need not be public is told of',
  (farm) => {
    farm.signAll([
      {
        purpose: 'other',
        name: 'notes',
        mode: 'detach',
        payload: Buffer.concat([asWas(farm).payload, Buffer.alloc(publishedPayloadLimitBytes, '\n')]),
      },
    ]);
  },
  [
    {
      kind: 'unknown',
      state: 'not-public',
      names: [],
      path: null,
      purposes: ['other'],
      payloadNames: ['notes'],
    },
  ],
);
told(
  'repomd.xml of a distribution that is not looked at is told of',
  (farm) => {
    farm.signAll(
      [
        {
          purpose: 'rpm-repomd',
          name: 'repomd.xml',
          mode: 'detach',
          payload: Buffer.from('<repomd xmlns="x"><tags><content>fc99-current</content></tags></repomd>'),
        },
      ],
      'fc99',
    );
  },
  [{ kind: 'dnf', state: 'nowhere', names: ['fc99-current'], dists: ['fc99'] }],
);
told(
  "signatures of other things are nobody's metadata",
  (farm) => {
    farm.signAll([
      {
        purpose: 'other',
        name: 'git-tag',
        mode: 'detach',
        payload: Buffer.from('object 1\ntype commit\n\nv1\n'),
      },
    ]);
  },
  [],
);
told(
  'earlier generations that the auditor has are in use',
  (farm) => {
    const old = asWas(farm);
    farm.putBeside('apt.releases/000001-0123456789ab/dists/bookworm/InRelease', old.inRelease);
    serve(farm, newRelease(farm, 'newer'));
  },
  [],
);
void tap.test('an upload may take an hour, and then a Release that is not served is a finding', async (t) => {
  const farm = removedAfter(t, new Farm(keys, good));
  farm.logs.setClock(Date.now() - 600_000);
  newRelease(farm, 'on its way');
  const soon = await verdict(farm);
  t.same(soon.codes, []);
  t.match(soon.unseen, [{ state: 'waiting' }]);
  farm.logs.setClock(Date.now() - 3_500_000);
  t.same((await verdict(farm)).codes, []);
  const late = removedAfter(t, new Farm(keys, good));
  late.logs.setClock(Date.now() - 3_700_000);
  newRelease(late, 'lost');
  t.same((await verdict(late)).codes, ['apt-signatures OLD_RELEASE']);
  // What is on its way excuses nothing that was there before.
  const both = removedAfter(t, new Farm(keys, good));
  const old = asWas(both);
  serve(both, newRelease(both, 'newer'));
  serve(both, old);
  both.logs.setClock(Date.now() - 600_000);
  newRelease(both, 'on its way');
  t.same((await verdict(both)).codes, ['apt-signatures OLD_RELEASE']);
});

/** A Release of this end; undefined: without. */
const ending = (farm: Farm, more: string, until?: string): ReturnType<typeof newRelease> =>
  newRelease(
    farm,
    until === undefined ? more : `${more}\nDate: Sun, 22 Nov 2026 00:00:00 UTC\nValid-Until: ${until}`,
  );
const until = 'Sun, 29 Nov 2026 00:00:00 UTC';
const end = Date.parse(until);
const at = (farm: Farm, now: number): ReturnType<typeof verdict> => verdict(farm, [], undefined, now);

void tap.test('a Release that is served after its end is a finding, to the second', async (t) => {
  const farm = removedAfter(t, new Farm(keys, good));
  serve(farm, ending(farm, 'x', until));
  const fresh = await at(farm, end - 1000);
  t.same(fresh.codes, []);
  t.same(
    fresh.endings,
    ['InRelease', 'Release.gpg'].map((name) => ({
      path: `dists/bookworm/${name}`,
      validUntil: until,
      earlier: null,
    })),
  );
  const over = await at(farm, end);
  t.same(over.codes, ['apt-signatures EXPIRED_RELEASE']);
  t.match(over.checks.find(({ name }) => name === 'apt-signatures')?.findings, [
    {
      path: 'dists/bookworm/InRelease',
      expected: 'a Valid-Until after 2026-11-29T00:00:00.000Z',
      found: /^Sun, 29 Nov 2026 00:00:00 UTC; sha256:/,
    },
    { path: 'dists/bookworm/Release.gpg' },
  ]);
});

void tap.test(
  'after a renewal it is the new one that counts, and the old one served again is found by both',
  async (t) => {
    const farm = removedAfter(t, new Farm(keys, good));
    const old = ending(farm, 'x', until);
    serve(farm, ending(farm, 'x', 'Sun, 06 Dec 2026 00:00:00 UTC'));
    const renewed = await at(farm, end + 1000);
    t.same(renewed.codes, []);
    t.match(renewed.endings, [{ validUntil: 'Sun, 06 Dec 2026 00:00:00 UTC', earlier: until }, {}]);
    serve(farm, old);
    t.same((await at(farm, end + 1000)).codes, [
      'apt-signatures EXPIRED_RELEASE',
      'apt-signatures OLD_RELEASE',
    ]);
    t.same((await at(farm, end - 1000)).codes, ['apt-signatures OLD_RELEASE'], 'also before its end');
  },
);

void tap.test('that a Release has no end though earlier ones had one is said, and no finding', async (t) => {
  const farm = removedAfter(t, new Farm(keys, good));
  const plain = await verdict(farm);
  t.same(plain.endings, [], 'of a farm without the setting nothing is said');
  ending(farm, 'x', until);
  serve(farm, ending(farm, 'without'));
  const taken = await verdict(farm);
  t.same(taken.codes, []);
  t.match(taken.endings, [
    { path: 'dists/bookworm/InRelease', validUntil: null, earlier: until },
    { path: 'dists/bookworm/Release.gpg' },
  ]);
  t.match(taken.table, `dists/bookworm/InRelease: no Valid-Until, though an earlier one had it (${until})`);
  t.match(JSON.parse(taken.json), { ok: true, endings: taken.endings });
  serve(farm, ending(farm, 'far', 'Sun, 29 Nov 2126 00:00:00 UTC'));
  t.match(
    (await verdict(farm)).table,
    /dists\/bookworm\/InRelease: valid until Sun, 29 Nov 2126 00:00:00 UTC, for [0-9]+ days/,
  );
});
for (const [what, text] of [
  ['no time', 'never'],
  ['one in another spelling', '2126-11-29'],
] as const) {
  void tap.test(`a Release whose Valid-Until is ${what} is none of this farm's`, async (t) => {
    const farm = removedAfter(t, new Farm(keys, good));
    serve(farm, ending(farm, 'x', text));
    t.ok((await verdict(farm)).codes.includes('apt-files BAD_INDEX'));
  });
}
