// SPDX-License-Identifier: GPL-2.0-or-later
// What a publication is made of and what follows on it, without remotes or a keys VM: which logs go, in which
// form, with which intents and journal entries, and who is answered when.
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { CommitChain } from '../../agents/build-logs/commit-chain.js';
import { Confirmation, type Batch } from '../../agents/build-logs/confirmation.js';
import type { GitRepository } from '../../agents/build-logs/git-repository.js';
import type { WaitingIntent } from '../../agents/build-logs/intents-to-publish.js';
import { JournalStore } from '../../agents/build-logs/journal-store.js';
import { KeysJournals, type KeysJournalsOptions } from '../../agents/build-logs/keys-journals.js';
import {
  beginsWithBlob,
  isLarge,
  plainLimitBytes,
  writePackedBlob,
  writePlainBlob,
  type LogBlob,
} from '../../agents/build-logs/log-blob.js';
import { readRecord, type LogRecord } from '../../agents/build-logs/log-record.js';
import type { LogStore } from '../../agents/build-logs/log-store.js';
import type { Log } from '../../agents/build-logs/log.js';
import { LogsToPublish, type LogInPublication } from '../../agents/build-logs/logs-to-publish.js';
import { publishRound } from '../../agents/build-logs/publication-round.js';
import type { Receipts } from '../../agents/build-logs/receipts.js';
import type { Remote, Target } from '../../agents/build-logs/remote.js';
import { gitObjectId, readGitCommit } from '../../agents/shared/formats/git-commit.js';
import { intentPath, payloadPath, readPublicationMessage } from '../../agents/shared/formats/publication.js';
import type { AnyRefusal } from '../../agents/shared/refusal.js';
import { RelayedRefusal } from '../../agents/shared/refusal.js';
import { folderOf } from '../support/folders.js';
import { until } from '../support/until.js';
import { FakeKeysVm } from './fake-keys-vm.js';
import { git, headOf, logsKey, repositoryIn } from './git-pieces.js';
import { sha256 } from './rig.js';

const mebibyte = 1024 ** 2;

/** As much of a log as its publication asks for. */
interface FakeLog {
  file: string;
  record: LogRecord;
  readyBytes: number;
  ended: boolean;
  lastStamp: number;
  flushed: number;
  clocks: number;
  flush: () => Promise<void>;
  noteClock: () => void;
}
function fakeLog(
  name: string,
  readyBytes: number,
  { vm = 'build-debian', ended = false, folder = '', lastStamp = 0, xz = undefined as LogRecord['xz'] } = {},
): FakeLog & Log {
  const log: FakeLog = {
    file: join(folder, name),
    record: {
      path: `${vm}/d/${name}`,
      vm,
      header: null,
      state: ended ? 'ended' : 'open',
      ...(xz === undefined ? {} : { xz }),
    },
    readyBytes,
    ended,
    lastStamp,
    flushed: 0,
    clocks: 0,
    flush: async () => void log.flushed++,
    noteClock: () => void log.clocks++,
  };
  return log as FakeLog & Log;
}
interface Place {
  all: Log[];
  logs: LogsToPublish;
  woken: number[];
  wakes: number;
  reported: string[];
  published: unknown[];
  forgotten: number;
}
function place(all: Log[], repository = {} as GitRepository): Place {
  const at: Place = {
    all,
    woken: [],
    wakes: 0,
    reported: [],
    published: [],
    forgotten: 0,
    logs: undefined as unknown as LogsToPublish,
  };
  const store = {
    all: () => at.all,
    of: (vm: string) => at.all.filter(({ record }) => record.vm === vm),
    forgetOld: () => at.forgotten++,
    published: (log: Log, as: object) => {
      if (log.record.path.endsWith('bad')) throw new Error('no\nroom');
      at.published.push(as);
    },
  } as unknown as LogStore;
  at.logs = new LogsToPublish({
    store,
    repository,
    report: (line) => at.reported.push(line),
    publishMs: 1000,
    wakeAt: (time) => at.woken.push(time),
    wake: () => at.wakes++,
  });
  return at;
}
const blobOf = (log: Log, plainBytes = log.readyBytes): LogBlob => ({
  path: log.record.path,
  plainBytes,
  id: 'a'.repeat(40),
  size: plainBytes,
  sha256: sha256('x'),
});
const inPublication = (log: Log, ended = log.ended): LogInPublication => ({ log, blob: blobOf(log), ended });

