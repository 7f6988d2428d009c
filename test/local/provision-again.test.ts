// SPDX-License-Identifier: GPL-2.0-or-later
// A VM's tree that was laid before: what the pillar no longer says goes, drift is mended, what the VM keeps
// there stays.
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'tap';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { lay } from './provisioned-tree.js';
import { example, isRoot } from './provision-farm.js';

await test('a changed pillar arrives, and what it no longer says is removed', async (t) => {
  const pillar = example();
  const { root, run } = lay(t);
  run('build-debian', pillar);
  const env = pillar['build-envs']['debian'] as Pillar['build-envs'][string];
  const bob = env.maintainers['bob'] as string;
  delete env.maintainers['bob'];
  delete env.commands?.people['bob'];
  const done = run('build-debian', pillar);
  t.strictSame(done.changed, ['/rw/config/build-infra/build.json']);
  t.strictSame(done.removed, [`/rw/config/build-infra/public-keys/${bob}.asc`]);
  t.notOk(existsSync(join(root, done.removed[0] as string)));
  t.notMatch(readFileSync(join(root, 'rw/config/build-infra/build.json'), 'utf8'), bob);
});

await test('a folder of a former run goes once it is empty, and stays as long as the VM keeps something in it', async (t) => {
  const { root, run } = lay(t);
  run('keys-debian');
  const record = join(root, 'usr/lib/build-infra/provisioned.json');
  const former = [
    ...(JSON.parse(readFileSync(record, 'utf8')) as string[]),
    '/rw/old',
    '/rw/old/file',
    '/rw/kept',
    '/rw/kept/file',
  ];
  for (const name of ['old/file', 'kept/file', 'kept/own']) {
    mkdirSync(join(root, 'rw', dirname(name)), { recursive: true });
    writeFileSync(join(root, 'rw', name), '');
  }
  writeFileSync(record, JSON.stringify(former));
  t.strictSame(run('keys-debian').removed, ['/rw/old/file', '/rw/old', '/rw/kept/file']);
  t.ok(existsSync(join(root, 'rw/kept/own')));
  t.strictSame(run('keys-debian').removed, []);
});

await test('what the VM or a person put there stays', async (t) => {
  const { root, run } = lay(t);
  run('build-logs');
  for (const name of [
    'rw/config/build-infra/ssh_key',
    'home/user/.gnupg/pubring.kbx',
    'rw/config/rc.local',
    'usr/local/bin/mine',
  ]) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), 'mine');
  }
  t.match(run('build-logs'), { changed: [], removed: [] });
  t.equal(readFileSync(join(root, 'rw/config/build-infra/ssh_key'), 'utf8'), 'mine');
});

await test('drift is mended: content, mode, a removed file, a folder opened to all', async (t) => {
  const { root, run } = lay(t);
  run('keys-debian');
  appendFileSync(join(root, 'usr/lib/build-infra/keys-agent.mjs'), 'evil()');
  chmodSync(join(root, 'rw/config/build-infra/keys.json'), 0o666);
  rmSync(join(root, 'usr/local/etc/qubes-rpc/qubes.Gpg'));
  chmodSync(join(root, 'home/user/.gnupg'), 0o777);
  t.strictSame(run('keys-debian').changed.sort(), [
    '/home/user/.gnupg',
    '/rw/config/build-infra/keys.json',
    '/usr/lib/build-infra/keys-agent.mjs',
    '/usr/local/etc/qubes-rpc/qubes.Gpg',
  ]);
  t.strictSame(run('keys-debian').changed, []);
});

await test('a service that was turned into a program is a socket again', async (t) => {
  const { root, run } = lay(t);
  run('keys-debian');
  const path = join(root, 'usr/local/etc/qubes-rpc/qubes.Gpg');
  rmSync(path);
  writeFileSync(path, '#!/bin/sh\ngpg "$@"\n', { mode: 0o755 });
  t.strictSame(run('keys-debian').changed, ['/usr/local/etc/qubes-rpc/qubes.Gpg']);
  t.equal(readlinkSync(path), '/run/build-infra/qubes.Gpg.sock');
});

await test('an owner is mended', { skip: isRoot ? false : 'only root can give files away' }, async (t) => {
  const { root, run } = lay(t);
  run('keys-debian');
  chownSync(join(root, 'rw/config/build-infra/keys.json'), 1000, 1000);
  t.strictSame(run('keys-debian').changed, ['/rw/config/build-infra/keys.json']);
  t.equal(lstatSync(join(root, 'rw/config/build-infra/keys.json')).uid, 0);
});

await test('a kill between writing and renaming leaves nothing that stops the next run', async (t) => {
  const { root, run } = lay(t);
  mkdirSync(join(root, 'rw/config/build-infra'), { recursive: true });
  writeFileSync(join(root, 'rw/config/build-infra/.keys.json.new'), 'half');
  run('keys-debian');
  t.notOk(existsSync(join(root, 'rw/config/build-infra/.keys.json.new')));
});
