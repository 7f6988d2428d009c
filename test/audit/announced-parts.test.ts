// SPDX-License-Identifier: GPL-2.0-or-later
// Signatures as the audit meets them, part by part: the quick way to verify one, whether it was announced for
// what it is used for, and which signed metadata are the newest.
import { readKey, type PublicKey } from 'openpgp';
import tap from 'tap';
import { judgeUse } from '../../agents/audit/announced-purpose.js';
import { AnnouncedSignatures } from '../../agents/audit/announced-signature.js';
import { judgeCommit, quickKeysOf } from '../../agents/audit/commit-signature.js';
import { Findings } from '../../agents/audit/findings.js';
import type { AnnouncedIntent } from '../../agents/audit/announced-names.js';
import type { PublishedIntents } from '../../agents/audit/intents.js';
import type { Claim, Signature, SignedEntry } from '../../agents/audit/journal.js';
import { QuickSignatures, type QuickKey } from '../../agents/published/history/quick-signatures.js';
import { readMetadata } from '../../agents/published/packages/taken-metadata.js';
import {
  SignedMetadata,
  uploadMs,
  type PublishedMetadata,
  type Served,
} from '../../agents/audit/signed-metadata.js';
import { sha256, withOrigin } from './farm.js';
import { armor, pens } from './pens.js';

const data = Buffer.from('tree x\n\nmessage\n');
const key = await readKey({ armoredKey: pens.export('logs').toString() });
const keys = await quickKeysOf(key);
const second = 1000;
const time = Math.floor(Date.now() / second) - 600;
const sign = (more: readonly string[] = []): string =>
  pens.sign('logs', 'detach', data, ['--faked-system-time', `${time}!`, ...more]).toString();
const bytesOf = (armored: string): Buffer =>
  Buffer.from((/\n\n([^=]*=*)\n=/.exec(armored)?.[1] ?? '').replaceAll('\n', ''), 'base64');
const judge = (armored: string, of: readonly QuickKey[] = keys, over = data): number | undefined =>
  new QuickSignatures(of).judge(over, armored);

void tap.test('the quick way says when a good signature was made, and of any other nothing', (t) => {
  const good = sign();
  const packet = bytesOf(good);
  t.equal(armor('SIGNATURE', packet), good);
  for (const hash of ['SHA256', 'SHA384', 'SHA512'])
    t.equal(judge(sign(['--digest-algo', hash])), time * second, hash);
  t.equal(judge(sign(['--digest-algo', 'SHA1'])), undefined);
  t.equal(judge(good, keys, Buffer.from('other')), undefined);
  for (const [i, byte] of packet.entries())
    for (const bit of [0x01, 0x80]) {
      const changed = Buffer.from(packet);
      changed[i] = byte ^ bit;
      if (judge(armor('SIGNATURE', changed)) !== undefined) t.fail(`byte ${i}, bit ${bit}`);
    }
  for (let length = 0; length < packet.length; length++)
    if (judge(armor('SIGNATURE', packet.subarray(0, length))) !== undefined) t.fail(`${length} bytes`);
  t.equal(judge(armor('SIGNATURE', Buffer.concat([packet, Buffer.alloc(1)]))), undefined);
  // Larger numbers than the key has.
  const body = packet.subarray(3);
  const hashedEnd = 6 + body.readUInt16BE(4);
  const start = hashedEnd + 2 + body.readUInt16BE(hashedEnd) + 2;
  const first = start + 2 + Math.ceil(body.readUInt16BE(start) / 8);
  const long = Buffer.concat([
    body.subarray(0, start),
    Buffer.from([1, 8]),
    Buffer.alloc(33, 0xff),
    body.subarray(first),
  ]);
  t.equal(
    judge(
      armor('SIGNATURE', Buffer.concat([Buffer.from([0x89, long.length >> 8, long.length & 0xff]), long])),
    ),
    undefined,
    'a number of 33 bytes',
  );
  const short = Buffer.concat([Buffer.from([0x88, packet.length - 3]), packet.subarray(3)]);
  t.equal(judge(armor('SIGNATURE', short)), time * second, 'with a length of one byte');
  t.equal(
    judge(armor('SIGNATURE', Buffer.concat([Buffer.from([0x88, packet.length - 4]), packet.subarray(3)]))),
    undefined,
  );
  const spellings: [string, string | RegExp, string][] = [
    ['a header', '\n\n', '\nComment: x\n\n'],
    ['CRLF', /\n/g, '\r\n'],
    ['no checksum', /=.{4}\n-----END/, '-----END'],
    ['another checksum', /=.{4}\n-----END/, '=AAAA\n-----END'],
    ['a text before it', /^/, 'x'],
    ['a text behind it', /$/, 'x'],
    ['no empty line', '\n\n', '\n'],
    ['lines of another length', /\n\n(.{60})/, '\n\n$1\n'],
    ['another kind', /SIGNATURE/g, 'MESSAGE'],
    ['a blank', /\n=/, ' \n='],
  ];
  for (const [what, from, to] of spellings) {
    t.not(good.replace(from, to), good, what);
    t.equal(judge(good.replace(from, to)), undefined, what);
  }
  t.equal(judge(sign(['--sig-notation', 'x@y=z'])), undefined, 'a notation is nothing that it knows');
  t.equal(judge(sign(['--textmode'])), undefined);
  t.equal(judge(pens.sign('stranger', 'detach', data).toString()), undefined);
  t.equal(
    judge(pens.sign('logs', 'detach', data, ['--faked-system-time', `${time + 7200}!`]).toString()),
    undefined,
    'of a time to come',
  );
  const [one] = keys as [QuickKey];
  const at = time * second;
  t.equal(judge(good, [{ ...one, created: at }]), at);
  t.equal(judge(good, [{ ...one, created: at + second }]), undefined, 'older than its key');
  t.equal(judge(good, [{ ...one, algorithm: 1 }]), undefined);
  t.equal(judge(good, []), undefined);
  t.end();
});

