// SPDX-License-Identifier: GPL-2.0-or-later
// What a commit changed, read from the trees themselves: two of them side by side, and only into folders that
// differ. A tree that holds one folder many thousand times costs as many entries as the commit may change,
// whatever git would make of it.
import { printable } from '../../shared/refusal.js';
import type { ObjectReader } from './objects.js';
import { BadTree, compareTrees, type TreeDifference } from './raw-tree.js';

/** A file that is new or another, or gone. Paths are bytes, as latin1. */
export interface Change {
  path: string;
  /** undefined where it is gone */
  after: string | undefined;
}

export interface BadFolder {
  path: string;
  code: BadTree['code'] | 'BAD_PATH' | 'TOO_MANY_CHANGES';
  expected: string;
  found: string;
}

export interface TreeChanges {
  /** in order of paths */
  changes: Change[];
  bad: BadFolder[];
}

interface Walked extends TreeChanges {
  /** entries that may still differ, files and folders */
  left: number;
}

/** Folders below the top, as deep as this farm makes them (payloads/<vm>/<day>/<intent>). */
const depthLimit = 4;
const treeLimitBytes = 16 * 1024 * 1024;
const poolBytes = 256 * 1024;
/** Changes beyond those that the commit tells of, before nobody looks any further. */
const untoldLimit = 1000;
/** Folders whose trees are in memory at once; each may be as large as the limit. */
const foldersAtOnce = 32;
const keptBytes = 8 * 1024 * 1024;
const nothing = Buffer.alloc(0);
const folderPattern = /^[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}$/;

interface Folder {
  before: string | undefined;
  after: string | undefined;
  /** of the paths in it */
  prefix: string;
  depth: number;
  walked: Walked;
}

export class TreeWalk {
  readonly #objects: ObjectReader;
  /** the one used least lately first */
  readonly #trees = new Map<string, Buffer>();
  #bytes = 0;
  #pool = nothing;

  constructor(objects: ObjectReader) {
    this.#objects = objects;
  }

  /**
   * @param commits in order: the tree of the commit before, if there was one; its own; how many files its
   * message names
   * @throws ReadingEnded
   */
  changes(commits: readonly { before: string | undefined; after: string; told: number }[]): TreeChanges[] {
    const walks = commits.map(({ before, after, told }) => {
      const walked: Walked = { changes: [], bad: [], left: told * (depthLimit + 1) + untoldLimit };
      return { before, after, prefix: '', depth: 0, walked };
    });
    // All folders of one depth together: so there are few times to wait for git.
    for (let level: Folder[] = walks; level.length > 0;) {
      const below: Folder[] = [];
      for (let from = 0; from < level.length; from += foldersAtOnce) {
        const folders = level.slice(from, from + foldersAtOnce);
        const trees = this.#read(folders);
        for (const folder of folders) this.#compare(folder, trees, below);
      }
      level = below;
    }
    for (const { walked } of walks)
      walked.changes.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
    return walks.map(({ walked: { changes, bad } }) => ({ changes, bad }));
  }

  /**
   * The trees of these folders; those that are too large are left out. Each is read once for as long as it is
   * in use: the next commit's differ from it in an entry or two.
   */
  #read(folders: readonly Folder[]): Map<string, Buffer> {
    const trees = new Map<string, Buffer>();
    const missing = new Set<string>();
    for (const { before, after } of folders) {
      for (const id of [before, after]) {
        if (id === undefined || trees.has(id)) continue;
        const known = this.#trees.get(id);
        if (known === undefined) {
          missing.add(id);
          continue;
        }
        this.#trees.delete(id);
        this.#trees.set(id, known);
        trees.set(id, known);
      }
    }
    const ids = [...missing];
    this.#objects.readAll(
      ids,
      'tree',
      treeLimitBytes,
      (n, body) => {
        if (typeof body === 'number') return;
        const id = ids[n] as string;
        trees.set(id, body);
        this.#trees.set(id, body);
        this.#bytes += body.length;
      },
      (_, bytes) => this.#room(bytes),
    );
    if (this.#bytes > keptBytes) this.#forget();
    return trees;
  }

  /** Pieces of larger ones: thousands of pieces of memory of their own cost more than what is in them. */
  #room(bytes: number): Buffer {
    if (bytes > poolBytes / 4) return Buffer.allocUnsafeSlow(bytes);
    if (bytes > this.#pool.length) this.#pool = Buffer.allocUnsafeSlow(poolBytes);
    const room = this.#pool.subarray(0, bytes);
    this.#pool = this.#pool.subarray(bytes);
    return room;
  }

  #forget(): void {
    for (const [id, tree] of this.#trees) {
      if (this.#bytes <= keptBytes / 2) return;
      this.#trees.delete(id);
      this.#bytes -= tree.length;
    }
  }

  #compare(
    { before, after, prefix, depth, walked }: Folder,
    trees: ReadonlyMap<string, Buffer>,
    below: Folder[],
  ): void {
    const bad = (code: BadFolder['code'], path: string, expected: string, found: string): void => {
      walked.bad.push({ code, path: printable(path), expected, found });
    };
    if (walked.left < 0) return;
    const old = (before === undefined ? undefined : trees.get(before)) ?? nothing;
    const now = after === undefined ? nothing : trees.get(after);
    if (now === undefined)
      return bad('BAD_TREE', prefix, `a folder of at most ${treeLimitBytes} bytes`, `object ${after}`);
    if (after !== undefined && now.length === 0)
      return bad('BAD_TREE', prefix, 'a folder with something in it', 'an empty one');
    let differences: TreeDifference[];
    try {
      differences = compareTrees(old, now);
    } catch (error) {
      if (!(error instanceof BadTree)) throw error;
      return bad(
        error.code,
        `${prefix}${error.entry}`,
        error.code === 'BAD_FILE_MODE' ? '100644, or a folder' : 'entries as git sorts them, each once',
        error.message,
      );
    }
    for (const { before: was, after: is } of differences) {
      if (walked.left-- === 0)
        bad(
          'TOO_MANY_CHANGES',
          prefix,
          'the changes that the message tells of',
          `over ${untoldLimit} more; nothing beyond is looked at`,
        );
      if (walked.left < 0) break;
      const path = `${prefix}${(is ?? was)?.name ?? ''}`;
      const [folderWas, folderIs] = [was, is].map((entry) =>
        entry?.isFolder === true ? entry.id : undefined,
      );
      if (was?.isFolder === false && is?.isFolder !== false) walked.changes.push({ path, after: undefined });
      if (is?.isFolder === false) walked.changes.push({ path, after: is.id });
      if (folderWas === undefined && folderIs === undefined) continue;
      if (folderIs !== undefined && depth >= depthLimit)
        bad('BAD_TREE', path, `at most ${depthLimit} folders deep`, 'another folder');
      else if (folderIs !== undefined && !folderPattern.test((is as { name: string }).name))
        bad('BAD_PATH', path, 'a folder of logs, intents, journals or keys', 'another folder');
      else if (depth < depthLimit)
        below.push({ before: folderWas, after: folderIs, prefix: `${path}/`, depth: depth + 1, walked });
    }
  }
}
