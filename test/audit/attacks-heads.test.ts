// SPDX-License-Identifier: GPL-2.0-or-later
import tap from 'tap';
import { readOptions } from '../../agents/audit/options.js';
import type { JournalEntry } from '../../agents/shared/formats/journal.js';
import { runAudit, argumentsFor, verdict } from './run-audit.js';
import { attack, good, keys } from './attack.js';
import { Farm, journalKey, journalKeyOf, removedAfter } from './farm.js';
import { entriesPath, headAttacks, headsPath, lines, refused, without } from './head-attacks.js';

headAttacks(attack, (farm) => {
  const later = new Farm(keys, farm);
  const id = later.logs.commit({ put: {} });
  later.remove();
  return id;
});

void tap.test('an entry that was there before its last head cannot be older than it', async (t) => {
  const farm = removedAfter(t, new Farm(keys, good));
  farm.logs.commit({ put: farm.logs.journalHeadInFuture() });
  farm.logs.commit({ put: refused(farm) });
  t.ok((await verdict(farm)).codes.includes('journal-chain JOURNAL_TIME'));
});

void tap.test(
  'a journal without any head is wrong from its first entry on, and one without a pinned key too',
  async (t) => {
    const farm = removedAfter(t, new Farm(keys));
    farm.logs.commit({
      put: without(farm.logs.journal(['start', 'b0075a1d-0000-4000-8000-000000000000']), headsPath),
    });
    farm.put('key.asc', keys.export('signing'));
    const logsOnly = argumentsFor(farm).slice(0, 4);
    const unpinned = await runAudit(logsOnly);
    t.equal(unpinned.status, 1);
    t.match(unpinned.out, /NOT_PINNED[^]*HEAD_MISSING/);
    const pinned = await runAudit([...logsOnly, '--journal-key', `keys-debian=${journalKey.public}`]);
    t.match(pinned.out, /HEAD_MISSING/);
    t.notMatch(pinned.out, /NOT_PINNED/);
  },
);

void tap.test(
  'the report says for each keys VM how old its newest head is; a key that was replaced counts still',
  async (t) => {
    const other = `keys-fedora=${'ab'.repeat(32)}`;
    const { out } = await runAudit([
      ...argumentsFor(good),
      '--journal-key',
      `keys-debian=${journalKeyOf('new').public}`,
      '--journal-key',
      other,
    ]);
    t.match(
      out,
      /\n {2}keys-debian: newest journal head \d+ (?:day|hour|minute|second)s? old \(entry \d+, 2026-11-21T21:00:\d\d\.000Z\)\n {2}keys-fedora: 0 journal entries and no head\n/,
    );
    const json = JSON.parse((await runAudit([...argumentsFor(good), '--json'])).out) as {
      journals: {
        keysVm: string;
        entries: number;
        head: { seq: number; time: string; ageSeconds: number };
      }[];
    };
    const entries = lines(good, entriesPath);
    t.match(json.journals, [
      { keysVm: 'keys-debian', entries: entries.length, head: { seq: entries.length } },
    ]);
    t.equal(json.journals[0]?.head.ageSeconds, json.journals[0]?.head.ageSeconds as number);
    t.ok(
      Math.abs(
        (Date.now() - Date.parse(json.journals[0]?.head.time as string)) / 1000 -
          (json.journals[0]?.head.ageSeconds as number),
      ) < 60,
    );
    t.equal((JSON.parse(entries.at(-1) as string) as JournalEntry).seq, entries.length);
  },
);

void tap.test('a key that is none, or names no VM, is a misuse', async (t) => {
  for (const pin of [
    'keys-debian',
    `keys-debian=${'AB'.repeat(32)}`,
    `=${journalKey.public}`,
    `keys debian=${journalKey.public}`,
    `keys-debian=${journalKey.public}\n`,
  ]) {
    t.throws(() => readOptions([...argumentsFor(good), '--journal-key', pin]), {
      name: 'Misuse',
      message: /--journal-key needs VM=HEX/,
    });
  }
});
