// SPDX-License-Identifier: GPL-2.0-or-later
// A component of somebody else's repository in the local farm: what it is called, whose keys are asked for,
// and that its tags arrive as they are.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'tap';
import { importForeign, nameOf, readMaintainers } from '../../agents/local/outside/foreign-source.js';
import { gitFolder } from '../../agents/local/outside/forge.js';
import type { Machine } from '../../agents/local/outside/machine.js';
import { Keys, TestRepository, tinyPackage } from '../build-vm/forge.js';

const keys = new Keys();
const folder = mkdtempSync(join(tmpdir(), 'bi-foreign-'));
const [alice, bob] = [keys.make('alice'), keys.make('bob')];

/** The forge, whose tree is here. */
const forge: Machine = {
  name: 'forge',
  root: folder,
  run: (argv) => {
    const [program, ...args] = argv.map((word) => (word.startsWith(gitFolder) ? join(folder, word) : word));
    try {
      return Promise.resolve({
        status: 0,
        stdout: execFileSync(program as string, args, {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'pipe'],
        }),
        stderr: '',
      });
    } catch (error) {
      return Promise.resolve({ status: 1, stdout: '', stderr: (error as { stderr: string }).stderr });
    }
  },
};

await test('a component is called like its repository', (t) => {
  const named = (repository: string): string => nameOf({ repository, tag: 'v1', keyFiles: [] });
  for (const [repository, name] of [
    ['https://github.com/QubesOS/qubes-app-linux-split-gpg', 'app-linux-split-gpg'],
    ['/src/hello.git/', 'hello'],
    ['../Hello', 'hello'],
    ['/src/hello/.git', 'hello'],
  ] as const)
    t.equal(named(repository), name);
  for (const repository of ['/', '.git', 'https://example.org/a b', 'qubes-'])
    t.throws(() => named(repository), /gives no name/, repository);
  t.end();
});

await test('a maintainer is a file with one public key, armored or not', async (t) => {
  const file = (content: string | Buffer): string => {
    const path = join(folder, 'key');
    writeFileSync(path, content);
    return path;
  };
  const binary = keys.gpg(['--export', alice.fingerprint]);
  for (const content of [alice.armored, binary]) {
    const [found] = await readMaintainers([file(content)]);
    t.equal(found?.fingerprint, alice.fingerprint);
    t.match(
      found?.publicKey,
      /^-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n[^]*-----END PGP PUBLIC KEY BLOCK-----\n$/,
    );
  }
  await t.rejects(
    readMaintainers([file(Buffer.concat([binary, keys.gpg(['--export', bob.fingerprint])]))]),
    /key holds 2 public keys/,
  );
  for (const content of ['', 'no key\n', binary.subarray(0, 40)])
    await t.rejects(readMaintainers([file(content)]), /key(:| holds 0 )/);
  await t.rejects(readMaintainers([join(folder, 'nothing')]), /ENOENT/);
  const secret = await readMaintainers([
    file(keys.gpg(['--armor', '--export-secret-keys', alice.fingerprint])),
  ]);
  t.notMatch(secret[0]?.publicKey, /PRIVATE/, 'a secret one is not handed on');
});

await test("its branches and this tag come to the forge as they are, and the version is the tag's", async (t) => {
  const repository = join(folder, 'theirs.git');
  mkdirSync(repository);
  const theirs = new TestRepository(repository);
  const first = theirs.release(keys, [alice], 'v1.0', tinyPackage('1.0-1'));
  const later = theirs.release(
    keys,
    [alice],
    'mm_12345678',
    tinyPackage('1.0-1', [{ path: 'later', content: 'x' }]),
  );
  theirs.release(keys, [bob], 'v1.1-rc2', [{ path: 'version', content: '1.1-rc2\n' }]);
  theirs.git(['update-ref', 'refs/heads/main', later.commit]);
  const bare = join(folder, gitFolder, 'theirs.git');
  execFileSync('git', ['init', '--quiet', '--bare', '--initial-branch=main', bare]);
  const git = (...args: string[]): string =>
    execFileSync('git', ['--git-dir', bare, ...args], { encoding: 'utf8' }).trim();
  const source = { repository, tag: 'v1.0', keyFiles: [] };
  t.strictSame(await importForeign(forge, source), {
    package: 'theirs',
    version: '1.0',
    tag: 'v1.0',
    tagObject: first.object,
    commit: first.commit,
    debianVersion: '1.0-1',
  });
  t.equal(git('rev-parse', 'refs/tags/v1.0'), first.object);
  t.equal(git('rev-parse', 'refs/heads/main'), later.commit);
  t.equal(git('tag', '--list'), 'v1.0', 'no other tag: a newer one would be built in its place');
  t.match(await importForeign(forge, { ...source, tag: 'v1.1-rc2' }), {
    version: '1.1~rc2',
    debianVersion: undefined,
  });
  theirs.release(keys, [bob], 'v1.2', [
    { path: 'debian-pkg/debian/changelog', content: 'theirs (1.2-1) unstable; urgency=medium\n' },
  ]);
  t.match(
    await importForeign(forge, { ...source, tag: 'v1.2' }),
    { version: '1.2', debianVersion: '1.2-1' },
    'its packaging may lie deeper',
  );
  await t.rejects(importForeign(forge, { ...source, tag: 'v2.0' }), /v2\.0/);
  await t.rejects(importForeign(forge, { ...source, tag: 'mm_12345678' }), /is not v and a version/);
  await t.rejects(importForeign(forge, { ...source, repository: join(folder, 'nothing') }));
});

keys.end();
rmSync(folder, { recursive: true });
