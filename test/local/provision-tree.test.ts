// SPDX-License-Identifier: GPL-2.0-or-later
// A VM's tree as it comes out of the example pillar and of others: every file, owner and mode, and who is
// told what.
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { lay } from './provisioned-tree.js';
import { example, isRoot, listing, threeEnvironments, top } from './provision-farm.js';

const goldens = join(top, 'test/local/provision-golden');

for (const vm of ['sys-net', 'build-logs', 'keys-debian', 'build-debian', 'dom0']) {
  await test(`${vm} of the example pillar gets these files, owners and modes, and no other`, async (t) => {
    const { root, run } = lay(t);
    const umask = process.umask(0o077);
    t.teardown(() => process.umask(umask));
    const done = run(vm);
    t.strictSame(done.waiting, []);
    const path = join(goldens, `${vm}.txt`);
    const now = listing(root, isRoot);
    if (process.env['UPDATE_GOLDEN'] !== undefined && isRoot) writeFileSync(path, `${now.join('\n')}\n`);
    const expected = readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => (isRoot ? line : line.replace(/ \d+:\d+ /, ' ')));
    t.strictSame(now, expected);
  });

  await test(`a second run changes nothing in ${vm}`, async (t) => {
    const { root, run } = lay(t);
    t.ok(run(vm).changed.length > 0);
    const before = listing(root, isRoot);
    const inode = (path: string): number => statSync(join(root, path)).ino;
    const files = before
      .filter((line) => line.startsWith('file'))
      .map((line) => line.split(' ').at(-1) as string);
    const inodes = files.map(inode);
    t.match(run(vm), { changed: [], removed: [] });
    t.strictSame(listing(root, isRoot), before);
    t.strictSame(files.map(inode), inodes, 'not even replaced by the same');
  });
}

await test('the documents made from the example pillar are these', async (t) => {
  for (const [vm, names] of Object.entries({
    'sys-net': ['sys-net.json', 'nginx-listen.conf', 'nginx-forge.conf'],
    'build-logs': ['build-logs.json', 'ssh_config', 'ssh_known_hosts'],
    'keys-debian': ['keys.json'],
    'build-debian': ['build.json', 'ssh_config'],
  })) {
    const { root, run } = lay(t);
    run(vm);
    for (const name of names) {
      const now = readFileSync(join(root, 'rw/config/build-infra', name), 'utf8');
      const path = join(goldens, `${vm}.${name}`);
      if (process.env['UPDATE_GOLDEN'] !== undefined) writeFileSync(path, now);
      t.equal(now, readFileSync(path, 'utf8'), `${vm} ${name}`);
    }
  }
});

await test('the policy in policies/ is the one of the example pillar', async (t) => {
  const { root, run } = lay(t);
  run('dom0');
  t.equal(
    readFileSync(join(root, 'etc/qubes/policy.d/30-build-infra.policy'), 'utf8'),
    readFileSync(join(top, 'policies/30-build-infra.policy'), 'utf8'),
  );
});

await test('each VM gets the public keys that it needs and no other', async (t) => {
  const pillar = threeEnvironments();
  const of = (vm: string): string[] => {
    const { root, run } = lay(t);
    run(vm, pillar);
    return listing(root, false).flatMap((line) => /public-keys\/([0-9A-F]+)\.asc$/.exec(line)?.[1] ?? []);
  };
  const { ubuntu, debian } = pillar['build-envs'];
  const logsKey = (vm: string): string => pillar['logs-vms'][vm]?.key as string;
  t.strictSame(of('keys-ubuntu'), [logsKey('zz-logs')]);
  t.strictSame(of('keys-debian'), [logsKey('build-logs')]);
  t.strictSame(of('build-logs'), [logsKey('build-logs')]);
  t.strictSame(
    of('build-debian'),
    [...Object.values(debian?.maintainers ?? {}), debian?.key as string, logsKey('build-logs')].sort(),
  );
  t.strictSame(
    of('build-ubuntu'),
    [...Object.values(ubuntu?.maintainers ?? {}), ubuntu?.key as string, logsKey('zz-logs')].sort(),
  );
  t.strictSame(of('sys-net'), []);
});

await test('no VM is told of another environment, but for the names that it must know', async (t) => {
  const pillar = threeEnvironments();
  const documents = (vm: string): string => {
    const { root, run } = lay(t);
    run(vm, pillar);
    return listing(root, false)
      .filter((line) => line.startsWith('file') && line.includes(' /rw/config/'))
      .map((line) => readFileSync(join(root, line.split(' ').at(-1) as string), 'utf8'))
      .join('\n');
  };
  for (const vm of ['keys-debian', 'build-debian']) t.notMatch(documents(vm), /ubuntu|fedora/, vm);
  t.notMatch(documents('build-logs'), /ubuntu/);
  t.notMatch(
    documents('keys-debian'),
    /hello|forge\.example|alice/,
    'a keys VM knows no component, no host, no person',
  );
  t.notMatch(documents('sys-net'), /[0-9A-F]{40}|alice/, 'sys-net knows no key');
});

await test('a VM waits for its key: without it there is no configuration, with it there is', async (t) => {
  const pillar = example();
  const logs = pillar['logs-vms']['build-logs'] as Pillar['logs-vms'][string];
  const key = logs.key;
  logs.key = null;
  const { root, run } = lay(t);
  const path = join(root, 'rw/config/build-infra/keys.json');
  t.strictSame(run('keys-debian', pillar).waiting, ['/rw/config/build-infra/keys.json needs logs-key']);
  t.notOk(existsSync(path));
  logs.key = key;
  const done = run('keys-debian', pillar);
  t.strictSame(done.waiting, []);
  t.strictSame(done.changed, [
    '/rw/config/build-infra/keys.json',
    `/rw/config/build-infra/public-keys/${key}.asc`,
  ]);
  t.ok(existsSync(path));
});
