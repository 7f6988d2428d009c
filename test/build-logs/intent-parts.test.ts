// SPDX-License-Identifier: GPL-2.0-or-later
// Pieces of the way of an intent, each alone: its bytes from the caller, its share of the day, its place
// among others, room in memory and on disk.
import { readFileSync, writeFileSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Alarms } from '../../agents/build-logs/alarms.js';
import { demandRoom, diskFull, isDiskFull, roomIn } from '../../agents/build-logs/disk-space.js';
import { IntentInput, payloadsToPublish, sumOf } from '../../agents/build-logs/intent-input.js';
import { IntentShares } from '../../agents/build-logs/intent-shares.js';
import { IntentsToPublish, type WaitingIntent } from '../../agents/build-logs/intents-to-publish.js';
import { Room } from '../../agents/shared/room.js';
import type { HashedFile, Intent, Purpose } from '../../agents/shared/formats/intent.js';
import type { AnyRefusal } from '../../agents/shared/refusal.js';
import { Refusal } from '../../agents/build-logs/refusals.js';
import { folderOf } from '../support/folders.js';
import { sha256 } from './rig.js';

const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'done',
    (error: unknown) => (error as AnyRefusal).code,
  );
const file = (text: string, changes: Partial<HashedFile> = {}): HashedFile => ({
  name: 'p',
  size: text.length,
  sha256: sha256(text),
  ...changes,
});
const none = { intents: 0, bytes: 0 };

function input(timeoutMs = 5000): { stream: PassThrough; input: IntentInput } {
  const stream = new PassThrough({ highWaterMark: 1 << 20 });
  return { stream, input: new IntentInput(stream as unknown as Socket, timeoutMs) };
}

await t.test('a document is what comes up to the first newline, however it is cut', async (t) => {
  for (const pieces of [['{}\nrest'], ['{', '}', '\n', 'rest'], ['{}', '\nre', 'st']]) {
    const { stream, input: read } = input();
    const sent = (async () => {
      for (const piece of pieces) {
        stream.write(piece);
        await sleep(5);
      }
      stream.end();
    })();
    t.equal((await read.document()).toString(), '{}\n');
    t.same(await read.payloads([file('re'), file('st')]), [
      { sha256: sha256('re'), bytes: Buffer.from('re') },
      { sha256: sha256('st'), bytes: Buffer.from('st') },
    ]);
    await sent;
  }
  const alone = input();
  alone.stream.end('{}');
  t.equal((await alone.input.document()).toString(), '{}');
  t.same(await alone.input.payloads([]), []);
  const limit = 256 * 1024;
  const whole = input();
  whole.stream.end(`${'x'.repeat(limit - 1)}\n`);
  t.equal((await whole.input.document()).length, limit);
  for (const large of [`${'x'.repeat(limit)}\n`, 'x'.repeat(limit + 1)]) {
    const { stream, input: read } = input();
    stream.write(large);
    t.equal(await codeOf(read.document()), 'TOO_LARGE');
  }
  const slow = input(60);
  slow.stream.write('{');
  t.equal(await codeOf(slow.input.document()), 'TOO_SLOW');
});

await t.test('payloads are exactly those that are named, and nothing comes behind', async (t) => {
  const tried = async (sent: string, wanted: HashedFile[], end = true): Promise<unknown> => {
    const { stream, input: read } = input(100);
    stream.write(`{}\n${sent}`);
    if (end) stream.end();
    await read.document();
    return codeOf(read.payloads(wanted));
  };
  t.equal(await tried('ab', [file('a'), file('b')]), 'done');
  t.equal(await tried('', [file('')]), 'done');
  t.equal(await tried('a', [file('a'), file('b')]), 'PAYLOAD_MISSING');
  t.equal(await tried('', [file('a')]), 'PAYLOAD_MISSING');
  t.equal(await tried('ba', [file('a'), file('b')]), 'PAYLOAD_DIFFERS');
  t.equal(await tried('abc', [file('a'), file('b')]), 'TOO_LARGE');
  t.equal(await tried('x', []), 'TOO_LARGE');
  t.equal(await tried('a', [file('a')], false), 'TOO_SLOW');
  const later = input();
  later.stream.write('{}\na');
  await later.input.document();
  const read = codeOf(later.input.payloads([file('a')]));
  later.stream.write('b');
  t.equal(await read, 'TOO_LARGE', 'also where it comes later');
});

