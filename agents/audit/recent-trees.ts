// SPDX-License-Identifier: GPL-2.0-or-later
// Raw trees, each read once for as long as it is in use: the next commit's differ from them in an entry or two.
import type { PublishedGit } from './published-git.js';

const keptBytes = 32 * 1024 * 1024;

export class RecentTrees {
  readonly #git: PublishedGit;
  readonly #limitBytes: number;
  /** the one asked for least lately first; undefined is one that is too large */
  readonly #trees = new Map<string, Buffer | Promise<Buffer | undefined>>();
  #bytes = 0;

  /** @param limitBytes of one tree */
  constructor(git: PublishedGit, limitBytes: number) {
    this.#git = git;
    this.#limitBytes = limitBytes;
  }

  /** undefined where it is larger. @throws Unreadable */
  get(id: string): Buffer | Promise<Buffer | undefined> {
    const known = this.#trees.get(id);
    if (known !== undefined) {
      this.#trees.delete(id);
      this.#trees.set(id, known);
      return known;
    }
    const read = this.#git.readWhole(id, 'tree', this.#limitBytes).then((found) => {
      if (typeof found === 'number') return undefined;
      this.#trees.set(id, found);
      this.#bytes += found.length;
      return found;
    });
    this.#trees.set(id, read);
    if (this.#bytes > keptBytes) this.#forget();
    return read;
  }

  #forget(): void {
    for (const [id, tree] of this.#trees) {
      if (this.#bytes <= keptBytes / 2) return;
      if (tree instanceof Promise) continue;
      this.#trees.delete(id);
      this.#bytes -= tree.length;
    }
  }
}