await t.test(
  'an open log is due some time after its first new line, an ended one at once, a published one never',
  (t) => {
    const [open, ended, done] = [
      fakeLog('open', 5),
      fakeLog('ended', 5, { ended: true }),
      fakeLog('done', 5, { ended: true }),
    ];
    done.record.state = 'published';
    const { logs, woken, ...at } = place([open, ended, done]);
    const now = performance.now();
    t.same(logs.due(now), [ended]);
    logs.changed(open);
    t.equal(woken.length, 1);
    const time = woken[0] as number;
    t.ok(time >= now + 1000 && time < now + 20_000);
    logs.changed(open);
    t.equal(woken.length, 1, 'later lines change nothing');
    t.same([logs.due(time - 1), logs.due(time)], [[ended], [open, ended]]);
    logs.committed([inPublication(open)]);
    t.same(logs.due(time), [ended], 'it went out with something else');
    logs.changed(open);
    t.equal(woken.length, 1, 'and has nothing new');
    (open as FakeLog).readyBytes = 6;
    logs.changed(open);
    t.equal(woken.length, 2);
    logs.changed(done);
    t.same([woken.length, at.all.length], [2, 3]);
    logs.committed([inPublication(ended)]);
    t.same(logs.due(0), [], 'it is on its way');
    t.end();
  },
);

await t.test('who has ended wakes the publisher', (t) => {
  const at = place([]);
  at.logs.changed(fakeLog('x', 1, { ended: true }));
  at.logs.changed(fakeLog('y', 0));
  t.same([at.wakes, at.woken.length], [1, 1]);
  t.end();
});

await t.test(
  'what a build VM has said is what it has on disk, and is covered once it goes out',
  async (t) => {
    const [one, empty, gone, other] = [
      fakeLog('one', 5),
      fakeLog('empty', 0),
      fakeLog('gone', 5, { ended: true }),
      fakeLog('other', 5, { vm: 'build-fedora' }),
    ];
    gone.record.state = 'published';
    const { logs } = place([one, empty, gone, other]);
    const said = await logs.said('build-debian');
    t.same(
      said.map(({ log, bytes }) => [log.record.path, bytes]),
      [
        ['build-debian/d/one', 5],
        ['build-debian/d/empty', 0],
      ],
    );
    t.same([one.flushed, gone.flushed, other.flushed], [1, 0, 0]);
    Object.assign(one, { flush: () => Promise.reject(new Error('full')) });
    t.equal(
      (await logs.said('build-debian')).length,
      2,
      'one that cannot be flushed counts with what it has',
    );
    t.same(
      [
        logs.covers(said),
        logs.covers(said, new Map()),
        logs.covers(said, new Map([[one, false]])),
        logs.covers([]),
      ],
      [true, false, true, true],
    );
    (one as FakeLog).readyBytes = 9;
    logs.committed([{ ...inPublication(one), blob: blobOf(one, 5) }]);
    t.equal(logs.covers(said, new Map()), true, 'these bytes went before');
    t.equal(logs.covers(await logs.said('build-debian'), new Map()), false, 'not those');
    logs.committed([inPublication(one, true)]);
    t.equal(logs.covers([{ log: one, bytes: 99 }], new Map()), true, 'the whole log is on its way');
  },
);

await t.test('of each VM as many logs go as fit its share, those first that have waited longest', (t) => {
  const [slow, late, early, ended] = [
    fakeLog('slow', 9 * mebibyte),
    fakeLog('late', 9 * mebibyte),
    fakeLog('early', 5 * mebibyte),
    fakeLog('ended', mebibyte, { ended: true }),
  ];
  const [other, quiet] = [
    fakeLog('other', 1, { vm: 'build-fedora' }),
    fakeLog('quiet', 1, { vm: 'build-suse' }),
  ];
  const { logs, woken } = place([slow, late, early, ended, other, quiet]);
  const chosen = (now: number, ...intentsOf: string[]): string[] =>
    [...logs.choose(now, intentsOf)].map(
      ([log, whole]) => `${log.record.path.split('/')[2]}${whole ? '.' : ''}`,
    );
  t.same(chosen(0), ['ended.', 'slow'], 'what is not due goes along as far as it fits');
  for (const log of [early, late, other]) logs.changed(log);
  const now = woken[2] as number;
  t.same(chosen(now), ['ended.', 'early', 'late', 'other']);
  t.same(chosen(0, 'build-suse', 'build-suse'), ['quiet', 'ended.', 'slow']);
  logs.committed([inPublication(ended)]);
  t.same(chosen(now), ['early', 'late', 'other'], 'what is on its way goes once');
  logs.committed([inPublication(early), inPublication(late)]);
  t.same(chosen(now, 'build-debian'), ['slow', 'other'], 'what has nothing new does not go');
  const huge = place([
    fakeLog('a', 10 * mebibyte, { ended: true }),
    fakeLog('b', 6 * mebibyte, { ended: true }),
    fakeLog('c', 1, { ended: true }),
  ]);
  t.equal(huge.logs.choose(0, []).size, 2, 'sixteen mebibytes');
  const empty = place([fakeLog('a', 0, { ended: true }), fakeLog('b', 0)]);
  t.same(
    [...empty.logs.choose(0, ['build-debian'])].map(([log]) => log.record.path),
    ['build-debian/d/a', 'build-debian/d/b'],
  );
  t.same(
    empty.all.map((log) => empty.logs.begin(log)),
    [true, false],
    'of an empty log only its end is news',
  );
  t.same([logs.begin(slow), logs.begin(late)], [true, false]);
  t.end();
});

