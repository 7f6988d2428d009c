// SPDX-License-Identifier: GPL-2.0-or-later
// Executable services: how they are found and started, what they see, and how a call to them ends.
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { client, startFarm } from './qrexec-farm.js';

const policy = `test.Root * a b allow user=root
test.Nobody * a b allow user=nosuchuser
* * a b allow
`;
const rpc = '/usr/local/etc/qubes-rpc';

test('executable services', async (t) => {
  const farm = await startFarm(t, policy, [{ name: 'a' }, { name: 'b' }], ({ write, folder }) => {
    const script = (name: string, text: string, where = rpc): void =>
      write('b', `${where}/${name}`, `#!/bin/sh\n${text}\n`, 0o755);
    script('test.Env', 'env | sort; pwd; umask');
    script('test.Id', 'id -un');
    script('test.Root', 'id -un');
    script('test.Nobody', 'id -un');
    script('test.Forced', 'id -un');
    write(
      'b',
      '/usr/local/etc/qubes/rpc-config/test.Forced',
      "# who\nforce-user = 'nobody'\nwait-for-session = false\n",
    );
    script('test.Args', 'echo $# "$1"');
    script('test.Status', 'exit "${1:-0}"');
    script('test.Signal', 'kill -9 $$');
    script(
      'test.Streams',
      'for f in 0 1 2; do readlink /proc/$$/fd/$f | cut -d: -f1; done; test -t 0; echo $? >&2',
    );
    script('test.Echo', 'cat');
    script('test.Early', 'exit 3');
    script('test.CloseIn', 'exec <&-; sleep 0.3; exit 4');
    script('test.Child', 'sleep 1 & exit 0');
    script('test.ChildClosed', 'sleep 5 >/dev/null 2>&1 & exit 0');
    script('test.Wait', 'cat > /dev/null; touch /tmp/eof; exec yes');
    script('test.Much', 'exec head -c 3000000 /dev/zero');
    script('test.Both', 'cat >&2; echo out');
    write('b', `${rpc}/test.NoShebang`, 'echo "a script"\n', 0o755);
    write('b', `${rpc}/test.NotExecutable`, 'x', 0o644);
    mkdirSync(join(folder, 'vms/b', rpc, 'test.Folder'));
    symlinkSync('/nonexistent', join(folder, 'vms/b', rpc, 'test.Dangling'));
    script('test.Order', 'echo local');
    script('test.Order+x', 'echo etc with argument', '/etc/qubes-rpc');
    script('test.Order+y', 'echo local with argument');
    script('test.Order+', 'echo no argument');
    write('b', '/usr/local/etc/qubes/rpc-config/test.Bad', 'unknown = "double"\n');
    script('test.Bad', 'echo ran');
  });
  const call = (service: string, input = ''): Promise<{ status: number; stdout: string; stderr: string }> =>
    farm.run('a', [client, 'b', service], { input });

  await t.test(
    "the service sees who calls and for what, and nothing of the caller's environment",
    async (t) => {
      const { stdout, stderr } = await farm.run('a', [client, 'b', 'test.Env+a/b'], {
        env: { LEAK: 'x', QREXEC_LEAK: 'y' },
      });
      t.equal(stderr, '');
      t.same(
        stdout
          .trim()
          .split('\n')
          .filter((line) => !line.startsWith('PATH=')),
        [
          'HOME=/home/user',
          'LANG=C.UTF-8',
          'LOGNAME=user',
          'PWD=/home/user',
          'QREXEC_AGENT_PID=2',
          'QREXEC_REMOTE_DOMAIN=a',
          'QREXEC_REQUESTED_TARGET_TYPE=',
          'QREXEC_SERVICE_ARGUMENT=a_b',
          'QREXEC_SERVICE_FULL_NAME=test.Env+a_b',
          'SHELL=/bin/bash',
          'USER=user',
          '/home/user',
          '0022',
        ],
      );
      t.match(
        (await call('test.Env')).stdout,
        /^QREXEC_SERVICE_ARGUMENT=\nQREXEC_SERVICE_FULL_NAME=test\.Env\+\n/m,
        'without an argument it is set but empty',
      );
    },
  );

  await t.test("it runs as the rule's user, else as user, and as force-user before both", async (t) => {
    t.equal((await call('test.Id')).stdout, 'user\n');
    t.equal((await call('test.Root')).stdout, 'root\n');
    t.equal((await call('test.Forced')).stdout, 'nobody\n');
    t.equal((await call('test.Nobody')).status, 125);
  });

  await t.test('the argument is one word or none', async (t) => {
    t.equal((await call('test.Args')).stdout, '0 \n');
    t.equal((await call('test.Args+a+b c')).stdout, '1 a+b_c\n');
    t.equal((await call('test.Args+-n')).stdout, '1 -n\n');
  });

  await t.test('service+argument is looked for in every folder before service', async (t) => {
    t.equal((await call('test.Order+x')).stdout, 'etc with argument\n');
    t.equal((await call('test.Order+y')).stdout, 'local with argument\n');
    t.equal((await call('test.Order+z')).stdout, 'local\n');
    t.equal((await call('test.Order')).stdout, 'no argument\n');
    t.equal(
      (await call(`test.Order+${'z'.repeat(300)}`)).stdout,
      'local\n',
      'an argument too long for a file name',
    );
  });

  await t.test(
    "status: the service's own, 128+n for a signal, 127 not there, 125 not runnable",
    async (t) => {
      for (const status of [0, 1, 42, 126, 255])
        t.equal((await call(`test.Status+${status}`)).status, status);
      t.equal((await call('test.Signal')).status, 137);
      t.equal((await call('test.Nosuch')).status, 127);
      t.equal((await call('test.Dangling')).status, 127);
      t.equal((await call('test.NotExecutable')).status, 125);
      t.equal((await call('test.Bad')).status, 125, 'a bad rpc-config');
      t.equal((await call('test.Folder')).status, 126, "the shell's own");
      t.equal((await call('test.NoShebang')).stdout, 'a script\n', 'the shell reads a script without #!');
    },
  );

  await t.test('stdin and stdout are sockets, stderr a pipe', async (t) => {
    t.match(await call('test.Streams'), { stdout: 'socket\nsocket\npipe\n', stderr: '1\n' });
    t.match(await call('test.Both', 'in'), { stdout: 'out\n', stderr: 'in' });
  });

  await t.test('bytes pass unchanged', async (t) => {
    const { stdout } = await farm.sh(
      'a',
      `head -c 5000000 /dev/urandom > /tmp/r; ${client} b test.Echo < /tmp/r | cmp - /tmp/r && echo same`,
    );
    t.equal(stdout, 'same\n');
  });

  await t.test('the call is over when the process has ended and its output is at its end', async (t) => {
    const timed = async (script: string): Promise<{ seconds: number; status: number }> => {
      const begun = Date.now();
      const { status } = await farm.sh('a', script);
      return { seconds: (Date.now() - begun) / 1000, status };
    };
    t.match(
      await timed(`sleep 5 | (${client} b test.Early; s=$?; pkill sleep; exit $s)`),
      { status: 3 },
      'the service ends while the caller still has input',
    );
    const child = await timed(`${client} b test.Child`);
    t.ok(child.seconds >= 1, 'a child that holds stdout delays the end');
    t.ok((await timed(`${client} b test.ChildClosed`)).seconds < 4, 'one that closed it does not');
    t.match(
      await timed(`yes | ${client} b test.CloseIn`),
      { status: 4 },
      'a service that closes its input early still gives its status',
    );
    t.match(
      await timed(
        `(${client} b test.Much; echo $? > /tmp/status) | head -c 3 > /dev/null; exit $(cat /tmp/status)`,
      ),
      { status: 0 },
      'output that nobody reads is drained: the service does not see a broken pipe',
    );
  });

  await t.test(
    'a killed caller: the service sees the end of its input, then a broken pipe, no signal',
    async (t) => {
      await farm.sh(
        'a',
        `sleep 10 | ${client} b test.Wait > /dev/null & sleep 0.4; pkill -9 qrexec-client-v; pkill sleep; wait`,
      );
      for (let i = 0; i < 50 && (await farm.sh('b', 'pgrep -f test[.]Wait')).status === 0; i++)
        await new Promise((resolve) => setTimeout(resolve, 50));
      t.equal((await farm.sh('b', 'ls /tmp')).stdout, 'eof\n');
      t.equal((await farm.sh('b', 'pgrep -f test[.]Wait')).status, 1, 'nothing of it is left');
    },
  );

  await t.test('100 calls at once lose nothing', async (t) => {
    const { stdout } = await farm.sh(
      'a',
      `for i in $(seq 100); do (echo "call $i" | ${client} b test.Echo; echo "status $?") & done; wait`,
    );
    const lines = stdout.trim().split('\n');
    t.equal(new Set(lines.filter((line) => line.startsWith('call'))).size, 100);
    t.equal(lines.filter((line) => line === 'status 0').length, 100);
    t.equal(
      (await farm.sh('a', 'ls /run/qubes/vchan; ls /proc | grep -c "^[0-9]"', { user: 'root' })).stdout.split(
        '\n',
      )[0]?.length,
      1,
      'no meeting place is left over',
    );
  });
});
