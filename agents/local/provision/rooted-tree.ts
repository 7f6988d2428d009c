// SPDX-License-Identifier: GPL-2.0-or-later
// Writes below one folder and nowhere else. The tree belongs to a VM, which may have planted symbolic links
// in it, or plant one while we work: so every folder is opened from its parent without following links, and
// each name is used relative to an open folder (/proc/self/fd/N/name).
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  type Stats,
} from 'node:fs';
import { Refusal } from '../refusals.js';

export interface Attributes {
  uid: number;
  gid: number;
  /** permission bits, exact whatever the umask */
  mode: number;
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? '';
const openFolder = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const plainFolder: Attributes = { uid: 0, gid: 0, mode: 0o755 };

/** @throws Refusal BAD_PATH for a path that is not absolute and plain */
export function pathParts(path: string): string[] {
  const parts = path.split('/').slice(1);
  if (
    !path.startsWith('/') ||
    parts.length === 0 ||
    parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('\0'))
  ) {
    throw new Refusal('BAD_PATH', `${path} is not an absolute path of plain names`);
  }
  return parts;
}

export class RootedTree {
  readonly #root: number;
  readonly #setOwners: boolean;
  /** folders whose entries changed since the last sync() */
  readonly #unsynced = new Map<string, readonly string[]>();

  /** @param setOwners false: owners stay those of this process (an ordinary user outside a user namespace) */
  constructor(root: string, setOwners: boolean) {
    this.#root = openSync(root, constants.O_RDONLY | constants.O_DIRECTORY);
    this.#setOwners = setOwners;
  }

  close(): void {
    closeSync(this.#root);
  }

  /** Makes new, renamed and removed names survive a power cut; contents already do. */
  sync(): void {
    for (const parts of this.#unsynced.values()) {
      try {
        this.#walk(parts, false, `/${parts.join('/')}`, (folder) => fsyncSync(folder));
      } catch (error) {
        // Removed after something in it was.
        if (codeOf(error) !== 'ENOENT') throw error;
      }
    }
    this.#unsynced.clear();
  }

  /**
   * A regular file with that content. Replaced by rename, so a link or a shared inode in its place is left
   * behind, never written through.
   */
  putFile(path: string, content: Uint8Array, attributes: Attributes): boolean {
    return this.#inFolder(path, true, (at, name) => {
      const present = statOrNothing(at(name));
      this.#refuseFolder(present, path);
      if (
        present?.isFile() === true &&
        present.nlink === 1 &&
        this.#fits(present, attributes) &&
        sameContent(at(name), content)
      )
        return false;
      const temporary = `.${name}.new`;
      unlinkIfThere(at(temporary));
      const fd = openSync(
        at(temporary),
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
        0o600,
      );
      try {
        writeFileSync(fd, content);
        this.#setAttributes(fd, attributes);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(at(temporary), at(name));
      return true;
    });
  }

  /** A symbolic link, which is never followed here: its target means something inside the VM only. */
  putLink(path: string, target: string, owner: { uid: number; gid: number }): boolean {
    return this.#inFolder(path, true, (at, name) => {
      const present = statOrNothing(at(name));
      this.#refuseFolder(present, path);
      const owned =
        present !== undefined &&
        (!this.#setOwners || (present.uid === owner.uid && present.gid === owner.gid));
      if (present?.isSymbolicLink() === true && owned && readlinkSync(at(name)) === target) return false;
      const temporary = `.${name}.new`;
      unlinkIfThere(at(temporary));
      symlinkSync(target, at(temporary));
      if (this.#setOwners) explainOwner(() => lchownSync(at(temporary), owner.uid, owner.gid));
      renameSync(at(temporary), at(name));
      return true;
    });
  }

