// SPDX-License-Identifier: GPL-2.0-or-later
// Which texts OpenPGP's cleartext framework (RFC 9580, section 7) carries unchanged, as gpg and its readers do it: trailing blanks, tabs, NULs and CRs are
// no part of what is signed, a missing last newline is added, and gpg cuts a line of 19,994 bytes with exit status 0. Any other text would be
// signed as one whose SHA-256 nobody announced. Only native searches, no loop over bytes: the keys VM's agent runs without a compiler.

/** Of one line, in bytes, without its newline. gpg's own limit is 19,993, dash-escapes apart. */
export const cleartextLineLimitBytes = 19_990;

export interface CleartextFault {
  /** from 1 */
  line: number;
  why: string;
}

const faulty: readonly (readonly [string, string])[] = [['\0', 'holds a NUL'], ['\r', 'holds a carriage return'], [' \n', 'ends in a blank'], ['\t\n', 'ends in a tab']];

/** Reads a text in pieces of any size and keeps none of them. */
export class CleartextCheck {
  /** newlines so far, and bytes since the last one */
  #lines = 0;
  #open = 0;
  #lastByte: number | undefined;
  #fault: CleartextFault | undefined;

  add(piece: Buffer): void {
    if (this.#fault !== undefined || piece.length === 0) return;
    const at = this.#firstFault(piece);
    this.#lines += newlines(at === undefined ? piece : piece.subarray(0, Math.max(at[0], 0)));
    if (at !== undefined) this.#fault = { line: this.#lines + 1, why: at[1] };
    const newline = piece.lastIndexOf(10);
    this.#open = newline < 0 ? this.#open + piece.length : piece.length - 1 - newline;
    this.#lastByte = piece.at(-1);
  }

  #firstFault(piece: Buffer): [number, string] | undefined {
    const found = faulty.map(([bytes, why]): [number, string] => [piece.indexOf(bytes, 0, 'latin1'), why]).filter(([at]) => at >= 0);
    if (piece[0] === 10 && (this.#lastByte === 32 || this.#lastByte === 9)) found.push([0, `ends in a ${this.#lastByte === 9 ? 'tab' : 'blank'}`]);
    for (let start = -this.#open; piece.length - start > cleartextLineLimitBytes;) {
      const end = piece.lastIndexOf(10, start + cleartextLineLimitBytes);
      if (end < Math.max(start, 0)) {
        found.push([start, `is longer than ${cleartextLineLimitBytes} bytes`]);
        break;
      }
      start = end + 1;
    }
    return found.sort(([a], [b]) => a - b)[0];
  }

  /** After the last piece: what is wrong first, or undefined. */
  end(): CleartextFault | undefined {
    if (this.#fault !== undefined || this.#lastByte === 10) return this.#fault;
    return { line: this.#lines + 1, why: this.#lastByte === undefined ? 'is missing: there is no text' : 'has no newline at its end' };
  }
}

/** undefined: a clear signature carries exactly these bytes. */
export function cleartextFault(text: Buffer): CleartextFault | undefined {
  const check = new CleartextCheck();
  check.add(text);
  return check.end();
}

function newlines(bytes: Buffer): number {
  return bytes.toString('latin1').split('\n').length - 1;
}
