// SPDX-License-Identifier: GPL-2.0-or-later
// What the keys VM remembers, piece by piece: the chain on disk, the book of grants, the journal key. Time
// and kills are in ledger.test.ts, a full disk in full-disk.test.ts.
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { Journal, type JournalNote } from '../../agents/keys/journal.js';
import { heldJournalKey, makeJournalKey, readJournalKey } from '../../agents/keys/journal-key.js';
import { Ledger } from '../../agents/keys/ledger.js';
import {
  journalFormat,
  journalLine,
  journalLineHash,
  journalPath,
  noEntry,
  type JournalEntry,
} from '../../agents/shared/formats/journal.js';
import { journalHeadPath, verifiesJournalHead } from '../../agents/shared/formats/journal-head.js';
import { folderOf } from '../support/folders.js';
import { Book, chained, entryOf, hash, id, key, text, time } from './journal-pieces.js';
import { sha256 } from './keys-machine.js';

const noted: JournalNote = { event: 'refused', source: 'build-debian', result: 'X' };

await t.test('what is appended is on disk and read again, each line in its place', async (t) => {
  const path = `${folderOf(t)}/j`;
  const journal = Journal.open(path, () => t.fail('nothing is there yet'));
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.same(journal.position, { seq: 0, sha256: noEntry });
  t.same(
    [journal.append([]), journal.linesAfter(0, 9), journal.hashAt(0), journal.hashAt(1)],
    [[], [], noEntry, undefined],
  );
  const lines = journal.compose(
    Array.from({ length: 700 }, (_, index) => ({ ...noted, result: `é${index}` })),
    time,
  );
  t.same(journal.position.seq, 0, 'composing writes nothing');
  t.same(
    journal
      .append(lines)
      .map(({ seq, time, source, sha256, result }) => [seq, time, source, sha256, result])
      .slice(0, 2),
    [
      [1, time, 'build-debian', null, 'é0'],
      [2, time, 'build-debian', null, 'é1'],
    ],
  );
  t.equal(readFileSync(path, 'utf8'), text(lines));
  t.same(journal.end, { seq: 700, sha256: journalLineHash(lines[699] as string) });
  t.same(JSON.parse(lines[0] as string), {
    format: journalFormat,
    seq: 1,
    prev: noEntry,
    time,
    event: 'refused',
    source: 'build-debian',
    sha256: null,
    key: null,
    mode: null,
    commit: null,
    intent: null,
    result: 'é0',
  });
  const more = journal.compose([noted], time);
  journal.append(more);
  journal.close();
  t.throws(() => journal.append(journal.compose([noted], time)), { code: 'EBADF' });
  t.throws(() => journal.end, /could not be written earlier/);
  t.throws(() => journal.append(['x']), /could not be written earlier/);

  const seen: JournalEntry[] = [];
  const again = Journal.open(path, (entry) => seen.push(entry));
  t.same(
    seen.map((entry) => journalLine(entry)),
    [...lines, ...more],
  );
  t.same(
    [again.linesAfter(0, 2), again.linesAfter(699, 5), again.linesAfter(701, 5), again.linesAfter(698, 1)],
    [lines.slice(0, 2), [lines[699], more[0]], [], [lines[698]]],
  );
  t.same(
    [1, 700, 701, 702].map((seq) => again.hashAt(seq)),
    [lines[0], lines[699], more[0]]
      .map((line) => journalLineHash(line as string))
      .concat([undefined as unknown as string]),
  );
  const size = (from: number, to: number): number =>
    Buffer.byteLength(text([...lines, ...more].slice(from - 1, to)));
  t.same(
    [
      again.entriesUpTo(1, 0),
      again.entriesUpTo(1, size(1, 5) - 1),
      again.entriesUpTo(1, size(1, 5)),
      again.entriesUpTo(1, size(1, 5) + 1),
      again.entriesUpTo(257, size(257, 300)),
      again.entriesUpTo(1, size(1, 701)),
      again.entriesUpTo(513, 1e9),
      again.entriesUpTo(702, 5),
    ],
    [0, 4, 5, 5, 300, 701, 701, 701],
  );
  t.equal(again.prefixHash(1, 257, size(1, 5)), sha256(text(lines.slice(0, 5))));
  t.equal(again.prefixHash(257, 513, size(257, 512)), sha256(text(lines.slice(256, 512))));
  t.equal(again.prefixHash(513, 769, size(513, 701)), sha256(text([...lines.slice(512), ...more])));
  t.same(
    [
      again.prefixHash(257, 513, size(257, 512) + 1),
      again.prefixHash(513, 769, size(513, 701) + 1),
      again.prefixHash(702, 958, 0),
      again.prefixHash(769, 1025, 1),
    ],
    [undefined, undefined, undefined, undefined],
  );
  again.stop();
  t.throws(() => again.append(again.compose([noted], time)), /could not be written earlier/);
  again.close();
});

