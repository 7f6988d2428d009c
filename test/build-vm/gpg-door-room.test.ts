// SPDX-License-Identifier: GPL-2.0-or-later
// Payloads of many callers at once in a bounded room: nobody waits for ever, whatever the others do. Real
// sockets, small numbers.
import { createServer, connect, type Socket } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { DistantCaller } from '../../agents/build-vm/gpg-door/distant-caller.js';
import { CallerGone, Messages } from '../../agents/build-vm/gpg-door/messages.js';
import { Room } from '../../agents/shared/room.js';

const folder = mkdtempSync(join(tmpdir(), 'bi-room-'));
t.teardown(() => rmSync(folder, { recursive: true }));
let count = 0;
const jobFile = '/job';

/**
 * A caller at the agent's end, and its program: every question is answered with so many bytes, the one for
 * the job file with a few.
 */
async function callerOf(
  test: Test,
  room: Room,
  payloadBytes: number,
): Promise<{ caller: DistantCaller; program: Socket }> {
  const path = join(folder, `s${++count}`);
  const server = createServer().listen(path);
  await once(server, 'listening');
  const program = connect(path);
  const [agentEnd] = (await once(server, 'connection')) as [Socket];
  test.teardown(() => {
    for (const end of [program, agentEnd]) end.destroy();
    server.close();
  });
  for (const end of [program, agentEnd]) end.on('error', () => undefined);
  program.on('data', (question: Buffer) => {
    const body = Buffer.alloc(question.subarray(16).toString() === jobFile ? 50 : payloadBytes, 'x');
    const head = Buffer.alloc(16, ' ');
    head.write('yes');
    head.writeUInt32BE(0, 8);
    head.writeUInt32BE(body.length, 12);
    program.write(Buffer.concat([head, body]));
  });
  return { caller: new DistantCaller(new Messages(agentEnd, 20), room, jobFile, undefined), program };
}

/** As a signing call does. */
async function call({ caller }: { caller: DistantCaller }): Promise<number> {
  try {
    const payload = await caller.read(0);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const job = await caller.read(jobFile);
    return payload.length + job.length;
  } finally {
    caller.leave();
  }
}

void t.test('two payloads that do not fit together are signed one after the other', async (t) => {
  const room = new Room(1000);
  const callers = await Promise.all([600, 600, 600].map((bytes) => callerOf(t, room, bytes)));
  t.strictSame(await Promise.all(callers.map(call)), [650, 650, 650]);
});

void t.test('a payload that fills the room leaves it enough for its job', async (t) => {
  const room = new Room(1000);
  t.equal(await call(await callerOf(t, room, 1000)), 1050);
});

void t.test("who went away while it waited stands in nobody's way", async (t) => {
  const room = new Room(1000_000);
  const [holding, waiting, small] = (await Promise.all(
    [600_000, 600_000, 300_000].map((bytes) => callerOf(t, room, bytes)),
  )) as [
    Awaited<ReturnType<typeof callerOf>>,
    Awaited<ReturnType<typeof callerOf>>,
    Awaited<ReturnType<typeof callerOf>>,
  ];
  await holding.caller.read(0);
  const gone = call(waiting).then(
    () => 'signed',
    (error: unknown) => error instanceof CallerGone,
  );
  await new Promise((resolve) => setTimeout(resolve, 50));
  const next = call(small);
  waiting.program.destroy();
  t.equal(await gone, true);
  t.equal(await next, 300_050, 'while the first one still holds its room');
  holding.caller.leave();
  t.equal(await call(await callerOf(t, room, 1000_000)), 1000_050, 'all of the room is there again');
});