void tap.test('what openpgp says of a certificate is what the quick way goes by', async (t) => {
  const created = key.getCreationTime().getTime();
  t.match(keys, [
    {
      fingerprint: pens.fingerprint.logs.toLowerCase(),
      algorithm: 22,
      numberBytes: 32,
      key: { kty: 'OKP', crv: 'Ed25519' },
      created,
    },
  ]);
  t.equal(keys.length, 1);
  t.same(await judgeCommit(data, sign(), key), { bad: undefined, created: time * second });
  t.match(await judgeCommit(Buffer.from('other'), sign(), key), {
    bad: { code: 'BAD_SIGNATURE' },
    created: time * second,
  });
  t.match(await judgeCommit(data, 'junk', key), { bad: { code: 'BAD_SIGNATURE' }, created: undefined });
});

void tap.test('only keys of a shape that the quick way knows are its keys', async (t) => {
  const bytes = (length: number, first: number): Uint8Array =>
    new Uint8Array(length).fill(7).fill(first, 0, 1);
  const of = async (algorithm: number, publicParams: object, version = 4): Promise<unknown> => {
    const one = {
      keyPacket: { algorithm, version, publicParams },
      getFingerprint: () => 'aa',
      getCreationTime: () => new Date(0),
      getKeyID: () => 'id',
    };
    const certificate = {
      ...one,
      subkeys: [],
      getKeys: () => [one],
      isRevoked: () => Promise.resolve(false),
      getExpirationTime: () => Promise.resolve(Infinity),
      getSigningKey: () => Promise.resolve(one),
    };
    const [found] = await quickKeysOf(certificate as unknown as PublicKey);
    return found === undefined ? undefined : [found.key.kty, found.key.crv ?? '', found.numberBytes];
  };
  const curve = (name: string): { getName: () => string } => ({ getName: () => name });
  const [rsa, ecdsa, eddsa] = [1, 19, 22];
  const ed25519 = { oid: curve('ed25519Legacy'), Q: bytes(33, 0x40) };
  t.same(await of(rsa, { n: bytes(256, 1), e: bytes(3, 1) }), ['RSA', '', 256]);
  t.same(await of(eddsa, ed25519), ['OKP', 'Ed25519', 32]);
  const curves: [string, number][] = [
    ['nistP256', 32],
    ['nistP384', 48],
    ['nistP521', 66],
  ];
  for (const [name, size] of curves)
    t.same(await of(ecdsa, { oid: curve(name), Q: bytes(1 + 2 * size, 4) }), [
      'EC',
      `P-${name.slice(5)}`,
      size,
    ]);
  const others: [number, object, number?][] = [
    [rsa, { n: bytes(256, 1), e: bytes(3, 1) }, 6],
    [rsa, { n: bytes(256, 1) }],
    [rsa, { e: bytes(3, 1) }],
    [3, { n: bytes(256, 1), e: bytes(3, 1) }],
    [eddsa, { Q: bytes(33, 0x40) }],
    [eddsa, { oid: curve('ed25519Legacy') }],
    [eddsa, { oid: curve('curve25519Legacy'), Q: bytes(33, 0x40) }],
    [18, ed25519],
    [eddsa, { ...ed25519, Q: bytes(32, 0x40) }],
    [eddsa, { ...ed25519, Q: bytes(33, 4) }],
    [eddsa, ed25519, 6],
    [ecdsa, { oid: curve('brainpoolP256r1'), Q: bytes(65, 4) }],
    [ecdsa, { oid: curve('nistP256'), Q: bytes(97, 4) }],
    [ecdsa, { oid: curve('nistP256'), Q: bytes(65, 2) }],
    [18, { oid: curve('nistP256'), Q: bytes(65, 4) }],
  ];
  for (const [algorithm, params, version] of others)
    t.equal(
      await of(algorithm, params, version),
      undefined,
      `${algorithm} ${JSON.stringify(Object.keys(params))}`,
    );
});

