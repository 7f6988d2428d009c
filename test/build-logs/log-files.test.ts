// SPDX-License-Identifier: GPL-2.0-or-later
// Logs on disk, without sockets or a repository: how a line gets there, who feeds a log, how it ends, and
// what a kill leaves of it.
import {
  appendFileSync,
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { Log, Sender } from '../../agents/build-logs/log.js';
import {
  readRecord,
  recordFile,
  recoverPosition,
  writeRecord,
  type LogRecord,
} from '../../agents/build-logs/log-record.js';
import { LogStore, type LogStoreOptions } from '../../agents/build-logs/log-store.js';
import { LogWriter, type LogPosition } from '../../agents/build-logs/log-writer.js';
import { stamp } from '../../agents/build-logs/line-stamper.js';
import type { AnyRefusal } from '../../agents/shared/refusal.js';
import { folderOf } from '../support/folders.js';
import { until } from '../support/until.js';

const noon = Date.UTC(2026, 10, 21, 12) * 1000;
const header = { job: 'hello-1', component: 'hello', stage: 'build' };
const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => 'done',
    (error: unknown) => (error as AnyRefusal).code ?? String(error),
  );
interface Place {
  folder: string;
  reported: string[];
  changed: Log[];
  store: LogStore;
  /** microseconds; goes on by itself */
  now: number;
  published: Set<string>;
}
function place(t: Test, options: Partial<LogStoreOptions> = {}, folder = folderOf(t)): Place {
  const made: Place = {
    folder: join(folder, 'logs'),
    reported: [],
    changed: [],
    now: noon,
    published: new Set(),
    store: undefined as unknown as LogStore,
  };
  made.store = new LogStore({
    folder: made.folder,
    clock: () => made.now++,
    report: (line) => made.reported.push(line),
    limitBytes: 1 << 20,
    openLogs: 3,
    reopenMs: 60_000,
    changed: (log) => made.changed.push(log),
    isPublished: async (path) => made.published.has(path),
    ...options,
  });
  t.teardown(() => made.store.stop());
  return made;
}
interface Feeder extends Sender {
  lines: number[];
  rooms: number;
  why: string[];
}
const feeder = (): Feeder => {
  const made: Feeder = {
    lines: [],
    rooms: 0,
    why: [],
    synced: (lines) => made.lines.push(lines),
    room: () => made.rooms++,
    stopped: ({ code }) => made.why.push(code),
  };
  return made;
};
const wordsOf = (log: Log): string[] =>
  readFileSync(log.file, 'latin1')
    .split('\n')
    .slice(0, -1)
    .map((line) => line.slice(33));

await t.test(
  'a log gets a name of its own in the folder of its VM and day, and a record beside it',
  async (t) => {
    const at = place(t);
    const first = await at.store.open('build-debian', '', header);
    t.equal(first.record.path, 'build-debian/2026-11-21/log_2026-11-21_12-00-00');
    t.same(
      [statSync(first.file).size, readRecord(first.file)],
      [0, { path: first.record.path, vm: 'build-debian', header, state: 'open' }],
    );
    t.equal(recordFile(first.file), join(at.folder, 'build-debian/2026-11-21/.log_2026-11-21_12-00-00.json'));
    t.equal(
      (await at.store.open('build-debian', 'own', null)).record.path,
      'build-debian/own/log_2026-11-21_12-00-00',
    );
    t.equal((await at.store.open('build-debian', '', header)).record.path, `${first.record.path}.1`);
    t.equal(await codeOf(at.store.open('build-debian', '', header)), 'TOO_MANY_LOGS');
    at.published.add('build-fedora/2026-11-21/log_2026-11-21_12-00-00');
    at.published.add('build-fedora/2026-11-21/log_2026-11-21_12-00-00.1.xz');
    t.equal(
      (await at.store.open('build-fedora', '', header)).record.path,
      'build-fedora/2026-11-21/log_2026-11-21_12-00-00.2',
      'also not one that is published',
    );
    t.same(
      [at.store.get(first.record.path), at.store.get(`${first.record.path}.xz`), at.store.get('x')],
      [first, first, undefined],
    );
    t.same(
      [at.store.of('build-debian').length, at.store.of('build-fedora').length, at.store.all().length],
      [3, 1, 4],
    );
    first.close(undefined);
    await first.settled();
    at.now += 1_000_000;
    t.equal(
      (await at.store.open('build-debian', '', header)).record.path,
      'build-debian/2026-11-21/log_2026-11-21_12-00-01',
      'one that has ended counts no more',
    );
    await at.store.write('build-logs', 'alarms', 'ALARM x');
    const [alarm] = at.store.of('build-logs') as [Log];
    await alarm.settled();
    t.same(
      [wordsOf(alarm), alarm.record.state, alarm.record.header],
      [['> ALARM x', '> closing log'], 'ended', null],
    );
  },
);

