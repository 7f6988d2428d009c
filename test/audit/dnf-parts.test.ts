// SPDX-License-Identifier: GPL-2.0-or-later
// The parts of the audit that look at a DNF repository, each alone, on packages and metadata made here byte
// by byte; attacks-dnf.test.ts has them made by rpmbuild, rpmsign and createrepo_c.
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import tap from 'tap';
import { isAbout, readPrimary, readRepomd } from '../../agents/published/packages/dnf-metadata.js';
import { placeOf } from '../../agents/audit/dnf-repository.js';
import { readPackage } from '../../agents/published/packages/rpm-package.js';
import { sha256, type Farm, removedAfter } from './farm.js';
import {
  header,
  payload,
  headerOf,
  rpm,
  hash,
  rpmNamespace,
  repomdOf,
  primaryOf,
  secondOf,
  type Data,
  suites,
  at,
  put,
  signIn,
  addPackage,
  publish,
  moon,
  sun,
} from './made-dnf.js';
import { pens } from './pens.js';
import { look, good as aptGood } from './served-farm.js';
import { servedFarm } from './unwritten-farm.js';

tap.setTimeout(300_000);
async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size)
    yield Promise.resolve(bytes.subarray(at, at + size)) as unknown as Buffer;
}

void tap.test(
  'a package says who it is, what is signed, and whether its payload is the signed one, in pieces of any size',
  async (t) => {
    const head = headerOf('moon');
    const [one, two] = [Buffer.from('a signature'), Buffer.from('another')];
    const whole = rpm(head, [
      [268, 7, one],
      [278, 8, [two.toString('base64')]],
      [1000, 4, 5],
    ]);
    for (const size of [1, 7, 96, 1000]) {
      const { found, ...rest } = await readPackage(pieces(whole, size));
      t.same(rest, { size: whole.length, sha256: sha256(whole) }, `pieces of ${size}`);
      t.same(found, {
        name: 'moon',
        epoch: '0',
        version: '1',
        release: '2',
        arch: 'noarch',
        header: head,
        signatures: [one, two],
        payloadIsSigned: true,
      });
    }
    const of = async (bytes: Buffer): Promise<Awaited<ReturnType<typeof readPackage>>['found']> =>
      (await readPackage(pieces(bytes, 64))).found;
    t.same(
      (
        await of(
          rpm(head, [
            [267, 7, one],
            [268, 7, two],
            [1002, 7, one],
            [1005, 7, two],
          ]),
        )
      )?.signatures.length,
      4,
    );
    t.match(await of(rpm(headerOf('moon', [[1003, 4, 7]], [1044]))), {
      epoch: '7',
      arch: 'src',
      signatures: [],
    });
    for (const [what, bytes] of Object.entries({
      'another payload': rpm(head, [], Buffer.from('what is pAcked')),
      'a longer one': rpm(head, [], Buffer.concat([payload, payload])),
      'no digest': rpm(headerOf('moon', [], [5092])),
      'another algorithm': rpm(headerOf('moon', [[5093, 4, 10]], [5093])),
      'no algorithm': rpm(headerOf('moon', [], [5093])),
      'two digests': rpm(headerOf('moon', [[5092, 8, [sha256(payload), sha256('x')]]], [5092])),
      'a digest of another type': rpm(
        headerOf('moon', [[5092, 7, Buffer.from(`${sha256(payload)}\0`)]], [5092]),
      ),
      'an algorithm of another type': rpm(headerOf('moon', [[5093, 3, 8]], [5093])),
    }))
      t.equal((await of(bytes))?.payloadIsSigned, false, what);
    t.match(await of(rpm(headerOf('moon', [[1000, 8, ['a', 'b']]], [1000]))), { name: '' }, 'not one name');
    t.match(
      await of(rpm(headerOf('moon', [[1003, 6, ['7']]]))),
      { epoch: '0' },
      'an epoch that is no number',
    );
    // Its epoch is the eighth entry: one that lies behind the end, and two numbers.
    for (const [at, value] of [
      [8, 0x10000000],
      [12, 2],
    ] as const) {
      const odd = headerOf('moon', [[1003, 4, 7]]);
      odd.writeUInt32BE(value, 16 + 7 * 16 + at);
      t.match(await of(rpm(odd)), { epoch: '0' });
    }
    t.match(
      await of(rpm(head, [[268, 6, ['x']]])),
      { signatures: [Buffer.alloc(0)] },
      'a signature that is no bytes',
    );
    const changed = (at: number, value: number, bytes = whole): Buffer =>
      Buffer.from(bytes.map((byte, i) => (i === at ? value : byte)));
    const start = whole.indexOf(head);
    for (const [what, bytes] of Object.entries({
      nothing: Buffer.alloc(0),
      'a lead alone': whole.subarray(0, 96),
      'half a header': whole.subarray(0, start + 40),
      'no header': whole.subarray(0, start),
      'another lead': changed(0, 0),
      'no signature header': changed(96, 0),
      'no header where one has to be': changed(start, 0),
      'a huge signature header': changed(96 + 12, 0x10),
      'a huge header': changed(start + 12, 0x10),
      'a tag twice': rpm(headerOf('moon', [[1000, 6, ['sun']]])),
      'a signature tag twice': rpm(head, [
        [268, 7, one],
        [268, 7, two],
      ]),
    }))
      t.equal(await of(bytes), undefined, what);
    const unended = header([[1000, 6, ['moon']]]).subarray(0, -1);
    unended.writeUInt32BE(4, 12);
    t.match(await of(rpm(unended, [], Buffer.alloc(0))), { name: '' }, 'a text without an end');
  },
);

