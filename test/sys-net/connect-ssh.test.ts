// SPDX-License-Identifier: GPL-2.0-or-later
// local.ConnectSSH through its real socket, to real TCP servers and a real ssh server where there is one.
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import tap from 'tap';
import { SshServer } from '../support/ssh-server.js';
import { connectSsh, youngOfOne } from '../../agents/sys-net/connect-ssh.js';
import { callsPerSource, serveSockets, socketPath } from '../../agents/shared/calls/socket-service.js';
import { readConfig, type SshConfig } from '../../agents/sys-net/config.js';
import { folderOf } from '../support/folders.js';
import { until } from '../support/until.js';
import { baseConfig } from './agent.js';

interface Rig {
  socket: string;
  call: (argument: string, source?: string) => Socket;
  lines: string[];
}

/** A ConnectSSH service whose forge.example is `onConnection`. */
async function rig(
  t: { teardown: (act: () => unknown) => void },
  onConnection: (socket: Socket) => void,
  options: {
    idleMs?: number;
    halfOpenIdleMs?: number;
    firstByteMs?: number;
    youthMs?: number;
    port?: number;
  } = {},
): Promise<Rig> {
  const open: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => undefined);
    open.push(socket);
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const folder = folderOf(t);
  const config = readConfig(
    Buffer.from(
      JSON.stringify({
        ...baseConfig,
        sshHosts: [
          {
            host: 'forge.example',
            address: '127.0.0.1',
            port: options.port ?? (server.address() as AddressInfo).port,
          },
          { host: 'closed.example', address: '127.0.0.1', port: 1 },
        ],
      }),
    ),
  ) as SshConfig;
  const lines: string[] = [];
  const report = (line: string): void => void lines.push(line);
  const served = await serveSockets([connectSsh(config, { report, ...options })], {
    report,
    sockets: new Map(),
    folder,
    ...(options.firstByteMs === undefined ? {} : { firstByteMs: options.firstByteMs }),
  });
  t.teardown(async () => {
    for (const socket of open) socket.destroy();
    await served.close();
    server.close();
  });
  return {
    lines,
    socket: socketPath('local.ConnectSSH', folder),
    call: (argument, source = 'build-debian') => {
      const socket = connect({ path: socketPath('local.ConnectSSH', folder), allowHalfOpen: true });
      socket.on('error', () => undefined);
      open.push(socket);
      socket.write(`local.ConnectSSH+${argument} ${source}\0`);
      return socket;
    },
  };
}

function all(socket: Socket): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('close', () => resolve(Buffer.concat(chunks)));
    socket.on('end', () => resolve(Buffer.concat(chunks)));
  });
}

void tap.test('bytes flow both ways, and the end of one direction leaves the other open', async (t) => {
  const { call, lines } = await rig(t, (socket) => {
    const seen: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => seen.push(chunk));
    socket.on('end', () =>
      setTimeout(() => socket.end(createHash('sha256').update(Buffer.concat(seen)).digest('hex')), 50),
    );
  });
  const sent = randomBytes(3_000_000);
  const socket = call('forge.example');
  socket.end(sent);
  t.equal((await all(socket)).toString(), createHash('sha256').update(sent).digest('hex'));
  await until('the line', () =>
    lines.some((line) => /from build-debian to forge.example: ended, 3000000 bytes out, 64 in/.test(line)),
  );
});

void tap.test('a caller that does not read holds up the far side, in constant memory', async (t) => {
  let written = 0;
  const { call } = await rig(t, (socket) => {
    const chunk = Buffer.alloc(1 << 20);
    const more = (): void => {
      while (written < 512 && socket.write(chunk)) written += 1;
      if (written < 512) socket.once('drain', more);
    };
    more();
  });
  const before = process.memoryUsage().rss;
  const socket = call('forge.example').pause();
  await new Promise((resolve) => setTimeout(resolve, 500));
  t.ok(written < 64, `${written} MiB were taken of 512`);
  t.ok(process.memoryUsage().rss - before < 64 << 20);
  socket.destroy();
});

void tap.test('a caller that goes away takes the connection with it', async (t) => {
  const { call, lines } = await rig(t, (socket) => {
    socket
      .on('end', () => socket.end())
      .resume()
      .write('SSH-2.0-test\r\n');
  });
  const socket = call('forge.example');
  await new Promise((resolve) => socket.once('data', resolve));
  socket.destroy();
  await until('the far side closed', () => lines.some((line) => / bytes out, /.test(line)));
});

void tap.test('a far side that does not notice that the caller has gone is cut off', async (t) => {
  const { call, lines } = await rig(t, (socket) => void socket.resume().write('SSH-2.0-test\r\n'), {
    halfOpenIdleMs: 50,
  });
  const socket = call('forge.example');
  await new Promise((resolve) => socket.once('data', resolve));
  socket.destroy();
  await until('the far side closed', () => lines.some((line) => /: idle, /.test(line)));
});

void tap.test('a host that resets the connection ends the call', async (t) => {
  const { call } = await rig(t, (socket) => socket.resetAndDestroy());
  t.match((await all(call('forge.example'))).toString(), /^$|^refused CANNOT_CONNECT ECONNRESET\n$/);
});

