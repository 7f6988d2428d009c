// SPDX-License-Identifier: GPL-2.0-or-later
import { closeSync, fdatasyncSync, fstatSync, ftruncateSync, openSync } from 'node:fs';
import { appendDurably, readIfThere, writeDurably } from './durable-files.js';

/**
 * A file of lines that is only ever appended to. `append` returns once the lines are on disk (fdatasync);
 * lines of an append that failed are not in the file. A last line without its newline is what a kill in
 * mid-write left: it was never acknowledged, and open() cuts it off.
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
    return {
      file: new AppendOnlyLines(path, fd),
      lines: complete.length === 0 ? [] : complete.toString('utf8').slice(0, -1).split('\n'),
    };
  }

  append(lines: readonly string[]): void {
    if (lines.some((line) => line.includes('\n')))
      throw new Error(`a line for ${this.#path} holds a newline`);
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