void tap.test('repomd.xml is three lists, once each, as createrepo_c writes them', (t) => {
  const all = ['primary', 'filelists', 'other'].map((type): Data => ({
    type,
    packed: Buffer.from(`packed ${type}`),
    text: Buffer.from(type),
  }));
  const good = repomdOf(all, 'fc41-current');
  const packed = Buffer.from('packed primary');
  t.equal(readRepomd(good)?.content, 'fc41-current');
  t.same(readRepomd(good)?.files.primary, {
    type: 'primary',
    path: `repodata/${sha256(packed)}-primary.xml.gz`,
    size: packed.length,
    sha256: sha256(packed),
    open: { size: 7, sha256: sha256('primary') },
  });
  t.equal(readRepomd(good.replace(/<tags>.*<\/tags>/, ''))?.content, undefined);
  t.ok(readRepomd(good.replace(/<tags>.*<\/tags>/, '')));
  t.ok(readRepomd(good.replaceAll('><', '>\n <')), 'blanks between');
  const edits: [string | RegExp, string][] = [
    ['<repomd ', '<other '],
    ['</repomd>', '</other>'],
    ['metadata/repo"', 'metadata/x"'],
    ['metadata/rpm"', 'metadata/x"'],
    [rpmNamespace, ''],
    [rpmNamespace, `${rpmNamespace} x="y"`],
    ['<revision>1</revision>', ''],
    ['<revision>1', '<revision>x'],
    ['<revision>1', '<revision>01'],
    ['<revision>1</revision>', '<revision>1</revision><revision>1</revision>'],
    ['<revision>', '<revision x="y">'],
    ['<revision>1', '<revision><x/>'],
    ['<tags>', '<tags x="y">'],
    ['<tags><content>fc41-current</content>', '<tags>'],
    ['</content>', '</content><distro>x</distro>'],
    ['<tags>', '<tags/><tags>'],
    ['<tags>', 'x<tags>'],
    [/<data type="other">.*?<\/data>/, ''],
    [/<data type="other">.*?<\/data>/, '$&$&'],
    ['type="other"', 'type="primary"'],
    ['type="primary"', 'type="primary" x="y"'],
    ['-primary.xml', '-other.xml'],
    ['-primary.xml.gz', '-primary.xml.xz'],
    ['href="repodata', 'href="x'],
    ['href="repodata', 'xml:base="x" href="repodata'],
    [/<location [^>]*>/, ''],
    [/<location [^>]*>/, '$&$&'],
    [/<location ([^>]*)\/>/, '<location $1>x</location>'],
    ['checksum type="sha256"', 'checksum type="sha"'],
    ['open-checksum type="sha256"', 'open-checksum type="sha"'],
    ['checksum type="sha256"', 'checksum'],
    [sha256(packed), hash('c')],
    [sha256('primary'), 'x'],
    [sha256('primary'), hash('C')],
    ['<timestamp>1', '<timestamp>x'],
    ['<timestamp>1</timestamp>', ''],
    ['<size>14', '<size>014'],
    ['<size>14</size>', ''],
    ['<open-size>7', '<open-size>-7'],
    ['<open-size>7</open-size>', ''],
    ['<size>', '<header-size>1</header-size><size>'],
    ['<size>', 'x<size>'],
    ['<size>14', '<size>1234567890123456'],
  ];
  for (const [from, to] of edits) {
    t.not(good.replace(from, to), good, `${String(from)} is there`);
    t.equal(readRepomd(good.replace(from, to)), undefined, `${String(from)} → ${to}`);
  }
  t.end();
});

