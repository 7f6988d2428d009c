// SPDX-License-Identifier: GPL-2.0-or-later
// The new versions of files in some commits, read into memory that both threads see.
import { hash } from 'node:crypto';
import type { PublicationMessage } from '../../shared/formats/publication.js';
import type { ObjectReader } from './objects.js';
import type { ReadCommit } from './read-commit.js';
import { OtherTree } from './told-trees.js';
import type { Change } from './tree-walk.js';

/** Files of this size are read ahead; larger ones when it is their turn. */
const fileLimitBytes = 256 * 1024;
/** Before each file, for what git hashes before it. */
const roomBytes = 32;

/** Where a version's bytes are. */
export interface PlacedChange extends Change {
  at?: number;
  size?: number;
}

/** A new version of a file in one of some commits. */
interface Version {
  /** place of the commit among them */
  place: number;
  change: PlacedChange;
  /** its size, as the message tells it */
  told: number;
}

interface CommitChanges {
  commit: ReadCommit;
  changes: PlacedChange[];
}

export class Versions {
  readonly #objects: ObjectReader;
  #memory: Buffer = Buffer.alloc(0);
  #used = 0;

  constructor(objects: ObjectReader) {
    this.#objects = objects;
  }

  /**
   * Reads those that the messages tell the size of, as long as there is memory, and says in each change where
   * its bytes are. Of a file that grows, git is asked for the last version only: those before begin it, or
   * their ids would be others.
   */
  read(commits: readonly CommitChanges[], memory: Buffer): void {
    [this.#memory, this.#used] = [memory, 0];
    const byPath = new Map<string, Version[]>();
    for (const [place, { commit, changes }] of commits.entries()) {
      const sizes = new Map((commit.message?.files ?? []).map((file) => [file.path, file.size]));
      for (const change of changes) {
        const told = change.after === undefined ? undefined : sizes.get(change.path);
        if (told !== undefined) add(byPath, { place, change, told });
      }
    }
    this.#readAll([...byPath.values()].map((versions) => versions.at(-1) as Version));
    const others: Version[] = [];
    for (const versions of byPath.values()) {
      const last = versions.at(-1) as Version;
      for (const version of versions.slice(0, -1)) {
        if (this.#beginning(last.change, version.told) === version.change.after)
          Object.assign(version.change, { at: last.change.at, size: version.told });
        else others.push(version);
      }
    }
    this.#readAll(others);
  }

  /**
   * The same where nobody has looked at the commits' trees, but at the last one's: what each file that a
   * message names is then, if the message is true.
   * @param last objects of files in the last commit's tree
   * @throws OtherTree where that cannot be said
   */
  tell(
    ids: readonly string[],
    commits: readonly CommitChanges[],
    last: ReadonlyMap<string, string>,
    memory: Buffer,
  ): PlacedChange[][] {
    [this.#memory, this.#used] = [memory, 0];
    const byPath = new Map<string, Version[]>();
    const told = commits.map(({ commit }, place) =>
      (commit.message as PublicationMessage).files.map(({ path, size }) => {
        const change: PlacedChange = { path, after: undefined };
        add(byPath, { place, change, told: size });
        return change;
      }),
    );
    const there: Version[] = [];
    for (const [path, versions] of byPath) {
      const newest = versions.at(-1) as Version;
      newest.change.after = last.get(path);
      if (newest.change.after !== undefined) there.push(newest);
      // A log that was packed after its last version, or a line that repeats what stood there.
      else if (!this.#readNamed(ids[newest.place] as string, newest)) throw new OtherTree(path);
    }
    this.#readAll(there);
    for (const [path, versions] of byPath) {
      const {
        change: { at, size },
      } = versions.at(-1) as Version;
      for (const { change, told: bytes } of versions.slice(0, -1)) {
        change.after = this.#beginning({ at, size }, bytes);
        if (change.after === undefined) throw new OtherTree(path);
        Object.assign(change, { at, size: bytes });
      }
    }
    return told;
  }

  #fits(told: number): number | undefined {
    if (told > fileLimitBytes || this.#used + roomBytes + told > this.#memory.length) return undefined;
    const at = this.#used + roomBytes;
    this.#used = at + told;
    return at;
  }

  #readAll(wanted: readonly Version[]): void {
    const fitting: Version[] = [];
    let limit = 0;
    for (const version of wanted) {
      const at = this.#fits(version.told);
      if (at === undefined) continue;
      version.change.at = at;
      limit = Math.max(limit, version.told);
      fitting.push(version);
    }
    this.#objects.readAll(
      fitting.map(({ change }) => change.after as string),
      'blob',
      limit,
      () => undefined,
      (n, bytes) => {
        const { change, told } = fitting[n] as Version;
        if (bytes > told) return Buffer.allocUnsafe(bytes);
        change.size = bytes;
        return this.#memory.subarray(change.at, (change.at as number) + bytes);
      },
    );
  }

  #readNamed(commit: string, { change, told }: Version): boolean {
    const at = this.#fits(told);
    const found =
      at === undefined ? undefined : this.#objects.readNamed(`${commit}:${change.path}`, 'blob', told);
    if (at === undefined || found === undefined) return false;
    found.body.copy(this.#memory, at);
    Object.assign(change, { after: found.id, at, size: found.body.length });
    return true;
  }

  /**
   * What git calls the first bytes of a version; what it puts before them is put into the room that was left.
   */
  #beginning({ at, size }: Pick<PlacedChange, 'at' | 'size'>, bytes: number): string | undefined {
    if (at === undefined || size === undefined || bytes > size) return undefined;
    const head = `blob ${bytes}\0`;
    this.#memory.write(head, at - head.length, 'latin1');
    return hash('sha1', this.#memory.subarray(at - head.length, at + bytes));
  }
}

function add(byPath: Map<string, Version[]>, version: Version): void {
  const versions = byPath.get(version.change.path);
  if (versions === undefined) byPath.set(version.change.path, [version]);
  else versions.push(version);
}
