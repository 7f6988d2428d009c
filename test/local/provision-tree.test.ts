// SPDX-License-Identifier: GPL-2.0-or-later
// A VM's tree as it comes out, run after run; and a VM that plants links in its tree to be written elsewhere.
import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, chmodSync, chownSync, existsSync, linkSync, lstatSync, mkdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test, type Test } from 'tap';
import { readPillar, type Pillar } from '../../agents/local/provision/pillar.js';
import { provision, type Provisioned } from '../../agents/local/provision/provision.js';
import { RootedTree } from '../../agents/local/provision/rooted-tree.js';
import { vmsOf } from '../../agents/local/provision/vms.js';
import { example, examplePath, isRoot, listing, threeEnvironments, top, workshop } from './provision-farm.js';

const goldens = join(top, 'test/local/provision-golden');

function lay(t: Test): { root: string; run(vm: string, pillar?: Pillar): Provisioned } {
  const { folder, dist } = workshop(t);
  const root = join(folder, 'root');
  return { root, run: (vm, pillar = example()) => provision({ pillar, vm, root, dist, owners: isRoot }) };
}

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
    const expected = readFileSync(path, 'utf8').trimEnd().split('\n').map((line) => (isRoot ? line : line.replace(/ \d+:\d+ /, ' ')));
    t.strictSame(now, expected);
  });

  await test(`a second run changes nothing in ${vm}`, async (t) => {
    const { root, run } = lay(t);
    t.ok(run(vm).changed.length > 0);
    const before = listing(root, isRoot);
    const inode = (path: string): number => statSync(join(root, path)).ino;
    const files = before.filter((line) => line.startsWith('file')).map((line) => line.split(' ').at(-1) as string);
    const inodes = files.map(inode);
    t.match(run(vm), { changed: [], removed: [] });
    t.strictSame(listing(root, isRoot), before);
    t.strictSame(files.map(inode), inodes, 'not even replaced by the same');
  });
}