await t.test('a last line that a kill cut short is cut off, and nothing else is', async (t) => {
  const path = `${folderOf(t)}/j`;
  const lines = chained([{}, { result: 'two' }]);
  for (const left of ['{', lines[1] as string, (lines[1] as string).slice(0, -1)]) {
    writeFileSync(path, `${lines[0]}\n${left}`);
    const journal = Journal.open(path, () => undefined);
    t.equal(readFileSync(path, 'utf8'), `${lines[0]}\n`);
    journal.append(journal.compose([noted], time));
    t.equal(journal.linesAfter(1, 1).length, 1);
    journal.close();
  }
  writeFileSync(path, `${lines[0]}\n${'x'.repeat(4097)}`);
  t.throws(() => Journal.open(path, () => undefined), /entry 2: a line is too long; nothing will be signed/);
  writeFileSync(path, `${lines[0]}\n${'x'.repeat(4096)}`);
  Journal.open(path, () => undefined).close();
  t.equal(readFileSync(path, 'utf8'), `${lines[0]}\n`);
});

await t.test(
  'a line that was changed, dropped, moved or made up stops the start, and says where',
  async (t) => {
    const path = `${folderOf(t)}/j`;
    const lines = chained([{ result: 'a' }, { result: 'b' }, { result: 'c' }]) as [string, string, string];
    const broken: [string, string[], RegExp][] = [
      ['empty', ['', ...lines], /entry 1: it is not JSON/],
      ['no JSON', [lines[0], '{', lines[1]], /entry 2: it is not JSON/],
      ['null', ['null'], /entry 1: it is not a journal entry/],
      ['a number', ['1'], /entry 1: it is not a journal entry/],
      ['another format', chained([{ format: 'x' as typeof journalFormat }]), /not a journal entry/],
      ['another event', chained([{ event: 'x' as 'start' }]), /not a journal entry/],
      ['a blank in it', [lines[0].replace(',', ', ')], /not a journal entry/],
      ['a field more', [lines[0].replace('}', ',"x":1}')], /not a journal entry/],
      [
        'one changed',
        [lines[0].replace('"a"', '"A"'), lines[1]],
        /entry 2: it does not name the entry before it/,
      ],
      ['one dropped', [lines[0], lines[2]], /entry 2: its number is 3/],
      ['two swapped', [lines[1], lines[0]], /entry 1: its number is 2/],
      [
        'the first one of another chain',
        [lines[0].replace(noEntry, hash('1'))],
        /entry 1: it does not name the entry before it/,
      ],
    ];
    for (const [what, changed, message] of broken) {
      writeFileSync(path, text(changed));
      t.throws(() => Journal.open(path, () => undefined), message, what);
      t.equal(readFileSync(path, 'utf8'), text(changed), 'and it is left as it is');
    }
  },
);

