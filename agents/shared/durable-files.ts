// SPDX-License-Identifier: GPL-2.0-or-later
// Durable means: temp file, fsync, rename, fsync of the folder. Written once, used by every agent.
import { closeSync, fdatasyncSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, statSync, unlinkSync, writeSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

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

export function makeFolder(path: string, mode = 0o755): void {
  mkdirSync(path, { recursive: true, mode });
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
 * A file of lines that is only ever appended to. `append` returns once the lines are on disk (fdatasync).
 * A last line without its newline is what a kill in mid-write left: it was never acknowledged, and open() cuts it off.
 */
export class AppendOnlyLines {
  readonly #fd: number;
  readonly #path: string;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
  }

  /** Opens (or makes) the file and returns it with its complete lines, without newlines. */
  static open(path: string, mode = 0o644): { file: AppendOnlyLines; lines: string[] } {
    const before = readIfThere(path);
    if (before === undefined) {
      writeDurably(path, '', mode);
    } else {
      const complete = before.lastIndexOf(10) + 1;
      if (complete !== before.length) writeDurably(path, before.subarray(0, complete), statSync(path).mode & 0o777);
    }
    const text = before === undefined ? '' : before.subarray(0, before.lastIndexOf(10) + 1).toString('utf8');
    const lines = text === '' ? [] : text.slice(0, -1).split('\n');
    return { file: new AppendOnlyLines(path, openSync(path, 'a')), lines };
  }

  append(lines: readonly string[]): void {
    if (lines.some((line) => line.includes('\n'))) throw new Error(`a line for ${this.#path} holds a newline`);
    if (lines.length === 0) return;
    writeAll(this.#fd, Buffer.from(lines.map((line) => `${line}\n`).join('')));
    fdatasyncSync(this.#fd);
  }

  close(): void {
    closeSync(this.#fd);
  }
}