const [signing, intent] = [pens.fingerprint.signing, sha256('intent')];
const entryOf = (change: Partial<SignedEntry> = {}): SignedEntry => ({
  seq: 9,
  time: '2026-11-29T12:00:00.000Z',
  sha256: sha256('payload'),
  key: signing,
  mode: 'detach',
  commit: 'c'.repeat(40),
  intent,
  ...change,
});
const signatureOf = (change: Partial<SignedEntry> = {}, claims: Claim[] = []): Signature => ({
  keysVm: 'keys-debian',
  entry: entryOf(change),
  claims,
});
const intentOf = (
  purpose: AnnouncedIntent['purpose'],
  name: string,
  dist: string,
  change: Partial<AnnouncedIntent> = {},
): AnnouncedIntent => ({
  purpose,
  dist,
  key: signing,
  mode: 'detach',
  payload: { name, size: 1, sha256: sha256('payload') },
  ...change,
});
const intentsOf = (...all: AnnouncedIntent[]): PublishedIntents =>
  ({ announced: (hash: string) => (hash === intent ? all : []) }) as unknown as PublishedIntents;

void tap.test('a signature is used for what its intent said', (t) => {
  const use = (path: string, dist: string | undefined, ...all: AnnouncedIntent[]): string | undefined =>
    judgeUse(path, dist, signatureOf(), intentsOf(...all))?.code;
  const cases: [string, string | undefined, AnnouncedIntent[], string | undefined][] = [];
  const release = 'dists/bookworm/InRelease';
  for (const path of [release, 'dists/bookworm/Release.gpg'])
    cases.push(
      [path, undefined, [intentOf('apt-release', 'Release', 'bookworm')], undefined],
      [path, undefined, [intentOf('apt-release', 'Release.new', 'bookworm')], undefined],
      [path, undefined, [intentOf('apt-release', 'Release', 'trixie')], 'WRONG_NAME'],
      [path, undefined, [intentOf('apt-release', 'notes', 'bookworm')], 'WRONG_NAME'],
      [path, undefined, [intentOf('other', 'Release', 'bookworm')], 'WRONG_PURPOSE'],
    );
  for (const name of ['xRelease', 'Releases', 'Release.newer'])
    cases.push([release, undefined, [intentOf('apt-release', name, 'bookworm')], 'WRONG_NAME']);
  for (const [dist, fits] of [
    ['bookworm', true],
    ['vm-bookworm', true],
    ['host-bookworm', true],
    ['dom0-bookworm', true],
    ['x-bookworm', false],
    ['book', false],
    ['bookworm-x', false],
    ['bookvm-worm', false],
  ] as const)
    cases.push([
      'dists/bookworm-testing/InRelease',
      undefined,
      [intentOf('apt-release', 'Release', dist)],
      fits ? undefined : 'WRONG_NAME',
    ]);
  for (const kind of ['dsc', 'changes', 'buildinfo'] as const)
    cases.push(
      [`pool/a_1.${kind}`, undefined, [intentOf(`deb-${kind}`, `a_1.${kind}`, 'any')], undefined],
      [`pool/a_1.${kind}`, undefined, [intentOf(`deb-${kind}`, `aX1.${kind}`, 'any')], 'WRONG_NAME'],
      [`pool/a_1.${kind}`, undefined, [intentOf(`deb-${kind}`, `xa_1.${kind}`, 'any')], 'WRONG_NAME'],
      [`pool/a.1.${kind}`, undefined, [intentOf(`deb-${kind}`, `aX1.${kind}`, 'any')], 'WRONG_NAME'],
      [`pool/a_1.${kind}`, undefined, [intentOf('other', `a_1.${kind}`, 'any')], 'WRONG_PURPOSE'],
    );
  for (const [dist, fits] of [
    ['fc41', true],
    ['fc4', false],
    ['fc41-current', false],
  ] as const)
    for (const path of ['repodata/repomd.xml.asc', 'current/repodata/repomd.xml.asc'])
      cases.push([
        path,
        'fc41',
        [intentOf('rpm-repomd', 'repomd.xml', dist)],
        fits ? undefined : 'WRONG_NAME',
      ]);
  cases.push(
    ['repodata/repomd.xml.asc', 'x/fc41', [intentOf('rpm-repomd', 'repomd.xml', 'fc41')], undefined],
    ['repodata/repomd.xml.asc', 'x/fc41', [intentOf('rpm-repomd', 'repomd.xml', 'x/fc41')], undefined],
    ['repodata/repomd.xml.asc', 'fc41', [intentOf('rpm-repomd', 'repomdAxml', 'fc41')], 'WRONG_NAME'],
    ['repodata/repomd.xml.asc', 'fc41', [intentOf('rpm-repomd', 'xrepomd.xml', 'fc41')], 'WRONG_NAME'],
    ['repodata/repomd.xml.asc', 'fc41', [intentOf('rpm-repomd', 'repomd.xmlx', 'fc41')], 'WRONG_NAME'],
    ['repodata/repomd.xml.asc', 'dnf/all/fc41', [intentOf('rpm-repomd', 'repomd.xml', 'fc41')], undefined],
    ['repodata/repomd.xml.asc', 'fc41', [intentOf('apt-release', 'repomd.xml', 'fc41')], 'WRONG_PURPOSE'],
  );
  // Nobody signs these, or nothing is announced of them, which the journal has told.
  cases.push(
    ['packages/x.rpm', 'fc41', [intentOf('other', 'x', 'x')], undefined],
    ['xrepodata/repomd.xml.asc', 'fc41', [intentOf('other', 'x', 'x')], undefined],
    ['repodata/repomd.xml.ascx', 'fc41', [intentOf('other', 'x', 'x')], undefined],
    ['pool/x.deb', undefined, [intentOf('other', 'x', 'x')], undefined],
    ['pool/x.dsc.deb', undefined, [intentOf('other', 'x', 'x')], undefined],
    ['xdists/bookworm/InRelease', undefined, [intentOf('other', 'x', 'x')], undefined],
    [release, undefined, [], undefined],
  );
  for (const other of [
    { key: 'x' },
    { mode: 'clearsign' as const },
    { payload: { name: 'Release', size: 1, sha256: sha256('x') } },
  ])
    cases.push(
      [release, undefined, [intentOf('other', 'x', 'x', other)], undefined],
      [
        release,
        undefined,
        [intentOf('other', 'x', 'x'), intentOf('apt-release', 'Release', 'bookworm', other)],
        'WRONG_PURPOSE',
      ],
    );
  cases.push(
    [
      release,
      undefined,
      [intentOf('apt-release', 'Release', 'trixie'), intentOf('apt-release', 'Release', 'bookworm')],
      undefined,
    ],
    [
      release,
      undefined,
      [intentOf('apt-release', 'notes', 'bookworm'), intentOf('apt-release', 'Release', 'trixie')],
      'WRONG_NAME',
    ],
  );
  cases.push([
    release,
    undefined,
    [intentOf('other', 'Release', 'bookworm'), intentOf('apt-release', 'Release', 'bookworm')],
    undefined,
  ]);
  for (const [path, dist, all, code] of cases)
    t.equal(
      use(path, dist, ...all),
      code,
      `${path} ${JSON.stringify(all.map(({ purpose, payload, dist: of }) => [purpose, payload.name, of]))}`,
    );
  t.same(
    judgeUse(
      release,
      undefined,
      signatureOf(),
      intentsOf(intentOf('other', 'x', 'y'), intentOf('link', 'z', 'y')),
    ),
    {
      code: 'WRONG_PURPOSE',
      expected: 'an intent with purpose apt-release',
      found: `intent ${intent}: other x of y; link z of y`,
    },
  );
  t.match(
    judgeUse('repodata/repomd.xml.asc', 'fc41', signatureOf(), intentsOf(intentOf('rpm-repomd', 'x', 'y'))),
    { expected: 'an intent about repomd.xml of fc41' },
  );
  t.end();
});

