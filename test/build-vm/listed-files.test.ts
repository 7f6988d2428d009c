// SPDX-License-Identifier: GPL-2.0-or-later
// Files that a tree lists: a real https server, real signatures, and in each case one thing that is bad.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as openpgp from 'openpgp';
import t from 'tap';
import { verifyOneSignature } from '../../agents/build-vm/signatures/one-signature.js';
import { buildRpm } from '../../agents/engines/rpm/engine.js';
import { downloadLimits } from '../../agents/build-vm/source/downloads.js';
import { unpack } from '../../agents/engines/source-tree/unpacking.js';
import { alice, endForge, keys, situation, type Situation } from './fetching.js';
import { chrootCache } from '../support/clean-chroots.js';
import { until } from '../support/until.js';
import { FileServer, type Answer } from './file-server.js';
import { tinyPackage, type TreeFile } from './forge.js';
import { engineJob, Lines, makePlace, tinySpec, writeTree } from './rpm-packages.js';

const server = new FileServer();
await server.start();
t.teardown(() => {
  server.end();
  endForge();
});

const bytes = Buffer.from('the bytes of a release\n'.repeat(400));
const hashOf = (kind: string, what: Buffer | string = bytes): string =>
  createHash(kind).update(what).digest('hex');
const upstream = keys.make('upstream');
const other = keys.make('other');
const short = keys.make('short', 'seconds=2');
const signatureBy = (key: typeof upstream): string => keys.sign([key], bytes.toString());
const signedByShort = signatureBy(short);
const binarySignature = keys.gpg(['--detach-sign', '--local-user', upstream.fingerprint], bytes);
server.answers.set('/hello-1.0.tar.gz', bytes);
server.answers.set('/second-1.0.tar.gz', bytes);
server.answers.set('/hello-1.0.tar.gz.asc', Buffer.from(signatureBy(upstream)));
server.answers.set('/hello-1.0.tar.gz.sig', binarySignature);

const good = (): Record<string, unknown> => ({
  url: server.url('/hello-1.0.tar.gz'),
  sha256: hashOf('sha256'),
});
const signed = (signature = server.url('/hello-1.0.tar.gz.asc')): Record<string, unknown> => ({
  url: server.url('/hello-1.0.tar.gz'),
  signature,
  pubkeys: ['keys/upstream.asc'],
});
const list = (...files: unknown[]): TreeFile => ({
  path: '.qubesbuilder',
  content: `vm:\n  deb:\n    build: [debian]\n  rpm:\n    build: [demo-rpm.spec]\nsource:\n  files: ${JSON.stringify(files)}\n`,
});
const otherFile: TreeFile = { path: 'keys/other.asc', content: other.armored };
const byBoth = (): Record<string, unknown> => ({
  ...signed('pins/hello.asc'),
  pubkeys: ['keys/upstream.asc', 'keys/other.asc'],
});
const forty = Array.from({ length: 39 }, (_, index) => keys.make(`many${index}`).fingerprint);
const twice = ((): { before: string; after: string; signature: string } => {
  const day = 86_400;
  const ago = (days: number): string[] => [
    '--faked-system-time',
    `${Math.floor(Date.now() / 1000) - days * day}!`,
  ];
  keys.gpg([...ago(30), '--quick-gen-key', 'twice <twice@example.org>', 'ed25519', 'sign', '10d']);
  const { fingerprint, armored } = keys.exported('twice');
  const signature = keys
    .gpg([...ago(25), '--armor', '--detach-sign', '--local-user', fingerprint], bytes)
    .toString();
  keys.gpg(['--quick-set-expire', fingerprint, '1y']);
  return { before: armored, after: keys.exported('twice').armored, signature };
})();
const keyFile: TreeFile = { path: 'keys/upstream.asc', content: upstream.armored };
const treeOf = (...extra: TreeFile[]): TreeFile[] => tinyPackage('1.0-1', extra);

function released(t: Parameters<typeof situation>[0], files: TreeFile[]): Situation {
  const s = situation(t);
  s.repository.release(keys, [alice], 'v1.0-1', files);
  return s;
}