await t.test(
  'lines are on disk before they are acknowledged, and only those of the sender are counted',
  async (t) => {
    const at = place(t);
    const log = await at.store.open('build-debian', '', header);
    const sender = feeder();
    t.equal(log.push(sender, Buffer.from('x')), 'wait', 'not yet attached');
    await log.attach(sender, 'starting log');
    t.ok(log.hasSender);
    t.equal(log.push(sender, Buffer.from('one\ntwo\nbegun')), 'more');
    await log.flush();
    t.same(
      [wordsOf(log), log.lines, sender.lines.at(-1), log.ended, log.saidEnd],
      [['> starting log', 'build-debian: one', 'build-debian: two'], 2, 2, false, false],
    );
    t.equal(log.readyBytes, readFileSync(log.file, 'latin1').lastIndexOf('\n') + 1);
    t.ok(at.changed.includes(log));
    t.equal(log.push(feeder(), Buffer.from('stranger\n')), 'wait');
    log.push(sender, Buffer.from(' here\n> end status=0\n'));
    t.ok(log.saidEnd);
    log.push(sender, Buffer.from('more\n'));
    t.notOk(log.saidEnd);
    log.push(sender, Buffer.from('> end status=7\n'));
    log.close(undefined);
    log.close('twice');
    await log.settled();
    t.same(wordsOf(log).slice(-4), [
      'build-debian: > end status=0',
      'build-debian: more',
      'build-debian: > end status=7',
      '> closing log',
    ]);
    t.match(log.record, { state: 'ended', lines: 6, truncated: false });
    t.match(readRecord(log.file), { state: 'ended', lines: 6, truncated: false });
    t.same(
      [log.ended, log.hasSender, sender.lines.at(-1), log.readyBytes],
      [true, false, 6, statSync(log.file).size],
    );
    t.equal(await codeOf(log.attach(feeder(), 'again')), 'LOG_ENDED');
  },
);

await t.test(
  'a sender that goes may come back, a second one takes over, and who stays away leaves a truncated log',
  async (t) => {
    const at = place(t, { reopenMs: 80 });
    const log = await at.store.open('build-debian', '', header);
    const [first, second] = [feeder(), feeder()];
    await log.attach(first, 'starting log');
    log.push(first, Buffer.from('one\ntw'));
    await log.attach(second, 'second one');
    t.same(first.why, ['LOG_TAKEN_OVER']);
    t.equal(log.push(first, Buffer.from('x\n')), 'wait');
    t.same(wordsOf(log), [
      '> starting log',
      'build-debian: one',
      'build-debian: tw',
      '> line broken off',
      '> second one',
    ]);
    log.detach(first);
    t.ok(log.hasSender, 'the first one has nothing to say any more');
    log.detach(second);
    t.notOk(log.hasSender);
    await log.attach(second, 'back');
    await sleep(150);
    t.equal(log.ended, false, 'it came back in time');
    log.detach(second);
    await until('the log ends', () => log.ended);
    t.same(
      [wordsOf(log).at(-1), log.record.truncated, log.record.lines],
      ['> truncated: the sender went away without its end line', true, 1],
    );

    const done = await at.store.open('build-debian', '', header);
    const third = feeder();
    await done.attach(third, 'starting log');
    done.push(third, Buffer.from('> end status=0\n'));
    done.detach(third);
    await until('the log ends', () => done.ended);
    t.same([wordsOf(done).at(-1), done.record.truncated], ['> closing log', false], 'its end was said');
    const open = await at.store.open('build-debian', '', header);
    await open.attach(third, 'starting log');
    open.push(third, Buffer.from('no newline'));
    open.close(undefined);
    await open.settled();
    t.same(wordsOf(open), ['> starting log', 'build-debian: no newline', '> closing log']);
  },
);

