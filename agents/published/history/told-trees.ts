// SPDX-License-Identifier: GPL-2.0-or-later
// The tree that a commit's message tells of: the one before, with the files that it names. Where its id is
// that of the commit's own tree, nothing else can be in there, and git need not be asked for any of its
// folders. Whatever goes wrong in here says only that the trees themselves have to be looked at.
import { hash } from 'node:crypto';
import type { ObjectReader } from './objects.js';
import { BadTree, entryEnd } from './raw-tree.js';

const treeLimitBytes = 16 * 1024 * 1024;
/** Before a folder's entries, for what git hashes before them. */
const roomBytes = 32;
const idBytes = 20;
const [folderMode, fileMode] = ['40000 ', '100644 '];
const digitFour = 0x34;

/** A tree is not the one that is told of. */
export class OtherTree extends Error {
  override readonly name = 'OtherTree';
}

/** Entries in git's order, which can be searched, and changed in place. */
class Folder {
  #memory: Buffer;
  #end: number;
  /** where each entry begins */
  readonly #starts: number[] = [];
  readonly folders = new Map<string, Folder>();
  /** changed, and its id not known */
  isChanged = false;

  constructor(tree: Buffer) {
    this.#memory = Buffer.allocUnsafeSlow(roomBytes + Math.max(256, tree.length * 2));
    tree.copy(this.#memory, roomBytes);
    this.#end = roomBytes + tree.length;
    for (let at = 0; at < tree.length; at = entryEnd(tree, at)) this.#starts.push(roomBytes + at);
  }

  #isFolder(start: number): boolean {
    return this.#memory[start] === digitFour;
  }

