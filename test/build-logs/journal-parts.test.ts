// SPDX-License-Identifier: GPL-2.0-or-later
// What comes back from a keys VM and what is told to it, without a repository or a socket: the copy of its
// journal, and the receipts.
import { readFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { JournalStore } from '../../agents/build-logs/journal-store.js';
import { Receipts, type GrantedIntent } from '../../agents/build-logs/receipts.js';
import { gitObjectId } from '../../agents/shared/formats/git-commit.js';
import { journalLine, journalLineHash, type JournalEntry } from '../../agents/shared/formats/journal.js';
import { journalHeadLine, type JournalHead } from '../../agents/shared/formats/journal-head.js';
import { intentPath, writePublicationMessage } from '../../agents/shared/formats/publication.js';
import type { Receipt } from '../../agents/shared/formats/receipt.js';
import type { AnyRefusal } from '../../agents/shared/refusal.js';
import { folderOf } from '../support/folders.js';
import { FakeKeysVm } from './fake-keys-vm.js';
import { sha256, signingKey } from './rig.js';

/** A keys VM whose journal has so many entries. */
function keysVmWith(entries: number): FakeKeysVm {
  const vm = new FakeKeysVm('build-debian', '/nonexistent');
  for (let i = 0; i < entries; i++) vm.enter('refused', { result: `R${i}` });
  return vm;
}
const codeOf = (work: () => unknown): string => {
  try {
    work();
    return 'taken';
  } catch (error) {
    return (error as AnyRefusal).code;
  }
};
const reports: string[] = [];
const report = (line: string): void => void reports.push(line);
const text = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('');

await t.test('entries are taken as far as they are a chain, and are on disk then', async (t) => {
  const folder = folderOf(t);
  const { journal } = keysVmWith(5);
  const store = new JournalStore(`${folder}/k.jsonl`, 'keys-debian', null, report);
  t.same([store.entries, store.last, store.hasMore, store.hasUnpublished], [0, null, false, false]);
  t.same(
    store.append(journal.slice(0, 2)).map(({ seq, result }) => [seq, result]),
    [
      [1, 'R0'],
      [2, 'R1'],
    ],
  );
  t.same(store.last, { seq: 2, sha256: journalLineHash(journal[1] as string) });
  const changed = (line: string, change: (entry: JournalEntry) => Partial<JournalEntry>): string => {
    const entry = JSON.parse(line) as JournalEntry;
    return journalLine({ ...entry, ...change(entry) });
  };
  const third = journal[2] as string;
  for (const bad of [
    '',
    '{',
    third.replace(',', ', '),
    journal[3] as string,
    journal[1] as string,
    changed(third, () => ({ prev: sha256('x') })),
    changed(third, () => ({ event: 'x' as 'start' })),
    `${third} `,
    third.replace('"R2"', `"${'x'.repeat(5000)}"`),
  ])
    t.equal(
      codeOf(() => store.append([bad])),
      'JOURNAL_BROKEN',
      bad.slice(0, 80),
    );
  t.equal(store.entries, 2);
  t.equal(
    codeOf(() => store.append([third, journal[4] as string])),
    'JOURNAL_BROKEN',
  );
  t.equal(
    readFileSync(`${folder}/k.jsonl`, 'utf8'),
    text(journal.slice(0, 3)),
    'the good one before the bad one is kept',
  );
  t.equal(
    codeOf(() => store.append(journal.slice(3))),
    'taken',
  );
  const again = new JournalStore(`${folder}/k.jsonl`, 'keys-debian', null, report);
  t.same([again.entries, again.last], [5, { seq: 5, sha256: journalLineHash(journal[4] as string) }]);
});

await t.test(
  'a copy that is damaged is believed as far as it is a chain; the rest is kept aside and comes again',
  async (t) => {
    const vm = keysVmWith(6);
    const glued = `${(vm.journal[2] as string).slice(0, 60)}${vm.journal[3] as string}`;
    const [first, second, third, ...rest] = vm.journal as [string, string, string, ...string[]];
    for (const [name, lines, whole] of [
      ['a line glued to a torn one', [first, second, glued, ...rest], 2],
      ['a line that is missing', [first, second, ...rest], 2],
      ['a changed line', [first.replace('"R0"', '"R9"'), second, third, ...rest], 1],
      ['a line twice', [first, first, second], 1],
      ['no journal at all', ['', 'x'], 0],
    ] as const) {
      const path = `${folderOf(t)}/k.jsonl`;
      writeFileSync(path, text(lines));
      reports.length = 0;
      const store = new JournalStore(path, 'keys-debian', vm.journalKey, report);
      t.equal(store.entries, whole, name);
      t.equal(readFileSync(path, 'utf8'), text(lines.slice(0, whole)));
      t.equal(readFileSync(`${path}.damaged`, 'utf8'), text(lines.slice(whole)));
      t.same(reports, [
        `keys-debian: the copy of its journal is damaged from entry ${whole + 1} of ${lines.length} on; the damaged part is kept in ${path}.damaged, its entries are fetched again`,
      ]);
      if (name === 'a changed line') continue;
      store.append(vm.journal.slice(whole));
      store.takeHead(vm.journalHead());
      t.equal(
        store.unpublished().files[0]?.body.toString(),
        text(vm.journal),
        'and what is published then is the journal',
      );
    }
  },
);

await t.test('each damage of a copy is kept under a name of its own', async (t) => {
  const { journal, journalKey } = keysVmWith(6);
  const path = `${folderOf(t)}/k.jsonl`;
  const kept: [string, string][] = [];
  for (const [damaged, suffix] of [
    ['one', ''],
    ['two', '-2'],
    ['three', '-3'],
  ] as const) {
    writeFileSync(path, text([journal[0] as string, damaged]));
    reports.length = 0;
    t.equal(new JournalStore(path, 'keys-debian', journalKey, report).entries, 1);
    kept.push([`${path}.damaged${suffix}`, text([damaged])]);
    t.match(reports[0], new RegExp(`is kept in ${path}\\.damaged${suffix},`));
    for (const [name, content] of kept) t.equal(readFileSync(name, 'utf8'), content);
  }
});

await t.test('a head is taken when it is signed, of this VM, and no step back', async (t) => {
  const folder = folderOf(t);
  const vm = keysVmWith(6);
  const store = new JournalStore(`${folder}/k.jsonl`, 'keys-debian', vm.journalKey, report);
  store.append(vm.journal.slice(0, 3));
  const stranger = keysVmWith(6);
  const head = (seq: number): JournalHead => vm.journalHead(seq);
  const taken = (one: JournalHead): string => codeOf(() => store.takeHead(one));
  t.same(
    [
      taken({ ...head(3), keysVm: 'keys-fedora' }),
      taken(stranger.journalHead(3)),
      taken({ ...head(3), boot: 'other' }),
      taken(head(2)),
    ],
    ['JOURNAL_BROKEN', 'JOURNAL_BROKEN', 'JOURNAL_BROKEN', 'JOURNAL_BROKEN'],
  );
  t.equal(store.hasUnpublished, false);
  const third = head(3);
  t.equal(taken(third), 'taken');
  t.equal(readFileSync(`${folder}/k.head.json`, 'utf8'), `${journalHeadLine(third)}\n`);
  t.same([store.hasMore, store.hasUnpublished], [false, true]);
  t.equal(taken(head(5)), 'taken', 'its entries may come later');
  t.same(
    [store.hasMore, store.unpublished().files[0]?.body.toString()],
    [true, text(vm.journal.slice(0, 3))],
  );
  t.same([taken(head(4)), taken(head(3))], ['JOURNAL_BROKEN', 'JOURNAL_BROKEN']);
  store.append(vm.journal.slice(3, 5));
  t.equal(taken(head(5)), 'taken', 'the same end again');
  t.same(
    [store.hasMore, store.unpublished().files[0]?.body.toString()],
    [false, text(vm.journal.slice(0, 5))],
  );
  t.equal(taken(head(6)), 'taken');
  // A VM that goes on from another fifth entry.
  const other = new JournalStore(`${folder}/o.jsonl`, 'keys-debian', null, report);
  other.append(vm.journal.slice(0, 3));
  t.equal(
    codeOf(() => other.takeHead({ ...head(3), entry: sha256('x') })),
    'JOURNAL_BROKEN',
  );
  t.equal(
    codeOf(() => other.takeHead(head(5))),
    'taken',
  );
  t.equal(
    codeOf(() => other.takeHead({ ...head(5), entry: sha256('x') })),
    'JOURNAL_BROKEN',
    'two heads for one entry',
  );
  const fresh = new JournalStore(`${folder}/k.jsonl`, 'keys-debian', vm.journalKey, report);
  t.same(
    [fresh.entries, fresh.hasMore, fresh.hasUnpublished],
    [5, true, false],
    'after a restart the newest head waits for its entries',
  );
  fresh.append(vm.journal.slice(5));
  fresh.takeHead(head(6));
  t.same([fresh.hasMore, fresh.hasUnpublished], [false, true]);
});

await t.test(
  'what is published goes up to the newest head, in files of 256, each with the heads before',
  async (t) => {
    const folder = folderOf(t);
    const vm = keysVmWith(600);
    const store = new JournalStore(`${folder}/k.jsonl`, 'keys-debian', vm.journalKey, report);
    t.same(store.unpublished().files, []);
    const take = (upTo: number): { names: string[]; bodies: string[]; committed: () => void } => {
      store.append(vm.journal.slice(store.entries, upTo));
      store.takeHead(vm.journalHead(upTo));
      const { files, committed } = store.unpublished();
      return {
        names: files.map(({ path }) => path.replace('journal/keys-debian/', '')),
        bodies: files.map(({ body }) => body.toString()),
        committed,
      };
    };
    const first = take(10);
    t.same(
      [first.names, first.bodies[0]],
      [['00000000.jsonl', 'heads-00000000.jsonl'], text(vm.journal.slice(0, 10))],
    );
    first.committed();
    t.same([store.publishedEntries, store.hasUnpublished, store.unpublished().files], [10, false, []]);
    const second = take(256);
    t.same(
      [second.names, second.bodies[0]],
      [['00000000.jsonl', 'heads-00000000.jsonl'], text(vm.journal.slice(0, 256))],
    );
    t.equal(second.bodies[1]?.startsWith(first.bodies[1] as string), true, 'heads are appended');
    t.equal(second.bodies[1]?.split('\n').length, 3);
    second.committed();
    const third = take(257);
    t.same(
      [third.names, third.bodies[0]],
      [['00000001.jsonl', 'heads-00000001.jsonl'], text(vm.journal.slice(256, 257))],
    );
    t.equal(third.bodies[1]?.split('\n').length, 2, 'a file of its own');
    const fourth = take(600);
    t.same(
      [fourth.names, fourth.bodies.slice(0, 2)],
      [
        ['00000001.jsonl', '00000002.jsonl', 'heads-00000002.jsonl'],
        [text(vm.journal.slice(256, 512)), text(vm.journal.slice(512))],
      ],
    );
    fourth.committed();
    t.equal(store.publishedEntries, 600);

    // A store that lost its own files finds the last head in the repository.
    const lost = new JournalStore(`${folder}/l.jsonl`, 'keys-debian', vm.journalKey, report);
    lost.tookOver(600, undefined);
    t.equal(lost.hasMore, false);
    lost.tookOver(600, {
      path: 'journal/keys-debian/heads-00000002.jsonl',
      text: fourth.bodies[2] as string,
    });
    t.same([lost.publishedEntries, lost.hasMore], [600, true]);
    t.equal(readFileSync(`${folder}/l.head.json`, 'utf8'), fourth.bodies[2]);
    lost.append(vm.journal);
    vm.enter('refused', { result: 'more' });
    lost.append(vm.journal.slice(600));
    lost.takeHead(vm.journalHead());
    t.equal(
      lost.unpublished().files[1]?.body.toString(),
      `${fourth.bodies[2]}${journalHeadLine(JSON.parse(readFileSync(`${folder}/l.head.json`, 'utf8')) as JournalHead)}\n`,
    );
    store.tookOver(5, undefined);
    t.equal(
      JSON.parse(readFileSync(`${folder}/k.head.json`, 'utf8')).seq,
      600,
      'one that has a head keeps it',
    );
  },
);

await t.test('the grant of an intent is its newest one', async (t) => {
  const vm = keysVmWith(1);
  const store = new JournalStore(`${folderOf(t)}/k.jsonl`, 'keys-debian', null, report);
  const granted = (intent: string, result: string): void =>
    vm.enter('granted', {
      sha256: sha256('p'),
      key: signingKey,
      mode: 'detach',
      commit: 'a'.repeat(40),
      intent,
      result,
    });
  granted(sha256('i'), 'first');
  granted(sha256('j'), 'other');
  granted(sha256('i'), 'second');
  vm.enter('claimed', {
    sha256: sha256('p'),
    key: signingKey,
    mode: 'detach',
    commit: 'a'.repeat(40),
    intent: sha256('i'),
  });
  vm.enter('refused', { sha256: sha256('j'), result: 'NO_GRANT' });
  store.append(vm.journal);
  t.same(
    [sha256('i'), sha256('j'), sha256('k')].map((intent) => store.grantOf(intent)?.result),
    ['second', 'other', undefined],
  );
  for (let i = 0; i < 1997; i++) vm.enter('refused');
  store.append(vm.journal.slice(store.entries));
  t.same(
    [store.grantOf(sha256('i'))?.result, store.grantOf(sha256('j'))],
    ['second', undefined],
    'the last two thousand entries are looked at',
  );
});

interface Told {
  vm: FakeKeysVm;
  receipts: Receipts;
  reported: string[];
  commits: { id: string; body: Buffer }[];
  grew: () => number;
  commit: (documents?: readonly string[], more?: string) => string;
  state: () => { head: string | null; owed: boolean; alarm: string | null };
  answer: (change: (lines: string[]) => string[] | string) => void;
}
/** Receipts to a keys VM in this process, about commits made here. */
function told(t: Test, folder = folderOf(t), vm = keysVmWith(0), commits: Told['commits'] = []): Told {
  const reported: string[] = [];
  let grew = 0;
  let answer = (lines: string[]): string[] | string => lines;
  const receipts = new Receipts({
    source: {
      vm: 'build-debian',
      keysVm: 'keys-debian',
      keys: [signingKey],
      journalKey: vm.journalKey,
      payloadBytes: 1_000_000,
    },
    stateFolder: folder,
    report: (line) => reported.push(line),
    journalGrew: () => grew++,
    commitsAfter: async (from, to) => {
      const ids = commits.map(({ id }) => id);
      return from !== null && !ids.includes(from)
        ? undefined
        : commits
            .slice(from === null ? 0 : ids.indexOf(from) + 1, ids.indexOf(to) + 1)
            .map(({ body }) => body);
    },
    call: async (bytes) => {
      const lines = answer(vm.take(JSON.parse(Buffer.from(bytes).toString()) as Receipt));
      return Buffer.from(typeof lines === 'string' ? lines : text(lines));
    },
  });
  const commit = (documents: readonly string[] = [], more = ''): string => {
    const files = documents.map((document) => ({
      path: intentPath('build-debian', '2026-11-21', sha256(document)),
      size: document.length,
      sha256: sha256(document),
    }));
    const parent = commits.at(-1);
    const body = Buffer.from(
      `tree ${'a'.repeat(40)}\n${parent === undefined ? '' : `parent ${parent.id}\n`}author a${more}\ncommitter a\ngpgsig s\n\n${writePublicationMessage({ subject: 'x', files, seq: commits.length + 1 })}`,
    );
    commits.push({ id: gitObjectId('commit', body), body });
    return (commits.at(-1) as { id: string }).id;
  };
  return {
    vm,
    receipts,
    reported,
    commits,
    grew: () => grew,
    commit,
    state: () =>
      JSON.parse(readFileSync(`${folder}/keys/keys-debian.json`, 'utf8')) as ReturnType<Told['state']>,
    answer: (change) => (answer = change),
  };
}
const intentOf = (document: string): GrantedIntent => ({
  sha256: sha256(document),
  bytes: Buffer.from(document),
  payloads: [],
  grants: [{ sha256: sha256('p'), size: 1, key: signingKey, mode: 'detach', intent: sha256(document) }],
});
const sent = (one: Told, commit: string, intents: GrantedIntent[] = []): Promise<string> =>
  one.receipts.send(commit, ['origin'], intents).then(
    () => 'granted',
    (error: unknown) => (error as AnyRefusal).code,
  );

await t.test('a receipt proves what is new, and asks for the grants of its intents', async (t) => {
  const one = told(t);
  const root = one.commit();
  t.equal(one.receipts.owed, false);
  const until = await one.receipts.send(root, ['mirror', 'origin'], []);
  t.ok(Date.parse(until) > Date.now());
  t.same(one.vm.receipts.at(-1), {
    format: 'build-infra/receipt@1',
    source: 'build-debian',
    commit: root,
    remotes: ['mirror', 'origin'],
    grants: [],
    journal: null,
    proof: { commits: [one.commits[0]?.body.toString('base64')], intents: [] },
  });
  t.same([one.state(), one.grew()], [{ head: root, owed: false, alarm: null }, 1]);
  const document = '{"x":1}\n';
  const second = one.commit([document]);
  t.equal(await sent(one, second, [intentOf(document)]), 'granted');
  t.match(one.vm.receipts.at(-1), {
    grants: intentOf(document).grants,
    journal: { seq: 1 },
    proof: { intents: [Buffer.from(document).toString('base64')] },
  });
  t.same([one.receipts.owed, one.state()], [true, { head: second, owed: true, alarm: null }]);
  t.equal(await sent(one, second), 'granted', 'without news it asks for the journal alone');
  t.match(one.vm.receipts.at(-1), { proof: { commits: [], intents: [] } });
  t.equal(one.receipts.owed, false);
  t.equal(one.receipts.journal.entries, one.vm.journal.length);
  t.same(one.reported, []);
});

await t.test('receipts go one after the other, and a refusal of one does not stop the next', async (t) => {
  const one = told(t);
  const [first, second] = [one.commit(), one.commit()];
  one.answer((lines) =>
    one.vm.receipts.length === 1
      ? [lines[0]?.replace('"result":"accepted"', '"result":"x"') as string]
      : lines,
  );
  const both = await Promise.allSettled([sent(one, first), sent(one, second)]);
  t.same(
    both.map((outcome) => outcome.status === 'fulfilled' && outcome.value),
    ['granted', 'granted'],
  );
  t.equal(one.reported.length, 1);
});

await t.test('an answer that was lost is found out with the next attempt, and so is the grant', async (t) => {
  const one = told(t);
  const document = '{"x":2}\n';
  const commit = one.commit([document]);
  let calls = 0;
  one.answer((lines) => (++calls === 1 ? text(lines).slice(0, -1) : lines));
  t.equal(await sent(one, commit, [intentOf(document)]), 'granted');
  t.match(one.reported, [/^keys-debian: the answer to the receipt has no end/]);
  t.equal(one.vm.journal.filter((line) => line.includes('"granted"')).length, 1, 'granted once');
  const nothing = told(t);
  const lost = nothing.commit([document]);
  nothing.answer((lines) => text(lines).slice(0, -1));
  t.equal(await sent(nothing, lost, [intentOf(document)]), 'KEYS_VM_UNREACHABLE');
  t.equal(nothing.reported.length, 2);
  // It was shown the commit by a receipt without this intent.
  const without = told(t);
  const shown = without.commit([document]);
  t.equal(await sent(without, shown), 'granted');
  t.equal(await sent(without, shown, [intentOf(document)]), 'NOT_GRANTED');
});

await t.test(
  'a keys VM that remembers another commit is shown what it misses, and one that refuses is heard',
  async (t) => {
    const folder = folderOf(t);
    const one = told(t, folder);
    for (let i = 0; i < 3; i++) t.equal(await sent(one, one.commit()), 'granted');
    one.vm.head = one.commits[0]?.id as string;
    one.vm.seq = 1;
    t.equal(await sent(one, one.commit()), 'granted', 'it was set back to the first one');
    t.equal(one.vm.head, one.commits[3]?.id);
    one.answer(([first, ...rest]) => [
      (first as string).replace(
        /"result":"accepted".*"journalHead"/,
        `"result":"refused","head":${JSON.stringify(one.commits[3]?.id)},"code":"NOT_TODAY","detail":"a","journalHead"`,
      ),
      ...rest,
    ]);
    t.equal(await sent(one, one.commit()), 'NOT_TODAY');
    one.answer(() => 'refused NOT_LOGS_VM no\n');
    t.equal(await sent(one, one.commit()), 'KEYS_VM_UNREACHABLE');
    t.match(one.reported.at(-1), /refused NOT_LOGS_VM no/);
    for (const bad of [
      '{}\n',
      'x\n',
      '{"format":"build-infra/receipt-reply@1"}\n',
      `${'x'.repeat(70_000)}\n`,
    ]) {
      one.answer(() => bad);
      t.not(await sent(one, one.commit()), 'granted', bad.slice(0, 20));
    }
    t.equal(one.state().alarm, null);
  },
);

await t.test('an anchor is believed from its own word, where it remembers nothing', async (t) => {
  const one = told(t);
  const ids = [one.commit(), one.commit(), one.commit()] as [string, string, string];
  one.vm.head = ids[0];
  one.vm.seq = 1;
  let first = true;
  one.answer(([line, ...rest]) => {
    if (!first) return [line as string, ...rest];
    first = false;
    return [
      (line as string).replace(
        /"result":.*"journalHead"/,
        `"result":"refused","head":null,"code":"NOT_FROM_ANCHOR","detail":"must begin at commit ${ids[0]}, or after it","journalHead"`,
      ),
      ...rest,
    ];
  });
  t.equal(await sent(one, ids[2]), 'granted');
  t.equal(one.vm.receipts.at(-1)?.proof.commits.length, 2);
});

await t.test(
  'two accounts of one journal, or of the history, are an alarm until a person has looked',
  async (t) => {
    const cases: [string, (one: Told) => void, RegExp][] = [
      [
        'a fork that it sees',
        (one) =>
          one.answer(([line, ...rest]) => [
            (line as string).replace(
              /"result":.*"journalHead"/,
              '"result":"refused","head":null,"code":"JOURNAL_FORK","detail":"d","journalHead"',
            ),
            ...rest,
          ]),
        /it refused a receipt: JOURNAL_FORK d/,
      ],
      [
        'an altered journal',
        (one) =>
          one.answer(([line, ...rest]) => [
            (line as string).replace(
              /"result":.*"journalHead"/,
              '"result":"refused","head":null,"code":"JOURNAL_ALTERED","detail":"d","journalHead"',
            ),
            ...rest,
          ]),
        /JOURNAL_ALTERED/,
      ],
      [
        'lost state',
        (one) =>
          one.answer(([line, ...rest]) => [
            (line as string).replace(
              /"result":.*"journalHead"/,
              '"result":"refused","head":null,"code":"STATE_LOST","detail":"d","journalHead"',
            ),
            ...rest,
          ]),
        /STATE_LOST/,
      ],
      [
        'another commit than the one it accepted',
        (one) =>
          one.answer(([line, ...rest]) => [
            (line as string).replace(
              /"result":"accepted","head":"[0-9a-f]*"/,
              `"result":"accepted","head":"${'b'.repeat(40)}"`,
            ),
            ...rest,
          ]),
        /accepted a receipt but remembers b/,
      ],
      [
        'a commit that is not ours',
        (one) =>
          one.answer(([line, ...rest]) => [
            (line as string).replace(
              /"result":.*"journalHead"/,
              `"result":"refused","head":"${'b'.repeat(40)}","code":"GAP","detail":"d","journalHead"`,
            ),
            ...rest,
          ]),
        /remembers commit b{40}, which is not in our history/,
      ],
      [
        'a broken chain',
        (one) => one.answer((lines) => [lines[0] as string, 'x']),
        /entry \d+ cannot be read/,
      ],
      [
        "a stranger's head",
        (one) =>
          one.answer(([line, ...rest]) => [
            (line as string).replace(/"signature":"[^"]*"/, `"signature":"${'A'.repeat(86)}=="`),
            ...rest,
          ]),
        /not signed by the journal key/,
      ],
    ];
    for (const [what, change, why] of cases) {
      const folder = folderOf(t);
      const one = told(t, folder);
      t.equal(await sent(one, one.commit()), 'granted');
      const calls = one.vm.receipts.length;
      one.vm.enter('refused');
      change(one);
      t.equal(await sent(one, one.commit()), 'KEYS_VM_ALARM', what);
      t.match(one.reported.at(-1), /^ALARM keys-debian: /);
      t.match(one.reported.at(-1), why, what);
      t.match(one.state().alarm, why);
      t.throws(() => one.receipts.demandTrust(), { code: 'KEYS_VM_ALARM' });
      one.answer((lines) => lines);
      const before = one.vm.receipts.length;
      t.ok(before > calls);
      t.equal(await sent(one, one.commit()), 'KEYS_VM_ALARM', 'nothing is sent any more');
      t.equal(one.vm.receipts.length, before);
      t.equal(one.receipts.owed, false);
      const again = told(t, folder, one.vm, one.commits);
      t.throws(() => again.receipts.demandTrust(), { code: 'KEYS_VM_ALARM' }, 'also after a restart');
      writeFileSync(`${folder}/keys/keys-debian.json`, JSON.stringify({ ...one.state(), alarm: null }));
      t.doesNotThrow(
        () => told(t, folder, one.vm, one.commits).receipts.demandTrust(),
        'until a person has looked',
      );
    }
  },
);

await t.test('entries that did not come with an answer are fetched, as long as some come', async (t) => {
  const one = told(t, folderOf(t), keysVmWith(25));
  one.vm.entriesAtOnce = 10;
  t.equal(await sent(one, one.commit()), 'granted');
  t.equal(one.receipts.journal.entries, 25);
  t.same(
    one.vm.receipts.map(({ journal, grants, proof }) => [
      journal?.seq ?? 0,
      grants.length,
      proof.commits.length,
    ]),
    [
      [0, 0, 1],
      [10, 0, 0],
      [20, 0, 0],
    ],
  );
  for (let i = 0; i < 5; i++) one.vm.enter('refused');
  one.vm.entriesAtOnce = 0;
  t.equal(await sent(one, one.commit()), 'granted', 'the grant stands although they are missing');
  t.equal(one.receipts.journal.entries, 25);
  one.vm.entriesAtOnce = 2;
  let calls = 0;
  one.answer((lines) => (++calls === 2 ? '' : lines));
  t.equal(await sent(one, one.commit()), 'granted');
  t.match(one.reported.at(-1), /^keys-debian: entries up to its journal head are missing: /);
});

await t.test('a long history goes in parts, and the intents with the last of them', async (t) => {
  const one = told(t);
  const document = '{"x":3}\n';
  for (let i = 0; i < 5; i++) one.commit([], ` ${'x'.repeat(1_000_000)}`);
  const last = one.commit([document]);
  t.equal(await sent(one, last, [intentOf(document)]), 'granted');
  t.ok(one.vm.receipts.length > 1);
  t.ok(
    one.vm.receipts.every((receipt) => JSON.stringify(receipt).length <= 4 * 1024 * 1024),
    'each below its limit',
  );
  t.same(
    one.vm.receipts.map(({ grants }) => grants.length),
    [...one.vm.receipts.slice(1).map(() => 0), 1],
  );
  t.equal(one.vm.receipts.flatMap(({ proof }) => proof.commits).length, 6);
  const many = told(t);
  for (let i = 0; i < 4500; i++) many.commit();
  t.equal(await sent(many, many.commits.at(-1)?.id as string), 'granted');
  t.equal(many.vm.receipts.length, 2);
  t.ok(many.vm.receipts.every(({ proof }) => proof.commits.length <= 4000));
});
