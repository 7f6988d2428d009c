// SPDX-License-Identifier: GPL-2.0-or-later
// What a commit changed, read from the trees themselves: two of them side by side, and only into folders that differ. A tree that holds one
// folder many thousand times costs as many entries as the commit may change, whatever git would make of it.
import { printable } from '../shared/refusal.js';
import type { FindingCode } from './findings.js';
import type { PublishedGit } from './published-git.js';
import { RecentTrees } from './recent-trees.js';
import { BadTree, compareTrees, type TreeDifference } from './raw-tree.js';

/** A file that is new or another, or gone. Paths are bytes, as latin1. */
export interface Change {
  path: string;
  /** undefined where it is gone */
  after: string | undefined;
}

export interface BadFolder {
  path: string;
  code: FindingCode;
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
/** Changes beyond those that the commit tells of, before nobody looks any further. */
const untoldLimit = 1000;
const nothing = Buffer.alloc(0);
const folderPattern = /^[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}$/;

export class TreeWalk {
  readonly #trees: RecentTrees;

  constructor(git: PublishedGit) {
    this.#trees = new RecentTrees(git, treeLimitBytes);
  }

  /**
   * @param before the tree of the commit before, if there was one
   * @param told how many files the commit's message names
   */
  async changes(before: string | undefined, after: string, told: number): Promise<TreeChanges> {
    const walked: Walked = { changes: [], bad: [], left: told * (depthLimit + 1) + untoldLimit };
    await this.#walk(before, after, '', 0, walked);
    walked.changes.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
    return walked;
  }

  #tree(id: string | undefined): Buffer | Promise<Buffer | undefined> {
    return id === undefined ? nothing : this.#trees.get(id);
  }

  async #walk(before: string | undefined, after: string | undefined, prefix: string, depth: number, walked: Walked): Promise<void> {
    const bad = (code: FindingCode, path: string, expected: string, found: string): void => {
      walked.bad.push({ code, path: printable(path), expected, found });
    };
    if (walked.left < 0) return;
    const asked = [this.#tree(before), this.#tree(after)] as const;
    const [old, now] = await Promise.all(asked);
    if (now === undefined) return bad('BAD_TREE', prefix, `a folder of at most ${treeLimitBytes} bytes`, `object ${after}`);
    if (after !== undefined && now.length === 0) return bad('BAD_TREE', prefix, 'a folder with something in it', 'an empty one');
    let differences: TreeDifference[];
    try {
      differences = compareTrees(old ?? nothing, now);
    } catch (error) {
      if (!(error instanceof BadTree)) throw error;
      return bad(error.code, `${prefix}${error.entry}`, error.code === 'BAD_FILE_MODE' ? '100644, or a folder' : 'entries as git sorts them, each once', error.message);
    }
    let below: Promise<void>[] | undefined;
    for (const { before: was, after: is } of differences) {
      if (walked.left-- === 0) bad('TOO_MANY_CHANGES', prefix, 'the changes that the message tells of', `over ${untoldLimit} more; nothing beyond is looked at`);
      if (walked.left < 0) break;
      const path = `${prefix}${(is ?? was)?.name ?? ''}`;
      const [folderWas, folderIs] = [was, is].map((entry) => (entry?.isFolder === true ? entry.id : undefined));
      if (was?.isFolder === false && is?.isFolder !== false) walked.changes.push({ path, after: undefined });
      if (is?.isFolder === false) walked.changes.push({ path, after: is.id });
      if (folderWas === undefined && folderIs === undefined) continue;
      if (folderIs !== undefined && depth >= depthLimit) bad('BAD_TREE', path, `at most ${depthLimit} folders deep`, 'another folder');
      else if (folderIs !== undefined && !folderPattern.test((is as { name: string }).name)) bad('BAD_PATH', path, 'a folder of logs, intents, journals or keys', 'another folder');
      else if (depth < depthLimit) (below ??= []).push(this.#walk(folderWas, folderIs, `${path}/`, depth + 1, walked));
    }
    if (below !== undefined) await Promise.all(below);
  }
}
