// SPDX-License-Identifier: GPL-2.0-or-later
// What a person has to look at, said three times: in this agent's report, in a file that the doctor reads
// until that person takes it away, and in public, as a log of this VM itself (docs/formats.md, "Log files"),
// so that an audit shows it to everybody.
import { readIfThere, writeDurably } from '../shared/durable-files.js';
import { printable } from '../shared/refusal.js';
import type { Reporter } from '../shared/calls/socket-service.js';

export interface AlarmsOptions {
  /** <state>/alarms.jsonl */
  file: string;
  report: Reporter;
  /** makes a published log of one line */
  publish: (text: string) => Promise<void>;
}

const keptLines = 100;
/** Of one remote: whoever has it could make thousands. */
const publishedEveryMs = 3600_000;

export class Alarms {
  readonly #options: AlarmsOptions;
  readonly #last = new Map<string, string>();
  readonly #publishedAt = new Map<string, number>();

  constructor(options: AlarmsOptions) {
    this.#options = options;
  }

  /**
   * Once for as long as the same is true of a remote; settled() ends that. Never throws: an alarm must not
   * stop what raised it.
   */
  raise(remote: string, what: string): void {
    const { file, report, publish } = this.#options;
    const text = `ALARM remote ${remote}: ${printable(what)}`;
    if (this.#last.get(remote) === text) return;
    this.#last.set(remote, text);
    report(text);
    try {
      const lines = (readIfThere(file)?.toString('utf8') ?? '').split('\n').filter((line) => line !== '');
      lines.push(JSON.stringify({ time: new Date().toISOString(), remote, what: printable(what) }));
      writeDurably(file, `${lines.slice(-keptLines).join('\n')}\n`);
    } catch (error) {
      report(`${file}: ${printable(String(error))}`);
    }
    const before = this.#publishedAt.get(remote);
    if (before !== undefined && performance.now() - before < publishedEveryMs) return;
    this.#publishedAt.set(remote, performance.now());
    publish(text).catch((error: unknown) =>
      report(`an alarm is not published: ${printable(String((error as Error).message))}`),
    );
  }

  /** The remote is as it should be: the next alarm about it is a new one, whatever it says. */
  settled(remote: string): void {
    this.#last.delete(remote);
  }
}