await t.test('a grant is found by its bytes, source, key and mode, all of them', async (t) => {
  const book = new Book();
  t.equal(book.find(), 'NO_GRANT');
  book.book.apply(entryOf('granted'));
  t.equal(book.find(), id('c'));
  t.equal(book.find(hash('2')), 'NO_GRANT');
  t.equal(book.find(hash('1'), 'build-fedora'), 'NO_GRANT');
  t.equal(book.find(hash('1'), 'build-debian', 'B'.repeat(40)), 'OTHER_KEY_OR_MODE');
  t.equal(book.find(hash('1'), 'build-debian', key, 'clearsign'), 'OTHER_KEY_OR_MODE');
  book.book.apply(entryOf('granted', { mode: 'clearsign', commit: id('d') }));
  t.equal(book.find(hash('1'), 'build-debian', key, 'clearsign'), id('d'));
  t.equal(book.find(), id('c'), 'the oldest');
  for (const event of ['refused', 'signed'] as const)
    book.book.apply(entryOf(event, { sha256: null, source: null }));
  t.equal(book.find(), id('c'), 'a refusal and a signature change nothing');
});

await t.test('a grant ends by a claim, its time by either clock, or a reboot', async (t) => {
  const one = { source: 'build-debian', sha256: hash('1'), key, mode: 'detach', intent: hash('f') } as const;
  const used = new Book();
  used.book.apply(entryOf('start', { result: 'boot-1' }));
  used.book.apply(entryOf('granted'));
  used.book.apply(entryOf('granted', { sha256: hash('2') }));
  used.book.apply(entryOf('claimed'));
  t.same([used.find(), used.find(hash('2'))], ['GRANT_USED', id('c')]);
  used.book.apply(entryOf('expired', { sha256: hash('2') }));
  t.same([used.find(hash('2')), used.book.overdue()], ['GRANT_EXPIRED', []]);
  t.same([used.book.timesGranted(one), used.book.timesGranted({ ...one, sha256: hash('3') })], [1, 0]);
  for (const change of [{ source: 'x' }, { key: 'x' }, { mode: 'clearsign' as const }, { intent: 'x' }])
    t.equal(used.book.timesGranted({ ...one, ...change }), 0);

  const aging = new Book();
  aging.book.apply(entryOf('granted'));
  aging.wall = Date.parse('2026-11-21T22:00:00.000Z') - 1;
  t.equal(aging.find(), id('c'));
  aging.wall++;
  t.equal(aging.find(), 'GRANT_EXPIRED');
  t.equal(aging.find(hash('1'), 'build-debian', key, 'clearsign'), 'GRANT_EXPIRED');
  t.equal(aging.book.overdue().length, 1);
  aging.wall -= 1e7;
  aging.up = 899_999;
  t.equal(aging.find(), id('c'));
  aging.up++;
  t.same([aging.find(), aging.book.overdue().length], ['GRANT_EXPIRED', 1]);
  const rebooted = new Book();
  rebooted.book.apply(entryOf('granted'));
  rebooted.book.apply(entryOf('start', { result: '' }));
  t.equal(rebooted.find(), id('c'), 'an agent that starts without a word of the boot has not rebooted');
  rebooted.book.apply(entryOf('start', { result: 'boot-2' }));
  t.equal(rebooted.find(), 'GRANT_EXPIRED');
});

await t.test('an entry that cannot follow on what was there stops all signing', async (t) => {
  for (const field of ['source', 'sha256', 'key', 'mode', 'commit', 'intent'] as const)
    for (const event of ['granted', 'claimed', 'expired'] as const) {
      const book = new Book();
      book.book.apply(entryOf('granted'));
      t.throws(
        () => book.book.apply(entryOf(event, { [field]: null })),
        /entry 7 names no grant; nothing will be signed/,
      );
      // A claim of another grant than there is.
      if (event !== 'granted')
        t.throws(
          () => book.book.apply(entryOf(event, { [field]: field === 'mode' ? 'clearsign' : 'other' })),
          /entry 7 ends a grant that there was not/,
        );
    }
  const book = new Book();
  t.throws(
    () => book.book.apply(entryOf('granted', { result: 'later' })),
    /does not say when its grant ends/,
  );
  t.throws(() => book.book.apply(entryOf('claimed')), /ends a grant that there was not/);
});

