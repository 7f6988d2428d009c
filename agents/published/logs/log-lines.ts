// SPDX-License-Identifier: GPL-2.0-or-later
// The lines of a log as the build-logs VM writes them: its stamp, the log's own VM or the receiver's mark,
// plain text, and times that go on. Only what is new in a version is read. docs/formats.md, "Log files".
import { printable } from '../../shared/refusal.js';
import { detached } from '../one-text.js';

/** Where a log stands: the stamp of its last line, as text. */
export interface LogPosition {
  lastStamp: string;
}

export interface BadLine {
  expected: string;
  found: string;
}

/** `2026-11-21 21:37:52.123456 +0000 ` */
const stampBytes = 33;
const textLimitBytes = 64 * 1024;
/** The receiver's line where its clock was set back: it says what the stamp before was. */
const setBack = '> clock set back from ';
const stampPattern = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} \+0000 $/;

let lastSeconds = '';
let lastTime = 0;

/** ms since 1970 of a stamp, or NaN for what is none or no real time. */
export function stampTime(stamp: string): number {
  if (!stampPattern.test(stamp)) return Number.NaN;
  const seconds = stamp.slice(0, 19);
  if (seconds !== lastSeconds) {
    const time = Date.parse(`${seconds.replace(' ', 'T')}Z`);
    if (Number.isNaN(time) || new Date(time).toISOString().slice(0, 19).replace('T', ' ') !== seconds)
      return Number.NaN;
    [lastSeconds, lastTime] = [seconds, time];
  }
  return lastTime + Number(stamp.slice(20, 23));
}

export class LogLines {
  readonly #vm: string;
  readonly #notAfter: number;
  #last: string;
  #lastText: string;
  #rest = '';
  bad: BadLine | undefined;

  /** @param notAfter ms; when the commit says that it was made, with what clocks may be apart */
  constructor(vm: string, notAfter: number, from: LogPosition | undefined) {
    this.#vm = `${vm}: `;
    this.#notAfter = notAfter;
    this.#last = this.#lastText = from?.lastStamp ?? '';
  }

  add(chunk: Buffer): void {
    if (this.bad !== undefined) return;
    const lines = `${this.#rest}${chunk.toString('latin1')}`.split('\n');
    this.#rest = lines.pop() as string;
    if (this.#rest.length > 2 * textLimitBytes) this.#wrong('a line of at most 64 KiB', this.#rest);
    for (const line of lines) this.#line(line);
  }

  /** @returns where the log stands now */
  end(): LogPosition {
    if (this.#rest !== '') this.#wrong('complete lines', this.#rest);
    return { lastStamp: detached(this.#last) };
  }

  #wrong(expected: string, line: string): void {
    this.bad ??= { expected, found: printable(line.slice(0, 120)) || 'a blank line' };
  }

  #line(line: string): void {
    if (this.bad !== undefined) return;
    const stamp = line.slice(0, stampBytes);
    const isReceiver = line.startsWith('> ', stampBytes);
    if (!isReceiver && !line.startsWith(this.#vm, stampBytes))
      return this.#wrong(`a stamp, and then "> " or "${this.#vm}"`, line);
    if (/[^\x20-\x7e]/.test(line) || line.length > stampBytes + this.#vm.length + textLimitBytes)
      return this.#wrong('at most 64 KiB of plain text', line);
    if (stamp === this.#lastText) return;
    const time = stampTime(stamp);
    if (Number.isNaN(time))
      return this.#wrong('the time of a line, as YYYY-MM-DD HH:MM:SS.uuuuuu +0000', line);
    if (time > this.#notAfter)
      return this.#wrong(
        `no line of after ${new Date(this.#notAfter).toISOString()}, as it is published here`,
        line,
      );
    if (stamp < this.#last && line.slice(stampBytes) !== `${setBack}${this.#last.trimEnd()}`)
      return this.#wrong(
        `a line not before ${this.#last}, or the receiver's line that its clock was set back`,
        line,
      );
    this.#last = this.#lastText = stamp;
  }
}
