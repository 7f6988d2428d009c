// SPDX-License-Identifier: GPL-2.0-or-later
// Two large trees are compared in few steps where much of them is the same. What comes out must be what the slow way finds.
import tap from 'tap';
import { BadTree, compareTrees } from '../../agents/audit/reading/raw-tree.js';
import { Seeded } from './mutated-histories.js';

interface Entry {
  mode: string;
  name: string;
  id: string;
}

const write = (entries: readonly Entry[]): Buffer => Buffer.concat(entries.map(({ mode, name, id }) => Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(id, 'hex')])));
const sorted = (entries: readonly Entry[]): Entry[] => [...entries].sort((a, b) => Buffer.compare(Buffer.from(a.mode === '40000' ? `${a.name}/` : a.name), Buffer.from(b.mode === '40000' ? `${b.name}/` : b.name)));

function compared(before: Buffer, after: Buffer): unknown {
  try {
    return compareTrees(before, after);
  } catch (error) {
    if (!(error instanceof BadTree)) throw error;
    return [error.code, error.entry, error.message];
  }
}

void tap.test('a tree that changes many times is compared as if it were seen for the first time', async (t) => {
  let wrong = 0;
  let bad = 0;
  for (let seed = 0; seed < 40; seed++) {
    const random = new Seeded(seed);
    const id = (): string => Array.from({ length: 40 }, () => '0123456789abcdef'[random.below(16)]).join('');
    const fresh = (): Entry => ({ mode: random.below(3) === 0 ? '40000' : '100644', name: `n${random.below(100_000)}${'x'.repeat(random.below(60))}`, id: id() });
    let entries = sorted(Array.from({ length: 300 }, fresh).filter((one, i, all) => all.findIndex(({ name }) => name === one.name) === i));
    let before: Buffer = Buffer.alloc(0);
    for (let version = 0; version < 30; version++) {
      const after = write(entries);
      const quick = compared(before, after);
      const slow = compared(Buffer.from(before), Buffer.from(after));
      if (JSON.stringify(quick) !== JSON.stringify(slow)) wrong += 1;
      const isBad = Array.isArray(slow) && typeof slow[0] === 'string';
      if (isBad) bad += 1;
      // As the audit goes on after a bad tree: from that tree, of which nothing is remembered.
      before = after;
      const at = (): number => random.below(entries.length);
      const changes: (() => void)[] = [
        () => entries.push(fresh()), () => (entries[at()] as Entry).id = id(), () => entries.splice(at(), 1), () => (entries.at(-1) as Entry).id = id(), () => (entries[0] as Entry).id = id(),
        () => entries.splice(0, 1), () => entries.pop(),
      ];
      for (let n = random.below(4); n >= 0; n--) random.one(changes)();
      entries = sorted(entries.map((one) => ({ ...one })));
      const [one, other] = [at(), at()];
      if (random.below(6) === 0) [entries[one], entries[other]] = [entries[other] as Entry, entries[one] as Entry];
      if (random.below(12) === 0) entries.splice(one, 0, { ...(entries[one] as Entry), id: id() });
      if (random.below(12) === 0) (entries[one] as Entry).mode = '100755';
    }
  }
  t.equal(wrong, 0, 'as the slow way');
  t.ok(bad > 50, `bad trees are among them: ${bad}`);
});