await t.test(
  'the journal key is made once, for its owner alone, and a VM that lost it or its journal is told',
  async (t) => {
    const folder = folderOf(t);
    t.equal(readJournalKey(folder), undefined);
    t.equal(heldJournalKey(folder, null, false), undefined);
    t.throws(() => heldJournalKey(folder, 'ab'.repeat(32), true), /^JOURNAL_KEY_LOST: .*holds none/);
    const made = makeJournalKey(folder);
    t.match(made.public, /^[0-9a-f]{64}$/);
    t.equal(statSync(`${folder}/journal-key.pem`).mode & 0o777, 0o600);
    t.match(readFileSync(`${folder}/journal-key.pem`, 'latin1'), /^-----BEGIN PRIVATE KEY-----\n/);
    t.equal(readJournalKey(folder)?.public, made.public);
    t.equal(readJournalKey(folder)?.secret.equals(made.secret), true);
    t.equal(heldJournalKey(folder, made.public, true)?.public, made.public);
    t.equal(heldJournalKey(folder, null, true)?.public, made.public);
    t.throws(
      () => heldJournalKey(folder, 'ab'.repeat(32), true),
      new RegExp(`JOURNAL_KEY_LOST: .*holds ${made.public}`),
    );
    t.throws(() => heldJournalKey(folder, made.public, false), /^STATE_LOST: /);
  },
);

/** A ledger of one folder, at a clock that stands. */
const open = (stateFolder: string, more: { journalKey?: string | null } = {}): Ledger =>
  Ledger.open({
    stateFolder,
    bootId: 'boot-1',
    grantSeconds: 900,
    clock: { wall: () => Date.parse(time), steady: () => 5000 },
    ...more,
  });
const linesOf = (folder: string): string[] =>
  readFileSync(`${folder}/journal.jsonl`, 'utf8').trimEnd().split('\n');
const entriesOf = (folder: string): JournalEntry[] =>
  linesOf(folder).map((line) => JSON.parse(line) as JournalEntry);
const request = { sha256: hash('1'), size: 1, key, mode: 'detach', intent: hash('f') } as const;

await t.test(
  'what the ledger says of itself: its key, its end, its head, and what it wrote about a grant',
  async (t) => {
    const folder = folderOf(t);
    const ledger = open(folder);
    t.equal(ledger.journalKey, readJournalKey(folder)?.public);
    t.match(ledger.journalHead('keys-debian'), {
      format: 'build-infra/journal-head@1',
      keysVm: 'keys-debian',
      seq: 1,
      entry: journalLineHash(linesOf(folder)[0] as string),
      commit: null,
      boot: 'boot-1',
      time,
    });
    t.equal(
      ledger.accept(
        { commit: id('a'), seq: 1 },
        'build-debian',
        [
          request,
          { ...request, mode: 'clearsign' },
          { ...request, key: 'B'.repeat(40) },
          { ...request, sha256: hash('2') },
          { ...request, intent: hash('e') },
        ],
        () => 1,
      ),
      '2026-11-21T21:52:52.123Z',
    );
    const head = ledger.journalHead('keys-debian');
    t.match(head, { seq: 6, commit: id('a') });
    t.ok(verifiesJournalHead(head, ledger.journalKey));
    const { grant, claim } = ledger.claim('build-debian', hash('1'), key, 'detach');
    t.same(claim, { seq: 7, sha256: journalLineHash(linesOf(folder)[6] as string) });
    ledger.signed(grant, hash('9'));
    ledger.failed(ledger.claim('build-debian', hash('2'), key, 'detach').grant, 'SIGNING_FAILED');
    const about = {
      source: 'build-debian',
      sha256: hash('1'),
      key,
      mode: 'detach',
      commit: id('a'),
      intent: hash('f'),
    };
    t.match(entriesOf(folder).slice(6), [
      { event: 'claimed', ...about, result: '' },
      { event: 'signed', ...about, result: `sha256:${hash('9')}` },
      { event: 'claimed', ...about, sha256: hash('2'), result: '' },
      { event: 'refused', ...about, sha256: hash('2'), result: 'SIGNING_FAILED' },
    ]);
    const { journalKey } = ledger;
    ledger.close();
    t.throws(() => ledger.signed(grant, hash('9')), { code: 'EBADF' });
    t.throws(() => ledger.journalHead('keys-debian'), /could not be written earlier/);
    t.throws(() => open(folder, { journalKey: 'ab'.repeat(32) }), /JOURNAL_KEY_LOST/);
    const again = open(folder, { journalKey });
    t.same([again.journalKey, again.head], [journalKey, { commit: id('a'), seq: 1, published: 0 }]);
    again.close();
    rmSync(`${folder}/head.json`);
    rmSync(`${folder}/journal.jsonl`);
    t.throws(() => open(folder), /STATE_LOST/);
    t.equal(
      existsSync(`${folder}/journal.jsonl`) && readFileSync(`${folder}/journal.jsonl`, 'utf8'),
      '',
      'and nothing is begun anew',
    );
  },
);

