// SPDX-License-Identifier: GPL-2.0-or-later
// What the build-logs VM does with the heads of a journal: publishes entries with them, and stops where the
// two contradict each other.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { journalHeadLine, type JournalHead } from '../../agents/shared/formats/journal-head.js';
import type { ReceiptReply } from '../../agents/shared/formats/receipt.js';
import { until } from '../support/until.js';
import { FakeKeysVm } from './fake-keys-vm.js';
import { Rig } from './rig.js';

const heads = (rig: Rig): JournalHead[] =>
  rig
    .file('journal/keys-debian/heads-00000000.jsonl')
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as JournalHead);
const entries = (rig: Rig): number =>
  rig.file('journal/keys-debian/00000000.jsonl').toString().split('\n').length - 1;
const withHead = (lines: string[], journalHead: JournalHead): string[] => [
  JSON.stringify({ ...(JSON.parse(lines[0] as string) as ReceiptReply), journalHead }),
  ...lines.slice(1),
];

await t.test(
  'entries are published with the head that names the last of them, one head for each publication',
  async (t) => {
    const rig = await Rig.started(t);
    for (let i = 0; i < 3; i++) t.equal((await rig.ask(rig.intent())).result, 'published');
    t.same(
      heads(rig).map(({ seq }) => seq),
      [1, 2],
    );
    t.equal(entries(rig), 2);
    await rig.kill();
    await rig.start();
    for (let i = 0; i < 2; i++) t.equal((await rig.ask(rig.intent())).result, 'published');
    t.same(
      heads(rig).map(({ seq }) => seq),
      [1, 2, 3, 4],
    );
    rig.checkHistory();
  },
);

await t.test('a copy of the journal that is lost is read from the repository, all of it', async (t) => {
  const rig = await Rig.started(t);
  for (let i = 0; i < 600; i++) rig.keysVm.enter('expired');
  for (let i = 0; i < 2; i++) t.equal((await rig.ask(rig.intent())).result, 'published');
  await rig.kill();
  rmSync(join(rig.state, 'journal'), { recursive: true });
  await rig.start();
  t.equal((await rig.ask(rig.intent())).result, 'published');
  t.ok((rig.keysVm.receipts.at(-1)?.journal?.seq ?? 0) >= 601);
  await rig.allPushed();
  t.notMatch(rig.report, /ALARM/);
});

await t.test('what no answer brought yet is asked for until the head is reached', async (t) => {
  const rig = await Rig.started(t);
  rig.keysVm.entriesAtOnce = 10;
  for (let i = 0; i < 35; i++) rig.keysVm.enter('expired');
  t.equal((await rig.ask(rig.intent())).result, 'published');
  await until('all was asked for', () => (rig.keysVm.receipts.at(-1)?.journal?.seq ?? 0) >= 30);
  t.equal((await rig.ask(rig.intent())).result, 'published');
  t.equal(entries(rig), 36);
  t.same(
    heads(rig).map(({ seq }) => seq),
    [36],
  );
});

const contradictions: [string, (keysVm: FakeKeysVm, lines: string[]) => string[]][] = [
  ['is older than what came before', (keysVm, lines) => withHead(lines.slice(0, 1), keysVm.journalHead(1))],
  [
    'names another entry',
    (keysVm, lines) => withHead(lines, { ...keysVm.journalHead(), entry: 'ab'.repeat(32) }),
  ],
  [
    'is signed by another key',
    (_keysVm, lines) => withHead(lines, new FakeKeysVm('build-debian', '').headLike(lines)),
  ],
  [
    'is that of another keys VM',
    (keysVm, lines) => withHead(lines, { ...keysVm.journalHead(), keysVm: 'keys-fedora' }),
  ],
];
for (const [what, lie] of contradictions) {
  await t.test(`a head that ${what} is an alarm that lasts`, async (t) => {
    const rig = await Rig.started(t);
    for (let i = 0; i < 2; i++) t.equal((await rig.ask(rig.intent())).result, 'published');
    rig.keysVm.answering = (lines) => lie(rig.keysVm, lines);
    t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'KEYS_VM_ALARM' });
    rig.keysVm.answering = (lines) => lines;
    await rig.kill();
    await rig.start();
    t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'KEYS_VM_ALARM' });
  });
}

for (const code of ['JOURNAL_FORK', 'STATE_LOST', 'JOURNAL_ALTERED']) {
  await t.test(`${code} is an alarm, and no later answer grants anything`, async (t) => {
    const rig = await Rig.started(t);
    t.equal((await rig.ask(rig.intent())).result, 'published');
    rig.keysVm.answering = (lines) => [
      JSON.stringify({
        ...(JSON.parse(lines[0] as string) as ReceiptReply),
        result: 'refused',
        head: null,
        code,
        detail: 'set back',
        granted: undefined,
        until: undefined,
      }),
    ];
    t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'KEYS_VM_ALARM' });
    rig.keysVm.answering = (lines) => lines;
    t.match(await rig.ask(rig.intent()), {
      result: 'refused',
      code: 'KEYS_VM_ALARM',
      detail: new RegExp(code),
    });
  });
}

await t.test('the newest head is kept as it came', async (t) => {
  const rig = await Rig.started(t);
  t.equal((await rig.ask(rig.intent())).result, 'published');
  const kept = JSON.parse(rig.stateFile('journal/keys-debian.head.json')) as JournalHead;
  t.equal(kept.seq, rig.keysVm.journal.length);
  t.equal(rig.stateFile('journal/keys-debian.head.json'), `${journalHeadLine(kept)}\n`);
});