for (const [way, files, said] of [
  ['its sha256', () => [list(good())], /verified by sha256/],
  [
    'its sha512',
    () => [list({ url: server.url('/hello-1.0.tar.gz'), sha512: hashOf('sha512') })],
    /verified by sha512/,
  ],
  [
    'a digest file of the tree',
    () => [
      list({ url: server.url('/hello-1.0.tar.gz'), sha512: 'pins/hello.sha512' }),
      { path: 'pins/hello.sha512', content: `${hashOf('sha512')}  hello-1.0.tar.gz\n` },
    ],
    /verified by sha512/,
  ],
  [
    'a signature beside it',
    () => [list(signed()), keyFile],
    new RegExp(`verified by signature https://\\S+ of ${upstream.fingerprint}`),
  ],
  [
    'a signature without armor',
    () => [list(signed(server.url('/hello-1.0.tar.gz.sig'))), keyFile],
    new RegExp(`of ${upstream.fingerprint}`),
  ],
  [
    'a signature in the tree',
    () => [
      list(signed('pins/hello.asc')),
      keyFile,
      { path: 'pins/hello.asc', content: signatureBy(upstream) },
    ],
    new RegExp(`verified by signature pins/hello.asc of ${upstream.fingerprint}`),
  ],
  [
    'one of two keys',
    () => [
      list({ ...signed(), pubkeys: ['keys/other.asc', 'keys/upstream.asc'] }),
      keyFile,
      { path: 'keys/other.asc', content: other.armored },
    ],
    new RegExp(`of ${upstream.fingerprint}`),
  ],
  [
    'one of twelve keys, listed once for two files',
    () => [
      {
        path: '.qubesbuilder',
        content: `source:\n  files:\n  - ${JSON.stringify(signed())
          .slice(0, -1)
          .replace(
            /,"pubkeys".*/,
            '',
          )}, "pubkeys": &keys ${JSON.stringify(Array.from({ length: 12 }, (_, index) => `keys/${index}.asc`))}}\n  - {"url": "${server.url('/second-1.0.tar.gz')}", "signature": "${server.url('/hello-1.0.tar.gz.asc')}", "pubkeys": *keys}\n`,
      },
      ...Array.from({ length: 12 }, (_, index) => ({
        path: `keys/${index}.asc`,
        content: index === 9 ? upstream.armored : other.armored,
      })),
    ],
    new RegExp(`of ${upstream.fingerprint}`),
  ],
  [
    'a signature whose armor has CRLF and no last line end',
    () => [
      list(signed('pins/hello.asc')),
      keyFile,
      { path: 'pins/hello.asc', content: signatureBy(upstream).replaceAll('\n', '\r\n').trimEnd() },
    ],
    new RegExp(`of ${upstream.fingerprint}`),
  ],
  [
    'two signatures in one block',
    () => [
      list(byBoth()),
      keyFile,
      otherFile,
      { path: 'pins/hello.asc', content: keys.sign([upstream, other], bytes.toString()) },
    ],
    new RegExp(
      `of ${upstream.fingerprint}, ${other.fingerprint}|of ${other.fingerprint}, ${upstream.fingerprint}`,
    ),
  ],
  [
    'two signatures in two blocks',
    () => [
      list(byBoth()),
      keyFile,
      otherFile,
      { path: 'pins/hello.asc', content: signatureBy(upstream) + signatureBy(other) },
    ],
    new RegExp(`of ${upstream.fingerprint}, ${other.fingerprint}`),
  ],
  [
    'one of forty keys in one file',
    () => [
      list(signed()),
      {
        path: 'keys/upstream.asc',
        content: keys.gpg(['--armor', '--export', ...forty, upstream.fingerprint]).toString(),
      },
    ],
    new RegExp(`of ${upstream.fingerprint}`),
  ],
  [
    'one of two keys in two blocks of one file, with CRLF',
    () => [
      list(signed()),
      {
        path: 'keys/upstream.asc',
        content: `Keys of the project:\r\n${(other.armored + upstream.armored).replaceAll('\n', '\r\n')}`,
      },
    ],
    new RegExp(`of ${upstream.fingerprint}`),
  ],
  [
    'a key that stands in one file as it ended, and as it was lengthened',
    () => [
      list(signed('pins/hello.asc')),
      { path: 'keys/upstream.asc', content: twice.before + twice.after },
      { path: 'pins/hello.asc', content: twice.signature },
    ],
    /verified by signature/,
  ],
  [
    'a version that stands in the tree',
    () => [
      list({ ...good(), url: server.url('/hello-@VERSION@.tar.gz') }),
      { path: 'version', content: '1.0\n' },
    ],
    /verified by sha256/,
  ],
] as [string, () => TreeFile[], RegExp][]) {
  void t.test(`a listed file is fetched, and is verified by ${way}`, async (t) => {
    const s = released(t, treeOf(...files()));
    const { folder, lines, evidence } = await s.fetch();
    const path = join(folder, 'source/hello-1.0.tar.gz');
    t.ok(readFileSync(path).equals(bytes));
    t.match(
      [lstatSync(path).mode & 0o777, lstatSync(path).nlink, lstatSync(path).mtimeMs],
      [0o644, 1, lstatSync(join(folder, 'source/hello-tiny.sh')).mtimeMs],
    );
    t.match(
      lines.find((line) => line.startsWith('downloaded ')),
      said,
    );
    t.ok(lines.includes(`${hashOf('sha256')} 100644 hello-1.0.tar.gz`), 'it is in the manifest');
    const manifest = lines.filter((line) => /^[0-9a-f]{64} /.test(line));
    t.equal(
      evidence.manifest.sha256,
      hashOf('sha256', Buffer.from(manifest.map((line) => `${line}\n`).join(''), 'latin1')),
    );
    t.equal(evidence.manifest.files, manifest.length);
    t.notOk(existsSync(join(folder, 'downloads')));
  });
}

