// SPDX-License-Identifier: GPL-2.0-or-later
// Which texts OpenPGP's cleartext framework (RFC 9580, section 7) carries unchanged, as gpg and its readers
// do it: trailing blanks, tabs, NULs and CRs are no part of what is signed, a missing last newline is added,
// and gpg cuts a line of 19,994 bytes with exit status 0. Any other text would be signed as one whose SHA-256
// nobody announced. Only native searches, no loop over bytes: the keys VM's agent runs without a compiler.

/** Of one line, in bytes, without its newline. gpg's own limit is 19,993, dash-escapes apart. */
export const cleartextLineLimitBytes = 19_990;

export interface CleartextFault {
  /** from 1 */
  line: number;
  why: string;
}

const tooLong = `is longer than ${cleartextLineLimitBytes} bytes`;
const faulty: readonly (readonly [string, string])[] = [
  ['\0', 'holds a NUL'],
  ['\r', 'holds a carriage return'],
  [' \n', 'ends in a blank'],
  ['\t\n', 'ends in a tab'],
];

/** Reads a text in pieces of any size; keeps its unfinished line. */
export class CleartextCheck {
  #lines = 0;
  #rest: Buffer = Buffer.alloc(0);
  #fault: CleartextFault | undefined;

  add(piece: Buffer): void {
    if (this.#fault !== undefined) return;
    const text = Buffer.concat([this.#rest, piece]);
    const end = text.lastIndexOf(10) + 1;
    this.#look(text.subarray(0, end));
    this.#rest = text.subarray(end);
    if (this.#rest.length > cleartextLineLimitBytes) this.#fault ??= { line: this.#lines + 1, why: tooLong };
  }

  #look(lines: Buffer): void {
    const found = faulty
      .map(([bytes, why]): [number, string] => [lines.indexOf(bytes, 0, 'latin1'), why])
      .filter(([at]) => at >= 0);
    for (let start = 0; lines.length - start > cleartextLineLimitBytes;) {
      const end = lines.lastIndexOf(10, start + cleartextLineLimitBytes);
      if (end < start) found.push([start, tooLong]);
      start = end < start ? lines.length : end + 1;
    }
    const [at, why] = found.sort(([a], [b]) => a - b)[0] ?? [lines.length, undefined];
    this.#lines += lines.toString('latin1', 0, at).split('\n').length - 1;
    if (why !== undefined) this.#fault = { line: this.#lines + 1, why };
  }

  /**
   * After the last piece: what is wrong first, or undefined: a clear signature carries exactly these bytes.
   */
  end(): CleartextFault | undefined {
    const why =
      this.#rest.length > 0
        ? 'has no newline at its end'
        : this.#lines === 0
          ? 'is missing: there is no text'
          : undefined;
    return this.#fault ?? (why === undefined ? undefined : { line: this.#lines + 1, why });
  }
}
