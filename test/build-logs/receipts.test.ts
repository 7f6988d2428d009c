// SPDX-License-Identifier: GPL-2.0-or-later
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { ReceiptReply } from '../../agents/shared/formats/receipt.js';
import { until } from '../support/until.js';
import { Rig } from './rig.js';

void t.test('the proof reaches from the head that the keys VM acknowledged to the publication', async (t) => {
  const rig = await Rig.started(t);
  await rig.call().end('one\n');
  await rig.call().end('two\n');
  t.equal((await rig.ask(rig.intent())).result, 'published');
  t.equal((await rig.ask(rig.intent())).result, 'published');
  t.strictSame(
    rig.keysVm.receipts.map((receipt) => receipt.proof.commits.length),
    [3, 1],
  );
});

void t.test('an answer that was lost does not lose the grant', async (t) => {
  const rig = await Rig.started(t);
  let lost = 0;
  rig.keysVm.answering = (lines) => (lost++ === 0 ? undefined : lines);
  const reply = await rig.ask(rig.intent());
  t.equal(reply.result, 'published');
  t.equal(
    reply.result === 'published' && reply.grantedUntil,
    JSON.parse(rig.keysVm.journal[0] as string).result,
  );
  t.equal(rig.keysVm.journal.length, 1, 'granted once');
});

void t.test('a keys VM that remembers an older or newer head is served from there', async (t) => {
  const rig = await Rig.started(t);
  t.equal((await rig.ask(rig.intent())).result, 'published');
  const { head, seq } = rig.keysVm;
  t.equal((await rig.ask(rig.intent())).result, 'published');
  rig.keysVm.head = head;
  rig.keysVm.seq = seq;
  t.equal((await rig.ask(rig.intent())).result, 'published');
  t.equal(rig.keysVm.receipts.at(-1)?.proof.commits.length, 2);
});

void t.test(
  'a keys VM that remembers a commit which we never made is an alarm that survives a restart',
  async (t) => {
    const rig = await Rig.started(t);
    t.equal((await rig.ask(rig.intent())).result, 'published');
    rig.keysVm.head = 'f'.repeat(40);
    t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'KEYS_VM_ALARM' });
    await rig.kill();
    await rig.start();
    t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'KEYS_VM_ALARM' });
  },
);

void t.test('a journal that was changed is an alarm: nothing is granted any more', async (t) => {
  const rig = await Rig.started(t);
  t.equal((await rig.ask(rig.intent())).result, 'published');
  rig.keysVm.answering = ([reply, ...entries]) => [
    reply as string,
    ...entries.map((line) =>
      line
        .replace(/"prev":"./, '"prev":"0')
        .replace(/"prev":"0./, '"prev":"00')
        .replace(/"prev":"00./, '"prev":"000'),
    ),
  ];
  t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'KEYS_VM_ALARM', detail: /entry 2/ });
  rig.keysVm.answering = (lines) => lines;
  t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'KEYS_VM_ALARM' });
  t.match((await rig.call().end('logs go on\n'))[1], /^published/);
});

void t.test("a refusal of the keys VM is the intent's answer", async (t) => {
  const rig = await Rig.started(t);
  rig.keysVm.answering = ([reply]) => [
    JSON.stringify({
      journalHead: (JSON.parse(reply as string) as ReceiptReply).journalHead,
      format: 'build-infra/receipt-reply@1',
      result: 'refused',
      head: null,
      code: 'FOREIGN_KEY',
      detail: 'not mine',
    }),
  ];
  t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'FOREIGN_KEY', detail: /not mine/ });
});

void t.test('reports a keys VM that cannot be reached', async (t) => {
  const rig = await Rig.started(t);
  await rig.keysVm.close();
  t.match(await rig.ask(rig.intent()), { result: 'refused', code: 'KEYS_VM_UNREACHABLE' });
  await rig.keysVm.listen();
  t.equal((await rig.ask(rig.intent())).result, 'published');
});

void t.test(
  'the journal is published: the entries of an answer with the next publication, the last ones after the last log of a job',
  async (t) => {
    const rig = await Rig.started(t);
    const log = rig.call().send(rig.header());
    await log.line(/^opened/);
    t.equal((await rig.ask(rig.intent())).result, 'published');
    rig.keysVm.enter('claimed');
    rig.keysVm.enter('signed', { result: 'sha256:abc' });
    await log.end('> end status=0\n');
    await until('the last entries are published', () => {
      try {
        return (
          rig.file('journal/keys-debian/00000000.jsonl', 'mirror').toString() ===
          rig.keysVm.journal.map((line) => `${line}\n`).join('')
        );
      } catch {
        return false;
      }
    });
    await rig.allPushed();
    const commits = rig.checkHistory();
    const receipts = rig.keysVm.receipts.length;
    await sleep(500);
    t.equal(rig.checkHistory(), commits, 'and then there is quiet');
    t.equal(rig.keysVm.receipts.length, receipts);
    t.strictSame(rig.keysVm.receipts.at(-1)?.grants, []);
  },
);

void t.test(
  'a long journal is fetched to its end while intents go on, and the keys VM is never shown an older commit again',
  async (t) => {
    const rig = await Rig.started(t);
    const log = rig.call().send(rig.header());
    await log.line(/^opened/);
    t.equal((await rig.ask(rig.intent())).result, 'published');
    for (let i = 0; i < 1000; i++) rig.keysVm.enter('expired');
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => (open = resolve));
    const asked = new Promise<void>((resolve) => {
      rig.keysVm.before = () => {
        resolve();
        return gate;
      };
    });
    await log.end('> end status=0\n');
    await asked;
    const waiting = rig.ask(rig.intent());
    await rig.allPushed();
    await until(
      'the intent is confirmed',
      () =>
        rig.git(rig.remote('mirror'), 'ls-tree', '-r', '--name-only', 'main', 'intents').trim().split('\n')
          .length === 2,
    );
    // Read back, too, and its receipt in line behind the first.
    await sleep(1000);
    open();
    t.match(await waiting, { result: 'published' });
    await until('the last entries are published', () =>
      rig
        .git(rig.remote('mirror'), 'ls-tree', '-r', '--name-only', 'main')
        .includes('journal/keys-debian/00000003.jsonl'),
    );
    t.match(await rig.ask(rig.intent()), { result: 'published' });
    t.notMatch(rig.report, /ALARM/);
  },
);

void t.test('a journal of many entries is published in files of 256', async (t) => {
  const rig = await Rig.started(t);
  for (let i = 0; i < 600; i++) rig.keysVm.enter('expired');
  t.equal((await rig.ask(rig.intent())).result, 'published');
  t.equal((await rig.ask(rig.intent())).result, 'published');
  t.equal(
    rig.git(rig.remote('origin'), 'ls-tree', '--name-only', 'main:journal/keys-debian'),
    '00000000.jsonl\n00000001.jsonl\n00000002.jsonl\nheads-00000002.jsonl\n',
  );
  await rig.kill();
  await rig.start();
  for (let i = 0; i < 10; i++) rig.keysVm.enter('expired');
  t.equal((await rig.ask(rig.intent())).result, 'published');
  t.equal((await rig.ask(rig.intent())).result, 'published');
  t.equal(
    rig.file('journal/keys-debian/00000002.jsonl').toString().split('\n').length - 1,
    601 + 1 + 10 + 1 - 512,
  );
  rig.checkHistory();
});
