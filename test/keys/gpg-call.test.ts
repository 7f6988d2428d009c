// SPDX-License-Identifier: GPL-2.0-or-later
// One call's bytes, in and out, and the place where a payload waits: without a ledger, keys or gpg.
import { fstatSync, mkdtempSync, readdirSync, readSync, rmSync, statSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { CallerGone, GpgCall } from '../../agents/keys/gpg-call.js';
import { Spool } from '../../agents/keys/spool.js';
import { frame, input, preamble, readAnswer, refusalCode, type GpgAnswer } from './gpg-caller.js';
import { sha256 } from './keys-machine.js';

const folder = mkdtempSync(join(tmpdir(), 'gc-'));
const served: ((stream: Socket) => void)[] = [];
const open: Socket[] = [];
const server = createServer({ allowHalfOpen: true }, (stream) =>
  served.shift()?.(stream.on('error', () => undefined)),
);
t.before(() => new Promise<void>((resolve) => server.listen(`${folder}/s`, resolve)));
t.teardown(() => {
  server.close();
  for (const socket of open) socket.destroy();
  rmSync(folder, { recursive: true });
});

interface Pair {
  caller: Socket;
  call: GpgCall;
  /** the agent's end */
  stream: Socket;
  answer: Promise<GpgAnswer>;
}
async function pair(): Promise<Pair> {
  const accepted = new Promise<Socket>((resolve) => served.push(resolve));
  const caller = connect({ path: `${folder}/s`, allowHalfOpen: true });
  const chunks: Buffer[] = [];
  caller.on('error', () => undefined).on('data', (chunk: Buffer) => chunks.push(chunk));
  const answer = new Promise<GpgAnswer>((resolve) =>
    caller.on('end', () => {
      caller.end();
      resolve(readAnswer(Buffer.concat(chunks)));
    }),
  );
  const stream = await accepted;
  open.push(caller, stream);
  return { caller, stream, call: new GpgCall(stream), answer };
}
const outcome = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'done',
    (error: unknown) => (error instanceof CallerGone ? 'gone' : ((error as { code?: string }).code ?? error)),
  );
const listening = (stream: Socket): number[] =>
  ['data', 'end', 'error'].map((event) => stream.listenerCount(event));
/** A call that has read its command line. */
async function begun(args: readonly string[], more: Uint8Array = Buffer.alloc(0)): Promise<Pair> {
  const made = await pair();
  made.caller.write(Buffer.concat([preamble(args), more]));
  t.same(await made.call.readArguments(5000), args);
  return made;
}

await t.test('a command line comes whole or byte by byte, and in time', async (t) => {
  const { call, caller, stream } = await pair();
  const before = listening(stream);
  const bytes = preamble(['-b', '-u', 'x y']);
  const read = call.readArguments(5000);
  for (const byte of bytes) caller.write(Buffer.from([byte]));
  t.same(await read, ['-b', '-u', 'x y']);
  t.same(listening(stream), before, 'nothing of it is left on the stream');
  t.ok(stream.isPaused());

  const slow = await pair();
  slow.caller.write(bytes.subarray(0, 1027));
  const start = Date.now();
  t.equal(await outcome(slow.call.readArguments(100)), 'TOO_SLOW');
  t.ok(Date.now() - start >= 95);
  const wrong = await pair();
  wrong.caller.write(Buffer.alloc(1028, 1));
  t.equal(await outcome(wrong.call.readArguments(5000)), 'BAD_PREAMBLE');
});

await t.test('a caller that goes away is not waited for, whenever it goes', async (t) => {
  const leaving: [string, (caller: Socket) => void][] = [
    ['ends', (caller) => caller.end()],
    ['closes', (caller) => caller.destroy()],
  ];
  for (const [how, leave] of leaving) {
    const { call, caller } = await pair();
    const read = outcome(call.readArguments(60_000));
    caller.write('x', () => leave(caller));
    t.equal(await read, 'gone', how);
    const late = await begun(['-b'], frame(0, 'x'));
    const payload = outcome(late.call.readPayload(() => undefined, 60_000));
    leave(late.caller);
    t.equal(await payload, 'gone', `${how} in its payload`);
    t.equal(
      await outcome(late.call.readPayload(() => undefined, 60_000)),
      'gone',
      'and after that there is nobody',
    );
  }
  const { call, stream } = await pair();
  stream.destroy();
  t.notOk(call.callerIsThere);
  t.equal(await outcome(call.readArguments(60_000)), 'gone');
});

await t.test('a payload is given on as it comes, to its end', async (t) => {
  const payload = 'x'.repeat(10_000);
  for (const early of [0, 3, 5000, input(payload).length]) {
    const bytes = input(payload);
    const { call, caller } = await begun(['-b'], bytes.subarray(0, early));
    const parts: Buffer[] = [];
    const read = call.readPayload((part) => parts.push(Buffer.from(part)), 5000);
    caller.write(bytes.subarray(early));
    await read;
    t.equal(Buffer.concat(parts).toString(), payload, `${early} bytes came with the command line`);
    t.doesNotThrow(() => call.refuseMore());
    t.ok(call.callerIsThere);
  }
  const { call } = await begun(['-b'], frame(0, 'x'));
  t.equal(await outcome(call.readPayload(() => undefined, 100)), 'TOO_SLOW');
  const full = await begun(['-b'], input('x'));
  t.equal(
    await outcome(
      full.call.readPayload(() => {
        throw Object.assign(new Error(), { code: 'FULL' });
      }, 5000),
    ),
    'FULL',
  );
  const exit = await begun(['-b'], Buffer.concat([frame(0, 'x'), Buffer.from('ffffffff00000000', 'hex')]));
  t.equal(await outcome(exit.call.readPayload(() => undefined, 5000)), 'gone');
});

