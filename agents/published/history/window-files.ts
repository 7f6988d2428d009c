// SPDX-License-Identifier: GPL-2.0-or-later
// What the commits of a window changed: as their messages tell, where the ids of their trees confirm it; else
// from the trees themselves. Both say the same of any history, and the first asks git for a tenth of the
// objects.
import type { ObjectReader } from './objects.js';
import type { ReadCommit } from './read-commit.js';
import { OtherTree, ToldTrees, type Told } from './told-trees.js';
import { TreeWalk, type BadFolder } from './tree-walk.js';
import { Versions, type PlacedChange } from './versions.js';

export interface CommitFiles {
  commit: ReadCommit;
  changes: PlacedChange[];
  bad: BadFolder[];
}

/** What the commits of a window changed. */
export class WindowFiles {
  readonly #walk: TreeWalk;
  readonly #told: ToldTrees;
  readonly #versions: Versions;
  /** of the last commit that was read */
  treeBefore: string | undefined;

  constructor(objects: ObjectReader) {
    this.#walk = new TreeWalk(objects);
    this.#told = new ToldTrees(objects);
    this.#versions = new Versions(objects);
  }

  /** @param commits get their changes */
  read(ids: readonly string[], commits: CommitFiles[], memory: Buffer): void {
    try {
      this.tell(ids, commits, memory);
    } catch (error) {
      if (!(error instanceof OtherTree)) throw error;
      this.look(commits, memory);
    }
    this.treeBefore =
      commits.findLast(({ commit }) => commit.tree !== undefined)?.commit.tree ?? this.treeBefore;
  }

  /** As the messages tell, which the trees' ids have to confirm. @throws OtherTree where they do not */
  tell(ids: readonly string[], commits: CommitFiles[], memory: Buffer): void {
    const last = commits.at(-1)?.commit.tree;
    if (
      last === undefined ||
      commits.some(({ commit }) => commit.tree === undefined || commit.message === undefined)
    )
      throw new OtherTree();
    const told = commits.reduce((sum, { commit }) => sum + (commit.message?.files.length ?? 0), 0);
    const [all] = this.#walk.changes([{ before: this.treeBefore, after: last, told }]);
    if (all === undefined || all.bad.length > 0) throw new OtherTree();
    const objects = new Map(
      all.changes.flatMap(({ path, after }) => (after === undefined ? [] : [[path, after]])),
    );
    const files = this.#versions.tell(ids, commits, objects, memory);
    this.#told.begin(this.treeBefore);
    const found = commits.map(({ commit }, i) => {
      const here = new Map((files[i] as PlacedChange[]).map((change) => [change.path, change]));
      return this.#told
        .next(commit.tree as string, files[i] as Told[])
        .map((change) => here.get(change.path) ?? change);
    });
    for (const [i, one] of commits.entries()) Object.assign(one, { changes: found[i] });
  }

  /** From the trees themselves. */
  look(commits: CommitFiles[], memory: Buffer): void {
    const withTree = commits.filter(({ commit }) => commit.tree !== undefined);
    let before = this.treeBefore;
    const walks = withTree.map(({ commit: { tree, message } }) => {
      const walk = { before, after: tree as string, told: message?.files.length ?? 0 };
      before = tree;
      return walk;
    });
    for (const [i, changes] of this.#walk.changes(walks).entries())
      Object.assign(withTree[i] as object, changes);
    this.#versions.read(commits, memory);
  }
}