void tap.test(
  'a signature stands in a journal over these bytes, and names the claim that it comes from',
  async (t) => {
    const origin = { commit: 'c'.repeat(40), seq: 7, claim: sha256('line') };
    const payload = sha256('payload');
    const signature = pens.sign('signing', 'detach', 'payload', withOrigin(origin));
    const claim = (change: Partial<Claim> = {}): Claim => ({
      seq: 7,
      line: sha256('line'),
      commit: origin.commit,
      signature: undefined,
      ...change,
    });
    const judged = async (
      known: Signature | undefined,
      {
        bytes = signature,
        bad = undefined,
        commits = [origin.commit],
        mode = 'detach',
      }: {
        bytes?: Buffer;
        bad?: { code: 'BAD_SIGNATURE'; found: string };
        commits?: string[];
        mode?: string;
      } = {},
    ): Promise<string[]> => {
      const findings = new Findings();
      const met: string[] = [];
      const signatures = new AnnouncedSignatures(
        {
          place: 'place/',
          signingKey: await readKey({ armoredKey: pens.export('signing').toString() }),
          signatures: new Map(known === undefined ? [] : [[sha256(bytes), known]]),
          met: (path) => met.push(path),
          commits: new Map(commits.map((id) => [id, 0])),
        },
        'apt-signatures',
        findings,
      );
      const found = await signatures.judge('path', bad, bytes, payload, mode);
      t.equal(found, known);
      t.same(met, known === undefined ? [] : ['path']);
      const all = findings.rows.flatMap((row) => row.findings);
      for (const one of all) t.ok(one.path === 'place/path' && one.expected && one.found);
      return all.map(({ code }) => code);
    };
    t.same(await judged(signatureOf({}, [claim()])), []);
    t.same(await judged(signatureOf({}, [claim({ signature: sha256(signature) })])), [], 'met before');
    t.same(await judged(undefined), ['SIGNATURE_NOT_IN_JOURNAL']);
    t.same(await judged(undefined, { bytes: pens.sign('signing', 'detach', 'payload') }), [
      'SIGNATURE_NOT_IN_JOURNAL',
      'NO_ORIGIN',
    ]);
    t.same(
      await judged(signatureOf({}, [claim()]), {
        bytes: pens.sign('signing', 'detach', 'payload', [
          ...withOrigin(origin),
          ...withOrigin({ ...origin, seq: 6 }),
        ]),
      }),
      ['NO_ORIGIN'],
      'two origins',
    );
    t.same(await judged(signatureOf({}, [claim()]), { commits: [] }), ['UNKNOWN_ORIGIN']);
    for (const other of [
      { seq: 6 },
      { line: sha256('x') },
      { commit: 'd'.repeat(40) },
      { signature: sha256('another') },
    ])
      t.same(await judged(signatureOf({}, [claim(other)])), ['WRONG_ORIGIN'], JSON.stringify(other));
    t.same(
      await judged(signatureOf({ seq: 7 }, [claim()])),
      ['WRONG_ORIGIN'],
      'a claim is before what it leads to',
    );
    t.same(await judged(signatureOf({}, [])), ['WRONG_ORIGIN']);
    t.same(await judged(signatureOf({ sha256: sha256('x') }, [claim()])), ['WRONG_PAYLOAD']);
    t.same(await judged(signatureOf({ mode: 'clearsign' }, [claim()])), ['WRONG_PAYLOAD']);
    t.same(await judged(signatureOf({ key: 'x' }, [claim()])), ['WRONG_KEY']);
    t.same(
      await judged(signatureOf({}, []), { bad: { code: 'BAD_SIGNATURE', found: 'x' } }),
      ['BAD_SIGNATURE'],
      'of a bad one its origin is not asked',
    );
  },
);