await t.test('a log is cut at its limit, to the byte, and says so', async (t) => {
  for (const more of [0, 1, 60]) {
    const at = place(t, { limitBytes: 1000 });
    const log = await at.store.open('build-debian', '', header);
    const sender = feeder();
    await log.attach(sender, 'starting log');
    const line = 33 + 'build-debian: '.length + 1;
    const left = 1000 - statSync(log.file).size;
    t.equal(
      log.push(sender, Buffer.from(`${'x'.repeat(left - line)}\n`.padEnd(left - line + 1 + more, 'y'))),
      more === 0 ? 'more' : 'wait',
    );
    if (more === 0) t.equal(log.push(sender, Buffer.from('z')), 'wait');
    await log.settled();
    await until('the log ends', () => log.ended);
    t.same(sender.why, ['LOG_TOO_LARGE']);
    t.same(wordsOf(log).slice(-2), ['> log cut at 1000 bytes, the rest is refused', '> closing log']);
    t.equal(readFileSync(log.file, 'latin1').indexOf('> log cut') - 33, 1000, 'where the limit was');
    t.equal(log.record.lines, 1);
  }
});

await t.test('who reopens a log is its sender, and has been told of no line that is not there', async (t) => {
  const at = place(t);
  const log = await at.store.open('build-debian', '', header);
  const sender = feeder();
  await log.attach(sender, 'starting log');
  log.push(sender, Buffer.from('> header\none\ntwo\n'));
  await log.flush();
  const path = log.record.path;
  const reopened = (changes: object, vm = 'build-debian'): Promise<unknown> =>
    codeOf(at.store.reopen(vm, { ...header, continues: { path, lines: 2 }, ...changes }));
  t.equal(
    await at.store.reopen('build-debian', { ...header, continues: { path: `${path}.xz`, lines: 0 } }),
    log,
  );
  t.equal(await reopened({}), 'done');
  t.equal(await codeOf(at.store.reopen('build-debian', header)), 'LOG_UNKNOWN');
  t.equal(await reopened({}, 'build-fedora'), 'LOG_UNKNOWN');
  t.equal(await reopened({ continues: { path: 'x', lines: 0 } }), 'LOG_UNKNOWN');
  for (const change of [{ job: 'x' }, { component: 'x' }, { stage: 'x' }])
    t.equal(await reopened(change), 'LOG_UNKNOWN');
  t.same(at.reported, []);
  t.equal(await reopened({ continues: { path, lines: 3 } }), 'LINES_LOST');
  t.match(at.reported, [new RegExp(`^ALARM ${path}: the sender knows of 3 synced lines, the file holds 2$`)]);
  const raw = await at.store.open('build-debian', 'raw', null);
  t.equal(
    await reopened({ continues: { path: raw.record.path, lines: 0 } }),
    'LOG_UNKNOWN',
    'a raw sender has no header to be known by',
  );
  log.push(sender, Buffer.from('> end status=0\n'));
  log.close(undefined);
  await log.settled();
  t.equal(await reopened({ continues: { path, lines: 3 } }), 'done', 'one that has ended too');
  t.equal(await reopened({ continues: { path, lines: 4 } }), 'LINES_LOST');
});

