// SPDX-License-Identifier: GPL-2.0-or-later
// Reading back with real apt and dnf from servers that are old, silent or slow: what is not seen for certain
// is not believed, and nothing of it is final.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import {
  makeGeneration,
  type PublicationOptions,
} from '../../agents/build-vm/repositories/apt/apt-publication.js';
import {
  offeredSources,
  readBack,
  readBackAbsence,
} from '../../agents/build-vm/repositories/apt/apt-read-back.js';
import { readBackPackages } from '../../agents/build-vm/repositories/dnf/dnf-read-back.js';
import { hashesIn, hashFile } from '../../agents/shared/files/frozen-files.js';
import { runProgram } from '../../agents/shared/programs/program.js';
import { Generations, type Generation } from '../../agents/build-vm/repositories/repository-generations.js';
import { transferMs, uploadGeneration } from '../../agents/build-vm/repositories/upload-generation.js';
import { AptServer } from './build-vm.js';
import { Keys, tinyPackage } from './forge.js';
import { codeOf, epoch, Lines, makePlace, writeTree } from './rpm-packages.js';

const keys = new Keys();
const signer = keys.make('signer');
const built = makePlace();
const server = new AptServer();
await server.start();
const silent = createServer(() => undefined).listen(0, '127.0.0.1');
t.teardown(async () => {
  keys.end();
  built.end();
  silent.close();
  await server.end();
});
const sign = `gpg --homedir '${keys.home}' --batch --yes --pinentry-mode loopback --passphrase '' -u ${signer.fingerprint}`;
const tree = writeTree(
  built.make('upload/tree'),
  Object.fromEntries(tinyPackage('1.2-1').map((file) => [file.path, file.content ?? ''])),
);
const upload = join(built.folder, 'upload');
chmodSync(join(tree, 'debian/rules'), 0o755);
execFileSync('tar', [
  '--create',
  '--gzip',
  '--file',
  join(upload, 'hello-tiny_1.2.orig.tar.gz'),
  '--exclude=debian',
  '--directory',
  tree,
  '.',
]);
execFileSync('dpkg-buildpackage', ['-us', '-uc', '-F', '-d'], {
  cwd: tree,
  stdio: 'ignore',
  env: { ...process.env, SOURCE_DATE_EPOCH: String(epoch) },
});
rmSync(tree, { recursive: true });
const files = readdirSync(upload).map((name) => hashFile(upload, name));
const gpg = join(built.folder, 'gpg');
writeFileSync(gpg, `#!/bin/sh\nset -e\n${sign} --clearsign -o "$3" "$2"\n${sign} -a -b -o "$4" "$2"\n`, {
  mode: 0o755,
});
writeFileSync(join(built.folder, 'key.asc'), signer.armored);
const publicKey = join(built.folder, 'key.asc');
const log = new Lines();
const options: PublicationOptions = {
  folder: built.make('apt'),
  apt: { upload: '', url: '', origin: 'o', label: 'l' },
  dist: 'bookworm',
  suite: 'current-testing',
  gpg,
  publicKey,
};
const source = { name: 'hello-tiny', version: '1.2-1' };
/** As if it had been brought to the server. */
async function published(made: Promise<Generation>): Promise<Generation> {
  const generation = await made;
  new Generations(options.folder).switched(generation);
  return generation;
}

const empty = await published(
  makeGeneration({ job: 'one' }, { kind: 'remove', source: 'none', version: '1' }, '', options, log),
);
const full = await published(
  makeGeneration(
    { job: 'two' },
    {
      kind: 'include',
      changes: join(upload, files.find(({ name }) => name.endsWith('.changes'))?.name as string),
      files,
    },
    '',
    options,
    log,
  ),
);
// Date in a Release counts in seconds: without what it holds, two of one second are the same bytes.
await sleep(1100);
const taken = await published(
  makeGeneration(
    { job: 'three' },
    { kind: 'remove', source: source.name, version: source.version },
    '',
    options,
    log,
  ),
);

function serve(generation: Generation): string {
  rmSync(join(server.folder, 'bookworm'), { force: true });
  symlinkSync(generation.folder, join(server.folder, 'bookworm'));
  return `http://127.0.0.1:${server.httpPort}/bookworm`;
}
const place = (): string => join(built.folder, 'read-back');

