// SPDX-License-Identifier: GPL-2.0-or-later
// The last lines of each step's log, for what is said in public when it fails. In memory only: after a kill
// there is the link to the whole log.
import type { LineSink } from '../../shared/programs/logged-program.js';

const lines = 30;
const lineCharacters = 400;
const stepsLimit = 200;

export class LogTails {
  readonly #tails = new Map<string, string[]>();

  /** The same log, whose last lines are remembered from here on. */
  remember<T extends LineSink>(log: T, job: string, stage: string, dist: string | null): T {
    const tail: string[] = [];
    const key = JSON.stringify([job, stage, dist]);
    this.#tails.delete(key);
    this.#tails.set(key, tail);
    if (this.#tails.size > stepsLimit) this.#tails.delete(this.#tails.keys().next().value as string);
    const keep = (text: string): void => {
      tail.push(text.slice(0, lineCharacters));
      if (tail.length > lines) tail.shift();
    };
    return new Proxy(log, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        if (name === 'say') return (text: string) => (keep(text), target.say(text));
        if (name === 'tool')
          return (line: Buffer) => (
            keep(line.subarray(0, lineCharacters).toString('latin1')),
            target.tool(line)
          );
        return value.bind(target) as unknown;
      },
    });
  }

  of(job: string, stage: string, dist: string | null): string | null {
    const tail = this.#tails.get(JSON.stringify([job, stage, dist]));
    return tail === undefined || tail.length === 0 ? null : tail.join('\n');
  }
}
