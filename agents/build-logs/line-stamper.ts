// SPDX-License-Identifier: GPL-2.0-or-later
// design "Log file": every line gets this VM's time and the sender's name; text stays 0x20-0x7e. The bytes
// come from whatever runs in the build VM, so the work per byte is constant, no state grows, and no byte can
// look like a line of ours.
import { clockSetBackMark } from '../shared/formats/log-stream.js';
import type { StampTime } from './stamp-time.js';

/** Text of one line, bytes; what follows goes on in a new line after a mark. */
export const lineLimitBytes = 64 * 1024;
export const splitMark = 'line split';
/** After a sender's line that never got its end: the sender sends it again, whole. */
export const brokenMark = 'line broken off';
/** `2026-11-21 21:37:52.123456 +0000 ` */
export const stampLength = 33;

export function stamp(microseconds: number): string {
  const iso = new Date(Math.floor(microseconds / 1000)).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 23)}${String(Math.floor(microseconds) % 1000).padStart(3, '0')} +0000 `;
}

/** The time of a line of ours, microseconds; 0 where it has none. */
export function timeOfLine(line: string): number {
  const [, day, time, micro] = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)\.(\d{6}) \+0000 /.exec(line) ?? [];
  const seconds = Date.parse(`${day}T${time}Z`);
  return Number.isNaN(seconds) ? 0 : seconds * 1000 + Number(micro);
}

/**
 * The receiver's own line: `>` where a sender's line has its VM name and a colon, which can never begin with
 * `>`.
 */
export function receiverLine(microseconds: number, text: string): string {
  return `${stamp(microseconds)}> ${text.replace(/[^\x20-\x7e]/g, '.')}\n`;
}

const newline = 10;
// Per byte: what is written for it; 0 ends a line, 1 begins an escape sequence.
const plain = new Uint8Array(256).fill(0x2e);
for (let byte = 0x20; byte < 0x7f; byte++) plain[byte] = byte;
plain[9] = 0x20;
plain[newline] = 0;
plain[0x1b] = 1;

enum Escape {
  none,
  begun,
  csi,
  string,
  stringEnd,
}
/** A string sequence (OSC and its like) that does not end: after that many bytes the rest is text again. */
const escapeLimitBytes = 4096;

/** Output that one step needs at most beyond a line's bytes: a newline, two mark lines and a stamp. */
const headroom = 256;
export const smallestOutput = 4096;

export class LineStamper {
  readonly #vm: string;
  readonly #clock: StampTime;
  #atLineStart = true;
  #textBytes = 0;
  #escape = Escape.none;
  #escapeBytes = 0;
  /** of the last line, microseconds: stamps go back only at a line that says so */
  #last: number;
  /** lines of the sender that are complete */
  lines = 0;
  /** where in the output of the last stamp() its last complete line ended, or -1 */
  completeAt = -1;
  /** how much of the input the last stamp() used */
  used = 0;

  /** @param last the time of the last line that is there already */
  constructor(vm: string, clock: StampTime, lines = 0, last = 0) {
    this.#vm = vm;
    this.#clock = clock;
    this.lines = lines;
    this.#last = last;
  }

  get lastStamp(): number {
    return this.#last;
  }

  /** A line of the receiver; a line that the sender left unfinished is ended before it and does not count. */
  mark(text: string): string {
    const now = this.#clock();
    const lines = `${this.midLine ? `\n${this.#receiver(now, brokenMark)}` : ''}${this.#receiver(now, text)}`;
    this.startLine();
    return lines;
  }

  /**
   * What to write where the clock was set back after the last line; a line that is not at its end goes on
   * after it.
   */
  markSetBack(): string | undefined {
    const now = this.#clock();
    if (now >= this.#last) return undefined;
    const lines = this.midLine ? `\n${this.#receiver(now, splitMark)}` : this.#setBack(now);
    this.#atLineStart = true;
    this.#textBytes = 0;
    return lines;
  }

  #setBack(now: number): string {
    const line =
      now < this.#last ? receiverLine(now, `${clockSetBackMark}${stamp(this.#last).trimEnd()}`) : '';
    this.#last = now;
    return line;
  }

  #receiver(now: number, text: string): string {
    return `${this.#setBack(now)}${receiverLine(now, text)}`;
  }

  get midLine(): boolean {
    return !this.#atLineStart;
  }

  /** Forgets a line that was begun, after the caller has ended or cut it in the file. */
  startLine(): void {
    this.#atLineStart = true;
    this.#textBytes = 0;
    this.#escape = Escape.none;
  }

  /**
   * Stamps and sanitises `input` from `from` into `output` at `at`, until either ends. Every line of one call
   * carries one time.
   * @returns the end of what was written; `used` and `completeAt` say the rest
   */
  stamp(input: Uint8Array, from: number, output: Buffer, at: number): number {
    const now = this.#clock();
    const prefix = Buffer.from(`${stamp(now)}${this.#vm}: `, 'latin1');
    const prefixLength = prefix.length;
    const stop = output.length - headroom;
    const end = input.length;
    let i = from;
    let o = at;
    let lines = this.lines;
    let completeAt = -1;
    let atLineStart = this.#atLineStart;
    let splitAt = o + lineLimitBytes - this.#textBytes;
    while (i < end && o < stop) {
      const byte = input[i] as number;
      if (this.#escape !== Escape.none) {
        if (this.#swallows(byte)) {
          i++;
          continue;
        }
      }
      const out = plain[byte] as number;
      if (out === 1) {
        this.#escape = Escape.begun;
        this.#escapeBytes = 0;
        i++;
        continue;
      }
      if (atLineStart) {
        if (now < this.#last) completeAt = o += output.write(this.#setBack(now), o, 'latin1');
        this.#last = now;
        output.set(prefix, o);
        o += prefixLength;
        splitAt = o + lineLimitBytes;
        atLineStart = false;
      }
      if (out === 0) {
        output[o++] = newline;
        completeAt = o;
        lines++;
        i++;
        atLineStart = true;
        continue;
      }
      if (o >= splitAt) {
        output[o++] = newline;
        o += output.write(this.#receiver(now, splitMark), o, 'latin1');
        completeAt = o;
        atLineStart = true;
        continue;
      }
      output[o++] = out;
      i++;
      // The common case, a run of plain text, in a loop of its own.
      const runStop = Math.min(stop, splitAt, o + end - i);
      while (o < runStop) {
        const next = plain[input[i] as number] as number;
        if (next < 2) break;
        output[o++] = next;
        i++;
      }
    }
    this.lines = lines;
    this.completeAt = completeAt;
    this.used = i - from;
    this.#atLineStart = atLineStart;
    this.#textBytes = atLineStart ? 0 : lineLimitBytes - (splitAt - o);
    return o;
  }

  /**
   * ECMA-48: whether the byte belongs to the escape sequence that is open. A newline always ends the sequence
   * and the line.
   */
  #swallows(byte: number): boolean {
    if (byte === newline || ++this.#escapeBytes > escapeLimitBytes) {
      this.#escape = Escape.none;
      return false;
    }
    switch (this.#escape) {
      case Escape.begun:
        if (byte === 0x5b) this.#escape = Escape.csi;
        else if (byte === 0x5d || byte === 0x50 || byte === 0x58 || byte === 0x5e || byte === 0x5f)
          this.#escape = Escape.string;
        else if (byte >= 0x30 && byte <= 0x7e) this.#escape = Escape.none;
        else if (byte < 0x20 || byte > 0x2f) return this.#abandon();
        return true;
      case Escape.csi:
        if (byte >= 0x40 && byte <= 0x7e) this.#escape = Escape.none;
        else if (byte < 0x20 || byte > 0x3f) return this.#abandon();
        return true;
      case Escape.string:
        if (byte === 0x07) this.#escape = Escape.none;
        else if (byte === 0x1b) this.#escape = Escape.stringEnd;
        return true;
      case Escape.stringEnd:
        if (byte === 0x5c) {
          this.#escape = Escape.none;
          return true;
        }
        this.#escape = Escape.begun;
        return this.#swallows(byte);
      case Escape.none:
        return false;
    }
  }

  #abandon(): boolean {
    this.#escape = Escape.none;
    return false;
  }
}
