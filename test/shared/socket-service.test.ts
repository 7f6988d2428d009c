// SPDX-License-Identifier: GPL-2.0-or-later
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import t from 'tap';
import { RelayedRefusal } from '../../agents/shared/refusal.js';
import { until } from '../support/until.js';
import {
  callsPerSource,
  readAll,
  readDescriptor,
  serveSockets,
  socketPath,
  socketsFromSystemd,
  type Call,
  type Service,
} from '../../agents/shared/calls/socket-service.js';

const folder = mkdtempSync(join(tmpdir(), 'sock-'));
const reported: string[] = [];
const seen: Call[] = [];
const service = {
  name: 'test.Echo',
  argument: '^(?:|[a-z]+)$',
  async handle(call: Call): Promise<void> {
    seen.push(call);
    const input = await readAll(call.stream, 1000);
    if (input.toString() === 'refuse') throw new RelayedRefusal('NOT_TODAY', 'not today\x1b[31m');
    if (input.toString() === 'fault') throw new Error('secret detail');
    call.stream.end(`${call.source} ${call.argument} ${input.toString()}`);
  },
};

function ask(...chunks: (string | Buffer)[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path: join(folder, 'test.Echo.sock'), allowHalfOpen: true });
    let answer = '';
    socket
      .on('data', (chunk) => {
        answer += chunk.toString();
      })
      .on('end', () => resolve(answer))
      .on('error', reject);
    const next = (): void => {
      const chunk = chunks.shift();
      if (chunk === undefined) socket.end();
      else socket.write(chunk, () => setTimeout(next, 5));
    };
    next();
  });
}

t.before(async () => {
  const server = await serveSockets([service], { folder, report: (line) => reported.push(line) });
  t.teardown(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });
});

t.test(
  'a call is answered with who called, what for, and its input, however the bytes are cut',
  async (t) => {
    t.equal(await ask('test.Echo+abc build-debian\0hello'), 'build-debian abc hello');
    t.equal(await ask('test.', 'Echo+ bui', 'ld-debian', '\0', 'hel', 'lo'), 'build-debian  hello');
  },
);

t.test('a refusal is one printable line with its code', async (t) => {
  t.equal(await ask('test.Echo+ build-debian\0refuse'), 'refused NOT_TODAY not today.[31m\n');
});

t.test('a fault says nothing of its detail to the caller and all of it to the own log', async (t) => {
  t.equal(await ask('test.Echo+ build-debian\0fault'), 'fault\n');
  t.match(reported.at(-1), /secret detail/);
});

t.test('what is no call is refused before the handler sees it', async (t) => {
  const before = seen.length;
  t.match(await ask('test.Echo+ABC build-debian\0'), /^refused BAD_ARGUMENT/);
  t.match(await ask('test.Other+ build-debian\0'), /^refused WRONG_SERVICE/);
  t.match(await ask('test.Echo+\0'), /^refused BAD_DESCRIPTOR/);
  t.match(await ask('x'.repeat(5000)), /^refused BAD_DESCRIPTOR/);
  t.match(await ask('test.Echo+ a b\0'), /^refused BAD_DESCRIPTOR/);
  t.match(await ask('test.Echo'), /^refused BAD_DESCRIPTOR/);
  t.equal(seen.length, before);
});

t.test('more input than the limit is refused', async (t) => {
  t.match(await ask(`test.Echo+ build-debian\0${'x'.repeat(1001)}`), /^refused TOO_LARGE/);
});

/** A call that says `first` and then nothing, and does not end. */
function stay(path: string, first: string): { socket: Socket; answer: () => string; closed: Promise<void> } {
  const socket = connect({ path, allowHalfOpen: true });
  let answer = '';
  socket
    .on('data', (chunk) => {
      answer += chunk.toString();
    })
    .on('error', () => undefined);
  socket.write(first);
  return {
    socket,
    answer: () => answer,
    closed: new Promise((resolve) => socket.once('end', () => resolve())),
  };
}

