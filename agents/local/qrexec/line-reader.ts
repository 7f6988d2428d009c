// SPDX-License-Identifier: GPL-2.0-or-later
// A stream that comes in pieces, read line by line: what follows the last newline waits for the rest of its
// line.
import { StringDecoder } from 'node:string_decoder';

export class LineReader {
  readonly #decoder = new StringDecoder('utf8');
  readonly #keep: number;
  #rest = '';

  /**
   * @param keep of a line that does not end, only so many of its last characters are remembered; without it
   * all
   */
  constructor(keep = Infinity) {
    this.#keep = keep;
  }

  /** characters of the line that has not ended yet */
  get waiting(): number {
    return this.#rest.length;
  }

  /** The lines that `chunk` completes, without their newlines. */
  take(chunk: Buffer): string[] {
    const lines = (this.#rest + this.#decoder.write(chunk)).split('\n');
    this.#rest = (lines.pop() as string).slice(-this.#keep);
    return lines;
  }
}
