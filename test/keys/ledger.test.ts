// SPDX-License-Identifier: GPL-2.0-or-later
// Time, reboots, a full budget of refusals, and a kill between the two files of a receipt.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { Ledger } from '../../agents/keys/ledger.js';
import { journalLineHash, type JournalEntry } from '../../agents/shared/formats/journal.js';
import type { GrantRequest } from '../../agents/shared/formats/receipt.js';
import { folderOf } from '../support/folders.js';

const key = 'A'.repeat(40);
const hash = (digit: string): string => digit.repeat(64);
const commit = (digit: string): string => digit.repeat(40);

class Machine {
  readonly folder: string;
  readonly clock = {
    now: 1_795_000_000_000,
    up: 1000,
    wall: () => this.clock.now,
    steady: () => this.clock.up,
  };
  ledger: Ledger;
  constructor(t: Tap) {
    const folder = folderOf(t);
    this.folder = folder;
    this.ledger = this.open();
  }
  open(bootId = 'boot-1'): Ledger {
    return (this.ledger = Ledger.open({
      stateFolder: this.folder,
      bootId,
      grantSeconds: 900,
      clock: this.clock,
    }));
  }
  pass(ms: number): void {
    this.clock.now += ms;
    this.clock.up += ms;
  }
  grant(digit: string, seq: number, times = 1): void {
    const request: GrantRequest = { sha256: hash(digit), size: 1, key, mode: 'detach', intent: hash('f') };
    this.ledger.accept(
      { commit: commit(digit), seq },
      'build-debian',
      Array.from({ length: times }, () => request),
      () => times,
    );
  }
  claim(digit: string): string {
    try {
      this.ledger.claim('build-debian', hash(digit), key, 'detach');
      return 'claimed';
    } catch (error) {
      return (error as { code: string }).code;
    }
  }
  entries(): JournalEntry[] {
    return readFileSync(`${this.folder}/journal.jsonl`, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as JournalEntry);
  }
}
interface Tap {
  teardown: (work: () => void) => unknown;
}

await t.test('a grant ends after its time, and the journal says so', async (t) => {
  const machine = new Machine(t);
  machine.grant('1', 1);
  machine.pass(899_999);
  machine.ledger.expire();
  t.equal(machine.entries().at(-1)?.event, 'granted');
  machine.pass(1);
  t.equal(machine.claim('1'), 'GRANT_EXPIRED');
  machine.ledger.expire();
  t.match(machine.entries().at(-1), { event: 'expired', sha256: hash('1') });
  t.equal(machine.claim('1'), 'GRANT_EXPIRED');
});

await t.test('a restart of the agent lengthens no grant', async (t) => {
  const machine = new Machine(t);
  machine.grant('1', 1);
  machine.pass(600_000);
  machine.open();
  machine.pass(300_000);
  t.equal(machine.claim('1'), 'GRANT_EXPIRED');
});

await t.test('setting the clock back lengthens no grant', async (t) => {
  const machine = new Machine(t);
  machine.grant('1', 1);
  machine.pass(900_000);
  machine.clock.now -= 3600_000;
  t.equal(machine.claim('1'), 'GRANT_EXPIRED');
});

await t.test('a reboot ends every grant, a restart of the agent none', async (t) => {
  const machine = new Machine(t);
  machine.grant('1', 1);
  machine.grant('2', 2);
  machine.open();
  t.equal(machine.claim('1'), 'claimed');
  machine.open('boot-2');
  t.same(
    machine
      .entries()
      .slice(-2)
      .map(({ event, result }) => [event, result]),
    [
      ['start', 'boot-2'],
      ['expired', ''],
    ],
  );
  t.equal(machine.claim('2'), 'GRANT_EXPIRED');
  t.equal(machine.claim('1'), 'GRANT_USED');
});

await t.test('an entry that stands twice in an intent is granted twice, not three times', async (t) => {
  const machine = new Machine(t);
  machine.grant('1', 1, 2);
  t.equal(machine.claim('1'), 'claimed');
  t.equal(machine.claim('1'), 'claimed');
  t.equal(machine.claim('1'), 'GRANT_USED');
  t.throws(() => machine.grant('1', 2), { code: 'ALREADY_GRANTED' });
  machine.open();
  t.throws(() => machine.grant('1', 2, 2), { code: 'ALREADY_GRANTED' });
});

