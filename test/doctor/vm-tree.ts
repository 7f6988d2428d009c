// SPDX-License-Identifier: GPL-2.0-or-later
// A VM's tree in which nothing is missing: what the provisioner lays, keys made by make-keys, and of the
// running system what the doctor looks at. Each test breaks one thing in a copy.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import type { Option } from '../../agents/shared/formats/manifest.js';
import type { Role, VmManifest } from '../../agents/shared/formats/manifest.js';
import { ids, thisMachine, type Machine } from '../../agents/doctor/machine.js';
import { fileOfPackage } from '../../agents/doctor/programs.js';
import { readUnitFile } from '../../agents/doctor/unit-file.js';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { provision } from '../../agents/local/provision/provision.js';
import { withKeysOfTests } from '../support/farm-keys.js';
import { folderOf } from '../support/folders.js';

export const top = join(dirname(fileURLToPath(import.meta.url)), '../../..');
export const manifests = ['build', 'keys', 'build-logs', 'sys-net'].map(
  (role) =>
    parse(readFileSync(join(top, 'salt/build-infra/manifests', `${role}.yaml`), 'utf8')) as VmManifest,
);
export const vmNames: Record<Role, string> = {
  build: 'build-debian',
  keys: 'keys-debian',
  'build-logs': 'build-logs',
  'sys-net': 'sys-net',
};
export const options: readonly Option[] = ['ssh-proxy', 'webhooks'];

/** A fresh copy each time. */
export function examplePillar(): Pillar {
  return (
    parse(withKeysOfTests(readFileSync(join(top, 'salt/pillar.example.yaml'), 'utf8'))) as {
      'build-infra': Pillar;
    }
  )['build-infra'];
}

/** Short, because gpg-agent's socket lies in it; open, because gpg and ssh run as the VM's accounts. */
export function folder(t: { teardown: (fn: () => void) => void }): string {
  const made = folderOf(t);
  chmodSync(made, 0o755);
  return made;
}

export function write(
  root: string,
  path: string,
  content: string,
  owner: 'root' | 'user' = 'root',
  mode = 0o644,
): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  // Anew: in a folder with the sticky bit not even root may open another's file to make it
  // (fs.protected_regular).
  rmSync(join(root, path), { force: true });
  writeFileSync(join(root, path), content);
  chmodSync(join(root, path), mode);
  chownSync(join(root, path), ids[owner], ids[owner]);
}