  #endOf(place: number): number {
    return this.#starts[place + 1] ?? this.#end;
  }

  /** As git sorts: a folder as if its name ended in a slash. */
  #keyAt(place: number): string {
    const start = this.#starts[place] as number;
    const isFolder = this.#isFolder(start);
    const name = this.#memory.toString(
      'latin1',
      start + (isFolder ? folderMode : fileMode).length,
      this.#endOf(place) - idBytes - 1,
    );
    return isFolder ? `${name}/` : name;
  }

  /** The first place whose key is not before this one, and whether it is this one's. */
  #placeOf(key: string): { place: number; isThere: boolean } {
    let [low, high] = [0, this.#starts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#keyAt(middle) < key) low = middle + 1;
      else high = middle;
    }
    return { place: low, isThere: low < this.#starts.length && this.#keyAt(low) === key };
  }

  /** @param key of a folder with a slash at its end */
  idOf(key: string): string | undefined {
    const { place, isThere } = this.#placeOf(key);
    const end = this.#endOf(place);
    return isThere ? this.#memory.toString('hex', end - idBytes, end) : undefined;
  }

  /** @throws OtherTree where the name stands for a file and a folder */
  put(key: string, id: string): void {
    this.isChanged = true;
    const { place, isThere } = this.#placeOf(key);
    if (isThere) {
      this.#memory.write(id, this.#endOf(place) - idBytes, 'hex');
      return;
    }
    const isFolder = key.endsWith('/');
    const name = isFolder ? key.slice(0, -1) : key;
    if (this.#placeOf(isFolder ? name : `${name}/`).isThere) throw new OtherTree(key);
    const entry = `${isFolder ? folderMode : fileMode}${name}\0`;
    const length = entry.length + idBytes;
    if (this.#end + length > this.#memory.length) {
      const memory = Buffer.allocUnsafeSlow(2 * this.#memory.length + length);
      this.#memory.copy(memory, 0, 0, this.#end);
      this.#memory = memory;
    }
    const start = this.#starts[place] ?? this.#end;
    this.#memory.copyWithin(start + length, start, this.#end);
    this.#memory.write(entry, start, 'latin1');
    this.#memory.write(id, start + entry.length, 'hex');
    this.#starts.splice(place, 0, start);
    this.#move(place + 1, length);
  }

  remove(key: string): boolean {
    const { place, isThere } = this.#placeOf(key);
    if (!isThere) return false;
    const [start, end] = [this.#starts[place] as number, this.#endOf(place)];
    this.#memory.copyWithin(start, end, this.#end);
    this.#starts.splice(place, 1);
    this.#move(place, start - end);
    return (this.isChanged = true);
  }

  /** The entries from this place on stand so many bytes further. */
  #move(place: number, bytes: number): void {
    this.#end += bytes;
    for (let i = place; i < this.#starts.length; i++) (this.#starts[i] as number) += bytes;
  }

  /** What git calls a folder of these entries. */
  id(): string {
    for (const [name, folder] of this.folders) {
      if (!folder.isChanged) continue;
      this.put(`${name}/`, folder.id());
      folder.isChanged = false;
    }
    const head = `tree ${this.#end - roomBytes}\0`;
    const start = roomBytes - head.length;
    this.#memory.write(head, start, 'latin1');
    return hash('sha1', this.#memory.subarray(start, this.#end));
  }
}

/** A file that a message names, and its object. */
export interface Told {
  path: string;
  after: string;
}

export class ToldTrees {
  readonly #objects: ObjectReader;
  #top: { id: string | undefined; folder: Folder } | undefined;

  constructor(objects: ObjectReader) {
    this.#objects = objects;
  }

  /** Begins with the tree of a commit, or none; what is known of it is used again. @throws OtherTree */
  begin(tree: string | undefined): void {
    try {
      if (this.#top === undefined || this.#top.id !== tree)
        this.#top = { id: tree, folder: this.#load(tree) };
    } catch (error) {
      if (error instanceof BadTree) throw new OtherTree(error.message);
      throw error;
    }
    // What one window does not touch is read again when it is.
    this.#top.folder.folders.clear();
  }

  /**
   * The next commit: which of the files it names are changed by it, and which it takes away.
   * @param files in order of paths, with their objects
   * @throws OtherTree, and then `begin` has to be called
   */
  next(tree: string, files: readonly Told[]): { path: string; after: string | undefined }[] {
    const top = this.#top as { id: string | undefined; folder: Folder };
    this.#top = undefined;
    const changes: { path: string; after: string | undefined }[] = [];
    try {
      for (const { path, after: id } of files) {
        const parts = path.split('/');
        const name = parts.pop() as string;
        const folders = this.#open(top.folder, parts);
        const folder = folders.at(-1) as Folder;
        const before = folder.idOf(name);
        if (before === id) continue;
        for (const one of folders) one.isChanged = true;
        folder.put(name, id);
        // A log that was packed goes as its .xz comes.
        const plain = name.slice(0, -'.xz'.length);
        if (before === undefined && name.endsWith('.xz') && folder.remove(plain))
          changes.push({ path: path.slice(0, -'.xz'.length), after: undefined });
        changes.push({ path, after: id });
      }
    } catch (error) {
      if (error instanceof BadTree) throw new OtherTree(error.message);
      throw error;
    }
    if (top.folder.id() !== tree) throw new OtherTree(tree);
    top.folder.isChanged = false;
    this.#top = { id: tree, folder: top.folder };
    return changes.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  }

  /** The folders on the way, from the top. */
  #open(top: Folder, names: readonly string[]): Folder[] {
    const folders = [top];
    for (const name of names) {
      const parent = folders.at(-1) as Folder;
      let folder = parent.folders.get(name);
      if (folder === undefined) parent.folders.set(name, (folder = this.#load(parent.idOf(`${name}/`))));
      folders.push(folder);
    }
    return folders;
  }

  #load(id: string | undefined): Folder {
    let tree: Buffer | number = Buffer.alloc(0);
    if (id !== undefined)
      this.#objects.readAll(
        [id],
        'tree',
        treeLimitBytes,
        (_, body) => void (tree = typeof body === 'number' ? body : Buffer.from(body)),
      );
    if (typeof tree === 'number') throw new OtherTree(id);
    return new Folder(tree);
  }
}
