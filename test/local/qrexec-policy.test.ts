// SPDX-License-Identifier: GPL-2.0-or-later
// Who may call whom, through real sandboxes: nothing in a request changes who the caller is.
import { writeFileSync } from 'node:fs';
import { test } from 'tap';
import { client, startFarm } from './qrexec-farm.js';

const policy = `test.Who * a @default allow target=b
test.Who * a b allow
test.Who * c b deny
test.Other * a halted allow
test.Fails * a broken allow
test.Ask * a b ask
test.Dom0 * a dom0 allow
test.NoStart * a sleeping allow autostart=no
`;

test('calls through real sandboxes', async (t) => {
  const farm = await startFarm(
    t,
    policy,
    [
      { name: 'a' },
      { name: 'b' },
      { name: 'c' },
      { name: 'halted' },
      { name: 'sleeping' },
      { name: 'broken', root: '/nonexistent/root' },
    ],
    ({ write }) => {
      write('b', '/usr/local/etc/qubes-rpc/test.Who', '#!/bin/sh\necho "$QREXEC_REMOTE_DOMAIN"\n', 0o755);
      write('halted', '/usr/local/etc/qubes-rpc/test.Other', '#!/bin/sh\ncat\n', 0o755);
    },
  );
  const refused = { status: 126, stdout: '', stderr: 'Request refused\n' };

  await t.test('a call goes where the policy says, also by redirect', async (t) => {
    for (const target of ['b', '@default', '', 'nosuch', '$default'])
      t.match(
        await farm.run('a', [client, target, 'test.Who']),
        { status: 0, stdout: 'a\n' },
        `asked for "${target}"`,
      );
    t.match(farm.calls().at(-1), {
      source: 'a',
      asked: '@default',
      target: 'b',
      service: 'test.Who',
      verdict: 'allow',
      rule: /30-user\.policy:1: test\.Who/,
    });
  });

  await t.test(
    'a denied call ends with 126 and one line; its input is left unread and its program is not started',
    async (t) => {
      t.same(await farm.run('c', [client, 'b', 'test.Who']), refused);
      t.match(farm.calls().at(-1), {
        source: 'c',
        verdict: 'deny',
        reason: 'denied by policy',
        rule: /:3: /,
      });
      t.same(await farm.run('a', [client, 'c', 'test.Who']), refused, 'no rule');
      t.same(
        (await farm.sh('c', `(${client} b test.Who 2>/dev/null; cat)`, { input: 'unread\n' })).stdout,
        'unread\n',
      );
      await farm.sh('c', `${client} b test.Who /usr/bin/touch /tmp/started`);
      t.equal((await farm.sh('c', 'ls /tmp')).stdout, '');
    },
  );

  await t.test('nothing in the request changes who is calling', async (t) => {
    t.same(await farm.run('c', [client, '--source-qube=a', 'b', 'test.Who']), refused);
    t.same(await farm.run('c', [client, 'b', 'test.Who'], { env: { QREXEC_REMOTE_DOMAIN: 'a' } }), refused);
    t.match(
      await farm.run('a', [client, '-s', 'dom0', 'b', 'test.Who'], { env: { QREXEC_REMOTE_DOMAIN: 'dom0' } }),
      { stdout: 'a\n' },
    );
    // A root of c who speaks to dom0 itself, and says whatever it likes.
    const forge = `import socket
for said in (b'b\\0test.Who\\0a\\0', b'b\\0test.Who a\\0\\0', b'b\\0test.Who\\0a\\0a\\0a\\n', b'a:b\\0test.Who\\0\\0'):
    s = socket.socket(socket.AF_UNIX); s.connect('/run/qubes/qrexec-agent'); s.sendall(said); print(s.recv(100).decode().strip())`;
    t.same(
      (await farm.run('c', ['/usr/bin/python3', '-c', forge], { user: 'root' })).stdout,
      'refused\n'.repeat(4),
    );
    t.notOk(farm.calls().some((call) => call.source === 'c' && call.verdict === 'allow'));
  });

  await t.test("a second connection in the agent's place is dropped, and the agent stays", async (t) => {
    const usurp =
      'import socket\ns = socket.socket(socket.AF_UNIX); s.connect("/run/qubes/dom0"); s.sendall(b\'{"event":"hello"}\\n\'); print(len(s.recv(10)))';
    const { stdout, stderr } = await farm.run('b', ['/usr/bin/python3', '-c', usurp], { user: 'root' });
    t.ok(stdout === '0\n' || /BrokenPipe|ConnectionReset/.test(stderr));
    t.match(await farm.run('a', [client, 'b', 'test.Who']), { stdout: 'a\n' });
    t.equal(
      (await farm.sh('b', 'test -w /run/qubes/dom0')).status,
      1,
      'only root of the VM reaches it at all',
    );
  });

  await t.test(
    'a call starts a halted target; where that fails or is not wanted, it is refused',
    async (t) => {
      t.equal(farm.dom0.list().find((vm) => vm.name === 'halted')?.state, 'halted');
      t.match(await farm.run('a', [client, 'halted', 'test.Other'], { input: 'through' }), {
        status: 0,
        stdout: 'through',
      });
      t.equal(farm.dom0.list().find((vm) => vm.name === 'halted')?.state, 'running');
      t.same(await farm.run('a', [client, 'broken', 'test.Fails']), refused);
      t.same(await farm.run('a', [client, 'sleeping', 'test.NoStart']), refused);
      t.equal(farm.dom0.list().find((vm) => vm.name === 'sleeping')?.state, 'halted');
    },
  );

  await t.test('where nobody answers, asking is refusing; dom0 has no services', async (t) => {
    t.same(await farm.run('a', [client, 'b', 'test.Ask']), refused);
    t.match(await farm.run('a', [client, 'dom0', 'test.Dom0']), { status: 127 });
  });

  await t.test('names: cleaned, cut, and refused where they are empty or too long', async (t) => {
    for (const service of ['', '+arg'])
      t.same(await farm.run('a', [client, 'b', service]), refused, `"${service}"`);
    t.match(await farm.run('a', [client, 'b', `test.Who+${'x'.repeat(3890)}`]), { status: 0, stdout: 'a\n' });
    t.same(await farm.run('a', [client, 'b', `test.Who+${'x'.repeat(4000)}`]), refused);
    writeFileSync(farm.policyFile, `${policy}* * a b allow\n`);
    t.match(
      await farm.run('a', [client, 'b', 'y'.repeat(256)]),
      { status: 125 },
      'a service name of 256 bytes',
    );
    t.match(await farm.run('a', [client, 'b', 'y'.repeat(255)]), { status: 127 });
  });

  await t.test('one mistake in the policy denies every call until it is mended', async (t) => {
    writeFileSync(farm.policyFile, `${policy}mistake\n`);
    t.same(await farm.run('a', [client, 'b', 'test.Who']), refused);
    t.match(farm.calls().at(-1)?.reason, /cannot be read.*:9: /);
    writeFileSync(farm.policyFile, policy);
    t.match(await farm.run('a', [client, 'b', 'test.Who']), { status: 0 });
  });

  await t.test('more than 256 connections of one VM are refused, and others are not affected', async (t) => {
    const flood = `import socket, time
held = []
for _ in range(300):
    s = socket.socket(socket.AF_UNIX); s.connect('/run/qubes/qrexec-agent'); held.append(s)
time.sleep(0.3)
last = held[-1]; last.settimeout(2); print(last.recv(20).decode().strip())`;
    t.match(await farm.run('c', ['/usr/bin/python3', '-c', flood]), { stdout: 'refused\n' });
    t.match(await farm.run('a', [client, 'b', 'test.Who']), { status: 0 });
    t.match(
      await farm.run('c', [client, 'b', 'test.Who']),
      { stderr: 'Request refused\n' },
      'and it may call again afterwards',
    );
    t.match(farm.calls().at(-1), { source: 'c', reason: 'denied by policy' });
  });
});