await t.test('a published log only grows, or goes no further and is an alarm', async (t) => {
  const folder = folderOf(t);
  const repository = await repositoryIn(t, folder);
  const { objects } = repository;
  const make = (text: string): FakeLog & Log => {
    writeFileSync(join(folder, 'log'), text);
    return fakeLog('log', text.length, { folder });
  };
  const at = place([], repository);
  const follows = async (
    log: Log,
    before: string | undefined,
    changes: Partial<LogBlob> = {},
  ): Promise<boolean> => {
    const published = before === undefined ? undefined : objects.write('blob', Buffer.from(before)).id;
    await objects.sync();
    return at.logs.mayFollow(log, { ...blobOf(log), ...changes }, published);
  };
  t.equal(await follows(make('one\ntwo\n'), undefined), true);
  t.equal(await follows(make('one\ntwo\n'), 'one\n'), true);
  t.equal(await follows(make('one\ntwo\n'), ''), true);
  t.equal(await follows(make('one\n'), 'one\n', { id: gitObjectId('blob', Buffer.from('one\n')) }), true);
  const once = make('one\ntwo\n');
  t.equal(await follows(once, 'one\n'), true);
  t.equal(await follows(once, 'other'), true, 'compared once after a start');
  t.same(at.reported, []);
  for (const [text, before, changes] of [
    ['one\ntwo\n', 'One\n', {}],
    ['one\n', 'one\ntwo\n', {}],
    ['one\ntwo\n', 'one\ntwo\n', { size: 4 }],
    ['one\n', 'one\n', { path: 'build-debian/d/log.xz' }],
  ] as const) {
    const log = make(text);
    const refused: string[] = [];
    at.logs.wait(log, {
      resolve: () => refused.push('published'),
      reject: (error) => refused.push((error as AnyRefusal).code),
    });
    at.all = [log];
    t.equal(await follows(log, before, changes), false, `${before} of ${text}`);
    t.same([refused, at.logs.due(Number.MAX_VALUE), at.reported.splice(0).length], [['LOG_DIFFERS'], [], 1]);
    at.logs.confirmed([inPublication(log, true)], 'c');
    t.same(refused.length, 1, 'nobody waits any more');
  }
  const missing = make('x');
  t.equal(
    await at.logs.mayFollow(missing, blobOf(missing), 'b'.repeat(40)),
    false,
    'a published form that is not here',
  );
});

await t.test('once its commit is confirmed a whole log is done, and who waits for it is answered', (t) => {
  const [open, ended, bad] = [
    fakeLog('open', 1),
    fakeLog('ended', 1, { ended: true }),
    fakeLog('bad', 1, { ended: true }),
  ];
  const at = place([open, ended, bad]);
  const answers: unknown[] = [];
  for (const log of [open, ended, bad])
    at.logs.wait(log, { resolve: (as) => answers.push(as), reject: (error) => answers.push(error) });
  at.logs.confirmed(
    [open, bad, ended].map((log) => inPublication(log)),
    'commit',
  );
  const as = (log: Log): object => ({ path: log.record.path, commit: 'commit', sha256: sha256('x') });
  t.same(answers, [as(bad), as(ended)]);
  t.match(at.published, [{ ...as(ended), size: 1 }]);
  t.ok(Math.abs((at.published[0] as { at: number }).at - Date.now()) < 60_000);
  t.same([at.reported, at.forgotten], [['build-debian/d/bad: Error: no.room'], 1]);
  at.logs.confirmed([inPublication(ended)], 'commit');
  t.equal(answers.length, 2);
  t.end();
});

