// SPDX-License-Identifier: GPL-2.0-or-later
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Refusal } from '../../agents/shared/refusal.js';
import { readAll, serveSockets, type Call } from '../../agents/shared/socket-service.js';

const folder = mkdtempSync(join(tmpdir(), 'sock-'));
const reported: string[] = [];
const seen: Call[] = [];
const service = {
  name: 'test.Echo',
  argument: '^(?:|[a-z]+)$',
  async handle(call: Call): Promise<void> {
    seen.push(call);
    const input = await readAll(call.stream, 1000);
    if (input.toString() === 'refuse') throw new Refusal('NOT_TODAY', 'not today\x1b[31m');
    if (input.toString() === 'fault') throw new Error('secret detail');
    call.stream.end(`${call.source} ${call.argument} ${input.toString()}`);
  },
};

function ask(...chunks: (string | Buffer)[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path: join(folder, 'test.Echo.sock'), allowHalfOpen: true });
    let answer = '';
    socket.on('data', (chunk) => { answer += chunk.toString(); }).on('end', () => resolve(answer)).on('error', reject);
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

t.test('a call is answered with who called, what for, and its input, however the bytes are cut', async (t) => {
  t.equal(await ask('test.Echo+abc build-debian\0hello'), 'build-debian abc hello');
  t.equal(await ask('test.', 'Echo+ bui', 'ld-debian', '\0', 'hel', 'lo'), 'build-debian  hello');
});

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