for (const [what, entry, extra, code] of [
  ['another sha256', () => ({ ...good(), sha256: hashOf('sha256', 'x') }), [], 'OTHER_BYTES'],
  [
    'another sha512',
    () => ({ url: server.url('/hello-1.0.tar.gz'), sha512: hashOf('sha512', 'x') }),
    [],
    'OTHER_BYTES',
  ],
  [
    'a signature by another key',
    () => signed('pins/hello.asc'),
    [keyFile, { path: 'pins/hello.asc', content: signatureBy(other) }],
    'BAD_SIGNATURE',
  ],
  [
    'a signature over other bytes',
    () => signed('pins/hello.asc'),
    [keyFile, { path: 'pins/hello.asc', content: keys.sign([upstream], 'other bytes') }],
    'BAD_SIGNATURE',
  ],
  [
    'two signatures',
    () => signed('pins/hello.asc'),
    [keyFile, { path: 'pins/hello.asc', content: keys.sign([upstream, other], bytes.toString()) }],
    'BAD_SIGNATURE',
  ],
  [
    'something else in the place of the signature',
    () => signed(server.url('/hello-1.0.tar.gz')),
    [keyFile],
    'BAD_SIGNATURE',
  ],
  [
    'a signature by a key that is expired',
    () => ({ ...signed('pins/hello.asc'), pubkeys: ['keys/short.asc'] }),
    [
      { path: 'keys/short.asc', content: short.armored },
      { path: 'pins/hello.asc', content: signedByShort },
    ],
    'KEY_EXPIRED',
  ],
  ['no signature where it should be', () => signed(server.url('/nothing.asc')), [keyFile], 'DOWNLOAD_FAILED'],
  [
    'no file where it should be',
    () => ({ ...good(), url: server.url('/nothing.tar.gz') }),
    [],
    'DOWNLOAD_FAILED',
  ],
] as [string, () => object, TreeFile[], string][]) {
  void t.test(`a listed file with ${what} is refused, and nothing of it lies in the tree`, async (t) => {
    const s = released(t, treeOf(list(entry()), ...extra));
    // Later than the key that expires.
    t.equal(await s.code('v1.0-1', { now: new Date(Date.now() + 5000) }), code);
    t.notOk(existsSync(join(s.folder, 'source/hello-1.0.tar.gz')));
    t.notOk(existsSync(join(s.folder, 'downloads')));
  });
}

