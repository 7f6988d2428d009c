// SPDX-License-Identifier: GPL-2.0-or-later
// Two large trees are compared in few steps where much of them is the same. What comes out must be what the
// slow way finds.
import tap from 'tap';
import { BadTree, compareTrees } from '../../agents/published/history/raw-tree.js';
import { Seeded } from './mutated-histories.js';

interface Entry {
  mode: string;
  name: string;
  id: string;
}

const write = (entries: readonly Entry[]): Buffer =>
  Buffer.concat(
    entries.map(({ mode, name, id }) =>
      Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(id, 'hex')]),
    ),
  );
const sorted = (entries: readonly Entry[]): Entry[] =>
  [...entries].sort((a, b) =>
    Buffer.compare(
      Buffer.from(a.mode === '40000' ? `${a.name}/` : a.name),
      Buffer.from(b.mode === '40000' ? `${b.name}/` : b.name),
    ),
  );

function compared(before: Buffer, after: Buffer): unknown {
  try {
    return compareTrees(before, after);
  } catch (error) {
    if (!(error instanceof BadTree)) throw error;
    return [error.code, error.entry, error.message];
  }
}

void tap.test(
  'a tree that changes many times is compared as if it were seen for the first time',
  async (t) => {
    let wrong = 0;
    let bad = 0;
    for (let seed = 0; seed < 40; seed++) {
      const random = new Seeded(seed);
      const id = (): string =>
        Array.from({ length: 40 }, () => '0123456789abcdef'[random.below(16)]).join('');
      const fresh = (): Entry => ({
        mode: random.below(3) === 0 ? '40000' : '100644',
        name: `n${random.below(100_000)}${'x'.repeat(random.below(60))}`,
        id: id(),
      });
      let entries = sorted(
        Array.from({ length: 300 }, fresh).filter(
          (one, i, all) => all.findIndex(({ name }) => name === one.name) === i,
        ),
      );
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
          () => entries.push(fresh()),
          () => ((entries[at()] as Entry).id = id()),
          () => entries.splice(at(), 1),
          () => ((entries.at(-1) as Entry).id = id()),
          () => ((entries[0] as Entry).id = id()),
          () => entries.splice(0, 1),
          () => entries.pop(),
        ];
        for (let n = random.below(4); n >= 0; n--) random.one(changes)();
        entries = sorted(entries.map((one) => ({ ...one })));
        const [one, other] = [at(), at()];
        if (random.below(6) === 0)
          [entries[one], entries[other]] = [entries[other] as Entry, entries[one] as Entry];
        if (random.below(12) === 0) entries.splice(one, 0, { ...(entries[one] as Entry), id: id() });
        if (random.below(12) === 0) (entries[one] as Entry).mode = '100755';
      }
    }
    t.equal(wrong, 0, 'as the slow way');
    t.ok(bad > 50, `bad trees are among them: ${bad}`);
  },
);

const id = (digit: string): string => digit.repeat(40);
const file = (name: string, digit = '1', mode = '100644'): Entry => ({ mode, name, id: id(digit) });
const folder = (name: string, digit = '1'): Entry => file(name, digit, '40000');

void tap.test('what differs between two trees is each entry that is new, gone or another', async (t) => {
  const said = (before: readonly Entry[], after: readonly Entry[]): unknown =>
    (
      compared(write(before), write(after)) as {
        before?: { name: string; id: string; isFolder: boolean };
        after?: { name: string; id: string; isFolder: boolean };
      }[]
    ).map((one) =>
      [one.before, one.after]
        .map((entry) =>
          entry === undefined ? '-' : `${entry.isFolder ? 'folder' : 'file'} ${entry.name} ${entry.id[0]}`,
        )
        .join(' > '),
    );
  const [a, b, c] = [file('a'), folder('b'), file('c')];
  t.same(said([], []), []);
  t.same(said([a, b, c], [a, b, c]), []);
  t.same(said([], [a, b]), ['- > file a 1', '- > folder b 1']);
  t.same(said([a, b], []), ['file a 1 > -', 'folder b 1 > -']);
  t.same(said([a, b, c], [a, folder('b', '2'), c]), ['folder b 1 > folder b 2']);
  t.same(said([a, c], [a, b, c]), ['- > folder b 1']);
  t.same(said([a, b, c], [a, c]), ['folder b 1 > -']);
  t.same(said([a, b], [b, c]), ['file a 1 > -', '- > file c 1']);
  t.same(
    said([file('l'), file('l.1')], [file('l.1'), file('l.xz')]),
    ['file l 1 > -', '- > file l.xz 1'],
    'a log that outgrew its plain form, beside another of its second',
  );
  t.same(
    said([file('b')], [folder('b')]),
    ['file b 1 > -', '- > folder b 1'],
    'one in the place of the other',
  );
  t.same(
    said([], sorted([folder('x'), file('x-y'), file('x.y'), file('x0')])),
    ['- > file x-y 1', '- > file x.y 1', '- > folder x 1', '- > file x0 1'],
    "in git's order",
  );
});

void tap.test(
  'a tree that git would not write is refused, where it differs from a good one and where it stands alone',
  async (t) => {
    const [a, b, c, d] = [file('a'), file('b'), file('c'), file('d')];
    const cases: [string, readonly Entry[], readonly Entry[]][] = [
      ['BAD_TREE', [], [b, a]],
      ['BAD_TREE', [], [a, a]],
      ['BAD_TREE', [a, c], [a, c, b]],
      ['BAD_TREE', [a, b, c], [a, d, b, c]],
      ['BAD_TREE', [a, b, c], [a, b, b, c]],
      ['BAD_TREE', [a, b, c], [b, a, c]],
      ['BAD_TREE', [], [file('x'), file('x-y'), folder('x')]],
      ['BAD_TREE', [], [file('')]],
      ['BAD_TREE', [a], [a, file('x/y')]],
      ['BAD_TREE', [a], [a, folder('x/')]],
      ['BAD_FILE_MODE', [], [file('a', '1', '100755')]],
      ['BAD_FILE_MODE', [a], [a, file('b', '1', '120000')]],
      ['BAD_FILE_MODE', [], [file('a', '1', '040000')]],
      ['BAD_FILE_MODE', [], [file('a', '1', '40755')]],
    ];
    for (const [code, before, after] of cases)
      t.equal(
        (compared(write(before), write(after)) as unknown[])[0],
        code,
        after.map(({ mode, name }) => `${mode} ${name}`).join(),
      );
    t.same(compared(write([]), write([a, b, file('c', '1', '100755')])), ['BAD_FILE_MODE', 'c', '100755']);
    t.same(compared(write([]), write([b, a])), ['BAD_TREE', 'a', 'names out of order, or one twice']);
    for (const cut of [1, 19, 20, 21])
      t.equal(
        (compared(Buffer.alloc(0), write([a, b]).subarray(0, -cut)) as unknown[])[0],
        'BAD_TREE',
        `${cut} bytes less`,
      );
    t.equal(
      (compared(Buffer.alloc(0), Buffer.concat([write([a]), Buffer.alloc(1)])) as unknown[])[0] === undefined,
      false,
    );
  },
);