await t.test('nothing may follow the end of a payload, in one piece with it or later', async (t) => {
  for (const more of [frame(0, 'x'), frame(0, ''), Buffer.from([0]), Buffer.alloc(7)]) {
    const joined = await begun(['-b'], Buffer.concat([input('x'), more]));
    const taken: Buffer[] = [];
    t.equal(await outcome(joined.call.readPayload((part) => taken.push(part), 5000)), 'BAD_FRAME');
    t.equal(taken.length, 1);
    const later = await begun(['-b'], input('x'));
    await later.call.readPayload(() => undefined, 5000);
    later.caller.write(more);
    await sleep(20);
    t.throws(() => later.call.refuseMore(), { code: 'BAD_FRAME' });
  }
});

await t.test(
  'an answer is frames: the status where one is read, the output, the end of each stream, the exit',
  async (t) => {
    const cases: [string[], string][] = [
      [['-b'], ''],
      [['--status-fd=2', '-b'], 'status\n'],
      [['--status-fd=8', '--logger-fd=9', '-b'], 'status\n'],
    ];
    for (const [args, status] of cases) {
      const yes = await begun(args);
      yes.call.answer(Buffer.from('output'), 'status\n');
      const said = await yes.answer;
      t.equal(said.status, 0);
      t.equal(said.streams[0]?.toString(), 'output');
      t.equal(said.streams.slice(1).map(String).join(''), status);
      const silent = await begun(args);
      silent.call.answer(Buffer.from('output'));
      t.equal((await silent.answer).streams.slice(1).map(String).join(''), '');
      const no = await begun(args);
      no.call.deny('refused NOT_TODAY for a reason');
      const denied = await no.answer;
      t.equal(denied.status, 2);
      t.equal(
        denied.streams.map(String).join(''),
        `build-infra: refused NOT_TODAY for a reason\n${args.length > 1 ? '[GNUPG:] FAILURE sign 1\n' : ''}`,
      );
      if (args.length !== 2) t.equal(refusalCode(denied), 'NOT_TODAY');
    }
    const whole = await begun(['--status-fd=8', '-b']);
    whole.call.answer(Buffer.from('x'), 's');
    t.ok(
      (await whole.answer).raw.equals(
        Buffer.concat([
          frame(2, 's'),
          frame(0, 'x'),
          frame(0, ''),
          frame(1, ''),
          frame(2, ''),
          Buffer.from('ffffffff00000000', 'hex'),
        ]),
      ),
    );
    const early = await pair();
    early.call.deny('before its command line');
    t.ok(
      (await early.answer).raw.equals(
        Buffer.concat([
          frame(1, 'build-infra: before its command line\n'),
          frame(0, ''),
          frame(1, ''),
          Buffer.from('fdffffff00000000', 'hex'),
        ]),
      ),
    );
  },
);

await t.test(
  'what the caller still sends is read and dropped, and the connection ends with it',
  async (t) => {
    const { call, caller, stream, answer } = await begun(['-b']);
    const closed = new Promise((resolve) => stream.on('close', resolve));
    call.deny('no');
    caller.write(Buffer.alloc(1_000_000));
    t.equal((await answer).status, 2);
    await closed;
    const gone = await begun(['-b']);
    gone.stream.destroy();
    t.doesNotThrow(() => gone.call.deny('nobody hears it'));
  },
);

await t.test(
  'a payload that waits has no name, is hashed as it comes, and counts until it is closed',
  async (t) => {
    const place = `${folder}/spool/deep`;
    const spool = new Spool(place, { each: 10, total: 15 });
    t.equal(statSync(place).mode & 0o777, 0o700);
    const first = spool.take();
    t.same(readdirSync(place), []);
    t.equal(fstatSync(first.fd).mode & 0o777, 0o600);
    first.add(Buffer.from('12345'));
    t.equal(first.size, 5);
    first.add(Buffer.from('67890'));
    t.equal(first.size, 10);
    const bytes = Buffer.alloc(20);
    t.equal(readSync(first.fd, bytes, 0, 20, null), 10, 'from its start');
    t.equal(bytes.toString('latin1', 0, 10), '1234567890');
    t.equal(first.sha256(), sha256('1234567890'));
    t.throws(() => first.add(Buffer.from('x')), { code: 'TOO_LARGE' });
    const second = spool.take();
    second.add(Buffer.from('abcde'));
    t.throws(() => second.add(Buffer.from('f')), { code: 'SPOOL_FULL' });
    t.doesNotThrow(() => second.add(Buffer.alloc(0)));
    t.equal(second.size, 5);
    first.close();
    first.close();
    t.throws(() => fstatSync(first.fd), { code: 'EBADF' });
    second.add(Buffer.from('fghij'));
    const third = spool.take();
    t.throws(() => third.add(Buffer.from('123456')), { code: 'SPOOL_FULL' }, 'closing twice makes room once');
    third.add(Buffer.from('12345'));
    second.close();
    third.close();
  },
);