void tap.test('metadata are known in any spelling that a client takes', (t) => {
  const read = (text: string): unknown => readMetadata(Buffer.from(text));
  t.same(read('Codename: bookworm\nSuite: stable\nSHA256:\nX-Suite: no\n'), {
    kind: 'apt',
    names: ['bookworm', 'stable'],
  });
  t.same(read('codename : a\nSUITE:b\nsha512 :\nvalid-until: never '), {
    kind: 'apt',
    names: ['a', 'b'],
    validUntil: 'never',
  });
  t.same(read('MD5Sum:\nSuite: a\nSuite: a\n'), { kind: 'apt', names: ['a'] });
  t.same(read('SHA1:\n'), { kind: 'apt', names: [] });
  t.equal(
    (
      read(`SHA256:\n${Array.from({ length: 12 }, (_, i) => `Suite: ${i}\n`).join('')}`) as {
        names: string[];
      }
    ).names.length,
    10,
  );
  t.same(read('<repomd xmlns="x"><content>a</content><x:content y="z"> b </x:content></repomd>'), {
    kind: 'dnf',
    names: ['a', 'b'],
  });
  t.same(
    [read('<r:repomd>'), read('<repomd\n>')],
    [
      { kind: 'dnf', names: [] },
      { kind: 'dnf', names: [] },
    ],
  );
  t.same(
    [read('xSHA256:\n'), read('SHA256\n'), read('<repomdx>'), read('SHA224:\n'), read('')],
    [undefined, undefined, undefined, undefined, undefined],
  );
  t.end();
});

