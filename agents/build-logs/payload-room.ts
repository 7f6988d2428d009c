// SPDX-License-Identifier: GPL-2.0-or-later
// Payloads are in memory from their arrival to their publication. Of one build VM so many bytes at once: who comes later waits, first come, first served.
import { publishedDocumentLimitBytes } from '../shared/formats/intent.js';

export class PayloadRoom {
  #free: number;
  readonly #waiting: { bytes: number; enter: () => void }[] = [];

  /** @param bytes no less than one document may bring */
  constructor(bytes = 2 * publishedDocumentLimitBytes) {
    this.#free = bytes;
  }

  /** Runs `work` while `bytes` are held. */
  async hold<T>(bytes: number, work: () => Promise<T>): Promise<T> {
    await new Promise<void>((enter) => {
      this.#waiting.push({ bytes, enter });
      this.#admit();
    });
    try {
      return await work();
    } finally {
      this.#free += bytes;
      this.#admit();
    }
  }

  #admit(): void {
    for (let first = this.#waiting[0]; first !== undefined && first.bytes <= this.#free; first = this.#waiting[0]) {
      this.#waiting.shift();
      this.#free -= first.bytes;
      first.enter();
    }
  }
}