/** Without a length before; it ends, so that a limit which is broken fills no disk. */
const large: Answer = (_request, response) => {
  response.writeHead(200);
  for (let piece = 0; piece < 100; piece++) response.write(Buffer.alloc(100_000));
  response.end();
};
for (const [what, answer, code] of [
  [
    'ends before its length',
    (_request, response) =>
      void response
        .writeHead(200, { 'Content-Length': bytes.length })
        .write(bytes.subarray(0, 100), () => response.destroy()),
    'DOWNLOAD_FAILED',
  ],
  ['says nothing for ever', () => undefined, 'DOWNLOAD_FAILED'],
  [
    'never ends, drop by drop',
    (_request, response) => {
      response.writeHead(200);
      const timer = setInterval(() => response.write('x'), 100);
      response.on('close', () => clearInterval(timer));
    },
    'DOWNLOAD_FAILED',
  ],
  [
    'leads to http',
    (_request, response) =>
      void response.writeHead(302, { Location: server.plainUrl('/hello-1.0.tar.gz') }).end(),
    'DOWNLOAD_FAILED',
  ],
  [
    'leads to a file of this VM',
    (_request, response) => void response.writeHead(302, { Location: 'file:///etc/passwd' }).end(),
    'DOWNLOAD_FAILED',
  ],
  [
    'leads to itself',
    (_request, response) => void response.writeHead(302, { Location: server.url('/bad.tar.gz') }).end(),
    'DOWNLOAD_FAILED',
  ],
  [
    'is a fault of the server',
    (_request, response) => void response.writeHead(503).end(bytes),
    'DOWNLOAD_FAILED',
  ],
  [
    'says that it is too large',
    (_request, response) => void response.writeHead(200, { 'Content-Length': 10 ** 9 }).write('x'),
    'TOO_LARGE',
  ],
  ['is too large and does not say so', large, 'TOO_LARGE'],
] as [string, Answer, string][]) {
  void t.test(`a listed file whose server's answer ${what} is refused`, async (t) => {
    server.answers.set('/bad.tar.gz', answer);
    const s = released(t, treeOf(list({ ...good(), url: server.url('/bad.tar.gz') })));
    t.equal(
      await s.code('v1.0-1', {
        downloads: {
          bytes: 1_000_000,
          unpackedBytes: 1_000_000,
          timeoutMs: /ever|never/.test(what) ? 2000 : 60_000,
        },
      }),
      code,
    );
    t.notOk(existsSync(join(s.folder, 'source/bad.tar.gz')));
  });
}

void t.test('a server whose certificate nobody signed gives nothing', async (t) => {
  const before = process.env['CURL_CA_BUNDLE'] as string;
  delete process.env['CURL_CA_BUNDLE'];
  t.teardown(() => {
    process.env['CURL_CA_BUNDLE'] = before;
  });
  t.equal(await released(t, treeOf(list(good()))).code(), 'DOWNLOAD_FAILED');
});

void t.test('listed files share one limit', async (t) => {
  server.answers.set('/second.tar.gz', bytes);
  const s = released(t, treeOf(list(good(), { ...good(), url: server.url('/second.tar.gz') })));
  t.equal(
    await s.code('v1.0-1', { downloads: { ...downloadLimits(30_000), bytes: bytes.length + 100 } }),
    'TOO_LARGE',
  );
  t.equal(
    await s.code('v1.0-1', { downloads: { ...downloadLimits(30_000), bytes: bytes.length * 2 + 1 } }),
    'none',
  );
});

