// SPDX-License-Identifier: GPL-2.0-or-later
// The signed word about where the journal ends, and what a keys VM does that lost its state or was set back.
import { cpSync, readFileSync, rmSync, statSync } from 'node:fs';
import t, { type Test } from 'tap';
import { journalHeadPath, verifiesJournalHead } from '../../agents/shared/formats/journal-head.js';
import {
  journalLine,
  journalLineHash,
  journalPath,
  type JournalEntry,
} from '../../agents/shared/formats/journal.js';
import type { PublishedFile } from '../../agents/shared/formats/publication.js';
import type { Receipt, ReceiptReply } from '../../agents/shared/formats/receipt.js';
import { KeysMachine, sha256 } from './keys-machine.js';

async function started(t: Test): Promise<KeysMachine> {
  const machine = new KeysMachine();
  t.teardown(() => machine.close());
  await machine.start();
  return machine;
}

const keyOf = (machine: KeysMachine): string =>
  / journal key ([0-9a-f]{64})/.exec(machine.agentErrors)?.[1] as string;
const codeOf = (reply: ReceiptReply): string => (reply.result === 'refused' ? reply.code : 'accepted');
const positionOf = (journal: readonly JournalEntry[]): Receipt['journal'] => {
  const last = journal.at(-1) as JournalEntry;
  return { seq: last.seq, sha256: journalLineHash(journalLine(last)) };
};
const published = (entries: readonly JournalEntry[], path = journalPath('keys-debian', 1)): PublishedFile => {
  const body = entries.map((entry) => `${journalLine(entry)}\n`).join('');
  return { path, size: Buffer.byteLength(body), sha256: sha256(body) };
};

await t.test('every answer, yes or no, carries the signed end of the journal as it is on disk', async (t) => {
  const machine = await started(t);
  const key = keyOf(machine);
  machine.publish([]);
  const document = machine.document([machine.intent('head\n')]);
  machine.publish([machine.file(document)]);
  const wrong = machine.receipt([], { remotes: [] });
  const answers: [unknown, string][] = [
    [{}, 'BAD_DOCUMENT'],
    [wrong, 'REMOTE_MISSING'],
    [{ ...wrong, journal: { seq: 9, sha256: sha256('x') } }, 'JOURNAL_FORK'],
    [machine.receipt([document]), 'accepted'],
  ];
  for (const [receipt, code] of answers) {
    const { reply } = await machine.send(receipt);
    t.equal(codeOf(reply), code);
    t.match(reply.journalHead, {
      keysVm: 'keys-debian',
      seq: machine.journal().length,
      entry: positionOf(machine.journal())?.sha256,
      commit: reply.head,
      boot: machine.journal()[0]?.result,
    });
    t.ok(verifiesJournalHead(reply.journalHead, key));
    t.notOk(verifiesJournalHead({ ...reply.journalHead, seq: reply.journalHead.seq + 1 }, key));
  }
});

await t.test('the journal key is made once, readable by its owner alone, and kept', async (t) => {
  const machine = await started(t);
  const key = keyOf(machine);
  t.equal(statSync(`${machine.root}/var/lib/build-infra/journal-key.pem`).mode & 0o777, 0o600);
  t.match(machine.agentErrors, /which nobody has pinned/);
  machine.configure({ journalKey: key });
  await machine.restart();
  t.equal(keyOf(machine), key);
  t.notMatch(machine.agentErrors, /which nobody has pinned/);
});

await t.test('a VM whose pinned journal key is gone, or is another, does not start', async (t) => {
  const machine = await started(t);
  machine.configure({ journalKey: keyOf(machine) });
  await machine.kill();
  rmSync(`${machine.root}/var/lib/build-infra`, { recursive: true });
  await t.rejects(machine.start(), /JOURNAL_KEY_LOST: .*holds none/);
  machine.configure({ journalKey: null });
  await machine.start();
  machine.configure({ journalKey: 'ab'.repeat(32) });
  await machine.kill();
  await t.rejects(machine.start(), /JOURNAL_KEY_LOST: .*nothing will be signed/);
});

await t.test('a VM that has its journal key and no journal does not start', async (t) => {
  const machine = await started(t);
  machine.configure({ journalKey: keyOf(machine) });
  await machine.kill();
  rmSync(`${machine.root}/var/lib/build-infra/journal.jsonl`);
  await t.rejects(machine.start(), /STATE_LOST/);
});