t.test(
  'one VM has so many calls open over all services together, and no other is kept out by them',
  async (t) => {
    const open: Call[] = [];
    const other = mkdtempSync(join(tmpdir(), 'sock-'));
    const hold = (name: string): Service => ({
      name,
      argument: '',
      handle: async (call) => {
        open.push(call);
        const input = await readAll(call.stream, 1000);
        if (input.length === 0) throw new RelayedRefusal('NOTHING', 'nothing was said');
        call.stream.end('done');
      },
    });
    const server = await serveSockets([hold('test.One'), hold('test.Two')], {
      folder: other,
      report: () => undefined,
      callers: 3,
    });
    t.teardown(async () => {
      await server.close();
      rmSync(other, { recursive: true });
    });
    const limit = callsPerSource(3);
    const call = (name: string, source: string): ReturnType<typeof stay> =>
      stay(join(other, `${name}.sock`), `${name}+ ${source}\0x`);
    const held = Array.from({ length: limit }, (_, n) =>
      call(n % 2 === 0 ? 'test.One' : 'test.Two', 'build-a'),
    );
    await until('all are in', () => open.length === limit);
    for (const name of ['test.One', 'test.Two']) {
      const refused = call(name, 'build-a');
      await refused.closed;
      t.match(refused.answer(), /^refused TOO_MANY_CALLS \d+ calls of build-a are open already\n$/, name);
    }
    const honest = call('test.Two', 'build-b');
    honest.socket.end();
    await honest.closed;
    t.equal(honest.answer(), 'done', 'another VM is served');
    held[0]?.socket.destroy();
    await until('its place is free', () => (open[0] as Call).stream.closed);
    const next = call('test.One', 'build-a');
    next.socket.end();
    await next.closed;
    t.equal(next.answer(), 'done', 'a place that was given back is taken again');
    for (const { socket } of held) socket.destroy();
  },
);

t.test('a call is over soon after its answer, whatever its caller does', async (t) => {
  const calls = [
    stay(join(folder, 'test.Echo.sock'), 'test.Echo+ABC build-lingers\0'),
    stay(join(folder, 'test.Echo.sock'), `test.Echo+ build-lingers\0${'x'.repeat(2000)}`),
  ];
  const before = Date.now();
  await Promise.all(calls.map(({ closed }) => closed));
  await until('the sockets are closed at the other end', () =>
    calls.every(({ socket }) => {
      socket.write('still here');
      return socket.destroyed;
    }),
  );
  t.ok(Date.now() - before < 20_000);
});

t.test('a caller that says nothing is refused soon, one that begins or ends is not', async (t) => {
  const other = mkdtempSync(join(tmpdir(), 'sock-'));
  const server = await serveSockets([service], { folder: other, report: () => undefined, firstByteMs: 100 });
  t.teardown(async () => {
    await server.close();
    rmSync(other, { recursive: true });
  });
  const path = join(other, 'test.Echo.sock');
  const silent = stay(path, 'test.Echo+ build-debian\0');
  await silent.closed;
  t.match(silent.answer(), /^refused TOO_SLOW not a byte came/);
  for (const [first, rest] of [
    ['x', 'y'],
    ['', ''],
  ] as const) {
    const begun = stay(path, `test.Echo+ build-debian\0${first}`);
    if (first === '') begun.socket.end();
    await new Promise((resolve) => setTimeout(resolve, 300));
    begun.socket.end(rest);
    await begun.closed;
    t.equal(begun.answer(), `build-debian  ${first}${rest}`);
  }
});

t.test('of all places at a VM, its callers together never take more than there are', (t) => {
  for (let callers = 1; callers <= 7; callers++)
    t.ok(callers * callsPerSource(callers) <= 120, `${callers} callers`);
  // As many environments as build-logs can be configured for: two of them that go wrong leave three quarters
  // to the others.
  for (let callers = 8; callers <= 64; callers++)
    t.ok(2 * callsPerSource(callers) <= 128 / 4, `${callers} callers`);
  t.end();
});

t.test('a descriptor names a service, perhaps an argument, and the calling VM', (t) => {
  const cases: [string, string[]][] = [
    ['a.B-c_1 vm', ['a.B-c_1', '', 'vm']],
    ['a+ vm', ['a', '', 'vm']],
    ['a+b+c.D-_ vm-1', ['a', 'b+c.D-_', 'vm-1']],
  ];
  for (const [text, [name, argument, source]] of cases)
    t.same(readDescriptor(text), { service: name, argument, source });
  for (const bad of [
    '',
    'a',
    'a ',
    ' vm',
    '+b vm',
    'a+b',
    'a b vm',
    'a vm ',
    'a  vm',
    'a/b vm',
    'a+b/c vm',
    'a 1vm',
    'a vm\n',
    'a vm/x',
    `a ${'v'.repeat(32)}`,
    'xé vm',
    'é a vm',
  ])
    t.throws(() => readDescriptor(bad), { code: 'BAD_DESCRIPTOR' }, JSON.stringify(bad));
  t.end();
});

t.test('a descriptor of 4096 bytes is read, and one byte more is not', async (t) => {
  t.equal(
    await ask(`test.Echo+${'a'.repeat(4096 - 'test.Echo+ vm'.length)} vm\0x`),
    `vm ${'a'.repeat(4096 - 'test.Echo+ vm'.length)} x`,
  );
  t.match(
    await ask(`test.Echo+${'a'.repeat(4097 - 'test.Echo+ vm'.length)} vm\0x`),
    /^refused BAD_DESCRIPTOR/,
  );
  t.match(await ask('x'.repeat(4096), 'y', 'z'), /^refused BAD_DESCRIPTOR/);
});