for (const [what, entries, extra] of [
  ['no way of verification', () => [{ url: server.url('/hello-1.0.tar.gz') }], []],
  ['two ways of verification', () => [{ ...good(), ...signed() }], [keyFile]],
  [
    'a signature and no keys',
    () => [{ url: server.url('/hello-1.0.tar.gz'), signature: server.url('/hello-1.0.tar.gz.asc') }],
    [],
  ],
  ['a key that is not in the tree', () => [signed()], []],
  ['a key that is none', () => [signed()], [{ path: 'keys/upstream.asc', content: 'no key' }]],
  [
    'keys that are a link',
    () => [signed()],
    [
      { path: 'real/upstream.asc', content: upstream.armored },
      { path: 'keys', content: 'real', mode: '120000' },
    ],
  ],
  ['a digest file outside of the tree', () => [{ ...good(), sha256: '../../../../../../etc/hostname' }], []],
  ['half a digest', () => [{ ...good(), sha256: hashOf('sha256').slice(0, 32) }], []],
  [
    'a digest file without a digest',
    () => [{ ...good(), sha256: 'pin' }],
    [{ path: 'pin', content: 'hello\n' }],
  ],
  ['the name of a file of the tree', () => [{ ...good(), url: server.url('/hello-tiny.sh') }], []],
  [
    'the name of a link of the tree',
    () => [good()],
    [{ path: 'hello-1.0.tar.gz', content: 'nowhere', mode: '120000' }],
  ],
  ['one name twice', () => [good(), { ...good(), url: server.url('/other/hello-1.0.tar.gz') }], []],
  ['a name that begins with a dot', () => [{ ...good(), url: server.url('/.bashrc') }], []],
  ['a name that begins with a dash', () => [{ ...good(), url: server.url('/--output') }], []],
  ['a name with an escape', () => [{ ...good(), url: server.url('/a%2fb') }], []],
  ['no name', () => [{ ...good(), url: server.url('/folder/') }], []],
  ['an http address', () => [{ ...good(), url: server.plainUrl('/hello-1.0.tar.gz') }], []],
  ['a file address', () => [{ ...good(), url: 'file:///etc/passwd' }], []],
  [
    'an address with a password',
    () => [{ ...good(), url: server.url('/hello-1.0.tar.gz').replace('https://', 'https://user:secret@') }],
    [],
  ],
  ['an address with a query', () => [{ ...good(), url: `${server.url('/hello-1.0.tar.gz')}?a=b` }], []],
  ['a list of addresses', () => [{ ...good(), url: [server.url('/hello-1.0.tar.gz')] }], []],
  [
    'a git address',
    () => [{ 'git-url': 'https://forge.example/a.git', tag: 'v1', pubkeys: ['keys/upstream.asc'] }],
    [keyFile],
  ],
  [
    'bytes to be unpacked of no packing that is known',
    () => [{ ...good(), url: server.url('/hello-1.0.tar.bz2'), uncompress: true }],
    [],
  ],
  ['nothing but a packing in its name', () => [{ ...good(), url: server.url('/.gz'), uncompress: true }], []],
  ['a wish to unpack that is neither yes nor no', () => [{ ...good(), uncompress: 'yes' }], []],
  [
    'the unpacked name of a file of the tree',
    () => [{ ...good(), url: server.url('/hello-tiny.sh.gz'), uncompress: true }],
    [],
  ],
  [
    'a packed file and the one that it unpacks to',
    () => [
      { ...good(), url: server.url('/a.tar.gz'), uncompress: true },
      { ...good(), url: server.url('/a.tar') },
    ],
    [],
  ],
  ['an unknown word', () => [{ ...good(), md5: 'x' }], []],
  [
    'a version that is none',
    () => [{ ...good(), url: server.url('/hello-@VERSION@.tar.gz') }],
    [{ path: 'version', content: '../1.0\n' }],
  ],
  [
    'more than thirty files',
    () => Array.from({ length: 31 }, (_, i) => ({ ...good(), url: server.url(`/a${i}`) })),
    [],
  ],
] as [string, () => unknown[], TreeFile[]][]) {
  void t.test(`a list with ${what} is refused before anything is asked`, async (t) => {
    const s = released(t, treeOf(list(...entries()), ...extra));
    const asked = server.asked.length;
    t.equal(await s.code(), what === 'a version that is none' ? 'VERSION_MISMATCH' : 'BAD_SOURCE_FILES');
    t.equal(server.asked.length, asked);
  });
}