await t.test('which payloads a document may bring', (t) => {
  const intent = (purpose: Purpose, payload: HashedFile): Intent => ({ purpose, payload }) as Intent;
  const mebibyte = 1024 ** 2;
  const of = (size: number, name = String(size)): HashedFile => file(name, { size });
  const code = (...intents: Intent[]): string => {
    try {
      return String(payloadsToPublish(intents).length);
    } catch (error) {
      return (error as AnyRefusal).code;
    }
  };
  t.equal(
    code(
      intent('apt-release', of(mebibyte)),
      intent('other', of(5)),
      intent('rpm-header', of(6)),
      intent('other', of(2 * mebibyte)),
    ),
    '2',
  );
  t.equal(code(intent('apt-release', of(mebibyte + 1))), 'TOO_LARGE');
  t.equal(
    code(...Array.from({ length: 16 }, (_, index) => intent('apt-release', of(mebibyte, `${index}`)))),
    '16',
  );
  t.equal(
    code(
      ...Array.from({ length: 16 }, (_, index) => intent('apt-release', of(mebibyte, `${index}`))),
      intent('apt-release', of(1, 'last')),
    ),
    'TOO_LARGE',
  );
  t.equal(code(intent('other', of(5, 'same')), intent('rpm-header', of(6, 'same'))), 'PAYLOAD_DIFFERS');
  t.equal(code(intent('rpm-header', of(5, 'same')), intent('rpm-header', of(6, 'same'))), '0');
  t.equal(code(intent('other', of(5, 'same')), intent('apt-release', of(5, 'same'))), '1');
  t.same([sumOf([]), sumOf([of(2), of(3)])], [0, 5]);
  t.end();
});

await t.test('a share of the day is counted with what waits, and begins anew with the day', async (t) => {
  let day = '2026-11-21';
  const asked: string[] = [];
  const shares = new IntentShares({
    perDay: 3,
    bytesPerDay: 100,
    today: () => day,
    sources: ['a', 'b'],
    published: async (source, of) => (
      asked.push(`${source} ${of}`),
      source === 'a' ? { intents: 2, bytes: 50 } : none
    ),
  });
  await shares.start();
  t.same(asked, ['a 2026-11-21', 'b 2026-11-21']);
  const may = (source: string, bytes: number, waiting = none): boolean => {
    try {
      shares.demand(source, bytes, waiting);
      return true;
    } catch (error) {
      t.equal((error as AnyRefusal).code, 'DAY_SHARE_USED');
      return false;
    }
  };
  t.same(
    [
      may('a', 50),
      may('a', 51),
      may('a', 1, { intents: 1, bytes: 0 }),
      may('a', 40, { intents: 0, bytes: 11 }),
      may('b', 100),
      may('b', 101),
    ],
    [true, false, false, false, true, false],
  );
  shares.add('a', 1, 10);
  t.same([may('a', 1), may('b', 100)], [false, true]);
  shares.add('a', -1, -10);
  t.same([may('a', 50), may('a', 51)], [true, false]);
  day = '2026-11-22';
  t.same([may('a', 100), may('a', 101)], [true, false]);
  const midnight = new IntentShares({
    perDay: 1,
    bytesPerDay: 10,
    today: () => day,
    sources: ['a'],
    published: async () => ((day = '2026-11-23'), { intents: 1, bytes: 10 }),
  });
  await midnight.start();
  t.doesNotThrow(() => midnight.demand('a', 10, none), 'what was published yesterday');
});

await t.test('build VMs take turns, each with a share of a publication', (t) => {
  const make = (source: string, publishedBytes: number, sha = 'x'): WaitingIntent & { refused?: Error } => {
    const intent: WaitingIntent & { refused?: Error } = {
      source,
      publishedBytes,
      sha256: sha,
      day: '2026-11-21',
      settled: false,
      said: [],
      bytes: Buffer.alloc(0),
      payloads: [],
      grants: [],
      confirmed: () => undefined,
      resolve: () => undefined,
      reject: (error) => void (intent.refused = error),
    };
    return intent;
  };
  const count = (taken: WaitingIntent[]): Record<string, number> =>
    Object.fromEntries(
      ['a', 'b', 'c', 'd', 'e']
        .map((source) => [source, taken.filter((one) => one.source === source).length])
        .filter(([, number]) => number !== 0),
    );
  const round = (intents: WaitingIntent[], held: string[] = []): Record<string, number> => {
    const waiting = new IntentsToPublish();
    waiting.add(...intents);
    const taken = waiting.take(({ source }) => !held.includes(source));
    t.equal(waiting.used().intents, intents.filter(({ settled }) => !settled).length - taken.length);
    return count(taken);
  };
  const times = (number: number, source: string, bytes: number): WaitingIntent[] =>
    Array.from({ length: number }, () => make(source, bytes));
  const kibibyte = 1024;
  t.same(round([]), {});
  t.same(round(times(300, 'a', 1)), { a: 200 });
  t.same(round(times(300, 'a', 100 * kibibyte)), { a: 5 });
  t.same(round(times(3, 'a', 256 * kibibyte)), { a: 2 });
  t.same(round([...times(9, 'a', 128 * kibibyte), make('b', 1)]), { a: 4, b: 1 });
  t.same(round([make('a', 9e9), make('a', 1)]), { a: 1 }, 'the first one goes however large it is');
  t.same(
    round(
      ['a', 'b', 'c', 'd', 'e'].flatMap((source) => [make(source, 1), ...times(2, source, 255 * kibibyte)]),
    ),
    { a: 3, b: 3, c: 3, d: 2, e: 2 },
    'two mebibytes of all beyond the first ones',
  );
  t.same(round([...times(3, 'a', 1), ...times(2, 'b', 1)], ['a']), { b: 2 });
  const gone = make('a', 1);
  gone.settled = true;
  t.same(round([gone, make('a', 1)]), { a: 1 });

  const waiting = new IntentsToPublish();
  const [first, second, third] = [make('a', 1, '1'), make('a', 2, '2'), make('b', 4, '3')];
  waiting.add(first, second, third);
  t.same(
    [
      waiting.has('a', '1'),
      waiting.has('b', '1'),
      waiting.has('a', '3'),
      [...waiting.sources()],
      waiting.used('a'),
      waiting.used('b'),
      waiting.used('c'),
      waiting.used(),
    ],
    [
      true,
      false,
      false,
      ['a', 'b'],
      { intents: 2, bytes: 3 },
      { intents: 1, bytes: 4 },
      none,
      { intents: 3, bytes: 7 },
    ],
  );
  t.strictSame(
    waiting.take().map(({ sha256: sha }) => sha),
    ['1', '3', '2'],
    'in turns',
  );
  waiting.add(third);
  waiting.putBack([first, second]);
  t.strictSame(
    waiting.take().map(({ sha256: sha }) => sha),
    ['1', '3', '2'],
    'what was put back comes first',
  );
  second.settled = true;
  waiting.add(second, third);
  t.same([waiting.used('a'), [...waiting.sources()]], [none, ['b']]);
  const why = new Refusal('NOT_PUBLISHED', 'y');
  waiting.refuseAll(why);
  t.same([third.refused, waiting.used()], [why, none]);
  t.end();
});