void t.test(
  'a version is taken back when the last generation is what is served, and does not have it',
  async (t) => {
    const gone = (served: Generation, last = taken): Promise<string> =>
      codeOf(() =>
        readBackAbsence(
          source,
          { url: serve(served), dist: 'bookworm', publicKey, folder: place(), generation: last.folder },
          log,
        ),
      );
    t.equal(await gone(taken), 'none', log.text().slice(-2000));
    t.equal(await gone(full), 'READ_BACK_FAILED', 'it is still offered');
    t.equal(await gone(empty), 'READ_BACK_FAILED', 'a mirror that shows the state of before it came');
    t.equal(await gone(full, full), 'READ_BACK_FAILED', 'the last generation has it');
    const other = { name: 'hello', version: '1' };
    t.equal(
      await codeOf(() =>
        readBackAbsence(
          other,
          { url: serve(full), dist: 'bookworm', publicKey, folder: place(), generation: full.folder },
          log,
        ),
      ),
      'none',
      'beside other packages',
    );
  },
);

void t.test('that a name is not there is what apt-cache says, and not that it failed', async (t) => {
  const saying = (words: string, status: number): Promise<string> =>
    offeredSources(runProgram(['sh', '-c', `echo "${words}" >&2; exit ${status}`], { timeoutMs: 10_000 }));
  for (const nothing of [
    'E: No packages found',
    'W: x | E: No packages found',
    "E: You must put some 'deb-src' URIs in your sources.list",
  ])
    t.equal(await saying(nothing, 100), '');
  for (const [words, status] of [
    ['E: Could not open file', 100],
    ['E: No packages found', 1],
    ['', 139],
  ] as const)
    t.equal(await codeOf(() => saying(words, status)), 'READ_BACK_FAILED', words);
  t.equal(
    await codeOf(() => offeredSources(runProgram(['sleep', '10'], { timeoutMs: 100 }))),
    'READ_BACK_FAILED',
  );
});

void t.test("a server that takes calls and says nothing is the world's fault", async (t) => {
  const { port } = silent.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  t.equal(
    await codeOf(() =>
      readBack(
        (name) => join(upload, name),
        files,
        source,
        { url, codename: 'bookworm-current-testing', publicKey, folder: place(), limitMs: 1000 },
        log,
      ),
    ),
    'READ_BACK_FAILED',
  );
  t.equal(
    await codeOf(() =>
      readBackPackages(
        upload,
        [],
        { url, publicKey, folder: place(), repomd: publicKey, limitMs: 1000 },
        log,
      ),
    ),
    'READ_BACK_FAILED',
  );
  t.equal(
    await codeOf(() =>
      uploadGeneration(
        full,
        { upload: `ssh://127.0.0.1:${port}/x/y`, sshConfig: '/dev/null', timeoutMs: 1000 },
        log,
      ),
    ),
    'UPLOAD_FAILED',
  );
});

void t.test('more to read takes longer', (t) => {
  t.equal(transferMs([]), 600_000);
  t.equal(
    transferMs([{ name: 'x', size: 1_000_000_000, sha256: '' }]),
    600_000 + 20_000_000,
    '50 kB in a second',
  );
  t.end();
});

void t.test('packages of more than 2 GiB are read back', async (t) => {
  const folder = built.make('large');
  mkdirSync(join(folder, 'sub'));
  const file = openSync(join(folder, 'linux-debug_1%3a6.1_amd64.deb'), 'w');
  ftruncateSync(file, 2 ** 31 + 1);
  closeSync(file);
  writeFileSync(join(folder, 'small'), 'x');
  const hashes = hashesIn(folder);
  t.strictSame([...hashes.keys()].sort(), ['linux-debug_1%3a6.1_amd64.deb', 'small']);
  t.equal(hashes.get('small'), '2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881');
  t.match(hashes.get('linux-debug_1%3a6.1_amd64.deb'), /^[0-9a-f]{64}$/);
});

void t.test('what was published comes back as it is', async (t) => {
  const there = (served: Generation): Promise<string> =>
    codeOf(() =>
      readBack(
        (name) => join(upload, name),
        files,
        source,
        { url: serve(served), codename: 'bookworm-current-testing', publicKey, folder: place() },
        log,
      ),
    );
  t.equal(await there(full), 'none', log.text().slice(-2000));
  t.equal(await there(taken), 'READ_BACK_FAILED');
});