await t.test(
  'killed between head.json and the journal, the receipt is finished at the next start',
  async (t) => {
    const machine = new Machine(t);
    machine.grant('1', 1);
    const before = readFileSync(`${machine.folder}/journal.jsonl`, 'utf8');
    machine.grant('2', 2, 3);
    const whole = readFileSync(`${machine.folder}/journal.jsonl`, 'utf8');
    const added = whole.slice(before.length).split('\n');
    for (const kept of [0, 1, 2, 3]) {
      writeFileSync(
        `${machine.folder}/journal.jsonl`,
        before +
          added
            .slice(0, kept)
            .map((line) => `${line}\n`)
            .join(''),
      );
      machine.open();
      t.ok(readFileSync(`${machine.folder}/journal.jsonl`, 'utf8').startsWith(whole));
      t.same(machine.ledger.head, { commit: commit('2'), seq: 2, published: 0 });
    }
    t.same(
      [machine.claim('2'), machine.claim('2'), machine.claim('2'), machine.claim('2')],
      ['claimed', 'claimed', 'claimed', 'GRANT_USED'],
    );
  },
);

await t.test('a journal that was set back or lost stops the start, and so does a lost head', async (t) => {
  const machine = new Machine(t);
  machine.grant('1', 1);
  machine.grant('2', 2);
  const journal = readFileSync(`${machine.folder}/journal.jsonl`, 'utf8');
  writeFileSync(`${machine.folder}/journal.jsonl`, journal.split('\n').slice(0, 1).join('\n') + '\n');
  t.throws(() => machine.open(), /nothing will be signed/);
  writeFileSync(`${machine.folder}/journal.jsonl`, '');
  t.throws(() => machine.open(), /nothing will be signed/);
  writeFileSync(`${machine.folder}/journal.jsonl`, journal);
  rmSync(`${machine.folder}/head.json`);
  t.throws(() => machine.open(), /head.json is lost/);
});

await t.test(
  'a caller that is refused without end fills no disk, and what is not listed is counted',
  async (t) => {
    const machine = new Machine(t);
    for (let i = 0; i < 5000; i++) machine.ledger.refused({ source: 'build-debian', result: 'NO_GRANT' });
    t.equal(machine.entries().filter(({ event }) => event === 'refused').length, 100);
    machine.grant('1', 1);
    t.equal(machine.claim('1'), 'claimed');
    t.same(
      machine
        .entries()
        .slice(-2)
        .map(({ event, result }) => `${event} ${result}`.trim()),
      ['refused NOT_LISTED 4900', 'claimed'],
    );
    machine.pass(5 * 60_000);
    machine.ledger.refused({ source: 'build-debian', result: 'NO_GRANT' });
    machine.ledger.refused({ source: 'build-debian', result: 'NO_GRANT' });
    t.equal(machine.entries().at(-1)?.result, 'NO_GRANT');
  },
);

await t.test('the lines after a known entry are given, and a wrong claim is a fork', async (t) => {
  const machine = new Machine(t);
  machine.grant('1', 1, 5);
  const lines = readFileSync(`${machine.folder}/journal.jsonl`, 'utf8').trimEnd().split('\n');
  t.same(machine.ledger.linesAfter(null, 1000), lines);
  t.same(
    machine.ledger.linesAfter({ seq: 2, sha256: journalLineHash(lines[1] as string) }, 3),
    lines.slice(2, 5),
  );
  t.same(machine.ledger.linesAfter({ seq: 6, sha256: journalLineHash(lines[5] as string) }, 3), []);
  t.throws(() => machine.ledger.linesAfter({ seq: 2, sha256: journalLineHash(lines[2] as string) }, 3), {
    code: 'JOURNAL_FORK',
  });
  t.throws(() => machine.ledger.linesAfter({ seq: 7, sha256: hash('1') }, 3), { code: 'JOURNAL_FORK' });
});