void tap.test('the lists are about the same packages, once each', (t) => {
  const good = primaryOf([moon, sun]);
  t.same(readPrimary(good), [moon, sun]);
  t.same(readPrimary(primaryOf([])), []);
  t.ok(readPrimary(good.replaceAll('><', '>\n<')));
  const edits: [string | RegExp, string][] = [
    ['<metadata ', '<other '],
    ['metadata/common', 'metadata/x'],
    ['packages="2"', 'packages="1"'],
    ['packages="2"', 'packages="3"'],
    ['packages="2"', 'packages="02"'],
    ['packages="2"', 'packages="2" x="y"'],
    ['metadata/rpm"', 'metadata/x"'],
    ['</metadata>', 'x</metadata>'],
    ['<package type="rpm">', '<package>'],
    ['type="rpm"', 'type="deb"'],
    ['type="rpm"', 'type="rpm" x="y"'],
    ['<name>', 'x<name>'],
    ['<name>moon</name>', ''],
    ['<name>moon</name>', '<name>moon</name><name>moon</name>'],
    ['<name>moon', '<name><x/>'],
    ['<name>', '<name x="y">'],
    ['<arch>noarch</arch>', ''],
    ['epoch="0" ', ''],
    ['rel="2"', 'rel="2" x="y"'],
    ['pkgid="YES"', 'pkgid="NO"'],
    ['checksum type="sha256"', 'checksum type="sha512"'],
    [hash('a'), hash('b')],
    [hash('a'), 'a'],
    ['<url/>', ''],
    ['<url/>', '<mirror/>'],
    ['file="1" ', ''],
    ['package="1" ', ''],
    ['package="1"', 'package="x"'],
    ['href="packages/moon', 'href="packages/../moon'],
    ['href="packages/moon', 'href="moon'],
    ['href="packages/moon-1-2.noarch.rpm', 'href="packages/moon'],
    ['href="packages/moon', 'href="packages/.moon'],
    ['href="packages/moon', 'xml:base="x" href="packages/moon'],
    ['packages/moon-1-2', 'packages/sun-1-2'],
    ['<format>', '<format x="y">'],
    ['<format>', '<format>x'],
    ['<rpm:license>x</rpm:license>', '<rpm:license>x</rpm:license><rpm:license>x</rpm:license>'],
    ['<rpm:license>x</rpm:license>', '<rpm:other/>'],
    ['<rpm:license>x</rpm:license>', '<license>x</license>'],
    ['<rpm:entry name="x"/>', '<rpm:entry><x/></rpm:entry>'],
    ['<rpm:entry name="x"/>', '<entry/>'],
    ['<file>/x</file>', '<file><x/></file>'],
    ['<name>moon', '<name>sun'],
    [/<package [^]*?<\/package>/, '$&$&'],
    ['<package type="rpm">', '<x/><package type="rpm">'],
  ];
  for (const [from, to] of edits) {
    t.not(good.replace(from, to), good, `${String(from)} is there`);
    // Another name alone is another package: that of the same place, and the same name, is not.
    t.equal(
      from === '<name>moon' && to === '<name>sun' ? undefined : readPrimary(good.replace(from, to)),
      undefined,
      `${String(from)} → ${to}`,
    );
  }
  t.equal(
    readPrimary(good.replace('<name>moon', '<name>sun').replace('packages/moon', 'packages/x')),
    undefined,
    'two of one name',
  );
  for (const type of ['filelists', 'other'] as const) {
    const text = secondOf(type, [moon, sun]);
    t.ok(isAbout(type, text, [moon, sun]));
    t.ok(isAbout(type, text, [sun, moon]));
    t.notOk(isAbout(type, text, [moon]));
    t.notOk(isAbout(type, secondOf(type, [moon]), [moon, sun]));
    for (const change of [
      { name: 'x' },
      { sha256: hash('c') },
      { arch: 'x86_64' },
      { epoch: '1' },
      { version: '2' },
      { release: '3' },
    ])
      t.notOk(isAbout(type, text, [{ ...moon, ...change }, sun]), JSON.stringify(change));
    for (const [from, to] of [
      ['<package ', '<package x="y" '],
      ['<version ', '<other '],
      ['rel="2"', ''],
      ['rel="2"/>', 'rel="2">x</version>'],
      [
        type === 'filelists' ? '<file>' : '<changelog ',
        type === 'filelists' ? '<dir/><file>' : '<dir/><changelog ',
      ],
      [type === 'filelists' ? 'type="dir"' : 'date="1"', 'x="y"'],
      [type === 'filelists' ? '<file>/y' : '>x<', type === 'filelists' ? '<file><x/>' : '><x/><'],
      [`metadata/${type}"`, 'metadata/x"'],
      ['packages="2"', 'packages="3"'],
    ] as const) {
      t.not(text.replace(from, to), text, from);
      const bad = text.replace(from, to);
      if (!(from === 'rel="2"/>')) t.notOk(isAbout(type, bad, [moon, sun]), `${from} → ${to}`);
    }
  }
  t.end();
});