await t.test(
  'a large log is packed piece by piece, and each packed form begins with the one before',
  async (t) => {
    const folder = folderOf(t);
    const repository = await repositoryIn(t, folder);
    t.same(
      [
        fakeLog('a', plainLimitBytes),
        fakeLog('a', plainLimitBytes + 1),
        fakeLog('a', 1, { xz: { plain: 0, packed: 0 } }),
      ].map(isLarge),
      [false, true, true],
    );
    const text = randomBytes(300_000).toString('hex');
    const file = join(folder, 'log');
    writeFileSync(file, text.slice(0, 1000));
    const log = fakeLog('log', 1000, { folder, xz: { plain: 0, packed: 0 } });
    // Of an attempt before a kill.
    writeFileSync(`${file}.xz`, 'left over');
    const first = await writePackedBlob(log, repository);
    const one = readFileSync(`${file}.xz`);
    t.match(first, {
      path: 'build-debian/d/log.xz',
      plainBytes: 1000,
      size: one.length,
      id: gitObjectId('blob', one),
      sha256: sha256(one),
    });
    t.equal(execFileSync('xz', ['-dc', `${file}.xz`]).toString(), text.slice(0, 1000));
    t.same(readRecord(file)?.xz, { plain: 1000, packed: one.length });
    t.same(await writePackedBlob(log, repository), first, 'nothing new, nothing packed');
    appendFileSync(file, text.slice(1000));
    appendFileSync(`${file}.xz`, 'cut short');
    (log as FakeLog).readyBytes = text.length;
    const second = await writePackedBlob(log, repository);
    const two = readFileSync(`${file}.xz`);
    t.ok(two.subarray(0, one.length).equals(one) && two.length > one.length);
    t.equal(execFileSync('xz', ['-dc', `${file}.xz`], { maxBuffer: 1 << 24 }).toString(), text);
    t.match(second, { plainBytes: text.length, size: two.length });
    await repository.objects.sync();
    t.ok(git(repository.path, ['cat-file', 'blob', second.id]).equals(two));
    const plain = await writePlainBlob(log, repository);
    t.match(plain, {
      path: 'build-debian/d/log',
      plainBytes: text.length,
      size: text.length,
      sha256: sha256(text),
    });
    for (const [part, size, begins] of [
      [text, text.length, true],
      [text.slice(0, 10), 10, true],
      ['', 0, true],
      ['x', 1, false],
      [text.slice(0, 10), 11, false],
      [text.slice(1, 11), 10, false],
    ] as const)
      t.equal(await beginsWithBlob(file, gitObjectId('blob', Buffer.from(part)), size), begins, `${size}`);
    t.equal(await beginsWithBlob(`${file}.none`, gitObjectId('blob', Buffer.alloc(0)), 0), false);
    rmSync(file);
    (log as FakeLog).readyBytes++;
    await t.rejects(writePackedBlob(log, repository));
  },
);

await t.test(
  'packing goes on beside publications, one log of a VM at a time, and what is packed goes',
  async (t) => {
    const folder = folderOf(t);
    const repository = await repositoryIn(t, folder);
    const [one, two] = ['one', 'two'].map((name) => {
      writeFileSync(join(folder, name), 'text');
      return fakeLog(name, 4, { folder, xz: { plain: 0, packed: 0 } });
    }) as [FakeLog & Log, FakeLog & Log];
    (two as FakeLog).ended = true;
    const at = place([one, two], repository);
    const said = [{ log: one as Log, bytes: 4 }];
    at.logs.changed(one);
    const now = at.woken[0] as number;
    t.same(
      [at.logs.packedBlob(one), at.logs.due(now), at.logs.covers(said), at.logs.choose(now, []).size],
      [undefined, [], false, 0],
      'it is packed first',
    );
    await until(
      'both are packed',
      () => at.logs.packedBlob(one) !== undefined && at.logs.packedBlob(two) !== undefined,
    );
    await until('the publisher is woken for each', () => at.wakes === 2);
    t.same(
      [
        at.logs.due(now),
        at.logs.covers(said),
        at.logs.covers(said, new Map()),
        at.logs.covers(said, new Map([[one, false]])),
      ],
      [[one, two], true, false, true],
    );
    t.same(
      [...at.logs.choose(now, [])],
      [
        [two, true],
        [one, false],
      ],
    );
    t.equal(at.logs.packedBlob(fakeLog('plain', 1)), undefined);
    appendFileSync(two.file, 'more');
    (two as FakeLog).readyBytes = 8;
    t.same(
      [at.logs.due(now), [...at.logs.choose(now, [])].find(([log]) => log === two)?.[1]],
      [[one], false],
      'an ended one waits until it is packed whole',
    );
    await until('it is', () => at.logs.packedBlob(two)?.plainBytes === 8);
    t.equal(at.logs.choose(now, []).get(two), true);
    const put = (log: Log): LogInPublication => ({
      log,
      blob: at.logs.packedBlob(log) as LogBlob,
      ended: log.ended,
    });
    at.logs.committed([put(one), put(two)]);
    t.same([at.logs.due(now), at.logs.choose(now, []).size], [[], 0]);

    const lost = fakeLog('lost', 4, { folder, xz: { plain: 0, packed: 0 }, ended: true });
    at.all = [lost];
    const wakes = at.wakes;
    const begun = Date.now();
    t.same(at.logs.due(now), []);
    await until('it failed', () => at.reported.length > 0);
    t.match(at.reported, [/^build-debian\/d\/lost: cannot be packed: .*ENOENT/]);
    t.same(at.logs.due(now), []);
    await until('it is tried again', () => at.wakes > wakes);
    t.ok(Date.now() - begun >= 1900, 'after a pause');
    t.equal(at.reported.length, 1);
  },
);

