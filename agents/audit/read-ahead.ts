// SPDX-License-Identifier: GPL-2.0-or-later
// What is judged next is read while what came before is judged: commits, what they changed, and the new versions of their files.
import { createHash } from 'node:crypto';
import type { PublishedCommit } from './history.js';
import type { JournalHeads } from './journal-heads.js';
import { pathKind } from './published-content.js';
import type { PublishedGit } from './published-git.js';
import { TreeWalk, type TreeChanges } from './tree-walk.js';

export interface ReadWindow {
  commits: { commit: PublishedCommit; changes: TreeChanges }[];
  /** new versions by object, in memory that is used again for the window after the next */
  bodies: ReadonlyMap<string, Buffer>;
}

/** Files of this size are read ahead; larger ones when it is their turn. */
const fileLimitBytes = 256 * 1024;
const windowBytes = 24 * 1024 * 1024;

export class ReadAhead {
  readonly #git: PublishedGit;
  readonly #heads: JournalHeads;
  readonly #trees: TreeWalk;
  readonly #memory: [Buffer, Buffer] = [Buffer.allocUnsafeSlow(windowBytes), Buffer.allocUnsafeSlow(windowBytes)];
  #treeBefore: string | undefined;

  constructor(git: PublishedGit, heads: JournalHeads) {
    this.#git = git;
    this.#heads = heads;
    this.#trees = new TreeWalk(git);
  }

  /** @param commits oldest first */
  async* windows(commits: AsyncIterator<readonly PublishedCommit[]>): AsyncGenerator<ReadWindow> {
    let next = this.#window(commits);
    for (let here = await next; here !== undefined; here = await next) {
      next = this.#window(commits);
      next.catch(() => undefined);
      yield here;
    }
  }

  async #window(commits: AsyncIterator<readonly PublishedCommit[]>): Promise<ReadWindow | undefined> {
    const { value, done } = await commits.next() as IteratorResult<readonly PublishedCommit[], undefined>;
    if (done === true) return undefined;
    this.#memory.reverse();
    const walked = await Promise.all(value.map(async (commit) => {
      const before = this.#treeBefore;
      if (commit.tree === undefined) return { commit, changes: { changes: [], bad: [] } };
      this.#treeBefore = commit.tree;
      return { commit, changes: await this.#trees.changes(before, commit.tree, commit.message?.files.length ?? 0) };
    }));
    return { commits: walked, bodies: await this.#bodies(walked) };
  }

  /**
   * Those that the messages tell the size of, as long as there is memory. Of a file that grows, git is asked for the last version only: those
   * before begin it, or their ids would be others.
   */
  async #bodies(walked: ReadWindow['commits']): Promise<Map<string, Buffer>> {
    const bodies = new Map<string, Buffer>();
    const [memory] = this.#memory;
    let used = 0;
    const read = async ({ id, size }: Version): Promise<Buffer | undefined> => {
      if (size > fileLimitBytes || used + size > memory.length) return undefined;
      const place = memory.subarray(used, used += size);
      const body = await this.#git.readWhole(id, 'blob', size, (bytes) => place.subarray(0, bytes));
      if (typeof body === 'number') return undefined;
      bodies.set(id, body);
      return body;
    };
    await Promise.all([...versionsByPath(walked)].map(async ([path, versions]) => {
      const last = versions.at(-1) as Version;
      const whole = await read(last);
      await Promise.all(versions.slice(0, -1).map((version) => {
        const part = whole?.subarray(0, version.size);
        if (part?.length !== version.size || blobId(part) !== version.id) return read(version);
        return bodies.set(version.id, part);
      }));
      if (!path.startsWith('journal/') || pathKind(path) !== 'journal-heads') return;
      await Promise.all(versions.map(({ id }) => {
        const body = bodies.get(id);
        return body === undefined ? undefined : this.#heads.lookAhead(path, body);
      }));
    }));
    return bodies;
  }
}

interface Version {
  id: string;
  /** as the message tells it */
  size: number;
}

function versionsByPath(walked: ReadWindow['commits']): Map<string, Version[]> {
  const found = new Map<string, Version[]>();
  for (const { commit, changes } of walked) {
    const sizes = new Map((commit.message?.files ?? []).map((file) => [file.path, file.size]));
    for (const { path, after: id } of changes.changes) {
      const size = sizes.get(path);
      if (id === undefined || size === undefined) continue;
      const versions = found.get(path);
      if (versions === undefined) found.set(path, [{ id, size }]);
      else versions.push({ id, size });
    }
  }
  return found;
}

/** What git calls a file of these bytes. */
function blobId(body: Buffer): string {
  return createHash('sha1').update(`blob ${body.length}\0`).update(body).digest('hex');
}
