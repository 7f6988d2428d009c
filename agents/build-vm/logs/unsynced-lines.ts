// SPDX-License-Identifier: GPL-2.0-or-later
// The lines of a log that its receiver does not have on disk yet. They are numbered from the log's beginning,
// so that after a break both sides know where to go on.

export class UnsyncedLines {
  #lines: Buffer[] = [];
  #bytes = 0;
  #synced = 0;

  /** lines that the receiver has on disk; also the number of the first line held here */
  get synced(): number {
    return this.#synced;
  }

  /** of the whole log, so far */
  get total(): number {
    return this.#synced + this.#lines.length;
  }

  /** held here */
  get bytes(): number {
    return this.#bytes;
  }

  /** @param line without its newline */
  append(line: Buffer): void {
    const framed = Buffer.concat([line, Buffer.from('\n')]);
    this.#lines.push(framed);
    this.#bytes += framed.length;
  }

  /** The receiver has `count` lines on disk: at least `synced`, at most `total`. */
  forget(count: number): void {
    for (const line of this.#lines.splice(0, count - this.#synced)) this.#bytes -= line.length;
    this.#synced = count;
  }

  /** The lines with numbers `from` up to and without `until`, as they go over the wire. */
  between(from: number, until: number): Buffer {
    return Buffer.concat(this.#lines.slice(from - this.#synced, until - this.#synced));
  }
}