interface FakeRemote {
  name: string;
  required: boolean;
  busy: boolean;
  confirmedSeq: number;
  diverged: boolean;
  trouble: string;
  aimed: Target[];
}
const fakeRemote = (name: string, required = true): FakeRemote & { aim: (target: Target) => void } => {
  const remote = {
    name,
    required,
    busy: false,
    confirmedSeq: 0,
    diverged: false,
    trouble: '',
    aimed: [] as Target[],
    aim: (target: Target) => void remote.aimed.push(target),
  };
  return remote;
};
type Answered = WaitingIntent & { heard: string[] };
const waitingIntent = (source: string, text: string): Answered => {
  const intent: Answered = {
    source,
    sha256: sha256(text),
    bytes: Buffer.from(text),
    payloads: [],
    grants: [],
    day: '2026-11-21',
    said: [],
    publishedBytes: text.length,
    settled: false,
    heard: [],
    confirmed: (commit) => intent.heard.push(`confirmed ${commit}`),
    resolve: ({ commit, grantedUntil }) => intent.heard.push(`granted ${commit} ${grantedUntil}`),
    reject: (error) => {
      intent.settled = true;
      intent.heard.push((error as AnyRefusal).code);
    },
  };
  return intent;
};

await t.test('what rides on a commit is answered once every required remote holds it', async (t) => {
  const [origin, mirror, extra] = [fakeRemote('origin'), fakeRemote('mirror'), fakeRemote('extra', false)];
  const [sent, confirmed, wanted]: [unknown[], unknown[], string[]] = [[], [], []];
  let answer: () => Promise<string> = async () => 'later';
  const receipts = new Map(
    ['build-debian', 'build-fedora'].map((source) => [
      source,
      {
        send: (commit: string, names: string[], intents: WaitingIntent[]) => (
          sent.push([source, commit, names, intents.map(({ sha256: sha }) => sha)]),
          answer()
        ),
      } as unknown as Receipts,
    ]),
  );
  const confirmation = new Confirmation({
    remotes: [origin, extra, mirror] as unknown as Remote[],
    receipts,
    logs: {
      confirmed: (logs: LogInPublication[], commit: string) => confirmed.push([logs.length, commit]),
    } as unknown as LogsToPublish,
    journals: { wantLastEntries: (source: string) => wanted.push(source) } as unknown as KeysJournals,
  });
  t.same(
    [
      confirmation.busy,
      confirmation.isComplete(0),
      confirmation.isComplete(1),
      confirmation.missing(1),
      confirmation.confirmedOn(1),
    ],
    [false, true, false, 'origin, mirror', []],
  );
  extra.busy = true;
  t.equal(confirmation.busy, false);
  mirror.busy = true;
  t.equal(confirmation.busy, true);
  const batch = (seq: number, intents: WaitingIntent[] = [], logs: LogInPublication[] = []): Batch => ({
    commit: `c${seq}`,
    seq,
    intents,
    logs,
  });
  const [one, two, gone] = [
    waitingIntent('build-debian', '1'),
    waitingIntent('build-fedora', '2'),
    waitingIntent('build-debian', '3'),
  ];
  gone.settled = true;
  const logs = [
    inPublication(fakeLog('open', 1)),
    inPublication(fakeLog('e', 1, { ended: true, vm: 'build-fedora' })),
  ];
  confirmation.add(batch(1, [one, two, gone], logs));
  for (const remote of [origin, mirror, extra]) t.same(remote.aimed, [{ commit: 'c1', seq: 1 }]);
  confirmation.add(batch(2, [waitingIntent('build-debian', '4')]));
  origin.confirmedSeq = 2;
  extra.confirmedSeq = 1;
  mirror.trouble = 'away';
  confirmation.settle();
  t.same(
    [sent, confirmed, confirmation.missing(1), confirmation.confirmedOn(1), confirmation.isComplete(0)],
    [[], [], 'mirror (away)', ['extra', 'origin'], false],
  );
  mirror.confirmedSeq = 1;
  confirmation.settle();
  t.same(sent, [
    ['build-debian', 'c1', ['extra', 'mirror', 'origin'], [one.sha256]],
    ['build-fedora', 'c1', ['extra', 'mirror', 'origin'], [two.sha256]],
  ]);
  t.same([confirmed, wanted, gone.heard, one.heard], [[[2, 'c1']], ['build-fedora'], [], ['confirmed c1']]);
  await sleep(5);
  t.same(one.heard, ['confirmed c1', 'granted c1 later']);
  confirmation.settle();
  t.equal(sent.length, 2, 'once');
  answer = () => Promise.reject(new RelayedRefusal('NOT_TODAY', 'x'));
  mirror.confirmedSeq = 2;
  confirmation.settle();
  t.equal(sent.length, 3);
  t.same(
    [confirmation.isComplete(2), confirmation.isComplete(3), confirmation.missing(2)],
    [true, false, ''],
  );
  const [refused, failed] = [waitingIntent('build-debian', '5'), waitingIntent('build-fedora', '6')];
  confirmation.add(batch(3, [refused]));
  confirmation.add(batch(4, [failed]));
  origin.confirmedSeq = mirror.confirmedSeq = 3;
  confirmation.settle();
  await sleep(5);
  answer = () => Promise.reject(new Error('x'));
  origin.confirmedSeq = mirror.confirmedSeq = 4;
  confirmation.settle();
  await sleep(5);
  t.same(
    [refused.heard, failed.heard],
    [
      ['confirmed c3', 'NOT_TODAY'],
      ['confirmed c4', 'KEYS_VM_UNREACHABLE'],
    ],
  );

  extra.diverged = true;
  t.equal(confirmation.diverged(), undefined, 'one that is not required stops nothing');
  mirror.diverged = true;
  const last = waitingIntent('build-debian', '7');
  confirmation.add(batch(5, [last], logs));
  confirmation.settle();
  t.same(
    [last.heard, confirmation.diverged()?.code, confirmation.isComplete(4)],
    [['HISTORY_DIVERGED'], 'HISTORY_DIVERGED', false],
  );
  t.match(confirmation.diverged()?.detail, /^remote mirror holds/);
  const before = sent.length;
  origin.confirmedSeq = mirror.confirmedSeq = 5;
  last.settled = false;
  // A refusal is known to be heard only later, and no grant may leave until then.
  last.reject = (error) => void last.heard.push((error as AnyRefusal).code);
  confirmation.settle();
  t.same(
    [sent.length, confirmed.at(-1), last.heard.length],
    [before, [2, 'c5'], 2],
    'no grant, whatever is confirmed',
  );
  t.equal(confirmation.isComplete(5), false);
});

