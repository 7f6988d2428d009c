// SPDX-License-Identifier: GPL-2.0-or-later
// A caller that was refused and stays. In a file of its own, as it takes ten seconds.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { serveSockets } from '../../agents/shared/socket-service.js';

t.test('a caller that never ends what it sends is heard for ten seconds after its refusal', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sock-'));
  const server = await serveSockets([{ name: 'test.Echo', argument: '^$', handle: () => Promise.reject(new Error('no call comes through')) }], { folder, report: () => undefined });
  t.teardown(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });
  const socket = connect({ path: join(folder, 'test.Echo.sock'), allowHalfOpen: true });
  const [said, closed] = [new Promise<string>((resolve) => socket.once('data', (chunk) => resolve(chunk.toString()))), new Promise((resolve) => socket.on('close', resolve))];
  t.teardown(() => socket.destroy());
  socket.on('error', () => undefined).write('test.Other+ build-debian\0');
  t.match(await said, /^refused WRONG_SERVICE/);
  const start = Date.now();
  const writing = setInterval(() => socket.write('x'), 100);
  await closed;
  clearInterval(writing);
  t.ok(Date.now() - start > 9000);
});