await t.test('what a kill leaves: whole lines of clean text, and each log in its state', async (t) => {
  const at = place(t);
  const good = await at.store.open('build-debian', '', header);
  await good.attach(feeder(), 'starting log');
  const raw = await at.store.open('build-debian', 'raw', null);
  const published = await at.store.open('build-debian', 'done', header);
  published.close(undefined);
  await published.settled();
  writeFileSync(`${published.file}.xz`, 'xz');
  const as = {
    path: `${published.record.path}.xz`,
    commit: 'a'.repeat(40),
    sha256: 'b'.repeat(64),
    size: 3,
    at: Date.now(),
  };
  await at.store.stop();
  appendFileSync(good.file, `${stamp(noon)}build-debian: one\n${stamp(noon + 5)}build-debian: cut`);
  writeRecord(published.file, { ...published.record, state: 'published', published: as });
  writeFileSync(join(dirname(good.file), '.x.123.tmp'), '');
  writeFileSync(join(dirname(good.file), 'other'), '');
  writeRecord(join(at.folder, 'build-debian/raw/log_2026-11-21_13-00-00'), {
    path: 'x',
    vm: 'build-debian',
    header: null,
    state: 'open',
  });
  writeFileSync(
    join(at.folder, 'build-debian/raw/log_2026-11-21_14-00-00'),
    `${stamp(noon)}build-debian: no record\n`,
  );

  const again = place(t, {}, dirname(at.folder));
  again.store.recover();
  t.same(
    again.store
      .all()
      .map(({ record }) => `${record.path} ${record.state}`)
      .sort(),
    [
      `${good.record.path} open`,
      `${published.record.path} published`,
      `${raw.record.path} open`,
      'build-debian/raw/log_2026-11-21_14-00-00 open',
    ].sort(),
  );
  t.same(readdirSync(dirname(good.file)).sort(), [
    '.log_2026-11-21_12-00-00.json',
    'log_2026-11-21_12-00-00',
    'other',
  ]);
  t.equal(
    readdirSync(dirname(raw.file)).includes('.log_2026-11-21_13-00-00.json'),
    false,
    'a record without a log',
  );
  t.same(
    [existsSync(published.file), existsSync(`${published.file}.xz`), existsSync(recordFile(published.file))],
    [false, false, true],
  );
  const back = again.store.get(good.record.path) as Log;
  t.same([back.lines, back.lastStamp, wordsOf(back)], [1, noon, ['> starting log', 'build-debian: one']]);
  const unknown = again.store.get('build-debian/raw/log_2026-11-21_14-00-00') as Log;
  await unknown.settled();
  await again.store.get(raw.record.path)?.settled();
  t.same(
    [wordsOf(unknown), unknown.record.truncated],
    [['build-debian: no record', '> truncated: the receiver was restarted'], true],
  );
  const sender = feeder();
  await back.attach(sender, 'back');
  back.push(sender, Buffer.from('two\n'));
  await back.flush();
  t.same([back.lines, wordsOf(back).slice(-2)], [2, ['> back', 'build-debian: two']]);

  again.store.forgetOld(as.at + 24 * 3600_000 - 1);
  t.ok(again.store.get(published.record.path));
  again.store.forgetOld(as.at + 24 * 3600_000);
  t.same(
    [again.store.get(published.record.path), existsSync(recordFile(published.file))],
    [undefined, false],
  );
  back.close(undefined);
  await back.settled();
  again.store.published(back, { ...as, path: back.record.path });
  t.match(readRecord(back.file), { state: 'published', published: { commit: as.commit } });
  t.equal(existsSync(back.file), false);
});

await t.test(
  'a log whose end was said before the kill is closed at the start, one without it waits for its sender',
  async (t) => {
    const at = place(t);
    const [ended, waiting] = [
      await at.store.open('build-debian', '', header),
      await at.store.open('build-debian', '', header),
    ];
    await at.store.stop();
    writeFileSync(ended.file, `${stamp(noon)}> starting log\n${stamp(noon)}build-debian: > end status=0\n`);
    writeFileSync(waiting.file, `${stamp(noon)}> starting log\n${stamp(noon)}build-other: > end status=0\n`);
    const again = place(t, { reopenMs: 50 }, dirname(at.folder));
    again.store.recover();
    const [one, two] = [again.store.get(ended.record.path), again.store.get(waiting.record.path)] as [
      Log,
      Log,
    ];
    await until('both logs end', () => one.ended && two.ended);
    t.same([one.record.truncated, two.record.truncated], [false, true]);
  },
);

await t.test('where a file stands is read from its bytes', (t) => {
  const folder = folderOf(t);
  const file = `${folder}/l`;
  const line = (text: string, time = noon): string => `${stamp(time)}${text}\n`;
  const stands = (text: string): unknown[] => {
    writeFileSync(file, text, 'latin1');
    const { bytes, complete, lines, lastWords, lastStamp } = recoverPosition(file);
    t.equal(readFileSync(file, 'latin1'), text.slice(0, complete));
    t.equal(bytes, complete);
    return [complete, lines, lastWords.slice(33), lastStamp];
  };
  const [one, ours] = [line('v: one'), line('> ours', noon + 7)];
  t.same(stands(''), [0, 0, '', 0]);
  t.same(stands(one), [one.length, 1, 'v: one', noon]);
  t.same(stands(one + ours), [one.length + ours.length, 1, 'v: one', noon + 7]);
  t.same(stands(`${one}cut`), [one.length, 1, 'v: one', noon]);
  for (const bad of ['\x00', '\x1f', '\x7f', '\xff'])
    t.same(stands(`${one}x${bad}y\n${one}`), [one.length, 1, 'v: one', noon], JSON.stringify(bad));
  t.same(stands(`${one} ~${one}`)[1], 2);
  t.same(stands(one + line('> line split'))[1], 0, 'a line that goes on is counted with its last part');
  t.same(stands(one + line('> line broken off'))[1], 0);
  const long = line(`v: ${'x'.repeat(60_000)}`).repeat(40);
  t.same(stands(long).slice(0, 2), [long.length, 40], 'across pieces of a mebibyte');
  const record: LogRecord = { path: 'p', vm: 'v', header, state: 'open' };
  writeRecord(file, record);
  t.same(readRecord(file), record);
  writeFileSync(recordFile(file), '{');
  t.same([readRecord(file), readRecord(`${folder}/none`)], [undefined, undefined]);
  t.end();
});