await t.test(
  "a keys VM's journal is found again in the repository, and its last entries are asked for after the last log",
  async (t) => {
    const folder = folderOf(t);
    const vm = new FakeKeysVm('build-debian', '/nonexistent');
    for (let i = 0; i < 600; i++) vm.enter('refused');
    const files = new Map<string, string>();
    const lines = (from: number, to: number): string =>
      vm.journal
        .slice(from, to)
        .map((line) => `${line}\n`)
        .join('');
    const heads = `${JSON.stringify(vm.journalHead(520))}\n`;
    for (const [name, body] of [
      ['00000000.jsonl', lines(0, 256)],
      ['00000001.jsonl', lines(256, 512)],
      ['00000002.jsonl', lines(512, 520)],
      ['heads-00000000.jsonl', 'older\n'],
      ['heads-00000002.jsonl', heads],
    ] as const)
      files.set(name, body);
    const read: string[] = [];
    let [open, wakes] = [0, 0];
    const sends: unknown[] = [];
    const make = (
      journal: JournalStore,
      changes: Partial<KeysJournalsOptions> = {},
    ): {
      journals: KeysJournals;
      woken: number[];
      reported: string[];
      receipts: { owed: boolean; send: (...args: unknown[]) => Promise<void> };
    } => {
      const [woken, reported]: [number[], string[]] = [[], []];
      const receipts = {
        journal,
        owed: false,
        source: { keysVm: 'keys-debian' },
        send: async (...args: unknown[]) => void sends.push(args),
      };
      return {
        woken,
        reported,
        receipts,
        journals: new KeysJournals({
          receipts: new Map([['build-debian', receipts as unknown as Receipts]]),
          logs: {
            of: () => Array.from({ length: open }, () => ({ ended: false })).concat([{ ended: true }]),
          } as unknown as LogStore,
          report: (line) => reported.push(line),
          publishMs: 1000,
          wakeAt: (time) => woken.push(time),
          wake: () => wakes++,
          repository: {
            path: folder,
            tree: async () => [...files.keys()].map((name) => ({ mode: '100644', name, id: name })),
            object: async (id: string) => (read.push(id), Buffer.from(files.get(id) as string)),
          } as unknown as GitRepository,
          chain: {
            find: async (path: string) => (path === 'journal/keys-debian' ? { id: 'tree' } : undefined),
          } as unknown as CommitChain,
          ...changes,
        }),
      };
    };
    const store = (name: string, entries: number): JournalStore => {
      const made = new JournalStore(
        join(folder, `${name}.jsonl`),
        'keys-debian',
        vm.journalKey,
        () => undefined,
      );
      made.append(vm.journal.slice(0, entries));
      return made;
    };
    for (const [entries, wanted, files] of [
      [0, 520, ['00000000.jsonl', '00000001.jsonl', '00000002.jsonl']],
      [300, 520, ['00000001.jsonl', '00000002.jsonl']],
      [512, 520, ['00000002.jsonl']],
      [600, 600, ['00000002.jsonl']],
    ] as const) {
      read.length = 0;
      const journal = store(`${entries}`, entries);
      const one = make(journal);
      await one.journals.recover();
      t.same(
        [journal.entries, journal.publishedEntries, read, one.woken],
        [wanted, 520, [...files, 'heads-00000002.jsonl'], []],
        `${entries} entries are here`,
      );
      t.equal(readFileSync(join(folder, `${entries}.head.json`), 'utf8').includes('"seq":520'), true);
    }
    const ahead = store('ahead', 600);
    ahead.takeHead(vm.journalHead(600));
    const one = make(ahead);
    t.same([one.journals.isDue(Number.MAX_VALUE), one.journals.take().files.length], [false, 4]);
    await one.journals.recover();
    t.same(
      [
        one.woken.length,
        one.journals.isDue((one.woken[0] as number) - 1),
        one.journals.isDue(one.woken[0] as number),
      ],
      [1, false, true],
      'what the repository does not hold is due',
    );
    one.journals.grew();
    t.same(one.woken, [one.woken[0], one.woken[0]], 'when the first of it was');
    const { files: taken, committed } = one.journals.take();
    t.same(
      taken.map(({ path }) => path),
      ['journal/keys-debian/00000002.jsonl', 'journal/keys-debian/heads-00000002.jsonl'],
    );
    t.equal(one.journals.isDue(Number.MAX_VALUE), false);
    t.equal(ahead.publishedEntries, 520);
    committed();
    t.equal(ahead.publishedEntries, 600);
    const empty = store('empty', 0);
    await make(empty, {
      chain: { find: async () => undefined } as unknown as CommitChain,
    }).journals.recover();
    t.same([empty.entries, empty.publishedEntries], [0, 0]);

    one.journals.wantLastEntries('build-debian');
    t.equal(one.journals.wanted, false, 'a keys VM that gave no grants since has nothing to tell');
    one.receipts.owed = true;
    one.journals.wantLastEntries('build-fedora');
    t.equal(one.journals.wanted, false);
    one.journals.wantLastEntries('build-debian');
    t.equal(one.journals.wanted, true);
    open = 1;
    one.journals.askForLastEntries('commit', ['origin']);
    t.same([one.journals.wanted, sends], [true, []], 'a log is open still');
    open = 0;
    one.journals.askForLastEntries('commit', ['origin']);
    t.equal(one.journals.wanted, false);
    await until('it is asked', () => wakes > 0);
    t.same([sends, one.journals.isDue(Number.MAX_VALUE)], [[['commit', ['origin'], []]], false]);
    one.receipts.send = async () => {
      vm.enter('refused');
      ahead.append(vm.journal.slice(ahead.entries));
    };
    one.journals.wantLastEntries('build-debian');
    one.journals.askForLastEntries('commit', ['origin']);
    await until('it is asked', () => wakes > 1);
    t.equal(one.journals.isDue(performance.now()), true, 'what came goes out at once');
    one.receipts.send = () => Promise.reject(new Error('not\nthere'));
    one.journals.wantLastEntries('build-debian');
    one.journals.askForLastEntries('commit', ['origin']);
    await until('it failed', () => one.reported.length > 0);
    t.same(one.reported, ['the last entries of the keys VM of build-debian are missing: not.there']);
  },
);

