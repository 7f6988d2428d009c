// SPDX-License-Identifier: GPL-2.0-or-later
// A package repository's files, whose bytes count against the budget as they come.
import type { Budget } from './budget.js';
import type { HashedBytes, PublishedFiles } from './published-files.js';

export class BudgetedFiles implements PublishedFiles {
  readonly #files: PublishedFiles;
  readonly #budget: Budget;

  constructor(files: PublishedFiles, budget: Budget) {
    this.#files = files;
    this.#budget = budget;
  }

  get name(): string {
    return this.#files.name;
  }

  async read(path: string, limitBytes: number): Promise<Buffer | undefined> {
    const found = await this.#files.read(path, limitBytes);
    this.#budget.spend('bytes', found?.length ?? 0);
    return found;
  }

  async hash(path: string, limitBytes: number): Promise<HashedBytes | undefined> {
    const found = await this.#files.hash(path, limitBytes);
    this.#budget.spend('bytes', found?.size ?? 0);
    return found;
  }

  async open(path: string): Promise<AsyncIterable<Uint8Array> | undefined> {
    const chunks = await this.#files.open(path);
    return chunks === undefined ? undefined : this.#counted(chunks);
  }

  async* #counted(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      this.#budget.spend('bytes', chunk.length);
      yield chunk;
    }
  }

  list(folder: string): Promise<string[] | undefined> {
    return this.#files.list(folder);
  }
}