t.test('what is refused and what fails is in the own log, with who called', async (t) => {
  reported.length = 0;
  await ask('test.Echo+abc build-debian\0refuse');
  await ask('test.Echo+abc build-debian\0fault');
  await ask('nonsense\0');
  t.equal(reported[0], 'test.Echo from build-debian: refused NOT_TODAY not today.[31m');
  t.match(reported[1], /^test\.Echo from build-debian: fault: Error: secret detail\.+ +at /);
  t.match(reported[2], /^test\.Echo from \?: refused BAD_DESCRIPTOR /);
});

t.test('a connection that breaks is a line in the log, and the next call is served', async (t) => {
  reported.length = 0;
  await new Promise<void>((resolve) => {
    const socket = connect({ path: join(folder, 'test.Echo.sock') }, () => {
      socket.write('test.Ec', () => socket.destroy());
    });
    socket.on('close', () => resolve());
  });
  t.equal(await ask('test.Echo+ build-debian\0x'), 'build-debian  x');
});

t.test('sockets that systemd hands over are those of this process, by name', (t) => {
  const environment = { LISTEN_PID: String(process.pid), LISTEN_FDS: '2', LISTEN_FDNAMES: 'a.B:c.D' };
  t.same(
    [...socketsFromSystemd(environment)],
    [
      ['a.B', 3],
      ['c.D', 4],
    ],
  );
  t.same([...socketsFromSystemd({ ...environment, LISTEN_PID: String(process.pid + 1) })], []);
  t.same([...socketsFromSystemd({})], []);
  t.same([...socketsFromSystemd({ LISTEN_PID: String(process.pid) })], []);
  t.same(
    [...socketsFromSystemd({ ...environment, LISTEN_FDNAMES: 'a.B' })],
    [
      ['a.B', 3],
      ['', 4],
    ],
  );
  t.equal(socketPath('a.B'), '/run/build-infra/a.B.sock');
  t.end();
});

t.test('a socket that a killed agent left is taken over, and closing waits for the last call', async (t) => {
  const other = await serveSockets([{ ...service, name: 'test.Other' }], { folder, report: () => undefined });
  t.ok(existsSync(socketPath('test.Other', folder)));
  const again = await serveSockets([{ ...service, name: 'test.Other' }], { folder, report: () => undefined });
  await again.close();
  await other.close();
  await t.rejects(
    new Promise((_, reject) => connect({ path: socketPath('test.Other', folder) }).on('error', reject)),
    { code: 'ENOENT' },
  );
  await t.rejects(serveSockets([service], { folder: join(folder, 'none') }), { code: /EACCES|ENOENT/ });
});

t.test('input is read to its end, in bounds and in time', async (t) => {
  const stream = (): PassThrough => new PassThrough();
  const read = (one: PassThrough, limit = 10, ms = 5000): Promise<Buffer> =>
    readAll(one as unknown as Call['stream'], limit, ms);
  const whole = stream();
  const reading = read(whole);
  whole.write('12345');
  whole.end('67890');
  t.equal((await reading).toString(), '1234567890');
  t.same(
    ['data', 'end', 'error'].map((event) => whole.listenerCount(event)).reduce((a, b) => a + b, 0),
    stream().listenerCount('end') + stream().listenerCount('error'),
  );
  const long = stream();
  long.end('12345678901');
  await t.rejects(read(long), { code: 'TOO_LARGE' });
  t.ok(long.isPaused());
  const slow = stream();
  slow.write('x');
  const start = Date.now();
  await t.rejects(read(slow, 10, 100), { code: 'TOO_SLOW', detail: 'the input did not end within 0.1 s' });
  t.ok(Date.now() - start >= 95);
  const broken = stream();
  setImmediate(() => broken.destroy(new Error('broken')));
  await t.rejects(read(broken), { message: 'broken' });
  const gone = stream();
  setImmediate(() => gone.destroy());
  await t.rejects(read(gone), { message: 'the caller went away' });
});

t.test('a caller that is refused in the middle of what it sends leaves no connection behind', async (t) => {
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  const leave = (first: string): Promise<void> =>
    new Promise((resolve) => {
      const socket = connect({ path: join(folder, 'test.Echo.sock'), allowHalfOpen: true });
      // More than a socket's buffers hold, and it goes as soon as it hears the answer.
      socket
        .on('error', () => undefined)
        .on('close', () => resolve())
        .on('data', () => socket.destroy());
      socket.write(first);
      socket.write(Buffer.alloc(1_000_000, 'x'));
    });
  await Promise.all(
    [
      'test.Echo+ build-debian\0',
      'test.Echo+ABC build-debian\0',
      'test.Other+ build-debian\0',
      'x'.repeat(5000),
    ].map(leave),
  );
  for (const end = Date.now() + 9000; descriptors() > before && Date.now() < end;)
    await new Promise((resolve) => setTimeout(resolve, 20));
  t.equal(descriptors(), before);
});