void tap.test('a connection on which nothing moves is closed', async (t) => {
  const { call, lines } = await rig(t, () => undefined, { idleMs: 100 });
  t.equal((await all(call('forge.example'))).length, 0);
  await until('the line', () => lines.some((line) => /: idle, /.test(line)));
});

void tap.test('refusals', async (t) => {
  const { call } = await rig(t, () => undefined);
  const refused = async (argument: string): Promise<string> =>
    (await all(call(argument))).toString().split(' ').slice(0, 2).join(' ');
  t.equal(await refused('other.example'), 'refused UNKNOWN_HOST');
  t.equal(await refused('closed.example'), 'refused CANNOT_CONNECT');
  t.equal(await refused(''), 'refused BAD_ARGUMENT');
  t.equal(await refused('FORGE.example'), 'refused BAD_ARGUMENT');
  t.equal(await refused('forge.example.'), 'refused BAD_ARGUMENT');
  t.equal(await refused('-forge.example'), 'refused BAD_ARGUMENT');
});

void tap.test('one VM has so many connections, and build-logs still has its own', async (t) => {
  const { call, lines } = await rig(t, (socket) => void socket.end('SSH-2.0-far\r\n'), { youthMs: 1 });
  const limit = callsPerSource(5);
  for (let n = 0; n < limit; n++) call('forge.example').write('SSH-2.0-near\r\n');
  await until('all are in', () => lines.filter((line) => line.endsWith(': connected')).length === limit);
  t.match((await all(call('forge.example'))).toString(), /^refused TOO_MANY_CALLS/);
  t.equal((await all(call('forge.example', 'build-logs'))).toString(), 'SSH-2.0-far\r\n');
});

void tap.test('who opens a connection and never says hello is cut off', async (t) => {
  const { call } = await rig(t, () => undefined, { firstByteMs: 100 });
  t.match((await all(call('forge.example'))).toString(), /^refused TOO_SLOW/);
});

void tap.test(
  'a VM that holds connections without logging in does not keep the others from a real sshd',
  async (t) => {
    const sshd = new SshServer();
    await sshd.start();
    t.teardown(() => sshd.end());
    const { call, lines, socket } = await rig(t, () => undefined, { port: sshd.port });
    for (let n = 0; n < 24; n++) call('forge.example').write('SSH-2.0-near\r\n');
    await until(
      'as many as may begin',
      () =>
        lines.filter((line) => line.includes('from build-debian') && line.endsWith(': connected')).length ===
        youngOfOne,
    );
    const folder = folderOf(t);
    writeFileSync(
      join(folder, 'config'),
      `${sshd.clientConfig()}  ProxyCommand ${process.execPath} ${join(folder, 'proxy.mjs')}\n`,
    );
    writeFileSync(
      join(folder, 'proxy.mjs'),
      `import { connect } from 'node:net';
const socket = connect(${JSON.stringify(socket)});
socket.write('local.ConnectSSH+forge.example build-logs\\0');
process.stdin.pipe(socket).pipe(process.stdout);
`,
    );
    const login = (n: number): Promise<string> =>
      new Promise((resolve) => {
        execFile(
          'ssh',
          ['-F', join(folder, 'config'), 'root@forge.example', `echo ${n}`],
          (error, stdout, stderr) => resolve(error === null ? stdout : stderr),
        );
      });
    // sshd drops three of ten, and more, once ten have not logged in.
    const heard: string[] = [];
    for (let n = 0; n < 8; n++) heard.push(await login(n));
    t.same(
      heard,
      Array.from({ length: 8 }, (_, n) => `${n}\n`),
    );
  },
);

void tap.test(
  'who has too many connections that are new waits in line, for an end or until one is old',
  async (t) => {
    const { call, lines } = await rig(t, (socket) => socket.on('end', () => socket.end()).resume(), {
      youthMs: 1500,
    });
    const connected = (host = 'forge.example'): number =>
      lines.filter((line) => line.endsWith(`to ${host}: connected`)).length;
    const open = Array.from({ length: youngOfOne + 2 }, () => {
      const one = call('forge.example');
      one.write('SSH-2.0-near\r\n');
      return one;
    });
    await until('the first', () => connected() === youngOfOne);
    call('forge.example', 'build-other').write('SSH-2.0-near\r\n');
    await until('another VM', () => connected() === youngOfOne + 1);
    open[0]?.end();
    await until('the next', () => connected() === youngOfOne + 2);
    await until('the last, when the others have grown old', () => connected() === youngOfOne + 3);
    t.pass();
  },
);

void tap.test('a connection that moves much is new no more', async (t) => {
  const { call, lines } = await rig(t, (socket) => void socket.resume(), { youthMs: 3_600_000 });
  const chunk = Buffer.alloc(1_200_000, 'x');
  for (let n = 0; n < youngOfOne + 2; n++) call('forge.example').write(chunk);
  await until('all', () => lines.filter((line) => line.endsWith(': connected')).length === youngOfOne + 2);
  t.pass();
});