void tap.test(
  'the newest that was signed of a suite is the one that is served, an hour for an upload apart',
  (t) => {
    const now = Date.parse('2026-11-29T12:00:00.000Z');
    const made = (name: string, seq: number, age: number, keysVm = 'keys-debian'): Signature => ({
      keysVm,
      entry: entryOf({ seq, sha256: sha256(name), time: new Date(now - age).toISOString() }),
      claims: [],
    });
    const metadata = (...names: string[]): PublishedMetadata => ({
      path: `payloads/${names.join()}`,
      metadata: { kind: 'apt', names },
    });
    const day = 24 * uploadMs;
    const state = (
      signatures: Signature[],
      payloads: [string, PublishedMetadata | undefined][],
      shown: Signature[],
      looked = ['apt'],
    ): [string[], (string | undefined)[][]] => {
      const findings = new Findings();
      const all = new SignedMetadata(
        signatures,
        new Map(payloads.map(([name, known]) => [sha256(name), known])),
        intentsOf(
          intentOf('apt-release', 'Release', 'd'),
          intentOf('other', 'x', 'e', { payload: { name: 'x', size: 1, sha256: sha256('a') } }),
        ),
        findings,
        now,
      );
      const served = shown.map((signature): Served => ({
        kind: 'apt',
        place: '',
        suite: 's',
        path: 'dists/s/InRelease',
        signature,
      }));
      all.judge(served);
      return [
        findings.rows.flatMap((row) => row.findings.map(({ code }) => code)),
        all
          .unseen(served, new Set(shown), new Set(looked.map((kind) => `${kind} ${signing}`)))
          .map((one) => [one.kind, one.state, one.path ?? '-', one.purposes.join()]),
      ];
    };
    const [a, b] = [made('a', 1, 2 * day), made('b', 2, day)];
    const both: [string, PublishedMetadata][] = [
      ['a', metadata('s')],
      ['b', metadata('s')],
    ];
    t.same(state([a, b], both, [b]), [[], [['apt', 'earlier', 'payloads/s', 'other']]]);
    t.same(state([a, b], both, [a]), [['OLD_RELEASE'], [['apt', 'nowhere', 'payloads/s', '']]]);
    t.same(state([b, a], both, [b])[0], [], 'in any order');
    t.same(
      state(
        [a, b],
        [
          ['a', metadata('s')],
          ['b', metadata('other')],
        ],
        [a],
      ),
      [[], [['apt', 'nowhere', 'payloads/other', '']]],
      'another suite',
    );
    t.same(
      state(
        [a, b],
        [
          ['a', metadata('other')],
          ['b', metadata('s')],
        ],
        [a],
      )[0],
      [],
      "what is another suite's is told elsewhere",
    );
    t.same(state([a, b, made('b', 0, 3 * day)], both, [a])[0], [], 'signed again is not new');
    for (const [age, codes, how] of [
      [uploadMs - 1, [], 'waiting'],
      [uploadMs, ['OLD_RELEASE'], 'nowhere'],
      [1 - uploadMs, [], 'waiting'],
      [-uploadMs, ['OLD_RELEASE'], 'nowhere'],
    ] as const)
      t.same(
        state([a, made('b', 2, age)], both, [a]),
        [[...codes], [['apt', how, 'payloads/s', '']]],
        String(age),
      );
    t.same(
      state([a, made('b', 0, day, 'keys-fedora')], both, [a])[0],
      ['OLD_RELEASE'],
      'of another keys VM by its time',
    );
    t.same(state([a, made('b', 9, 3 * day, 'keys-fedora')], both, [a])[0], []);
    const later = made('b', 2, 60_000);
    t.same(
      state([a, later, made('c', 3, 30_000)], [...both, ['c', metadata('s')]], [later])[1],
      [
        ['apt', 'earlier', 'payloads/s', 'other'],
        ['apt', 'waiting', 'payloads/s', ''],
      ],
      'before and after the one that is served',
    );
    t.same(state([a], [], []), [[], [['unknown', 'not-public', '-', 'other']]]);
    t.same(
      state([a], [['a', undefined]], []),
      [[], []],
      'what is public and no metadata anybody can look at',
    );
    const until = (end?: string): PublishedMetadata => ({
      path: 'p',
      metadata: { kind: 'apt', names: ['s'], ...(end === undefined ? {} : { validUntil: end }) },
    });
    const endings = (payloads: [string, PublishedMetadata][], shown: Signature): unknown[] => {
      const findings = new Findings();
      const all = new SignedMetadata(
        [made('old', 0, 3 * day), a, b],
        new Map(payloads.map(([name, known]) => [sha256(name), known])),
        intentsOf(),
        findings,
        now,
      );
      const found = all.endings([
        { kind: 'apt', place: 'x/', suite: 's', path: 'InRelease', signature: shown },
      ]);
      const over = findings.rows
        .flatMap((row) => row.findings)
        .map(
          ({ code, found: words }) => `${code} ${words.includes(`(entry ${shown.entry.seq} of keys-debian`)}`,
        );
      return [...found.map(({ path, validUntil, earlier }) => [path, validUntil, earlier]), ...over];
    };
    const [past, to] = ['Sun, 29 Nov 2026 11:59:59 UTC', 'Mon, 30 Nov 2026 00:00:00 UTC'];
    t.same(
      endings(
        [
          ['a', until()],
          ['b', until()],
        ],
        b,
      ),
      [],
      'nothing to say',
    );
    t.same(
      endings(
        [
          ['a', until()],
          ['b', until(to)],
        ],
        b,
      ),
      [['x/InRelease', to, null]],
    );
    t.same(
      endings(
        [
          ['a', until(past)],
          ['b', until(to)],
        ],
        b,
      ),
      [['x/InRelease', to, past]],
    );
    t.same(
      endings(
        [
          ['a', until(past)],
          ['b', until()],
        ],
        b,
      ),
      [['x/InRelease', null, past]],
    );
    t.same(
      endings(
        [
          ['old', until(to)],
          ['a', until(past)],
          ['b', until()],
        ],
        b,
      ),
      [['x/InRelease', null, past]],
      'of the newest before it',
    );
    t.same(
      endings(
        [
          ['a', until(past)],
          ['old', until(to)],
          ['b', until()],
        ],
        b,
      ),
      [['x/InRelease', null, past]],
    );
    t.same(
      endings(
        [
          ['a', until()],
          ['b', until(to)],
        ],
        a,
      ),
      [],
      'a later one says nothing of it',
    );
    t.same(
      endings(
        [
          ['a', until()],
          ['b', until(past)],
        ],
        b,
      ),
      [['x/InRelease', past, null], 'EXPIRED_RELEASE true'],
    );
    const header = new SignedMetadata(
      [signatureOf()],
      new Map(),
      intentsOf(intentOf('rpm-header', 'rpm-header', 'd')),
      new Findings(),
      now,
    );
    t.equal(
      header.unseen([], new Set(), new Set([`apt ${signing}`])).length,
      0,
      'a package, where no DNF repository was looked at',
    );
    t.match(header.unseen([], new Set(), new Set([`dnf ${signing}`])), [
      { state: 'not-public', purposes: ['rpm-header'], payloadNames: ['rpm-header'], dists: ['d'] },
    ]);
    t.end();
  },
);