void tap.test('the last names of an address are a distribution and perhaps a suite', (t) => {
  const three = (dist: string): object[] =>
    ['current-testing', 'current', 'security-testing'].map((folder) => ({
      folder,
      codename: `${dist}-${folder}`,
    }));
  t.same(
    placeOf('/x/fc41', () => []),
    { dist: 'fc41', suites: three('fc41') },
  );
  t.same(
    placeOf('https://x.example/dnf/fc41//', () => []),
    { dist: 'fc41', suites: three('fc41') },
  );
  t.same(
    placeOf('/x/fc41/current', () => []),
    { dist: 'fc41', suites: [{ folder: '', codename: 'fc41-current' }] },
  );
  t.same(placeOf('/x/fc41/unstable', () => []).dist, 'unstable');
  t.match(
    placeOf('x/templates-r4.3', () => []).suites.map(({ folder }) => folder),
    ['templates-itl-testing', 'templates-itl', 'templates-community-testing', 'templates-community'],
  );
  t.same(placeOf('x/templates-r4.3/current', () => []).dist, 'current');
  t.end();
});

const good = servedFarm(aptGood);
const both = ['moon', 'sun'].map((name) => addPackage(good, name));
for (const suite of suites) publish(good, suite, suite === 'current-testing' ? both : []);
put(good, 'key.asc', 'x');
tap.teardown(() => good.remove());
const repomd = 'current-testing/repodata/repomd.xml';
const moonPath = 'current-testing/packages/moon-1-2.noarch.rpm';
const edit = (farm: Farm, path: string, change: (text: string) => string): void =>
  writeFileSync(at(farm, path), change(readFileSync(at(farm, path), 'latin1')), 'latin1');

