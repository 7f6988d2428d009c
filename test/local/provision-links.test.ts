// SPDX-License-Identifier: GPL-2.0-or-later
// A VM that plants links and other things in its tree, to have something written or removed elsewhere.
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'tap';
import { RootedTree } from '../../agents/local/provision/rooted-tree.js';
import { lay } from './provisioned-tree.js';
import { listing, workshop } from './provision-farm.js';

await test('attack: a link in the place of a folder is not followed out of the tree', async (t) => {
  for (const name of [
    'rw',
    'rw/config',
    'rw/config/build-infra',
    'usr/lib/build-infra',
    'home/user/.gnupg',
    'home',
  ]) {
    const { root, run } = lay(t);
    const outside = join(root, '../outside');
    mkdirSync(outside);
    mkdirSync(dirname(join(root, name)), { recursive: true });
    symlinkSync(outside, join(root, name));
    t.throws(() => run('keys-debian'), { code: 'NOT_A_FOLDER' }, name);
    t.strictSame(listing(outside, false), [], name);
  }
});

await test('attack: a link in the place of a file is replaced, and what it points to stays as it was', async (t) => {
  const { root, run } = lay(t);
  run('keys-debian');
  const victim = join(root, '../victim');
  for (const name of [
    'rw/config/build-infra/keys.json',
    'usr/lib/build-infra/keys-agent.mjs',
    'usr/lib/build-infra/provisioned.json',
  ]) {
    writeFileSync(victim, 'precious', { mode: 0o600 });
    rmSync(join(root, name));
    symlinkSync(victim, join(root, name));
    run('keys-debian');
    t.equal(readFileSync(victim, 'utf8'), 'precious', name);
    t.equal(lstatSync(victim).mode & 0o777, 0o600);
    t.ok(lstatSync(join(root, name)).isFile(), name);
  }
});

await test('attack: a second name of a file outside is left behind, not written through', async (t) => {
  const { root, run } = lay(t);
  run('keys-debian');
  const victim = join(root, '../victim');
  const path = join(root, 'rw/config/build-infra/keys.json');
  linkSync(path, victim);
  chmodSync(victim, 0o600);
  t.strictSame(run('keys-debian').changed, ['/rw/config/build-infra/keys.json']);
  t.equal(lstatSync(victim).mode & 0o777, 0o600);
  t.not(lstatSync(path).ino, lstatSync(victim).ino);
});

await test('attack: a record of former files that the VM wrote removes nothing outside the tree', async (t) => {
  const { root, run } = lay(t);
  run('keys-debian');
  const victim = join(root, '../victim');
  writeFileSync(victim, 'precious');
  const record = join(root, 'usr/lib/build-infra/provisioned.json');
  for (const untrusted of [
    '["/../victim"]',
    '["../victim"]',
    `["${victim}/../victim"]`,
    '["/rw/../../victim"]',
    '[1, null]',
    '{}',
    'not json',
    '["/"]',
    '["/home"]',
  ]) {
    writeFileSync(record, untrusted);
    run('keys-debian');
    t.equal(readFileSync(victim, 'utf8'), 'precious', untrusted);
    t.ok(existsSync(join(root, 'home/user/.gnupg')));
  }
  symlinkSync(join(root, '..'), join(root, 'out'));
  writeFileSync(record, '["/out/victim"]');
  t.throws(() => run('keys-debian'), { code: 'NOT_A_FOLDER' });
  t.equal(readFileSync(victim, 'utf8'), 'precious');
});

await test('a folder where a file belongs is refused, not emptied', async (t) => {
  const { root, run } = lay(t);
  mkdirSync(join(root, 'rw/config/build-infra/keys.json/sub'), { recursive: true });
  t.throws(() => run('keys-debian'), { code: 'IS_A_FOLDER' });
  t.ok(existsSync(join(root, 'rw/config/build-infra/keys.json/sub')));
});

await test('a path that is not plain is refused', async (t) => {
  const { folder } = workshop(t);
  const tree = new RootedTree(folder, false);
  t.teardown(() => tree.close());
  for (const path of ['relative', '/a/../b', '/a//b', '/', '/a/.', ''])
    t.throws(
      () => tree.putFile(path, Buffer.from('x'), { uid: 0, gid: 0, mode: 0o644 }),
      { code: 'BAD_PATH' },
      path,
    );
});
