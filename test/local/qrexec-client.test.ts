// SPDX-License-Identifier: GPL-2.0-or-later
// qrexec-client-vm's command line, its local programs, and what it costs to start.
import { test } from 'tap';
import { addSocketServices, client, startFarm } from './qrexec-farm.js';

test('qrexec-client-vm', async (t) => {
  const farm = await startFarm(
    t,
    'test.No * a b deny\n* * a b allow\n',
    [{ name: 'a' }, { name: 'b', features: ['build-infra-test'] }],
    ({ write, folder }) => {
      addSocketServices({ write, folder }, 'b', ['echo', 'who', 'sink']);
      const script = (name: string, text: string): void =>
        write('b', `/usr/local/etc/qubes-rpc/${name}`, `#!/bin/sh\n${text}\n`, 0o755);
      script('test.Cat', 'cat');
      script('test.Status', 'cat > /dev/null; exit "${1:-0}"');
      script('test.Dirty', "printf 'a\\033[1m\\tb\\351\\n'; printf 'e\\033\\n' >&2");
      script('test.Talk', 'read line; echo "heard $line"; cat > /tmp/heard');
      write(
        'a',
        '/usr/lib/build-infra/local',
        '#!/bin/sh\necho "$0 $*" >&2\necho "in: $(readlink /proc/$$/fd/0 | cut -d: -f1) saved: $SAVED_FD_0 $SAVED_FD_1 ${SAVED_FD_2-none} agent: $QREXEC_AGENT_PID" >&2\necho question\nread answer\necho "$answer" >&$SAVED_FD_1\ncat <&$SAVED_FD_0 >&2\nexit 6\n',
        0o755,
      );
      write('a', '/usr/lib/build-infra/plain', 'x', 0o644);
      write(
        'a',
        '/usr/lib/build-infra/switch',
        `#!/usr/bin/python3
import os, signal, time
os.write(1, b'one\\n')
time.sleep(0.2)
os.kill(int(os.environ['QREXEC_AGENT_PID']), signal.SIGUSR1)
time.sleep(0.2)
os.write(0, b'two\\n')
import socket
s = socket.socket(fileno=0); s.shutdown(socket.SHUT_WR)
got = b''
while (data := s.recv(100)): got += data
os.write(int(os.environ['SAVED_FD_1']), got)
`,
        0o755,
      );
    },
  );
  const run = (...argv: string[]): Promise<{ status: number; stdout: string; stderr: string }> =>
    farm.run('a', [client, ...argv], { input: 'input\n' });

  await t.test('options', async (t) => {
    for (const args of [
      [],
      ['b'],
      ['--nonsense', 'b', 'test.Cat'],
      ['-x', 'b', 'test.Cat'],
      ['--agent-socket'],
    ])
      t.match(await run(...args), { status: 2, stderr: /^usage/ }, args.join(' '));
    for (const size of ['junk', '-1', ''])
      t.match(await run(`--buffer-size=${size}`, 'b', 'test.Cat'), { status: 1 }, `--buffer-size=${size}`);
    for (const size of ['65536', '0x10000', '0200000'])
      t.match(
        await run(`--buffer-size=${size}`, 'b', 'test.Cat'),
        { status: 0, stdout: 'input\n' },
        `--buffer-size=${size}`,
      );
    t.match(await run('--agent-socket=/run/none', 'b', 'test.Cat'), { status: 1, stdout: '' });
    t.match(await run('-a', '/run/none', 'b', 'test.Cat'), { status: 1 });
    t.match(await run('--', 'b', 'test.Cat'), { status: 0, stdout: 'input\n' });
    t.match(await run('-p', 'before ', 'b', 'test.Cat'), { stdout: 'before input\n' });
    t.match(await run('--prefix-data=before ', 'b', 'test.echo'), { stdout: 'before input\n' });
    t.match(await run('-h'), { status: 0 });
  });

  await t.test('bytes that could draw on a terminal are filtered where asked, otherwise pass', async (t) => {
    const raw = 'printf "a\\033[1m\\tb\\351\\n"';
    t.same(
      (await farm.sh('a', `${client} b test.Dirty 2>/dev/null | od -c; ${raw} | od -c`)).stdout
        .split('0000010')[0]
        ?.slice(0, 40),
      (await farm.sh('a', `${raw} | od -c`)).stdout.slice(0, 40),
    );
    t.match(await run('-t', 'b', 'test.Dirty'), { stdout: 'a_[1m\tb_\n', stderr: 'e\u001b\n' });
    t.match(await run('-T', 'b', 'test.Dirty'), { stderr: 'e_\n' });
    t.match(await run('-tT', '--no-filter-escape-chars-stdout', 'b', 'test.Dirty'), {
      stdout: 'a\u001b[1m\tb\ufffd\n',
      stderr: 'e_\n',
    });
  });

  await t.test("a local program talks to the service; the caller's streams are kept for it", async (t) => {
    const { status, stdout, stderr } = await run(
      'b',
      'test.Talk',
      '/usr/lib/build-infra/local',
      '-t',
      '--',
      'word',
    );
    t.equal(status, 6, 'its status where the service ended with 0');
    t.equal(stdout, 'heard question\n');
    t.match(
      stderr,
      /^\/usr\/lib\/build-infra\/local -t -- word\nin: socket saved: \d+ \d+ none agent: \d+\ninput\n$/,
    );
    t.match(
      (
        await farm.run('a', [client, 'b', 'test.Talk', '/usr/lib/build-infra/local'], {
          env: { PASS_LOCAL_STDERR: '1' },
        })
      ).stderr,
      /saved: \d+ \d+ \d+ /,
    );
  });

  await t.test("status with a local program: the service's unless that is 0", async (t) => {
    t.equal((await run('b', 'test.Status+3', '/bin/false')).status, 3);
    t.equal((await run('b', 'test.Status', '/bin/false')).status, 1);
    t.equal((await run('b', 'test.Status', '/bin/true')).status, 0);
    t.equal((await run('b', 'test.Status', '/bin/sh', '-c', 'kill -9 $$')).status, 137);
    t.equal((await run('b', 'test.Status', '/usr/lib/build-infra/plain')).status, 255, 'not executable');
    t.equal((await run('b', 'test.Status', 'true')).status, 255, 'PATH is not searched');
    t.match(await run('b', 'test.No', '/usr/bin/touch', '/tmp/no'), {
      status: 126,
      stderr: 'Request refused\n',
    });
    t.equal((await farm.sh('a', 'ls /tmp')).stdout, '');
  });

  await t.test('on SIGUSR1 the local program speaks both ways over its stdin', async (t) => {
    t.match(await run('b', 'test.echo', '/usr/lib/build-infra/switch'), { status: 0, stdout: 'one\ntwo\n' });
    t.match(await run('b', 'test.Cat', '/usr/lib/build-infra/switch'), { status: 0, stdout: 'one\ntwo\n' });
  });

  await t.test('--use-stdin-socket uses standard input both ways', async (t) => {
    const both = `import socket, subprocess
ours, its = socket.socketpair()
p = subprocess.Popen(['${client}', '--use-stdin-socket', 'b', 'test.echo'], stdin=its, stdout=subprocess.DEVNULL)
its.close(); ours.sendall(b'to and fro'); ours.shutdown(socket.SHUT_WR)
got = b''
while (data := ours.recv(100)): got += data
print(got.decode(), p.wait())`;
    t.equal((await farm.run('a', ['/usr/bin/python3', '-c', both])).stdout, 'to and fro 0\n');
  });

  await t.test('what a call costs', async (t) => {
    const times = (argv: string): Promise<{ stdout: string }> =>
      farm.run('a', [
        '/usr/bin/python3',
        '-c',
        `import subprocess, time
def once():
    begun = time.perf_counter(); subprocess.run(${argv}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); return (time.perf_counter() - begun) * 1000
print('%.1f' % sorted(once() for _ in range(30))[15])`,
      ]);
    const start = (await times(`['${client}', '-h']`)).stdout.trim();
    const call = (await times(`['${client}', 'b', 'test.who']`)).stdout.trim();
    t.comment(
      `qrexec-client-vm starts in ${start} ms; a whole call to a socket service takes ${call} ms (medians of 30)`,
    );
    t.ok(Number(call) > 0);
  });
});