interface Round {
  repository: GitRepository;
  chain: CommitChain;
  at: Place;
  round: (intents?: WaitingIntent[], chosen?: [Log, boolean][]) => Promise<Batch | undefined>;
  wrote: () => number;
  journal: { files: { path: string; body: Buffer }[]; committed: number };
  files: () => string[];
}
async function rounds(t: Test, folder = folderOf(t)): Promise<Round> {
  const repository = await repositoryIn(t, folder);
  const chain = new CommitChain({
    repository,
    signer: logsKey,
    vm: 'build-logs',
    clock: () => 1_700_000_000_000_000,
  });
  const at = place([], repository);
  let wrote = 0;
  const journal: Round['journal'] = { files: [], committed: 0 };
  const journals = {
    take: () => ({ files: journal.files.splice(0), committed: () => journal.committed++ }),
  } as unknown as KeysJournals;
  return {
    repository,
    chain,
    at,
    journal,
    wrote: () => wrote,
    round: (intents = [], chosen = []) =>
      publishRound(intents, new Map(chosen), {
        repository,
        chain,
        logs: at.logs,
        journals,
        signer: logsKey,
        logsKey: 'F'.repeat(40),
        wrote: (bytes) => (wrote += bytes),
      }),
    files: () =>
      readPublicationMessage(
        readGitCommit(git(repository.path, ['cat-file', 'commit', 'main'])).message,
      ).files.map(({ path }) => path),
  };
}