await t.test(
  'a VM without grants starts without a head, and one with another head than its journal does not',
  async (t) => {
    const folder = folderOf(t);
    open(folder).close();
    open(folder).close();
    const ledger = open(folder);
    ledger.accept({ commit: id('a'), seq: 3, published: 2 }, 'build-debian', [request], () => 1);
    ledger.close();
    const head = JSON.parse(readFileSync(`${folder}/head.json`, 'utf8')) as {
      format: string;
      journal: { seq: number; sha256: string };
      lines: string[];
      published?: number;
    };
    t.same(
      [head.format, head.journal.seq, head.lines, head.published],
      ['build-infra/keys-head@1', 3, [linesOf(folder)[3]], 2],
    );
    const withHead = (changes: object): (() => Ledger) => {
      writeFileSync(`${folder}/head.json`, JSON.stringify({ ...head, ...changes }));
      return () => open(folder);
    };
    for (const changes of [
      { format: 'x' },
      { seq: 0 },
      { commit: 'x' },
      { journal: { seq: -1, sha256: hash('0') } },
      { lines: [1] },
      { published: -1 },
      { extra: 1 },
    ])
      t.throws(withHead(changes), { code: 'BAD_DOCUMENT' }, JSON.stringify(changes));
    t.throws(
      withHead({ journal: { ...head.journal, sha256: hash('9') } }),
      /does not hold what head.json says it held/,
    );
    t.throws(withHead({ journal: { seq: 2, sha256: head.journal.sha256 } }), /contradict each other/);
    t.throws(withHead({ journal: { seq: 0, sha256: noEntry } }), /contradict each other/);
    t.throws(
      withHead({ lines: [(head.lines[0] as string).replace(time, time.replace('123', '124'))] }),
      /contradict each other/,
    );
    const { published: _, ...older } = head;
    writeFileSync(`${folder}/head.json`, JSON.stringify(older));
    const again = open(folder);
    t.same(again.head, { commit: id('a'), seq: 3, published: 0 }, 'of an earlier release');
    again.close();
    // The very first receipt, killed before its lines: nothing was in the journal before it.
    const fresh = folderOf(t);
    writeFileSync(
      `${fresh}/head.json`,
      JSON.stringify({
        ...head,
        journal: { seq: 0, sha256: noEntry },
        lines: chained([
          {
            event: 'granted',
            source: 'b',
            sha256: hash('1'),
            key,
            mode: 'detach',
            commit: id('a'),
            intent: hash('f'),
            result: time,
          },
        ]),
      }),
    );
    const first = open(fresh);
    t.same(
      entriesOf(fresh).map(({ event }) => event),
      ['granted', 'start', 'expired'],
    );
    first.close();
  },
);

await t.test('refusals earn their place again with time, one each five minutes', async (t) => {
  const folder = folderOf(t);
  let up = 12_345;
  const ledger = Ledger.open({
    stateFolder: folder,
    bootId: 'b',
    grantSeconds: 900,
    clock: { wall: () => Date.parse(time), steady: () => up },
  });
  const refused = (times: number): void => {
    for (let i = 0; i < times; i++) ledger.refused({ source: 'x', result: 'NO' });
  };
  const listed = (): number => entriesOf(folder).filter(({ result }) => result === 'NO').length;
  refused(150);
  t.equal(listed(), 100);
  up += 299_999;
  refused(1);
  t.equal(listed(), 100);
  up += 1;
  refused(2);
  t.equal(listed(), 101);
  up += 900_000;
  refused(5);
  t.equal(listed(), 104, 'three more');
  up += 450_000;
  refused(2);
  up += 150_000;
  refused(2);
  t.equal(listed(), 106, 'a half is kept');
  up += 1e12;
  refused(150);
  t.equal(listed(), 206, 'never more than a hundred');
  t.same(
    entriesOf(folder)
      .filter(({ result }) => result.startsWith('NOT_LISTED'))
      .map(({ result }) => result),
    ['NOT_LISTED 51', 'NOT_LISTED 1', 'NOT_LISTED 2', 'NOT_LISTED 1', 'NOT_LISTED 1'],
  );
  ledger.close();
});