const cases: [string, string[], (farm: Farm) => void, string?][] = [
  ['nothing', [], () => undefined],
  [
    'a key that has its own name, and who made it',
    [],
    (farm) => ['made-by.json', `keys/${'A'.repeat(40)}.asc`].forEach((path) => put(farm, path, 'x')),
  ],
  [
    'metadata of an earlier generation',
    [],
    (farm) => put(farm, `current-testing/repodata/${sha256('x')}-primary.xml.gz`, 'x'),
  ],
  [
    'metadata under a hash that they do not have',
    ['dnf-files WRONG_SHA256'],
    (farm) => put(farm, `current-testing/repodata/${sha256('y')}-primary.xml.gz`, 'x'),
    `current-testing/repodata/${sha256('y')}-primary.xml.gz`,
  ],
  [
    'metadata of none of the lists',
    ['dnf-files UNLISTED_FILE'],
    (farm) => put(farm, `current-testing/repodata/${sha256('x')}-updateinfo.xml.gz`, 'x'),
  ],
  [
    'metadata in another place',
    ['dnf-files UNLISTED_FILE'],
    (farm) => put(farm, `repodata/${sha256('x')}-primary.xml.gz`, 'x'),
  ],
  [
    'another file',
    ['dnf-files UNLISTED_FILE'],
    (farm) => put(farm, 'current-testing/mirrorlist', 'x'),
    'current-testing/mirrorlist',
  ],
  [
    'a suite that is gone',
    ['dnf-signatures FILE_MISSING'],
    (farm) => rmSync(at(farm, 'current'), { recursive: true }),
    'current/repodata/repomd.xml',
  ],
  [
    'all suites gone',
    ['dnf-signatures FILE_MISSING'],
    (farm) => suites.forEach((suite) => rmSync(at(farm, suite), { recursive: true })),
    repomd,
  ],
  [
    'metadata without a signature',
    ['dnf-signatures NOT_SIGNED'],
    (farm) => rmSync(at(farm, `${repomd}.asc`)),
    `${repomd}.asc`,
  ],
  [
    'a signature without metadata',
    ['dnf-files UNLISTED_FILE', 'dnf-signatures FILE_MISSING'],
    (farm) => {
      rmSync(at(farm, repomd));
      put(farm, 'current-testing/x', '');
    },
    repomd,
  ],
  [
    'metadata signed by a stranger',
    ['dnf-signatures SIGNATURE_NOT_IN_JOURNAL', 'dnf-signatures WRONG_KEY'],
    (farm) => put(farm, `${repomd}.asc`, pens.sign('stranger', 'detach', readFileSync(at(farm, repomd)))),
    `${repomd}.asc`,
  ],
  [
    'metadata signed in secret',
    ['dnf-signatures NO_ORIGIN', 'dnf-signatures SIGNATURE_NOT_IN_JOURNAL'],
    (farm) => put(farm, `${repomd}.asc`, pens.sign('signing', 'detach', readFileSync(at(farm, repomd)))),
    `${repomd}.asc`,
  ],
  [
    'other metadata than the signed ones',
    ['dnf-signatures BAD_SIGNATURE', 'dnf-signatures WRONG_PAYLOAD'],
    (farm) => edit(farm, repomd, (text) => text.replace('<revision>1', '<revision>2')),
    `${repomd}.asc`,
  ],
  [
    'metadata announced as something else',
    ['dnf-signatures WRONG_PURPOSE'],
    (farm) => publish(farm, 'current-testing', both, { purpose: 'other' }),
    `${repomd}.asc`,
  ],
  [
    'metadata of another suite, which are then the newest of that',
    ['dnf-signatures OLD_RELEASE', 'dnf-signatures RELEASE_DIFFERS'],
    (farm) =>
      publish(farm, 'current-testing', both, {
        repomd: (text) => text.replace('fc41-current-testing', 'fc41-current'),
      }),
    repomd,
  ],
  [
    'metadata that say of no suite',
    ['dnf-signatures RELEASE_DIFFERS'],
    (farm) =>
      publish(farm, 'current-testing', both, { repomd: (text) => text.replace(/<tags>.*<\/tags>/, '') }),
    repomd,
  ],
  [
    'metadata that cannot be read',
    ['dnf-files BAD_INDEX'],
    (farm) =>
      publish(farm, 'current-testing', both, {
        repomd: (text) => text.replace('<revision>', '<x/><revision>'),
      }),
    repomd,
  ],
  [
    'packages that cannot be read',
    ['dnf-files BAD_INDEX'],
    (farm) =>
      publish(farm, 'current-testing', both, {
        lists: { primary: primaryOf(both).replace('packages="2"', 'packages="3"') },
      }),
  ],
  [
    'files of other packages',
    ['dnf-files BAD_INDEX'],
    (farm) =>
      publish(farm, 'current-testing', both, { lists: { filelists: secondOf('filelists', [moon, sun]) } }),
  ],
  [
    'changes of other packages',
    ['dnf-files BAD_INDEX'],
    (farm) => publish(farm, 'current-testing', both, { lists: { other: secondOf('other', [moon, sun]) } }),
  ],
  [
    'lists of two members',
    ['dnf-files BAD_INDEX'],
    (farm) =>
      publish(farm, 'current-testing', both, {
        pack: (text) => Buffer.concat([gzipSync(text), gzipSync('')]),
      }),
  ],
  [
    'a list that is longer than it says',
    ['dnf-files BAD_INDEX'],
    (farm) =>
      publish(farm, 'current-testing', both, {
        repomd: (text) =>
          text.replace(/<open-size>(\d+)/, (_, size: string) => `<open-size>${Number(size) + 1}`),
      }),
  ],
  [
    'a list with another hash inside',
    ['dnf-files BAD_INDEX'],
    (farm) =>
      publish(farm, 'current-testing', both, {
        repomd: (text) => text.replace(/(<open-checksum type="sha256">)[0-9a-f]{64}/, `$1${hash('c')}`),
      }),
  ],
  [
    'a list that is gone',
    ['dnf-files FILE_MISSING'],
    (farm) =>
      rmSync(
        at(
          farm,
          `current/repodata/${readdirSync(at(farm, 'current/repodata')).find((name) => name.includes('filelists')) as string}`,
        ),
      ),
  ],
  [
    'a list that is longer',
    ['dnf-files WRONG_SIZE'],
    (farm) =>
      edit(
        farm,
        `current/repodata/${readdirSync(at(farm, 'current/repodata')).find((name) => name.includes('filelists')) as string}`,
        (text) => `${text}x`,
      ),
  ],
  ['a package that is gone', ['dnf-files FILE_MISSING'], (farm) => rmSync(at(farm, moonPath)), moonPath],
  [
    'a package that is none',
    ['dnf-files WRONG_SIZE', 'dnf-signatures NOT_SIGNED'],
    (farm) => put(farm, moonPath, 'none'),
    moonPath,
  ],
  [
    'a package with a byte behind it',
    ['dnf-files WRONG_SIZE', 'dnf-signatures WRONG_PAYLOAD'],
    (farm) => edit(farm, moonPath, (text) => `${text}x`),
    moonPath,
  ],
  [
    'a package with another payload',
    ['dnf-files WRONG_SHA256', 'dnf-signatures WRONG_PAYLOAD'],
    (farm) => edit(farm, moonPath, (text) => text.replace('what is packed', 'what is pAcked')),
    moonPath,
  ],
  [
    'a package without a signature',
    ['dnf-signatures NOT_SIGNED'],
    (farm) => put(farm, 'current-testing/packages/star-1-2.noarch.rpm', rpm(headerOf('star'))),
    'current-testing/packages/star-1-2.noarch.rpm',
  ],
  [
    'a package with two signatures',
    ['dnf-signatures BAD_SIGNATURE'],
    (farm) => {
      const signature = signIn(farm, {
        purpose: 'rpm-header',
        name: 'rpm-header',
        mode: 'detach',
        payload: headerOf('star'),
      });
      put(
        farm,
        'current-testing/packages/star-1-2.noarch.rpm',
        rpm(headerOf('star'), [
          [267, 7, signature],
          [268, 7, signature],
        ]),
      );
    },
    'current-testing/packages/star-1-2.noarch.rpm',
  ],
  ['a package that no index lists', [], (farm) => void addPackage(farm, 'star')],
  [
    'a large package that no index lists',
    [],
    (farm) => {
      const data = Buffer.alloc(3 * 1024 * 1024);
      void addPackage(farm, 'star', { head: headerOf('star', [[5092, 8, [sha256(data)]]], [5092]), data });
    },
  ],
  [
    'a package that is announced as something else',
    ['dnf-signatures WRONG_PURPOSE'],
    (farm) => void addPackage(farm, 'star', { purpose: 'other' }),
    'current-testing/packages/star-1-2.noarch.rpm',
  ],
  [
    'a package that says of no origin',
    ['dnf-signatures NO_ORIGIN'],
    (farm) => void addPackage(farm, 'star', { words: () => [] }),
  ],
  [
    'a package whose header fixes no payload',
    ['dnf-signatures WRONG_PAYLOAD'],
    (farm) => void addPackage(farm, 'star', { head: headerOf('star', [], [5092]) }),
  ],
  [
    'a package under another file name',
    ['dnf-files BAD_INDEX'],
    (farm) => void addPackage(farm, 'star', { file: 'bash-1-2.noarch.rpm' }),
    'current-testing/packages/bash-1-2.noarch.rpm',
  ],
  [
    'a package that the index calls otherwise',
    ['dnf-files BAD_INDEX'],
    (farm) =>
      publish(
        farm,
        'current-testing',
        both.map((one) => (one.name === 'moon' ? { ...one, name: 'bash' } : one)),
      ),
    moonPath,
  ],
];
for (const [name, expected, change, path] of cases) {
  void tap.test(`a DNF repository with ${name}`, async (t) => {
    const farm = removedAfter(t, servedFarm(good));
    change(farm);
    const { codes, rows } = await look(farm, { dnf: true, apt: false });
    t.same(codes, expected);
    const findings = rows.flatMap((row) => row.findings);
    if (path !== undefined)
      t.ok(
        findings.some((finding) => finding.path === path),
        `names ${path}`,
      );
    for (const { expected: wanted, found } of findings) t.ok(wanted && found);
  });
}
void tap.test(
  'what is looked at is counted; one suite alone, another distribution, and what is not there yet',
  async (t) => {
    const { rows, unseen } = await look(good, { dnf: true });
    t.same(
      ['dnf-signatures', 'dnf-files'].map((name) => rows.find((row) => row.name === name)?.count),
      [5, 11],
    );
    t.same(unseen, []);
    t.same((await look(good, { dnf: join(good.dnf, 'current-testing') })).codes, []);
    const farm = removedAfter(t, servedFarm(good));
    renameSync(farm.dnf, join(farm.top, 'fc42'));
    t.same((await look(farm, { dnf: join(farm.top, 'fc42') })).codes, [
      'dnf-signatures RELEASE_DIFFERS',
      'dnf-signatures WRONG_NAME',
    ]);
    mkdirSync(join(farm.top, 'fc43'));
    writeFileSync(join(farm.top, 'fc43/notes'), 'x');
    t.same((await look(farm, { dnf: join(farm.top, 'fc43') })).codes, [], 'nothing was ever announced');
    const newer = removedAfter(t, servedFarm(good));
    const old = ['repomd.xml', 'repomd.xml.asc'].map((name): [string, Buffer] => [
      name,
      readFileSync(at(newer, `current/repodata/${name}`)),
    ]);
    publish(newer, 'current', [], { repomd: (text) => text.replace('<revision>1', '<revision>2') });
    t.match((await look(newer, { dnf: true })).unseen, [
      { kind: 'dnf', state: 'earlier', names: ['fc41-current'] },
    ]);
    for (const [name, data] of old) put(newer, `current/repodata/${name}`, data);
    t.same((await look(newer, { dnf: true })).codes, ['dnf-signatures OLD_RELEASE']);
  },
);