/** What make-keys prints and leaves, owned as if its account had run it. */
export function makeKeys(
  root: string,
  role: Role,
): { fingerprint: string | undefined; publicKey: string; journalKey?: string | undefined } {
  const home = join(root, role === 'build' ? 'root' : 'home/user');
  mkdirSync(home, { recursive: true });
  // Not the default home of gpg, whose agent all trees would share where there is a /run/user: one would keep
  // another's key.
  const env = { PATH: '/usr/bin:/bin', HOME: root, GNUPGHOME: join(home, '.gnupg'), BUILD_INFRA_ROOT: root };
  const run = (...args: string[]): string =>
    execFileSync(join(root, 'usr/lib/build-infra/make-keys'), [role, ...args], {
      encoding: 'utf8',
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  const said = run();
  const fingerprint = /-key ([0-9A-F]{40})$/m.exec(said)?.[1];
  const journalKey = /^journal-key (.*)$/m.exec(said)?.[1];
  const publicKey = fingerprint === undefined ? '' : run('export');
  if (fingerprint !== undefined)
    execFileSync('gpgconf', ['--homedir', join(home, '.gnupg'), '--kill', 'all']);
  if (role !== 'build') {
    execFileSync('chown', ['-R', '1000:1000', home]);
    for (const name of ['ssh_key', 'webhook-secret'])
      execFileSync('sh', [
        '-c',
        'test ! -e "$1" || chown 1000:1000 "$1"',
        'sh',
        join(root, 'rw/config/build-infra', name),
      ]);
  }
  // The clock of machineOf stands before today's.
  if (journalKey !== undefined)
    execFileSync('sed', [
      '-i',
      's/"time":"[^"]*"/"time":"2026-11-21T00:00:00.000Z"/',
      join(root, 'var/lib/build-infra/journal.jsonl'),
    ]);
  if (journalKey !== undefined) execFileSync('chown', ['-R', '1000:1000', join(root, 'var/lib/build-infra')]);
  return { fingerprint, publicKey, journalKey };
}

/** The pillar with this VM's own key in it. */
export function pillarWith(
  role: Role,
  made: ReturnType<typeof makeKeys>,
  change: (pillar: Pillar) => void,
): Pillar {
  const pillar = examplePillar();
  if (made.fingerprint !== undefined) {
    pillar['public-keys'][made.fingerprint] = made.publicKey;
    if (role === 'keys') (pillar['build-envs']['debian'] as { key: string }).key = made.fingerprint;
    if (role === 'keys')
      (pillar['build-envs']['debian'] as { 'journal-key'?: string | null })['journal-key'] =
        made.journalKey ?? null;
    if (role !== 'keys') (pillar['logs-vms']['build-logs'] as { key: string }).key = made.fingerprint;
  }
  change(pillar);
  return pillar;
}

async function bindSocket(path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  // The name stays when the process that bound it ends without unlinking it: closed descriptors of Node
  // unlink, a renamed socket is not found.
  execFileSync('mv', [path, `${path}.kept`]);
  await new Promise((resolve) => server.close(resolve));
  execFileSync('mv', [`${path}.kept`, path]);
}

/** Sockets as systemd makes them, mounts, network, programs: the running part of a VM. */
async function layRunning(root: string, role: Role): Promise<void> {
  const manifest = manifests.find((one) => one.role === role) as VmManifest;
  for (const feature of manifest.vm.features)
    write(root, `/run/qubes-service/${feature.slice('service.'.length)}`, '');
  if (role === 'sys-net')
    for (const option of options) write(root, `/run/qubes-service/build-infra-${option}`, '');
  const listening: string[] = [];
  const units = join(root, 'usr/lib/systemd/system');
  for (const name of readdirSync(units).filter((one) => one.endsWith('.socket'))) {
    const unit = readUnitFile(name, readFileSync(join(units, name), 'utf8'));
    for (const path of unit.sockets) {
      await bindSocket(join(root, path));
      chownSync(join(root, path), ids[unit.socketUser as 'user'], ids[unit.socketGroup as 'user']);
      chmodSync(join(root, path), Number.parseInt(unit.socketMode, 8));
      listening.push(path);
    }
  }
  write(
    root,
    '/proc/net/unix',
    `Num       RefCount Protocol Flags    Type St Inode Path\n${listening.map((path) => `0000000000000000: 00000002 00000000 00010000 0001 01 12345 ${path}\n`).join('')}`,
  );
  write(
    root,
    '/proc/net/dev',
    `Inter-|   Receive\n face |bytes    packets\n    lo:       0       0\n${role === 'keys' ? '' : '  eth0:  1  1\n'}`,
  );
  write(
    root,
    '/proc/net/route',
    `Iface\tDestination\tGateway\n${role === 'keys' ? '' : 'eth0\t00000000\t010089C0\n'}`,
  );
  write(
    root,
    '/proc/net/ipv6_route',
    '00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000001 00000000 80200001       lo\n',
  );
  write(
    root,
    '/proc/self/mountinfo',
    '22 1 202:0 / / rw - ext4 /dev/xvda3 rw\n30 22 202:16 / /rw rw - ext4 /dev/xvdb rw\n31 22 202:16 /bind-dirs/var/lib/build-infra /var/lib/build-infra rw - ext4 /dev/xvdb rw\n',
  );
  write(root, '/proc/1/comm', 'vm-init\n');
  write(root, '/proc/stat', 'btime 1790000000\n');
  write(root, '/etc/debian_version', '13.1\n');
  for (const name of manifest.template.packages.Debian)
    if (fileOfPackage[name] !== undefined) write(root, fileOfPackage[name], '', 'root', 0o755);
  mkdirSync(join(root, 'var/lib/build-infra'), { recursive: true });
}

export interface Healthy {
  root: string;
  role: Role;
  pillar: Pillar;
  fingerprint: string | undefined;
}

/** Stand-ins of the bundles do, but for the keys agent's. */
export async function healthyVm(
  work: string,
  role: Role,
  change: (pillar: Pillar) => void = () => undefined,
  enabled: readonly Option[] = options,
): Promise<Healthy> {
  const dist = join(work, 'dist');
  mkdirSync(dist, { recursive: true });
  for (const manifest of manifests)
    for (const { source } of manifest.template.files)
      if (source?.startsWith('dist/') === true) writeFileSync(join(work, source), `// ${source}\n`);
  // make-keys has it make the journal key.
  copyFileSync(join(top, 'dist/keys-agent.mjs'), join(dist, 'keys-agent.mjs'));
  const root = join(work, role);
  const apply = (pillar: Pillar): unknown =>
    provision({ farm: planFarm({ pillar, enabled }), vm: vmNames[role], root, dist });
  apply(examplePillar());
  const made = makeKeys(root, role);
  const pillar = pillarWith(role, made, change);
  apply(pillar);
  await layRunning(root, role);
  return { root, role, pillar, fingerprint: made.fingerprint };
}

/** To break something in; sockets and owners are copied too. */
export function copyOf(healthy: Healthy, work: string): string {
  const root = mkdtempSync(join(work, 'c-'));
  execFileSync('cp', ['-a', `${healthy.root}/.`, root]);
  return root;
}

/** The machine of a tree: gpg and ssh are real, sudo asks nobody, the rest is told. */
export function machineOf(root: string, role: Role, told: Partial<Machine> = {}): Machine {
  const machine: Machine = {
    ...thisMachine(root),
    name: vmNames[role],
    nodeVersion: '20.19.2',
    now: () => new Date('2026-11-22T02:00:00Z'),
    space: () => ({ free: 8 * 1024 ** 3, size: 16 * 1024 ** 3 }),
    ...told,
  };
  const { run } = machine;
  return told.run === undefined
    ? {
        ...machine,
        run: (argv, how) =>
          argv[0] === 'sudo' ? Promise.resolve({ status: 1, stdout: '', stderr: '' }) : run(argv, how),
      }
    : machine;
}

/** One line for each entry, with its time of change: to see that a look changed nothing. */
export function snapshot(root: string): string[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const found = lstatSync(join(root, name));
      return `${name} ${found.mode.toString(8)} ${found.uid}:${found.gid} ${found.size} ${found.mtimeMs} ${found.ctimeMs}`;
    });
}
