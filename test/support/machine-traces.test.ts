// SPDX-License-Identifier: GPL-2.0-or-later
// What a whole run of the tests would be told of what it changed on its machine.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { folderOf } from './folders.js';

interface Traces {
  lookAtMachine: (root?: string) => Map<string, string>;
  changesOf: (before: Map<string, string>, after: Map<string, string>) => string[];
  childrenOf: (reaper: number, except: number) => string[];
}
const { lookAtMachine, changesOf, childrenOf } = (await import(
  join(dirname(fileURLToPath(import.meta.url)), '../../../test/machine-traces.mjs')
)) as Traces;

const root = folderOf(t);
const put = (path: string, text: string): void => {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
};
const mounts =
  '21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n22 21 0:5 / /dev rw - devtmpfs devtmpfs rw\n';
put('dev/null', '');
put('dev/net/tun', '');
put('dev/pts/0', '');
put('etc/passwd', 'root:x:0:0::/root:/bin/sh\n');
put('etc/resolv.conf', 'nameserver 192.0.2.1\n');
put('usr/lib/systemd/system/nginx.service', '[Service]\n');
mkdirSync(join(root, 'etc/systemd/system/multi-user.target.wants'), { recursive: true });
put('proc/self/mountinfo', mounts);
const before = lookAtMachine(root);

/** @returns the lines, of which each names its path */
const seen = (): string[] => changesOf(before, lookAtMachine(root));

void t.test('nothing changed, or only what others change', (t) => {
  t.same(seen(), []);
  put('etc/resolv.conf', 'nameserver 192.0.2.22\n');
  put('dev/pts/1', '');
  put('dev/loop7', '');
  t.same(seen(), []);
  t.end();
});

for (const [what, path, change, back] of [
  [
    'the mode of a device node',
    '/dev/null',
    () => chmodSync(join(root, 'dev/null'), 0o600),
    () => chmodSync(join(root, 'dev/null'), 0o644),
  ],
  [
    'the mode of a folder of devices',
    '/dev/net',
    () => chmodSync(join(root, 'dev/net'), 0o700),
    () => chmodSync(join(root, 'dev/net'), 0o755),
  ],
  [
    'an account',
    '/etc/passwd',
    () => put('etc/passwd', 'root:x:0:0::/root:/bin/sh\nbuilder:x:1::/:/bin/sh\n'),
    undefined,
  ],
  [
    'a service that starts at boot',
    '/etc/systemd/system/multi-user.target.wants/nginx.service',
    () =>
      symlinkSync(
        '/usr/lib/systemd/system/nginx.service',
        join(root, 'etc/systemd/system/multi-user.target.wants/nginx.service'),
      ),
    () => rmSync(join(root, 'etc/systemd/system/multi-user.target.wants/nginx.service')),
  ],
  [
    'a unit that is gone',
    '/usr/lib/systemd/system/nginx.service',
    () => rmSync(join(root, 'usr/lib/systemd/system/nginx.service')),
    undefined,
  ],
  [
    'a mount',
    'the mount 23 on /tmp/x',
    () => put('proc/self/mountinfo', `${mounts}23 21 0:9 / /tmp/x rw - tmpfs tmpfs rw,size=1k\n`),
    () => put('proc/self/mountinfo', mounts),
  ],
  [
    'a mount that is gone',
    'the mount 22 on /dev',
    () => put('proc/self/mountinfo', mounts.split('\n').slice(0, 1).join('\n')),
    () => put('proc/self/mountinfo', mounts),
  ],
] as const) {
  void t.test(what, (t) => {
    change();
    t.ok(
      seen().some((line) => line.startsWith(`${path} `)),
      seen().join('\n'),
    );
    back?.();
    t.end();
  });
}

void t.test('a process that goes on, and none that ended', async (t) => {
  const child = spawn('sleep', ['300'], { stdio: 'ignore' });
  await once(child, 'spawn');
  t.match(childrenOf(process.pid, 0), [new RegExp(`^process ${child.pid} goes on: `)]);
  t.same(childrenOf(process.pid, child.pid as number), []);
  child.kill('SIGKILL');
  await once(child, 'close');
  t.same(childrenOf(process.pid, 0), []);
});