await t.test(
  'a publication holds its intents with their payloads, the journal entries, and the key where it is the first',
  async (t) => {
    const one = await rounds(t);
    t.equal(await one.round(), undefined, 'nothing to say, and no commit to say it with');
    const intent = {
      ...waitingIntent('build-debian', 'document\n'),
      payloads: [{ sha256: sha256('p'), bytes: Buffer.from('payload') }],
    };
    one.journal.files.push({ path: 'journal/keys-debian/00000000.jsonl', body: Buffer.from('entry\n') });
    const batch = await one.round([intent, intent]);
    const [path, payload, key] = [
      intentPath('build-debian', '2026-11-21', intent.sha256),
      payloadPath('build-debian', '2026-11-21', intent.sha256, sha256('p')),
      `keys/${'F'.repeat(40)}.asc`,
    ];
    t.same(one.files(), [path, 'journal/keys-debian/00000000.jsonl', key, payload].sort());
    t.match(batch, { commit: headOf(one.repository.path), seq: 1, intents: [intent, intent], logs: [] });
    t.same(
      [path, payload, key].map((name) =>
        git(one.repository.path, ['cat-file', 'blob', `main:${name}`]).toString(),
      ),
      ['document\n', 'payload', 'public logs key\n'],
    );
    t.equal(
      readPublicationMessage(readGitCommit(git(one.repository.path, ['cat-file', 'commit', 'main'])).message)
        .subject,
      'Publish 4 files, 2 intents',
    );
    t.same([one.wrote(), one.journal.committed], ['document\npayloadentry\npublic logs key\n'.length, 1]);
    const again = await one.round();
    t.same(
      [again?.commit, again?.seq, again?.intents, one.journal.committed],
      [batch?.commit, 1, [], 2],
      'the last commit stands for a publication without news',
    );
    one.journal.files.push({
      path: 'journal/keys-debian/00000000.jsonl',
      body: Buffer.from('entry\nmore\n'),
    });
    t.equal((await one.round())?.seq, 2);
    t.same(one.files(), ['journal/keys-debian/00000000.jsonl'], 'the key stands where the history begins');
  },
);

await t.test(
  'logs go in as far as they are on disk, again only where they grew, and packed in place of plain',
  async (t) => {
    const folder = folderOf(t);
    const one = await rounds(t, folder);
    const make = (name: string, text: string, more: object = {}): FakeLog & Log => {
      writeFileSync(join(folder, name), text);
      return fakeLog(name, text.length, { folder, ...more });
    };
    const [open, ended] = [
      make('open', 'one\n'),
      make('ended', 'all\n', { ended: true, lastStamp: 1_800_000_000_000_000 }),
    ];
    const batch = await one.round(
      [],
      [
        [open, false],
        [ended, true],
      ],
    );
    t.match(
      batch?.logs.map(({ log, ended: whole, blob }) => [log.record.path, whole, blob.size]),
      [
        ['build-debian/d/open', false, 4],
        ['build-debian/d/ended', true, 4],
      ],
    );
    t.same([open.flushed, open.clocks], [1, 1]);
    t.match(
      git(one.repository.path, ['cat-file', 'commit', 'main']).toString(),
      / 1800000000 \+0000\n/,
      'not before the last line of what has ended',
    );
    t.equal((await one.round([], [[open, false]]))?.logs.length, 0, 'nothing of it is new');
    appendFileSync(open.file, 'two\n');
    (open as FakeLog).readyBytes = 8;
    t.equal((await one.round([], [[open, false]]))?.seq, 2);
    t.same(one.files(), ['build-debian/d/open']);
    t.equal(
      git(one.repository.path, ['cat-file', 'blob', 'main:build-debian/d/open']).toString(),
      'one\ntwo\n',
    );
    // Its end alone: the bytes are there.
    (open as FakeLog).ended = true;
    const end = await one.round([], [[open, true]]);
    t.same([end?.seq, end?.logs.length, end?.logs[0]?.ended], [2, 1, true]);

    const large = make('large', 'one\n');
    await one.round([], [[large, false]]);
    large.record.xz = { plain: 0, packed: 0 };
    one.at.all = [large];
    one.at.logs.covers([{ log: large, bytes: 4 + 1 }]);
    (large as FakeLog).readyBytes = 4;
    await until('it is packed', () => one.at.logs.packedBlob(large) !== undefined);
    t.equal((await one.round([], [[large, false]]))?.seq, 3, 'in either form it is the same bytes');
    appendFileSync(large.file, 'two\n');
    (large as FakeLog).readyBytes = 8;
    one.at.logs.covers([{ log: large, bytes: 8 }]);
    await until('it is packed', () => one.at.logs.packedBlob(large)?.plainBytes === 8);
    t.equal((await one.round([], [[large, false]]))?.seq, 4);
    t.same(one.files(), ['build-debian/d/large.xz']);
    t.same(
      [await one.chain.find('build-debian/d/large'), (await one.chain.find('build-debian/d/large.xz'))?.mode],
      [undefined, '100644'],
    );

    // After a start: a log that is not what was published.
    const other = await rounds(t, folder);
    await other.chain.open(headOf(one.repository.path));
    const differs = make('ended', 'ALL\nmore\n', { ended: true });
    const none = await other.round([], [[differs, true]]);
    t.same([none?.seq, none?.logs, other.at.reported.length], [4, [], 1]);
    t.ok(existsSync(differs.file));
  },
);
