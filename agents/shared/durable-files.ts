// SPDX-License-Identifier: GPL-2.0-or-later
// Durable means: temp file, fsync, rename, fsync of the folder. Written once, used by every agent.
import { closeSync, fdatasyncSync, fstatSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readFileSync, renameSync, unlinkSync, writeSync } from 'node:fs';
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
 * Replaces `path` by `data` so that a reader, or the next start after a kill, sees the old or the new content, never a part.
 * The folder must exist. The temporary name starts with a dot; left-overs of a kill are harmless and overwritten.
 */
export function writeDurably(path: string, data: Uint8Array | string, mode = 0o644): void {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  const fd = openSync(temporary, 'w', mode);
  try {
    writeAll(fd, typeof data === 'string' ? Buffer.from(data) : data);
    fsyncSync(fd);
  } catch (error) {
    closeSync(fd);
    removeIfThere(temporary);
    throw error;
  }
  closeSync(fd);
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

function removeIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It was never made.
  }
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
 * Appends to a file that ends at `size` and waits for the disk. Where that fails, the file ends at `size` again: what was written of it
 * was never acknowledged, and whatever is appended next must not be glued to it.
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

/**
 * A file of lines that is only ever appended to. `append` returns once the lines are on disk (fdatasync); lines of an append that
 * failed are not in the file. A last line without its newline is what a kill in mid-write left: it was never acknowledged, and open()
 * cuts it off.
 */
export class AppendOnlyLines {
  readonly #fd: number;
  readonly #path: string;
  /** up to the last line that was acknowledged */
  #size: number;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
    this.#size = fstatSync(fd).size;
  }

  /** Opens (or makes) the file and returns it with its complete lines, without newlines. */
  static open(path: string, mode = 0o644): { file: AppendOnlyLines; lines: string[] } {
    const before = readIfThere(path);
    if (before === undefined) writeDurably(path, '', mode);
    const fd = openSync(path, 'a');
    const complete = before?.subarray(0, before.lastIndexOf(10) + 1) ?? Buffer.alloc(0);
    if (complete.length !== (before?.length ?? 0)) {
      ftruncateSync(fd, complete.length);
      fdatasyncSync(fd);
    }
    return { file: new AppendOnlyLines(path, fd), lines: complete.length === 0 ? [] : complete.toString('utf8').slice(0, -1).split('\n') };
  }

  append(lines: readonly string[]): void {
    if (lines.some((line) => line.includes('\n'))) throw new Error(`a line for ${this.#path} holds a newline`);
    if (lines.length === 0) return;
    // The disk may not even have taken the cut after an append that failed.
    if (fstatSync(this.#fd).size !== this.#size) ftruncateSync(this.#fd, this.#size);
    const data = Buffer.from(lines.map((line) => `${line}\n`).join(''));
    appendDurably(this.#fd, this.#size, data);
    this.#size += data.length;
  }

  close(): void {
    closeSync(this.#fd);
  }
}
