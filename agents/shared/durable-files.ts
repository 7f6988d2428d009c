// SPDX-License-Identifier: GPL-2.0-or-later
// Durable means: temp file, fsync, rename, fsync of the folder. Written once, used by every agent.
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

/** Makes a folder's entries (a new name, a removed name) survive a power cut. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function writeAll(fd: number, data: Uint8Array): void {
  for (let done = 0; done < data.length;) done += writeSync(fd, data, done, data.length - done);
}

/**
 * Replaces `path` by `data` so that a reader, or the next start after a kill, sees the old or the new
 * content, never a part. The folder must exist. The temporary name starts with a dot; left-overs of a kill
 * are harmless and overwritten.
 */
export function writeDurably(path: string, data: Uint8Array | string, mode = 0o644): void {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  const fd = openSync(temporary, 'w', mode);
  try {
    writeAll(fd, typeof data === 'string' ? Buffer.from(data) : data);
    fsyncSync(fd);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, path);
  syncFolder(dirname(path));
}

/** Moves a file within one file system and makes both folders remember it. */
export function renameDurably(from: string, to: string): void {
  renameSync(from, to);
  syncFolder(dirname(to));
  if (dirname(from) !== dirname(to)) syncFolder(dirname(from));
}

export function removeDurably(path: string): void {
  unlinkSync(path);
  syncFolder(dirname(path));
}

/** Makes a folder and those above it that are missing; each is on disk then. */
export function makeFolder(path: string, mode = 0o755): void {
  const first = mkdirSync(path, { recursive: true, mode });
  if (first === undefined) return;
  for (let made = resolve(path); ; made = dirname(made)) {
    syncFolder(dirname(made));
    if (made === resolve(first)) return;
  }
}

/** The file's bytes, or undefined where there is no such file. */
export function readIfThere(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Appends to a file that ends at `size` and waits for the disk. Where that fails, the file ends at `size`
 * again: what was written of it was never acknowledged, and whatever is appended next must not be glued to
 * it.
 * @throws the fault of the write, or of the cut
 */
export function appendDurably(fd: number, size: number, data: Uint8Array): void {
  try {
    writeAll(fd, data);
    fdatasyncSync(fd);
  } catch (error) {
    ftruncateSync(fd, size);
    fdatasyncSync(fd);
    throw error;
  }
}