for (const [what, content] of [
  ['a key twice', 'source: {}\nsource:\n  files: []\n'],
  [
    'aliases of aliases',
    `a: &a [x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b, *b]\nsource:\n  files: []\n`,
  ],
  ['a table in the place of the list', 'source:\n  files: {url: x}\n'],
  ['no YAML', 'source: ["\n'],
  ['no table', '- source\n'],
  ['too many bytes', `# ${'x'.repeat(70_000)}\n`],
] as const) {
  void t.test(`a list that is ${what} is refused`, async (t) => {
    t.equal(await released(t, treeOf({ path: '.qubesbuilder', content })).code(), 'BAD_SOURCE_FILES');
  });
}

void t.test('a list that is not UTF-8 is refused', async (t) => {
  const s = situation(t);
  const id = s.repository.git(['hash-object', '-w', '--stdin'], Buffer.from('# \xe4\n', 'latin1'));
  s.repository.release(keys, [alice], 'v1.0-1', treeOf({ path: '.qubesbuilder', id }));
  t.equal(await s.code(), 'BAD_SOURCE_FILES');
});

void t.test('a list that is a link is refused', async (t) => {
  t.equal(
    await released(t, treeOf({ path: '.qubesbuilder', content: 'README', mode: '120000' })).code(),
    'BAD_SOURCE_FILES',
  );
});

void t.test('a tree whose .qubesbuilder lists no files is as it was', async (t) => {
  for (const content of [
    'vm:\n  deb:\n    build: [debian]\n',
    'source:\n  modules: [sub]\n',
    'source:\n  files: []\n',
    '',
  ])
    t.equal(await released(t, treeOf({ path: '.qubesbuilder', content })).code(), 'none');
});

void t.test(
  'for engines alone that publish themselves nothing is fetched: they read the list in their own way',
  async (t) => {
    const s = released(t, treeOf(list({ 'git-url': 'https://forge.example/a.git' })));
    t.equal(await s.code('v1.0-1', { packages: new Set() }), 'none');
  },
);

void t.test(
  'an RPM is built of a tarball that was downloaded',
  process.getuid?.() === 0 ? {} : { skip: 'makes chroots, which needs root here' },
  async (t) => {
    const place = makePlace();
    t.teardown(() => place.end());
    writeTree(place.make('upstream'), { 'demo-rpm-1.2/greeting': 'hello from upstream\n' });
    const tarball = execFileSync('tar', [
      '--create',
      '--gzip',
      '--directory',
      join(place.folder, 'upstream'),
      'demo-rpm-1.2',
    ]);
    server.answers.set('/demo-rpm-1.2.tar.gz', tarball);
    const spec = tinySpec().replace('Source0: ', `Source0: ${server.url('/')}`);
    const files = [
      { path: 'demo-rpm.spec', content: spec },
      list({ url: server.url('/demo-rpm-1.2.tar.gz'), sha256: hashOf('sha256', tarball) }),
    ];
    const s = situation(t);
    s.repository.release(keys, [alice], 'v1.2-1', files);
    const { folder } = await s.fetch('v1.2-1', { packages: new Set(['rpm']) });
    mkdirSync(chrootCache, { recursive: true });
    const job = engineJob(place, join(folder, 'source'), { cache: chrootCache });
    const log = new Lines();
    await buildRpm(job, log).catch((error: unknown) => t.fail(`${String(error)} ${log.text().slice(-3000)}`));
    t.strictSame(readdirSync(job.output).sort(), ['demo-rpm-1.2-1.noarch.rpm', 'demo-rpm-1.2-1.src.rpm']);
    t.match(log.text(), /source demo-rpm-1\.2\.tar\.gz: from the tree/);
    const built = execFileSync('rpm2archive', ['--nocompression', '-'], {
      input: readFileSync(join(job.output, 'demo-rpm-1.2-1.noarch.rpm')),
    });
    t.ok(built.includes('hello from upstream'));
  },
);

void t.test("what a kill left between download and tree is in nobody's way", async (t) => {
  const s = released(t, treeOf(list(good())));
  await s.fetch();
  const before = readdirSync(join(s.folder, 'source'));
  // As after a kill: the file in the tree, another beside it half verified, and a trap where it would be
  // written.
  mkdirSync(join(s.folder, 'downloads'));
  writeFileSync(join(s.folder, 'downloads/left'), 'half');
  symlinkSync(join(s.folder, 'trap'), join(s.folder, 'downloads/hello-1.0.tar.gz'));
  const { folder } = await s.fetch();
  t.strictSame(readdirSync(join(folder, 'source')), before);
  t.ok(readFileSync(join(folder, 'source/hello-1.0.tar.gz')).equals(bytes));
  t.notOk(existsSync(join(folder, 'trap')));
});