await t.test('a file of the journal counts where it is a beginning of this one', async (t) => {
  const folder = folderOf(t);
  const ledger = open(folder);
  for (let i = 0; i < 60; i++)
    ledger.accept(
      { commit: id('a'), seq: i + 1 },
      'build-debian',
      Array.from({ length: 5 }, () => request),
      () => 1000,
    );
  const lines = linesOf(folder);
  t.equal(lines.length, 301);
  const file = (
    path: string,
    from: number,
    to: number,
    more = '',
  ): { path: string; size: number; sha256: string } => {
    const body = text(lines.slice(from - 1, to)) + more;
    return { path, size: Buffer.byteLength(body), sha256: sha256(body) };
  };
  const counted = (one: { path: string; size: number; sha256: string }): number | undefined =>
    ledger.entriesPublished('k', one);
  const [first, second] = [journalPath('k', 1), journalPath('k', 257)];
  t.same(
    [counted(file(first, 1, 1)), counted(file(first, 1, 256)), counted(file(second, 257, 301))],
    [1, 256, 301],
  );
  t.same(
    [
      file(first, 1, 257),
      file(first, 2, 5),
      file(second, 1, 5),
      file(second, 257, 301, 'x'),
      { ...file(first, 1, 5), sha256: hash('1') },
      { ...file(first, 1, 5), size: 5 },
      file('journal/other/00000000.jsonl', 1, 5),
      file('journal/k/x', 1, 5),
    ].map(counted),
    Array.from({ length: 8 }, () => undefined),
  );
  const heads = (path: string): number | undefined => counted({ path, size: 1, sha256: hash('1') });
  t.same(
    [
      heads(journalHeadPath('k', 1)),
      heads(journalHeadPath('k', 301)),
      heads(journalHeadPath('k', 513)),
      heads(journalHeadPath('other', 1)),
      heads('journal/k/heads-0.jsonl'),
      heads('journal/k/heads-00000000.json'),
    ],
    [0, 0, undefined, undefined, undefined, undefined],
  );
  const exact = folderOf(t);
  mkdirSync(`${exact}/x`);
  const small = open(exact);
  for (let i = 0; i < 256; i++) small.refused({ source: 'x', result: 'NO' });
  for (let i = small.position.seq; i < 257; i++)
    small.accept({ commit: id('a'), seq: i }, 'build-debian', [request], () => 1000);
  t.equal(small.position.seq, 257);
  t.equal(
    small.entriesPublished('k', { path: journalHeadPath('k', 257), size: 1, sha256: hash('1') }),
    0,
    'its first entry is just there',
  );
  small.close();
  ledger.close();
});

await t.test(
  'an answer of the disk that is no lack of room leaves the ledger to its next start',
  async (t) => {
    const folder = folderOf(t);
    const ledger = open(folder);
    ledger.accept({ commit: id('a'), seq: 1 }, 'build-debian', [request], () => 1);
    rmSync(`${folder}/head.json`);
    mkdirSync(`${folder}/head.json/x`, { recursive: true });
    t.throws(() => ledger.accept({ commit: id('b'), seq: 2 }, 'build-debian', [], () => 0), {
      code: /EISDIR|ENOTEMPTY|EEXIST/,
    });
    t.throws(() => ledger.claim('build-debian', hash('1'), key, 'detach'), /could not be written earlier/);
    t.equal(ledger.head?.seq, 1);
    ledger.close();
  },
);