  putFolder(path: string, attributes: Attributes): boolean {
    return this.#inFolder(path, true, (at, name, parent) => {
      const made = this.#makeFolder(at(name), attributes);
      const fd = this.#open(parent, name, path);
      try {
        if (this.#fits(fstatSync(fd), attributes)) return made;
        this.#setAttributes(fd, attributes);
        return true;
      } finally {
        closeSync(fd);
      }
    });
  }

  /** The content of a regular file, or undefined where there is none. */
  read(path: string): Buffer | undefined {
    try {
      return this.#inFolder(path, false, (at, name) => {
        if (statOrNothing(at(name))?.isFile() !== true) return undefined;
        return readWithoutFollowing(at(name));
      });
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Removes a file, a link, or an empty folder; whatever else is there stays. */
  remove(path: string): boolean {
    try {
      return this.#inFolder(path, false, (at, name) => {
        const present = statOrNothing(at(name));
        if (present === undefined) return false;
        if (present.isDirectory()) rmdirSync(at(name));
        else unlinkSync(at(name));
        return true;
      });
    } catch (error) {
      if (['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(codeOf(error))) return false;
      throw error;
    }
  }

  #inFolder<T>(
    path: string,
    make: boolean,
    work: (at: (name: string) => string, name: string, folder: number) => T,
  ): T {
    const parents = pathParts(path);
    const name = parents.pop() as string;
    return this.#walk(parents, make, path, (folder) => {
      const done = work((entry) => `/proc/self/fd/${folder}/${entry}`, name, folder);
      if (done === true) this.#changed(parents);
      return done;
    });
  }

  #changed(folder: readonly string[]): void {
    this.#unsynced.set(folder.join('/'), folder);
  }

  /** Opens one folder from the other, down from the root; all are closed when `work` is done. */
  #walk<T>(parts: readonly string[], make: boolean, path: string, work: (folder: number) => T): T {
    const opened: number[] = [];
    try {
      let folder = this.#root;
      for (const [depth, part] of parts.entries()) {
        if (make && this.#makeFolder(`/proc/self/fd/${folder}/${part}`, plainFolder))
          this.#changed(parts.slice(0, depth));
        opened.push((folder = this.#open(folder, part, path)));
      }
      return work(folder);
    } finally {
      for (const fd of opened) closeSync(fd);
    }
  }

  #open(parent: number, name: string, path: string): number {
    try {
      return openSync(`/proc/self/fd/${parent}/${name}`, openFolder);
    } catch (error) {
      if (['ENOTDIR', 'ELOOP'].includes(codeOf(error)))
        throw new Refusal(
          'NOT_A_FOLDER',
          `on the way to ${path}, ${name} is a link or a file where a folder belongs`,
        );
      throw error;
    }
  }

  #makeFolder(path: string, attributes: Attributes): boolean {
    try {
      mkdirSync(path, 0o700);
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return false;
      throw error;
    }
    const fd = openSync(path, openFolder);
    try {
      this.#setAttributes(fd, attributes);
    } finally {
      closeSync(fd);
    }
    return true;
  }

  #refuseFolder(present: Stats | undefined, path: string): void {
    if (present?.isDirectory() === true)
      throw new Refusal('IS_A_FOLDER', `${path} is a folder where a file belongs`);
  }

  #fits(present: Stats, wanted: Attributes): boolean {
    return (
      (present.mode & 0o7777) === wanted.mode &&
      (!this.#setOwners || (present.uid === wanted.uid && present.gid === wanted.gid))
    );
  }

  /** The owner first: changing it may clear bits of the mode. */
  #setAttributes(fd: number, wanted: Attributes): void {
    if (this.#setOwners) explainOwner(() => fchownSync(fd, wanted.uid, wanted.gid));
    fchmodSync(fd, wanted.mode);
  }
}

function explainOwner(change: () => void): void {
  try {
    change();
  } catch (error) {
    if (['EPERM', 'EINVAL'].includes(codeOf(error)))
      throw new Refusal(
        'OWNER_NOT_MAPPED',
        'this process may not give files to the accounts of the VM (ids 0 to 1000)',
      );
    throw error;
  }
}

function statOrNothing(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

function readWithoutFollowing(path: string): Buffer {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    return readFileSync(fd);
  } finally {
    closeSync(fd);
  }
}

function sameContent(path: string, content: Uint8Array): boolean {
  return readWithoutFollowing(path).equals(content);
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
  }
}
