// SPDX-License-Identifier: GPL-2.0-or-later
// A package repository's files, whose bytes count against the budget as they come.
import type { Budget } from '../budget.js';
import { printable } from '../../shared/refusal.js';
import { Unreadable } from '../unreadable.js';
import { hashOf, openPublished, type FilePlace, type HashedBytes } from './published-files.js';

export class BudgetedFiles {
  readonly budget: Budget;
  readonly #place: FilePlace;

  /** @throws Unreadable for another kind of URL, or a folder that is not there */
  constructor(untrustedSource: string, budget: Budget) {
    this.#place = openPublished(untrustedSource, budget.signal);
    this.budget = budget;
  }

  /** All of it, piece by piece; undefined where there is none. @throws Unreadable while it is read */
  async open(path: string): Promise<AsyncIterable<Uint8Array> | undefined> {
    const chunks = await this.#place.open(path);
    return chunks === undefined ? undefined : this.#counted(chunks);
  }

  async *#counted(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      this.budget.spend('bytes', chunk.length);
      yield chunk;
    }
  }

  /** undefined where there is none. @throws Unreadable: too large, or the server fails */
  async read(path: string, limitBytes: number): Promise<Buffer | undefined> {
    const chunks = await this.open(path);
    if (chunks === undefined) return undefined;
    const kept: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of chunks) {
      size += chunk.length;
      if (size > limitBytes) throw new Unreadable(`${printable(path)} is larger than ${limitBytes} bytes`);
      kept.push(chunk);
    }
    return Buffer.concat(kept);
  }

  /**
   * @param limitBytes more than that is not read: `size` is then larger than it, and the hashes are of a part
   */
  async hash(path: string, limitBytes: number): Promise<HashedBytes | undefined> {
    const chunks = await this.open(path);
    return chunks === undefined ? undefined : hashOf(chunks, limitBytes);
  }

  /** Every file below a folder, or undefined where this place cannot tell. */
  list(folder: string): Promise<string[] | undefined> {
    return this.#place.list(folder);
  }
}