const packers = { gz: ['gzip', '-9'], xz: ['xz', '-9'] } as const;
const packed = (kind: keyof typeof packers, what: Buffer): Buffer =>
  execFileSync(packers[kind][0], [packers[kind][1], '--stdout'], { input: what, maxBuffer: 2 ** 28 });
const toUnpack = (kind: string, change: Record<string, unknown> = {}): Record<string, unknown> => ({
  url: server.url(`/unpacked-1.0.tar.${kind}`),
  signature: server.url('/hello-1.0.tar.gz.asc'),
  pubkeys: ['keys/upstream.asc'],
  uncompress: true,
  ...change,
});

for (const kind of ['gz', 'xz'] as const) {
  void t.test(
    `a file that is packed as ${kind} and signed as what it unpacks to is verified, and handed on, unpacked`,
    async (t) => {
      server.answers.set(`/unpacked-1.0.tar.${kind}`, packed(kind, bytes));
      for (const change of [{}, { signature: undefined, pubkeys: undefined, sha256: hashOf('sha256') }]) {
        const s = released(t, treeOf(list(toUnpack(kind, change)), keyFile));
        const { folder, lines } = await s.fetch();
        t.ok(readFileSync(join(folder, 'source/unpacked-1.0.tar')).equals(bytes));
        t.strictSame(
          readdirSync(join(folder, 'source')).filter(
            (name) => name.includes('unpacked') || name.startsWith('.packed'),
          ),
          ['unpacked-1.0.tar'],
        );
        t.match(
          lines.find((line) => line.startsWith('downloaded ')),
          new RegExp(
            `^downloaded unpacked-1.0.tar: ${bytes.length} bytes, sha256:${hashOf('sha256')}, unpacked of https://\\S+\\.${kind}, verified by`,
          ),
        );
        t.ok(
          lines.includes(`${hashOf('sha256')} 100644 unpacked-1.0.tar`),
          'the manifest is of what was verified',
        );
      }
    },
  );

  const plain = packed(kind, bytes);
  for (const [what, answer, code] of [
    ['is cut', plain.subarray(0, plain.length - 20), 'OTHER_BYTES'],
    ['ends after its head', plain.subarray(0, 8), 'OTHER_BYTES'],
    [
      'is damaged',
      Buffer.concat([plain.subarray(0, 30), Buffer.from([(plain[30] as number) ^ 0xff]), plain.subarray(31)]),
      'OTHER_BYTES',
    ],
    ['has something else after it', Buffer.concat([plain, Buffer.from('and more of it')]), 'OTHER_BYTES'],
    ['is not packed', bytes, 'OTHER_BYTES'],
    ['is packed in the other way', packed(kind === 'gz' ? 'xz' : 'gz', bytes), 'OTHER_BYTES'],
    ['is two of them', Buffer.concat([plain, plain]), 'BAD_SIGNATURE'],
    ['unpacks to other bytes', packed(kind, Buffer.from('other bytes')), 'BAD_SIGNATURE'],
    ['unpacks to one byte more', packed(kind, Buffer.concat([bytes, Buffer.from('x')])), 'BAD_SIGNATURE'],
  ] as [string, Buffer, string][]) {
    void t.test(`a file to be unpacked that ${what} is refused (${kind})`, async (t) => {
      server.answers.set(`/unpacked-1.0.tar.${kind}`, answer);
      const s = released(t, treeOf(list(toUnpack(kind)), keyFile));
      t.equal(await s.code(), code);
      t.notOk(existsSync(join(s.folder, 'source/unpacked-1.0.tar')));
      t.notOk(existsSync(join(s.folder, 'downloads')));
    });
  }

  void t.test(
    `a file that unpacks to a thousand times its size is refused before the disk is full (${kind})`,
    async (t) => {
      const bomb = Buffer.alloc(80 * 1024 ** 2);
      const small = packed(kind, bomb);
      server.answers.set(`/unpacked-1.0.tar.${kind}`, small);
      const s = released(
        t,
        treeOf(
          list(toUnpack(kind, { signature: undefined, pubkeys: undefined, sha256: hashOf('sha256', bomb) })),
          keyFile,
        ),
      );
      t.ok(small.length * 100 < 64 * 1024 ** 2);
      t.equal(await s.code(), 'TOO_LARGE', 'also where the tree pins it');
      t.notOk(existsSync(join(s.folder, 'downloads')));
    },
  );

  void t.test(`what is unpacked has one limit for all of a tree (${kind})`, async (t) => {
    server.answers.set(`/unpacked-1.0.tar.${kind}`, packed(kind, bytes));
    server.answers.set(`/more-1.0.tar.${kind}`, packed(kind, bytes));
    const s = released(
      t,
      treeOf(list(toUnpack(kind), toUnpack(kind, { url: server.url(`/more-1.0.tar.${kind}`) })), keyFile),
    );
    t.equal(
      await s.code('v1.0-1', {
        downloads: { ...downloadLimits(30_000), unpackedBytes: bytes.length * 2 - 1 },
      }),
      'TOO_LARGE',
    );
    t.equal(
      await s.code('v1.0-1', { downloads: { ...downloadLimits(30_000), unpackedBytes: bytes.length * 2 } }),
      'none',
    );
  });
}