await t.test('room for payloads is given in the order in which it was asked for', async (t) => {
  const room = new Room(10);
  const log: string[] = [];
  const hold = (name: string, bytes: number, ms: number): Promise<void> =>
    room.pass(async () => {
      log.push(`${name} in`);
      await sleep(ms);
      log.push(`${name} out`);
      if (name === 'c') throw new Error('c fails');
    }, bytes);
  const all = await Promise.allSettled([
    hold('a', 6, 20),
    hold('b', 4, 40),
    hold('c', 8, 5),
    hold('d', 1, 5),
  ]);
  t.same(log, ['a in', 'b in', 'a out', 'b out', 'c in', 'd in', 'c out', 'd out']);
  t.same(
    all.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
  );
  t.equal(await room.pass(async () => 'all of it again', 10), 'all of it again');
  t.equal(room.enterNow(11), undefined);
});

await t.test('what a full disk looks like', async (t) => {
  t.same(
    [
      { code: 'ENOSPC' },
      { code: 'EDQUOT' },
      diskFull(),
      { code: 'EIO' },
      { code: 'DISK_FULL' },
      new Refusal('FAULT', ''),
      undefined,
    ].map(isDiskFull),
    [true, true, true, false, false, false, false],
  );
  const room = await roomIn('/');
  t.ok(Number.isFinite(room));
  t.equal(
    await codeOf(demandRoom('/proc')),
    'done',
    'a file system without blocks has nothing to be kept free',
  );
});

await t.test('an alarm is said once, kept among the last hundred, and published once an hour', async (t) => {
  const folder = folderOf(t);
  const [reported, published]: [string[], string[]] = [[], []];
  const of = (
    path: string,
    publish = async (text: string): Promise<void> => void published.push(text),
  ): Alarms => new Alarms({ file: path, report: (line) => reported.push(line), publish });
  const alarms = of(`${folder}/a`);
  alarms.raise('origin', 'was set back\n');
  alarms.raise('origin', 'was set back\n');
  alarms.raise('mirror', 'was set back\n');
  t.same(reported, ['ALARM remote origin: was set back.', 'ALARM remote mirror: was set back.']);
  t.same(published, reported);
  alarms.settled('origin');
  alarms.raise('origin', 'was set back\n');
  alarms.raise('origin', 'other');
  t.same([reported.length, published.length], [4, 2]);
  const kept = (): { time: string; remote: string; what: string }[] =>
    readFileSync(`${folder}/a`, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { time: string; remote: string; what: string });
  t.same(
    kept().map(({ remote, what }) => [remote, what]),
    [
      ['origin', 'was set back.'],
      ['mirror', 'was set back.'],
      ['origin', 'was set back.'],
      ['origin', 'other'],
    ],
  );
  t.ok(Math.abs(Date.parse(kept()[0]?.time as string) - Date.now()) < 60_000);
  for (let i = 0; i < 120; i++) alarms.raise('origin', `${i}`);
  t.same([kept().length, kept()[0]?.what, kept().at(-1)?.what], [100, '20', '119']);
  writeFileSync(`${folder}/f`, '');
  of(`${folder}/f/x`).raise('origin', 'x');
  t.match(reported.slice(-2), ['ALARM remote origin: x', /\/f\/x: .*ENOTDIR/]);
  of(`${folder}/b`, () => Promise.reject(new Error('no\nroom'))).raise('origin', 'y');
  await sleep(5);
  t.equal(reported.at(-1), 'an alarm is not published: no.room');
});