await t.test('a VM without memory believes no history in which its journal is published', async (t) => {
  const machine = await started(t);
  machine.publish([]);
  machine.publish([published(machine.journal())]);
  t.equal(
    codeOf((await machine.send(machine.receipt([], { journal: positionOf(machine.journal()) }))).reply),
    'accepted',
    'its own is what it wrote',
  );
  await machine.kill();
  rmSync(`${machine.root}/var/lib/build-infra`, { recursive: true });
  await machine.start();
  machine.believed = 0;
  const { reply } = await machine.send(machine.receipt([]));
  t.match(reply, { result: 'refused', code: 'STATE_LOST', head: null });
  t.equal((await machine.send(machine.receipt([]))).reply.head, null);
});

await t.test(
  'a receipt that holds fewer entries than were published is refused, also after a restart',
  async (t) => {
    const machine = await started(t);
    await machine.grant('one\n');
    const three = machine.journal();
    machine.publish([published(three)]);
    t.equal(codeOf((await machine.send(machine.receipt([]))).reply), 'JOURNAL_BEHIND');
    t.equal(
      codeOf((await machine.send(machine.receipt([], { journal: positionOf(three.slice(0, -1)) }))).reply),
      'JOURNAL_BEHIND',
    );
    t.equal(
      codeOf((await machine.send(machine.receipt([], { journal: positionOf(three) }))).reply),
      'accepted',
    );
    await machine.restart();
    const document = machine.document([machine.intent('two\n')]);
    machine.publish([machine.file(document)]);
    const journal = positionOf(three.slice(0, -1));
    t.equal(codeOf((await machine.send(machine.receipt([document], { journal }))).reply), 'JOURNAL_BEHIND');
    t.equal(
      codeOf(
        (
          await machine.send({
            ...machine.receipt([]),
            commit: machine.history[1]?.commit,
            proof: { commits: [], intents: [] },
          })
        ).reply,
      ),
      'JOURNAL_BEHIND',
      'also for a receipt without commits',
    );
    t.equal(
      codeOf((await machine.send(machine.receipt([document], { journal: positionOf(three) }))).reply),
      'accepted',
    );
  },
);

await t.test('a state folder that was set back is found at the first receipt', async (t) => {
  const machine = await started(t);
  const state = `${machine.root}/var/lib/build-infra`;
  machine.configure({ journalKey: keyOf(machine) });
  await machine.grant('before\n');
  await machine.kill();
  cpSync(state, `${machine.root}/copy`, { recursive: true });
  await machine.start();
  await machine.grant('after\n');
  const journal = positionOf(machine.journal());
  await machine.kill();
  rmSync(state, { recursive: true });
  cpSync(`${machine.root}/copy`, state, { recursive: true });
  await machine.start();
  const document = machine.document([machine.intent('once more\n')]);
  machine.publish([machine.file(document)]);
  const { reply } = await machine.send(machine.receipt([document], { journal }));
  t.match(reply, { result: 'refused', code: 'JOURNAL_FORK' });
  t.ok(verifiesJournalHead(reply.journalHead, keyOf(machine)));
  t.notOk(machine.journal().some(({ intent }) => intent === sha256(document)));
});

await t.test('files of heads are taken only where this journal can have some', async (t) => {
  const machine = await started(t);
  machine.publish([{ path: journalHeadPath('keys-debian', 1), size: 1, sha256: sha256('x') }]);
  t.equal(codeOf((await machine.send(machine.receipt([]))).reply), 'accepted');
  for (const path of [
    journalHeadPath('keys-debian', 257),
    'journal/keys-debian/heads-0.jsonl',
    'journal/keys-debian/heads-000000000.jsonl',
    'journal/keys-debian/other',
  ]) {
    machine.publish([{ path, size: 1, sha256: sha256('x') }]);
    t.equal(codeOf((await machine.send(machine.receipt([]))).reply), 'JOURNAL_ALTERED', path);
    machine.history.pop();
  }
});

await t.test('make-keys gets the key before there is a configuration, and the agent keeps it', async (t) => {
  const machine = new KeysMachine();
  t.teardown(() => machine.close());
  const first = machine.run('--journal-key');
  t.match(first, /^journal-key [0-9a-f]{64}\n$/);
  t.equal(machine.run('--journal-key'), first);
  machine.configure({ journalKey: first.slice(12, -1) });
  await machine.start();
  t.same(machine.events(), ['start', 'start']);
  t.equal(
    readFileSync(`${machine.root}/var/lib/build-infra/journal-key.pem`, 'utf8').split('\n')[0],
    '-----BEGIN PRIVATE KEY-----',
  );
});
