// SPDX-License-Identifier: GPL-2.0-or-later
// Socket services: the descriptor that says who is calling, half-closed streams, the settings of rpc-config,
// and volume.
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { spawnInVm } from '../../agents/local/qrexec/admin-client.js';
import { until } from '../support/until.js';
import { addSocketServices, client, startFarm } from './qrexec-farm.js';

const config = '/usr/local/etc/qubes/rpc-config';
const services = ['echo', 'who', 'sink', 'source', 'after', 'half', 'gone', 'raw', 'slow'];

test('socket services', async (t) => {
  const farm = await startFarm(
    t,
    '* * a b allow user=nosuchuser\n* * b a allow\n* * c b allow\n',
    [{ name: 'a' }, { name: 'b', features: ['build-infra-test'] }, { name: 'c' }],
    ({ write, folder }) => {
      addSocketServices({ write, folder }, 'b', services);
      write('b', `${config}/test.raw`, 'skip-service-descriptor = true\n');
      const link = (name: string, to: string): void => {
        mkdirSync(join(folder, 'vms/b/usr/local/etc/qubes-rpc'), { recursive: true });
        symlinkSync(to, join(folder, 'vms/b/usr/local/etc/qubes-rpc', name));
      };
      link('test.Dead', '/run/dead.sock');
      link('test.Tcp', '/dev/tcp/127.0.0.1');
    },
  );
  const call = (service: string, input = ''): Promise<{ status: number; stdout: string; stderr: string }> =>
    farm.run('a', [client, 'b', service], { input });

  await t.test("the first bytes say who calls and for what; the policy's user= plays no part", async (t) => {
    t.same(await call('test.who+x/y'), { status: 0, stdout: 'test.who+x_y a', stderr: '' });
    t.same(await call('test.who'), { status: 0, stdout: 'test.who+ a', stderr: '' });
    t.same(
      await call('test.raw', 'data'),
      { status: 0, stdout: 'first:data', stderr: '' },
      'skip-service-descriptor',
    );
  });

  await t.test("the end of the caller's input is a half-close: the service may still answer", async (t) => {
    t.same(await call('test.after', '12345'), { status: 0, stdout: 'got 5 after your end', stderr: '' });
  });

  await t.test(
    "the end of the service's output is the caller's, while the service may still read",
    async (t) => {
      const { stdout } = await farm.sh('a', `(sleep 0.3; echo later) | ${client} b test.half`);
      t.equal(stdout, 'done');
      t.equal((await farm.sh('b', 'cat /tmp/half')).stdout, '6');
    },
  );

  await t.test(
    "a service that closes altogether ends the call though the caller's input is open",
    async (t) => {
      const begun = Date.now();
      t.match(await farm.sh('a', `sleep 5 | (${client} b test.gone; pkill sleep)`), { stdout: 'bye' });
      t.ok(Date.now() - begun < 4000);
    },
  );

  await t.test(
    'exit-on-client-eof drops what comes late, exit-on-service-eof does not wait for the caller',
    async (t) => {
      farm.write('b', `${config}/test.slow`, 'exit-on-client-eof = true\n');
      t.same(await call('test.slow', 'x'), { status: 0, stdout: '', stderr: '' });
      farm.write('b', `${config}/test.half`, 'exit-on-service-eof = true\n');
      const begun = Date.now();
      t.match(await farm.sh('a', `sleep 5 | (${client} b test.half; pkill sleep)`), { stdout: 'done' });
      t.ok(Date.now() - begun < 4000);
    },
  );

  await t.test('settings that are not exactly right fail the call with 125', async (t) => {
    for (const bad of [
      '[section]',
      'skip-service-descriptor = "true"',
      'skip-service-descriptor = 1',
      "skip-service-descriptor = 'true'",
      'force-user = user',
      'force-user = 1',
      ' wait-for-session = 1',
      'wait-for-session = 1 junk',
      'wait-for-session = 2',
      'wait-for-session',
      'skip-service-descriptor = true\nskip-service-descriptor = true',
      "force-user = 'user'\nexit-on-client-eof = true",
      `# ${'x'.repeat(5000)}`,
      'a = 1\0',
    ]) {
      farm.write('b', `${config}/test.who+bad`, `${bad}\n`);
      t.equal((await call('test.who+bad')).status, 125, JSON.stringify(bad.slice(0, 40)));
    }
    for (const good of [
      '',
      '# only',
      "unknown = 'x'",
      'wait-for-session = true',
      'wait-for-session=0 # why',
      "force-user = 'user'\nexit-on-client-eof = false",
    ]) {
      farm.write('b', `${config}/test.who+bad`, `${good}\n`);
      t.equal((await call('test.who+bad')).status, 0, JSON.stringify(good));
    }
  });

  await t.test('nobody listening is 125; a link to /dev/tcp connects there', async (t) => {
    await farm.sh('b', 'python3 -c "import socket; socket.socket(socket.AF_UNIX).bind(\'/run/dead.sock\')"', {
      user: 'root',
    });
    t.equal((await call('test.Dead')).status, 125);
    t.equal((await call('test.Tcp+9')).status, 125);
    const server = farm.sh(
      'b',
      "python3 -c \"import socket; s = socket.create_server(('127.0.0.1', 8123)); c, _ = s.accept(); c.sendall(b'tcp:' + c.recv(100)); c.close()\"",
    );
    for (let i = 0; i < 40 && (await farm.sh('b', 'grep -q ":1FBB " /proc/net/tcp')).status !== 0; i++)
      await new Promise((resolve) => setTimeout(resolve, 50));
    t.match(await call('test.Tcp+8123'), { status: 0, stdout: 'tcp:test.Tcp+8123 a\0' });
    await server;
  });

  await t.test('100 calls at once lose nothing, whoever starts the service', async (t) => {
    await farm.sh('b', 'pkill -9 -f socket-services', { user: 'root' });
    const { stdout } = await farm.sh(
      'a',
      `for i in $(seq 100); do (echo "call $i" | ${client} b test.echo) & done; wait`,
    );
    t.equal(new Set(stdout.trim().split('\n')).size, 100);
  });

  await t.test('1 GiB goes through in each direction in constant memory', async (t) => {
    const measured = (
      argv: string[],
      stdin: string,
      stdout: string,
    ): string => `import resource, subprocess, sys, time
begun = time.monotonic()
subprocess.run(${JSON.stringify(argv)}, stdin=${stdin}, stdout=${stdout}, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, round(1024 / (time.monotonic() - begun)))`;
    await farm.sh('a', 'truncate -s 1G /tmp/gib; cat /tmp/gib > /dev/null');
    for (const [name, script] of [
      ['up', measured([client, 'b', 'test.sink'], 'open("/tmp/gib")', 'open("/tmp/out", "wb")')],
      ['down', measured([client, 'b', 'test.source+1024'], 'subprocess.DEVNULL', 'open("/dev/null", "wb")')],
    ] as const) {
      const { stdout, stderr } = await farm.run('a', ['/usr/bin/python3', '-c', script]);
      const [kilobytes, rate] = stdout.trim().split(' ').map(Number) as [number, number];
      t.ok(kilobytes < 40_000, `${name}: ${kilobytes} KiB at most, ${rate} MiB/s ${stderr}`);
      t.comment(`1 GiB ${name}: ${rate} MiB/s, the client's memory ${kilobytes} KiB`);
    }
    t.equal((await farm.sh('a', 'cat /tmp/out')).stdout, String(1024 ** 3));
    const agent = await farm.sh('b', 'grep VmHWM /proc/2/status', { user: 'root' });
    t.ok(Number(/\d+/.exec(agent.stdout)?.[0]) < 40_000, `the agent: ${agent.stdout.trim()}`);
  });

  await t.test('a slow reader slows the writer: nothing is buffered without limit', async (t) => {
    const { stdout } = await farm.run('a', [
      '/usr/bin/python3',
      '-c',
      `import subprocess, time
p = subprocess.Popen(['${client}', 'b', 'test.source+64'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
time.sleep(0.5)
memory = [line for line in open(f'/proc/{p.pid}/status') if line.startswith('VmRSS')][0].split()[1]
print(memory, len(p.stdout.read()))`,
    ]);
    const [kilobytes, bytes] = stdout.trim().split(' ').map(Number) as [number, number];
    t.ok(kilobytes < 40_000);
    t.equal(bytes, 64 * 1024 * 1024);
  });

  await t.test(
    'all callers of one side have 128 places at a VM, over all of its services; the other side has its own',
    async (t) => {
      await farm.dom0.startVm('c');
      const domids = new Map(farm.dom0.list().map(({ name, domid }) => [name, domid]));
      t.ok(
        (domids.get('a') as number) < (domids.get('b') as number) &&
          (domids.get('c') as number) > (domids.get('b') as number),
        'a is below b, and c above',
      );
      const holding =
        'import subprocess, sys\nheld = [subprocess.Popen([sys.argv[1], "b", ("test.echo", "test.sink")[n % 2]], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) for n in range(128)]\nsys.stdin.read()';
      const before = farm.calls().length;
      const holder = await spawnInVm(farm.dom0, 'a', { argv: ['/usr/bin/python3', '-c', holding, client] }, [
        'pipe',
        'ignore',
        'ignore',
      ]);
      await until('128 calls are open', () => farm.calls().length >= before + 128);
      t.ok(
        farm
          .calls()
          .slice(before)
          .every(({ verdict }) => verdict === 'allow'),
      );
      for (const service of ['test.echo', 'test.who'])
        t.same(
          await call(service),
          { status: 126, stdout: '', stderr: 'Request refused\n' },
          `one more, of ${service}, is refused as by policy`,
        );
      t.match(farm.calls().at(-1), { verdict: 'deny', reason: /no place left/ });
      t.match(await farm.run('c', [client, 'b', 'test.who']), { status: 0, stdout: 'test.who+ c' });
      const ended = new Promise((resolve) => holder.once('close', resolve));
      holder.stdin?.end();
      await ended;
      await until('there are places again', async () => (await call('test.who')).status === 0);
    },
  );
});