void t.test(
  'what unpacks a file is nobody, and has no network',
  process.getuid?.() === 0 ? {} : { skip: 'a user is given away by root alone' },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'bi-unpack-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    // It waits for what comes through a pipe: time to look at it.
    const pipe = join(folder, 'packed.xz');
    execFileSync('mkfifo', [pipe]);
    const unpacking = unpack(pipe, 'xz', join(folder, 'out'), 1_000_000, 60_000);
    const fd = openSync(pipe, 'r+');
    const pid = await until('xz', () =>
      readdirSync('/proc').find((name) => {
        try {
          return (
            /^[0-9]+$/.test(name) &&
            readFileSync(`/proc/${name}/cmdline`, 'latin1').startsWith('xz\0--decompress') &&
            readlinkSync(`/proc/${name}/fd/0`) === pipe
          );
        } catch {
          return false;
        }
      }),
    );
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    for (const said of [
      /^Uid:\t65534\t65534\t/m,
      /^Gid:\t65534\t65534\t/m,
      /^Groups:\s*$/m,
      /^CapEff:\t0+$/m,
      /^NoNewPrivs:\t1$/m,
    ])
      t.match(status, said);
    if (spawnSync('unshare', ['--net', 'true']).status === 0)
      t.not(readlinkSync(`/proc/${pid}/ns/net`), readlinkSync('/proc/self/ns/net'));
    writeSync(fd, packed('xz', bytes));
    closeSync(fd);
    t.equal(await unpacking, bytes.length);
  },
);

void t.test('a signed file is read in pieces, however large it is', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bi-large-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'large');
  const size = 200 * 1024 ** 2;
  writeFileSync(path, '');
  truncateSync(path, size);
  const signature = (): Promise<openpgp.Signature> =>
    openpgp.readSignature({
      binarySignature: new Uint8Array(
        keys.gpg(['--detach-sign', '--local-user', upstream.fingerprint, '--output', '-', path]),
      ),
    });
  const key = await openpgp.readKey({ armoredKey: upstream.armored });
  const good = await signature();
  let most = 0;
  const before = process.memoryUsage().arrayBuffers;
  const timer = setInterval(() => (most = Math.max(most, process.memoryUsage().arrayBuffers - before)), 5);
  await t.resolves(verifyOneSignature({ file: path, signature: good }, { name: 'upstream', key }));
  clearInterval(timer);
  t.ok(most < size * 0.8, `${most} bytes at once`);
  appendFileSync(path, 'x');
  await t.rejects(verifyOneSignature({ file: path, signature: good }, { name: 'upstream', key }));
  rmSync(path);
  await t.rejects(
    verifyOneSignature({ file: path, signature: good }, { name: 'upstream', key }),
    'a file that is gone',
  );
});
