// SPDX-License-Identifier: GPL-2.0-or-later
// Progress that a person likes to watch: finished steps stay, the running step shows its elapsed time, which
// VM does what, and the tail of the running log. On a terminal the lower part is redrawn in place; elsewhere
// lines are appended, few of them.
import { printable } from '../../shared/refusal.js';

export interface Finished {
  title: string;
  seconds: number;
  result: string;
}

const tailLines = 6;
const colours = {
  dim: '\x1b[2m',
  bold: '\x1b[1m',
  green: '\x1b[32m',
  red: '\x1b[31m',
  cyan: '\x1b[36m',
  off: '\x1b[0m',
};

export class Display {
  readonly finished: Finished[] = [];
  readonly #out: NodeJS.WriteStream;
  readonly #live: boolean;
  readonly #started = Date.now();
  #title = '';
  #stepStarted = 0;
  #now = '';
  #tail: string[] = [];
  #drawn = 0;
  #timer: NodeJS.Timeout | undefined;
  #lastAppended = 0;

  constructor(out: NodeJS.WriteStream = process.stdout) {
    this.#out = out;
    this.#live = out.isTTY && process.env['TERM'] !== 'dumb' && process.env['CI'] === undefined;
  }

  paint(colour: keyof typeof colours, text: string): string {
    return this.#live && process.env['NO_COLOR'] === undefined
      ? `${colours[colour]}${text}${colours.off}`
      : text;
  }

  /** Runs one step; its return value is the one line that stays on the screen. */
  async step<T>(title: string, work: () => Promise<{ result: string; value: T }>): Promise<T> {
    this.#title = title;
    this.#stepStarted = Date.now();
    this.#now = '';
    this.#tail = [];
    if (this.#live) this.#timer = setInterval(() => this.#draw(), 200);
    else this.#out.write(`${this.#clock()} ${title} …\n`);
    try {
      const { result, value } = await work();
      this.#end(true, result);
      return value;
    } catch (error) {
      this.#end(false, 'failed');
      throw error;
    }
  }

  /** What happens now, in which VM: one line that replaces the last. */
  now(vm: string, text: string): void {
    const line = `${vm.padEnd(12)} ${printable(text)}`;
    if (line === this.#now) return;
    this.#now = line;
    if (!this.#live) this.#out.write(`${this.#clock()}   ${line}\n`);
  }

  /** A line of the running log; without a terminal at most one a second is printed. */
  log(untrustedLine: string): void {
    this.#tail.push(printable(untrustedLine));
    if (this.#tail.length > tailLines) this.#tail.shift();
    if (this.#live || Date.now() - this.#lastAppended < 1000) return;
    this.#lastAppended = Date.now();
    this.#out.write(`${this.#clock()}   | ${printable(untrustedLine).slice(0, 140)}\n`);
  }

  /** Text that stays, between steps. */
  say(text: string): void {
    this.#clear();
    this.#out.write(`${text}\n`);
  }

  #clock(at = Date.now()): string {
    const seconds = Math.floor((at - this.#started) / 1000);
    return `${String(Math.floor(seconds / 60)).padStart(2, '0')}:${String(seconds % 60).padStart(2, '0')}`;
  }

  #end(good: boolean, result: string): void {
    clearInterval(this.#timer);
    this.#clear();
    const seconds = (Date.now() - this.#stepStarted) / 1000;
    if (good) this.finished.push({ title: this.#title, seconds, result });
    const mark = good ? this.paint('green', '✓') : this.paint('red', '✗');
    this.#out.write(
      `${mark} ${this.#clock()} ${this.paint('bold', this.#title)} ${this.paint('dim', `(${seconds.toFixed(1)} s)`)}\n${result === '' ? '' : `        ${result.replaceAll('\n', '\n        ')}\n`}`,
    );
  }

  #clear(): void {
    if (this.#drawn > 0) this.#out.write(`\x1b[${this.#drawn}A\x1b[0J`);
    this.#drawn = 0;
  }

  #draw(): void {
    const width = (this.#out.columns ?? 100) - 1;
    const seconds = ((Date.now() - this.#stepStarted) / 1000).toFixed(1);
    const lines = [
      `${'⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏'[Math.floor(Date.now() / 200) % 10]} ${this.#clock()} ${this.#title} (${seconds} s)`.slice(
        0,
        width,
      ),
    ];
    if (this.#now !== '') lines.push(this.paint('cyan', `    ${this.#now}`.slice(0, width)));
    for (const line of this.#tail) lines.push(this.paint('dim', `    │ ${line}`.slice(0, width)));
    this.#clear();
    this.#out.write(`${lines.join('\n')}\n`);
    this.#drawn = lines.length;
  }
}
