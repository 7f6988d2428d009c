// SPDX-License-Identifier: GPL-2.0-or-later
// The same as journal.test.ts, where it takes many entries to see it.
import { writeFileSync } from 'node:fs';
import t from 'tap';
import { Journal } from '../../agents/keys/journal.js';
import { journalLineHash } from '../../agents/shared/formats/journal.js';
import { folderOf } from '../support/folders.js';
import { Book, chained, entryOf, text } from './journal-pieces.js';
import { sha256 } from './keys-machine.js';

await t.test('a journal of several mebibytes is read across the border of each piece', async (t) => {
  const path = `${folderOf(t)}/j`;
  const lines = chained(Array.from({ length: 5000 }, () => ({ result: 'x'.repeat(300) })));
  writeFileSync(path, text(lines));
  let count = 0;
  const journal = Journal.open(path, () => count++);
  t.same([count, journal.position], [5000, { seq: 5000, sha256: journalLineHash(lines[4999] as string) }]);
  t.same(journal.linesAfter(4998, 2), lines.slice(4998));
  journal.close();
});

await t.test(
  'how the last ten thousand grants ended is remembered, for the words of a refusal',
  async (t) => {
    const book = new Book();
    const sha = (index: number): string => sha256(String(index));
    for (let index = 0; index <= 10_000; index++)
      for (const event of ['granted', 'claimed'] as const)
        book.book.apply(entryOf(event, { sha256: sha(index) }));
    t.same(
      [book.find(sha(0)), book.find(sha(1)), book.find(sha(10_000))],
      ['NO_GRANT', 'GRANT_USED', 'GRANT_USED'],
    );
    // One that ends again counts as the newest.
    for (const event of ['granted', 'expired'] as const) book.book.apply(entryOf(event, { sha256: sha(1) }));
    for (const event of ['granted', 'claimed'] as const) book.book.apply(entryOf(event, { sha256: sha(0) }));
    t.same([book.find(sha(1)), book.find(sha(2))], ['GRANT_EXPIRED', 'NO_GRANT']);
  },
);
