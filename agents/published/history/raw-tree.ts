// SPDX-License-Identifier: GPL-2.0-or-later
// Raw tree objects, as strict as this farm writes them: plain files and folders, in git's order, no name
// twice, none empty. Pure.

export interface TreeEntry {
  isFolder: boolean;
  /** bytes, as latin1 */
  name: string;
  id: string;
}

export interface TreeDifference {
  before: TreeEntry | undefined;
  after: TreeEntry | undefined;
}

export class BadTree extends Error {
  override readonly name = 'BadTree';
  readonly code: 'BAD_TREE' | 'BAD_FILE_MODE';
  readonly entry: string;

  constructor(code: 'BAD_TREE' | 'BAD_FILE_MODE', why: string, entry = '') {
    super(why);
    this.code = code;
    this.entry = entry;
  }
}

const folderMode = '40000';
const fileMode = '100644';
const idBytes = 20;
const slash = 0x2f;

/** Where the name of the entry at `at` begins. */
function nameStart(tree: Buffer, at: number): number {
  const isFolder = tree[at] === 0x34;
  const mode = isFolder ? folderMode : fileMode;
  const start = at + mode.length + 1;
  if (tree.toString('latin1', at, start) !== `${mode} `) {
    const [found = '', name = ''] = tree
      .toString('latin1', at, Math.max(at, tree.indexOf(0, at)))
      .split(' ', 2);
    throw new BadTree('BAD_FILE_MODE', found.slice(0, 20), name);
  }
  return start;
}

/** After the entry at `at`. */
export function entryEnd(tree: Buffer, at: number): number {
  const zero = tree.indexOf(0, at);
  if (zero < 0 || zero + idBytes >= tree.length) throw new BadTree('BAD_TREE', 'an entry that does not end');
  return zero + 1 + idBytes;
}

function entryAt(tree: Buffer, at: number, end: number): TreeEntry {
  const start = nameStart(tree, at);
  const name = tree.toString('latin1', start, end - idBytes - 1);
  if (name === '' || name.includes('/'))
    throw new BadTree('BAD_TREE', 'an entry whose name is empty or holds a slash');
  return {
    isFolder: start - at === folderMode.length + 1,
    name,
    id: tree.toString('hex', end - idBytes, end),
  };
}

/** As git sorts: bytewise, a folder as if its name ended in a slash. Negative, 0, positive. */
function order(
  one: Buffer,
  oneAt: number,
  oneEnd: number,
  other: Buffer,
  otherAt: number,
  otherEnd: number,
): number {
  const [a, b] = [nameStart(one, oneAt), nameStart(other, otherAt)];
  const [aEnd, bEnd] = [oneEnd - idBytes - 1, otherEnd - idBytes - 1];
  const common = Math.min(aEnd - a, bEnd - b);
  const found = one.compare(other, b, b + common, a, a + common);
  if (found !== 0) return found;
  const next = (tree: Buffer, at: number, end: number, isFolder: boolean): number =>
    at < end ? (tree[at] as number) : isFolder ? slash : 0;
  return (
    next(one, a + common, aEnd, one[oneAt] === 0x34) - next(other, b + common, bEnd, other[otherAt] === 0x34)
  );
}

/** For so many names the tree is searched; for more, a list of all is made once. */
const few = 8;

/** Every "<mode> <name>". */
function namesOf(tree: Buffer): Set<string> {
  const names = new Set<string>();
  for (let at = 0; at < tree.length;) {
    const end = entryEnd(tree, at);
    names.add(tree.toString('latin1', at, end - idBytes - 1));
    at = end;
  }
  return names;
}

/**
 * Of a large tree, where some of its entries begin, ascending: up to there two trees are compared in one go.
 */
const marks = new WeakMap<Buffer, number[]>();
const markEachBytes = 1024;

/** The last mark whose entry, too, is the same in both; 0 where there is none. */
function sameUpTo(before: Buffer, after: Buffer, known: readonly number[]): number {
  let [low, high] = [-1, known.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    const [from, end] = [known[low] ?? 0, known[middle] as number];
    if (end <= after.length && before.compare(after, from, end, from, end) === 0) low = middle;
    else high = middle - 1;
  }
  return known[low - 1] ?? 0;
}

/**
 * What a folder has become, in order of names; entries that are the same bytes in both cost next to nothing.
 * @param before an empty buffer where there was none
 * @throws BadTree if `after` is not as this farm writes it; `before` was judged when it was new
 */
export function compareTrees(before: Buffer, after: Buffer): TreeDifference[] {
  const found: TreeDifference[] = [];
  const known = marks.get(before) ?? [];
  const start = sameUpTo(before, after, known);
  const mine = known.filter((mark) => mark < start);
  if (after.length > 2 * markEachBytes) marks.set(after, mine);
  let old = start;
  let previous = -1;
  let wasSame = start > 0;
  let names: Set<string> | undefined;
  for (let at = start; at < after.length;) {
    if (at - (mine.at(-1) ?? 0) >= markEachBytes) mine.push(at);
    const end = entryEnd(after, at);
    const length = end - at;
    const isSame = old + length <= before.length && after.compare(before, old, old + length, at, end) === 0;
    if (!(isSame && wasSame) && previous >= 0 && order(after, previous, at, after, at, end) >= 0)
      throw new BadTree(
        'BAD_TREE',
        'names out of order, or one twice',
        after.toString('latin1', nameStart(after, at), end - idBytes - 1),
      );
    previous = at;
    at = end;
    if (isSame) {
      old += length;
      // All that comes is as it was, and was judged.
      const isEnd =
        !wasSame &&
        after.length - at === before.length - old &&
        after.compare(before, old, before.length, at) === 0;
      wasSame = true;
      if (!isEnd) continue;
      for (const mark of known) if (mark > old) mine.push(mark - old + at);
      return found;
    }
    wasSame = false;
    const entry = entryAt(after, previous, end);
    // Not side by side in git's order, and yet the same name.
    if (found.length > few) names ??= namesOf(after);
    const other = `${entry.isFolder ? fileMode : folderMode} ${entry.name}`;
    if (names?.has(other) ?? after.includes(`${other}\0`, 0, 'latin1'))
      throw new BadTree('BAD_TREE', 'one name for a file and a folder', entry.name);
    let replaced: TreeEntry | undefined;
    while (old < before.length) {
      const oldEnd = entryEnd(before, old);
      const place = order(before, old, oldEnd, after, previous, end);
      if (place > 0) break;
      const one = entryAt(before, old, oldEnd);
      old = oldEnd;
      if (place === 0) replaced = one;
      else found.push({ before: one, after: undefined });
    }
    // Behind one that is gone stands the next as it was.
    if (replaced?.id !== entry.id) found.push({ before: replaced, after: entry });
  }
  while (old < before.length) {
    const oldEnd = entryEnd(before, old);
    found.push({ before: entryAt(before, old, oldEnd), after: undefined });
    old = oldEnd;
  }
  return found;
}