await t.test('the writer acknowledges in order, makes a fast sender wait, and fails as one', async (t) => {
  const folder = folderOf(t);
  const make = (
    fd: number,
    changes: object = {},
  ): { writer: LogWriter; synced: LogPosition[]; rooms: () => number; failed: Error[] } => {
    let rooms = 0;
    const [synced, failed]: [LogPosition[], Error[]] = [[], []];
    return {
      synced,
      failed,
      rooms: () => rooms,
      writer: new LogWriter({
        fd,
        vm: 'v',
        clock: () => noon,
        start: { bytes: 0, complete: 0, lines: 0 },
        lastStamp: 0,
        limitBytes: 1 << 30,
        onSynced: (position) => synced.push(position),
        onRoom: () => rooms++,
        onFailed: (error) => failed.push(error),
        ...changes,
      }),
    };
  };
  const fd = openSync(`${folder}/w`, 'a');
  const { writer, synced, rooms, failed } = make(fd);
  t.equal(writer.push(Buffer.from('one\ntw')), 'more');
  t.same(
    [writer.midLine, writer.tail.slice(-5), writer.end.lines, writer.synced.bytes],
    [true, 'v: tw', 1, 0],
  );
  await until('a line is synced', () => synced.length > 0);
  t.equal(synced[0]?.bytes, fstatSync(fd).size);
  t.equal(synced[0]?.complete, readFileSync(`${folder}/w`, 'latin1').indexOf('\n') + 1);
  let waited = 0;
  const big = Buffer.from(`${'x'.repeat(1000)}\n`.repeat(1000));
  for (let i = 0; i < 8; i++) if (writer.push(big) === 'wait') waited++;
  t.ok(waited > 0);
  await writer.flush();
  await until('there is room', () => rooms() > 0);
  t.ok(rooms() > 0, 'and there is room again');
  t.same([writer.synced, writer.synced.lines, fstatSync(fd).size], [writer.end, 8001, writer.end.bytes]);
  await writer.flush();
  writer.mark('said');
  t.ok(writer.tail.endsWith('> said\n'));
  await writer.flush();
  await writer.stop();
  await t.rejects(writer.flush(), /written no more/);
  t.same([writer.push(Buffer.from('x')), failed], ['wait', []]);
  closeSync(fd);

  const reading = openSync(`${folder}/w`, 'r');
  const broken = make(reading);
  broken.writer.push(Buffer.from('x\n'));
  await t.rejects(Promise.all([broken.writer.flush(), broken.writer.flush()]), { code: 'EBADF' });
  t.same(
    [broken.failed.length, broken.synced.length, broken.writer.push(Buffer.from('y\n'))],
    [1, 0, 'wait'],
  );
  await t.rejects(broken.writer.flush(), { code: 'EBADF' });
  await broken.writer.stop();
  closeSync(reading);
});

await t.test(
  'a log that cannot be stored goes back to its last acknowledged line, and its sender may come again',
  async (t) => {
    const at = place(t);
    const log = await at.store.open('build-debian', '', header);
    const sender = feeder();
    await log.attach(sender, 'starting log');
    log.push(sender, Buffer.from('one\n'));
    await log.flush();
    const before = wordsOf(log);
    // The same descriptor, on a disk that is full.
    const fds = readdirSync('/proc/self/fd')
      .map(Number)
      .filter((fd) => {
        try {
          return fstatSync(fd).ino === statSync(log.file).ino;
        } catch {
          return false;
        }
      });
    t.equal(fds.length, 1);
    closeSync(fds[0] as number);
    t.equal(openSync('/dev/full', 'a'), fds[0]);
    log.push(sender, Buffer.from('two\n'));
    await until('the sender is stopped', () => sender.why.length > 0);
    t.same([sender.why, log.hasSender, wordsOf(log)], [['DISK_FULL'], false, before]);
    t.match(at.reported[0], /^build-debian\/.*ENOSPC/);
    await log.attach(sender, 'back');
    log.push(sender, Buffer.from('two\n'));
    await log.flush();
    t.same([wordsOf(log), log.lines], [[...before, '> back', 'build-debian: two'], 2]);
  },
);