await test('the documents made from the example pillar are these', async (t) => {
  for (const [vm, names] of Object.entries({
    'sys-net': ['sys-net.json', 'nginx-listen.conf'], 'build-logs': ['build-logs.json', 'ssh_config', 'ssh_known_hosts'], 'keys-debian': ['keys.json'], 'build-debian': ['build.json', 'ssh_config'],
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
  t.equal(readFileSync(join(root, 'etc/qubes/policy.d/30-build-infra.policy'), 'utf8'), readFileSync(join(top, 'policies/30-build-infra.policy'), 'utf8'));
});

await test('each VM gets the public keys that it needs and no other', async (t) => {
  const pillar = threeEnvironments();
  const of = (vm: string): string[] => {
    const { root, run } = lay(t);
    run(vm, pillar);
    return listing(root, false).flatMap((line) => /public-keys\/([0-9A-F]+)\.asc$/.exec(line)?.[1] ?? []);
  };
  const { ubuntu, debian } = pillar['build-envs'] as Record<string, Pillar['build-envs'][string]>;
  const logsKey = (vm: string): string => pillar['logs-vms'][vm]?.key as string;
  t.strictSame(of('keys-ubuntu'), [logsKey('zz-logs')]);
  t.strictSame(of('keys-debian'), [logsKey('build-logs')]);
  t.strictSame(of('build-logs'), [logsKey('build-logs')]);
  t.strictSame(of('build-debian'), [...Object.values(debian?.maintainers ?? {}), debian?.key as string].sort());
  t.strictSame(of('build-ubuntu'), [...Object.values(ubuntu?.maintainers ?? {}), ubuntu?.key as string].sort());
  t.strictSame(of('sys-net'), []);
});

await test('no VM is told of another environment, but for the names that it must know', async (t) => {
  const pillar = threeEnvironments();
  const documents = (vm: string): string => {
    const { root, run } = lay(t);
    run(vm, pillar);
    return listing(root, false).filter((line) => line.startsWith('file') && line.includes(' /rw/config/')).map((line) => readFileSync(join(root, line.split(' ').at(-1) as string), 'utf8')).join('\n');
  };
  for (const vm of ['keys-debian', 'build-debian']) t.notMatch(documents(vm), /ubuntu|fedora/, vm);
  t.notMatch(documents('build-logs'), /ubuntu/);
  t.notMatch(documents('keys-debian'), /hello|forge\.example|alice/, 'a keys VM knows no component, no host, no person');
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
  t.strictSame(done.changed, ['/rw/config/build-infra/keys.json', `/rw/config/build-infra/public-keys/${key}.asc`]);
  t.ok(existsSync(path));
});

await test('a changed pillar arrives, and what it no longer says is removed', async (t) => {
  const pillar = example();
  const { root, run } = lay(t);
  run('build-debian', pillar);
  const env = pillar['build-envs']['debian'] as Pillar['build-envs'][string];
  const bob = env.maintainers['bob'] as string;
  delete env.maintainers['bob'];
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
  const former = [...JSON.parse(readFileSync(record, 'utf8')) as string[], '/rw/old', '/rw/old/file', '/rw/kept', '/rw/kept/file'];
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
  for (const name of ['rw/config/build-infra/ssh_key', 'home/user/.gnupg/pubring.kbx', 'rw/config/rc.local', 'usr/local/bin/mine']) {
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
  t.strictSame(run('keys-debian').changed.sort(), ['/home/user/.gnupg', '/rw/config/build-infra/keys.json', '/usr/lib/build-infra/keys-agent.mjs', '/usr/local/etc/qubes-rpc/qubes.Gpg']);
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

await test('attack: a link in the place of a folder is not followed out of the tree', async (t) => {
  for (const name of ['rw', 'rw/config', 'rw/config/build-infra', 'usr/lib/build-infra', 'home/user/.gnupg', 'home']) {
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
  for (const name of ['rw/config/build-infra/keys.json', 'usr/lib/build-infra/keys-agent.mjs', 'usr/lib/build-infra/provisioned.json']) {
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
  for (const untrusted of ['["/../victim"]', '["../victim"]', `["${victim}/../victim"]`, '["/rw/../../victim"]', '[1, null]', '{}', 'not json', '["/"]', '["/home"]']) {
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
  for (const path of ['relative', '/a/../b', '/a//b', '/', '/a/.', '']) t.throws(() => tree.putFile(path, Buffer.from('x'), { uid: 0, gid: 0, mode: 0o644 }), { code: 'BAD_PATH' }, path);
});

await test('a kill between writing and renaming leaves nothing that stops the next run', async (t) => {
  const { root, run } = lay(t);
  mkdirSync(join(root, 'rw/config/build-infra'), { recursive: true });
  writeFileSync(join(root, 'rw/config/build-infra/.keys.json.new'), 'half');
  run('keys-debian');
  t.notOk(existsSync(join(root, 'rw/config/build-infra/.keys.json.new')));
});

await test('a VM that the pillar does not make is refused, and a missing bundle says what to run', async (t) => {
  const { root, run } = lay(t);
  t.throws(() => run('keys-fedora'), { code: 'UNKNOWN_VM' });
  t.throws(() => provision({ pillar: example(), vm: 'keys-debian', root, dist: join(root, 'none'), owners: isRoot }), { code: 'NO_SOURCE', message: /npm run bundle/ });
});

const command = join(top, 'out/agents/local/provision/main.js');
const cli = (args: string[], wrap: string[] = []): ReturnType<typeof spawnSync> => {
  const program = `import { provisionMain } from ${JSON.stringify(command)}; process.exitCode = await provisionMain(process.argv.slice(1));`;
  const [first, ...rest] = [...wrap, process.execPath, '--input-type=module', '-e', program, '--', ...args] as [string, ...string[]];
  return spawnSync(first, rest, { encoding: 'utf8', cwd: '/' });
};

await test('the command says what changed, and ends with 1 and one line where it refuses', async (t) => {
  const { folder, dist } = workshop(t);
  const args = ['--pillar', examplePath, '--root', join(folder, 'root'), '--dist', dist, ...(isRoot ? [] : ['--no-owner'])];
  t.match(cli([...args, '--vm', 'keys-debian']), { status: 0, stdout: /^changed: [1-9][0-9]*\n$/ });
  t.match(cli([...args, '--vm', 'keys-debian']), { status: 0, stdout: 'changed: 0\n' });
  t.match(cli([...args, '--vm', 'keys-fedora']), { status: 1, stdout: '', stderr: /^build-infra provision: refused UNKNOWN_VM [^\n]*\n$/ });
  t.match(cli([...args.slice(2), '--vm', 'keys-debian']), { status: 2, stderr: /^usage: / });
  t.match(cli([...args, '--vm', 'keys-debian', '--frob']), { status: 2 });
  t.match(cli(['--pillar', join(folder, 'none.yaml'), '--list']), { status: 2 });
  const vms = vmsOf(await readPillar(examplePath));
  t.strictSame(JSON.parse(String(cli(['--pillar', examplePath, '--list']).stdout)), vms);
});

await test('an ordinary user is told how, and does it in a user namespace', { skip: isRoot && spawnSync('setpriv', ['--version']).status !== 0 ? 'needs setpriv' : false }, async (t) => {
  const { folder, dist } = workshop(t);
  const root = join(folder, 'user/root');
  mkdirSync(dirname(root));
  chmodSync(folder, 0o755);
  const become = isRoot ? ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'] : [];
  if (isRoot) chownSync(dirname(root), 65534, 65534);
  const args = ['--pillar', examplePath, '--root', root, '--dist', dist, '--vm', 'keys-debian'];
  if (isRoot && spawnSync(become[0] as string, [...become.slice(1), 'test', '-r', command]).status !== 0) return t.comment('the checkout is not readable by others');
  t.match(cli(args, become), { status: 1, stderr: /refused NOT_ROOT .*unshare --map-root-user --map-auto/ });
  t.match(cli([...args, '--no-owner'], become), { status: 0, stdout: /^changed: / });
  if (isRoot) return t.comment('the user namespace is tried as an ordinary user only');
  const inNamespace = ['--map-root-user', '--map-auto'];
  // What belongs to the VM's accounts can only be removed where they are known. Runs before the workshop's own.
  t.teardown(() => spawnSync('unshare', [...inNamespace, 'rm', '-rf', root]));
  const again = cli(args, ['unshare', ...inNamespace]);
  if (/unshare|newuidmap/.test(String(again.stderr))) return t.comment(`user namespaces are not allowed here: ${String(again.stderr).trim()}`);
  t.match(again, { status: 0 });
  const owner = execFileSync('unshare', [...inNamespace, 'stat', '-c', '%u:%g %a', join(root, 'home/user/.gnupg')], { encoding: 'utf8' });
  t.equal(owner, '1000:1000 700\n');
  return undefined;
});
