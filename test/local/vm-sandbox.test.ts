// SPDX-License-Identifier: GPL-2.0-or-later
// What a VM sees, what it does not, and what lives how long.
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'tap';
import { AdminClient, runInVm, spawnInVm } from '../../agents/local/qrexec/admin-client.js';
import { folderOf } from '../support/folders.js';
import { addSocketServices, client, startFarm } from './qrexec-farm.js';

const checkout = join(dirname(fileURLToPath(import.meta.url)), '../../..');

test('the sandbox of a VM', async (t) => {
  const secrets = folderOf(t);
  writeFileSync(join(secrets, 'host-file'), 'secret');
  const farm = await startFarm(
    t,
    '* * net keys allow\n',
    [
      { name: 'keys', features: ['build-infra-test', 'other'] },
      { name: 'net', netvm: 'sys-net' },
      { name: 'third' },
    ],
    ({ write, folder }) => {
      addSocketServices({ write, folder }, 'keys', ['echo', 'who']);
      write('keys', '/home/user/.gnupg/private', 'the key');
      write('keys', '/rw/config/build-infra/keys.json', '{}');
      write('keys', '/var/lib/build-infra/state', 'kept');
      write('keys', '/etc/apt/sources.list.d/own.list', 'own');
      write(
        'keys',
        '/usr/lib/systemd/system/build-infra-boot.service',
        '[Service]\nExecStartPre=/bin/sh -c "echo before > /run/order"\nExecStart=/bin/sh -c "echo main >> /run/order; env > /run/boot-env; sleep 1000 & setsid sleep 2000 & wait"\nRestart=always\nEnvironment=A=1 "B=two words"\n[Install]\nWantedBy=multi-user.target\n',
      );
      write(
        'keys',
        '/usr/lib/systemd/system/build-infra-else.service',
        '[Unit]\nConditionPathExists=/run/qubes-service/build-infra-else\n[Service]\nExecStart=/usr/bin/touch /run/else\n[Install]\nWantedBy=multi-user.target\n',
      );
      write('net', '/usr/local/bin/own-program', '#!/bin/sh\necho own\n', 0o755);
    },
  );
  const root = { user: 'root' };

  await t.test('it has no host home, no checkout, no other VM, no host files', async (t) => {
    await farm.dom0.startVm('third');
    for (const vm of ['keys', 'net']) {
      for (const path of [
        secrets,
        farm.folder,
        farm.dom0.runFolder,
        checkout,
        join(homedir(), '.bashrc'),
        '/home/tester',
        '/opt/x',
        '/var/lib/postgresql',
        '/boot',
      ]) {
        t.equal((await farm.run(vm, ['test', '-e', path], root)).status, 1, `${path} in ${vm}`);
      }
      t.equal(
        (await farm.sh(vm, 'ls /home /root; cat /etc/shadow | grep -c "[$]"', root)).stdout,
        '/home:\nuser\n\n/root:\n0\n',
      );
      t.equal(
        (await farm.sh(vm, 'ls /usr/local')).stdout.trim(),
        vm === 'keys' ? 'etc' : 'bin',
        'its own /usr/local',
      );
      t.equal((await farm.sh(vm, 'find / -xdev -name private -path "*gnupg*" 2>/dev/null', root)).stdout, '');
      t.equal(
        (
          await farm.sh(
            vm,
            'ls /etc/ssh/ssh_host_* /etc/sudoers /etc/ssl/private/*.key 2>/dev/null; true',
            root,
          )
        ).stdout,
        '',
      );
    }
    t.equal(
      (
        await farm.sh(
          'net',
          'find / -name "the-key" -o -name keys.json 2>/dev/null; cat /home/user/.gnupg/private',
          root,
        )
      ).stdout,
      '',
      "not the keys VM's files",
    );
    t.equal((await farm.sh('net', 'own-program')).stdout, 'own\n');
  });

  await t.test('it sees only its own processes, its own name, its own accounts', async (t) => {
    t.equal((await farm.sh('keys', 'hostname')).stdout, 'keys\n');
    t.equal(
      (await farm.sh('keys', 'cat /proc/1/comm; ls /proc | grep -c "^[0-9]"', root)).stdout.startsWith(
        'python3',
      ),
      true,
    );
    t.equal((await farm.sh('net', `kill -0 ${process.pid}`, root)).status, 1, 'no process of the host');
    t.equal(
      (await farm.sh('keys', 'id')).stdout,
      'uid=1000(user) gid=1000(user) groups=1000(user),98(qubes)\n',
    );
    t.equal((await farm.sh('keys', 'ls /run/qubes-service')).stdout, 'build-infra-test\nother\n');
    t.match((await farm.run('keys', ['node', '-p', 'process.version'])).stdout, /^v\d/);
  });

  await t.test('the keys VM has no network and may not mount, the others may', async (t) => {
    t.equal(
      (
        await farm.sh(
          'keys',
          'ls /proc/sys/net/ipv4/conf | grep -vE "^(all|default|lo)$" | wc -l; tail -n +2 /proc/net/route | wc -l',
        )
      ).stdout,
      '0\n0\n',
    );
    t.not((await farm.sh('keys', 'exec 3<>/dev/tcp/203.0.113.1/80')).status, 0);
    for (const attempt of [
      'mount -t tmpfs x /mnt',
      'mknod /tmp/sda b 8 0',
      'unshare --mount true',
      'chroot / true',
    ])
      t.not((await farm.sh('keys', attempt, root)).status, 0, attempt);
    t.equal((await farm.sh('net', 'mount -t tmpfs x /mnt && umount /mnt', root)).status, 0);
    t.equal(
      (
        await farm.run(
          'net',
          [
            'bwrap',
            '--unshare-net',
            '--ro-bind',
            '/',
            '/',
            '--dev',
            '/dev',
            '--proc',
            '/proc',
            'cat',
            '/proc/net/route',
          ],
          root,
        )
      ).stdout
        .trim()
        .split('\n').length,
      1,
      'a sandbox in the sandbox, without network',
    );
    t.not((await farm.sh('net', 'touch /usr/x /usr/lib/x', root)).status, 0, '/usr is read only');
  });

  await t.test('its own files come back after a restart, the rest does not', async (t) => {
    const bootId = async (): Promise<string> =>
      (await farm.sh('keys', 'cat /proc/sys/kernel/random/boot_id')).stdout;
    const before = await bootId();
    t.match(before, /^[0-9a-f-]{36}\n$/);
    t.not(before, readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'), 'a boot of its own');
    t.equal(await bootId(), before);
    await farm.sh(
      'keys',
      'for f in /rw/x /home/user/x /var/lib/build-infra/x /usr/local/x /tmp/x /run/x /etc/x; do echo kept > $f; done',
      root,
    );
    await farm.dom0.stopVm('keys');
    t.equal(farm.dom0.list().find((vm) => vm.name === 'keys')?.state, 'halted');
    t.not(await bootId(), before);
    t.equal(
      (
        await farm.sh(
          'keys',
          'ls /rw/x /home/user/x /var/lib/build-infra/x /usr/local/x /tmp/x /run/x /etc/x 2>/dev/null',
          root,
        )
      ).stdout,
      '/home/user/x\n/rw/x\n/usr/local/x\n/var/lib/build-infra/x\n',
    );
    t.equal(
      (await farm.sh('keys', 'cat /etc/apt/sources.list.d/own.list /var/lib/build-infra/state')).stdout,
      'ownkept',
      'what the provisioner laid out is there',
    );
  });

  await t.test('units: sockets are there before the first call, the rest as they say', async (t) => {
    t.equal(
      (await farm.sh('keys', 'stat -c "%U %G %a" /run/build-infra/test.echo.sock')).stdout,
      'root qubes 660\n',
    );
    t.equal(
      (await farm.sh('keys', 'pgrep -c -f socket-service[s]')).stdout,
      '0\n',
      'a service with sockets starts with the first connection',
    );
    t.match(await farm.run('net', [client, 'keys', 'test.who']), { stdout: 'test.who+ net' });
    t.match(
      (await farm.sh('keys', 'tr "\\0" "\\n" < /proc/$(pgrep -f "^/usr/bin/python3 -B")/environ')).stdout,
      /GREETING=good morning\n[^]*OTHER=x\n/,
    );
    t.equal((await farm.sh('keys', 'stat -c "%U" /run/test /var/lib/build-infra')).stdout, 'user\nuser\n');
    t.equal(
      (await farm.sh('keys', 'cat /run/order')).stdout,
      'before\nmain\n',
      'one for multi-user.target at boot',
    );
    t.equal((await farm.sh('keys', 'test -e /run/else')).status, 1, 'none whose condition does not hold');
    t.match((await farm.sh('keys', 'cat /run/boot-env', root)).stdout, /B=two words\n/);
  });

  await t.test('a crashed service is started again, and what it left behind is ended', async (t) => {
    t.equal((await farm.sh('keys', 'pgrep -c "^sleep$"')).stdout, '2\n');
    await farm.sh(
      'keys',
      'pgrep -x sleep > /run/before; pkill -9 -f socket-service[s]; pkill -9 -f "sh -c echo main"',
      root,
    );
    for (let i = 0; i < 40 && (await farm.sh('keys', 'pgrep -c "^sleep$"')).stdout !== '2\n'; i++)
      await sleep(50);
    t.equal(
      (
        await farm.sh(
          'keys',
          'for p in $(cat /run/before); do test -d /proc/$p && echo alive; done; pgrep -c "^sleep$"',
          root,
        )
      ).stdout,
      '2\n',
      'the two old ones are gone, also the one in a session of its own',
    );
    t.match(await farm.run('net', [client, 'keys', 'test.who']), { stdout: 'test.who+ net' });
    t.match(
      readFileSync(farm.dom0.logOf('keys'), 'utf8'),
      /build-infra-test\.service: ended \(137\)\n[^]*build-infra-test\.service: started/,
    );
  });

  await t.test('a killed qrexec agent comes back', async (t) => {
    await farm.sh('keys', 'kill -9 2', root);
    let answer = await farm.run('net', [client, 'keys', 'test.who']);
    for (let i = 0; i < 40 && answer.status !== 0; i++) {
      await sleep(50);
      answer = await farm.run('net', [client, 'keys', 'test.who']);
    }
    t.match(answer, { stdout: 'test.who+ net' });
  });

  await t.test(
    'a command from dom0: user, folder, environment, status, and its end with whoever ran it',
    async (t) => {
      t.same(
        await runInVm(farm.dom0, 'net', ['sh', '-c', 'id -un; pwd; echo $X; cat; echo bad >&2; exit 9'], {
          user: 'root',
          cwd: '/rw',
          env: { X: 'y' },
          input: 'in\n',
        }),
        { status: 9, stdout: 'root\n/rw\ny\nin\n', stderr: 'bad\n' },
      );
      t.equal((await farm.run('net', ['no-such-program'])).status, 127);
      t.equal((await farm.run('net', ['id'], { user: 'nosuchuser' })).status, 125);
      await t.rejects(farm.run('net', ['sleep', '4321'], { timeoutMs: 300 }), /took longer/);
      for (let i = 0; i < 40 && (await farm.sh('net', 'pgrep -f "sleep 432[1]"')).status === 0; i++)
        await sleep(50);
      t.equal(
        (await farm.sh('net', 'pgrep -f "sleep 432[1]"')).status,
        1,
        'the command is gone with its client',
      );
      await t.rejects(farm.run('nosuch', ['true']), /no such VM/);
    },
  );

  await t.test('the admin socket is for its owner, and another process can use it', async (t) => {
    t.equal(statSync(farm.dom0.adminSocket).mode & 0o777, 0o600);
    for (const folder of [farm.dom0.runFolder, farm.folder]) t.equal(statSync(folder).mode & 0o777, 0o700);
    const admin = await AdminClient.connect(farm.dom0.adminSocket);
    const seen: string[] = [];
    await admin.onEvent((event) =>
      seen.push(event.event === 'call' ? `${event.source} ${event.service} ${event.verdict}` : event.event),
    );
    t.match(await admin.list(), [
      { name: 'keys', state: 'running' },
      { name: 'net', state: 'running', netvm: 'sys-net' },
      { name: 'third' },
    ]);
    t.equal((await runInVm(admin, 'net', [client, 'keys', 'test.who'])).stdout, 'test.who+ net');
    const child = await spawnInVm(admin, 'net', { argv: ['sh', '-c', 'exit 5'] }, 'ignore');
    t.equal(await new Promise((resolve) => child.once('exit', resolve)), 5);
    t.ok(seen.includes('net test.who allow') && seen.includes('ended'));
    await t.rejects(admin.startVm('nosuch'), /no such VM/);
    await admin.addVm({ name: 'later', root: join(farm.folder, 'vms/third'), netvm: null });
    t.match((await admin.list()).at(-1), { name: 'later', state: 'halted', netvm: null });
    await t.rejects(admin.addVm({ name: 'later', root: '/', netvm: null }), /already/);
    await t.rejects(admin.addVm({ name: '../x', root: '/', netvm: null }), /not a name/);
    admin.close();
  });

  await t.test('a killed VM leaves nothing behind, and starts again', async (t) => {
    const pid = farm.dom0.list().find((vm) => vm.name === 'net')?.pid as number;
    const call = farm.run('net', [client, 'keys', 'test.echo'], { timeoutMs: 5000 }).catch(() => undefined);
    await farm.dom0.killVm('net');
    await call;
    t.notOk(existsSync(`/proc/${pid}`));
    t.equal(farm.dom0.list().find((vm) => vm.name === 'net')?.state, 'halted');
    t.same(readdirSync(join(farm.dom0.runFolder, 'vms/net/vchan')), []);
    t.match(await farm.run('net', [client, 'keys', 'test.who']), { stdout: 'test.who+ net' });
  });

  await t.test('a target that is killed during a call ends the call', async (t) => {
    const call = farm.sh('net', `sleep 20 | (${client} keys test.echo; echo ended; pkill sleep)`);
    await sleep(300);
    await farm.dom0.killVm('keys');
    t.match(await call, { stdout: 'ended\n' });
  });
});
