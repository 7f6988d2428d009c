// SPDX-License-Identifier: GPL-2.0-or-later
// One call of BuildLog: the log's lines go out on it from where the receiver says, and its answers come back.
// After a break the sender makes the next one. docs/formats.md, "Log stream".
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { cleanEnvironment } from '../../shared/calls/qrexec-call.js';
import { printable } from '../../shared/refusal.js';
import {
  logHeaderPrefix,
  readLogAnswer,
  type LogAnswer,
  type LogHeader,
} from '../../shared/formats/log-stream.js';
import type { UnsyncedLines } from './unsynced-lines.js';

export interface LogCallOptions {
  /** the qrexec client program */
  client: string;
  header: LogHeader;
  answered: (answer: LogAnswer) => void;
  /** it takes lines again */
  roomy: () => void;
  /** it ended, not by us; nothing comes after this */
  broke: (why: string) => void;
}

const answerLimitBytes = 4096;

export class LogCall {
  readonly #options: LogCallOptions;
  readonly #client: ChildProcessByStdio<Writable, Readable, null>;
  /** the number of the next line to send; undefined until the log is opened */
  #next: number | undefined;
  #congested = false;
  #endSent = false;
  #over = false;

  constructor(options: LogCallOptions) {
    this.#options = options;
    const client = (this.#client = spawn(options.client, ['@default', 'qubesbuilder.BuildLog'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: cleanEnvironment,
    }));
    client.stdin.on('error', () => undefined);
    client.stdin.on('drain', () => {
      this.#congested = false;
      if (!this.#over) options.roomy();
    });
    client.stdout.on('data', this.#answers());
    client.on('error', () => this.#broke('qrexec-client-vm cannot be started'));
    client.on('close', (status) => this.#broke(`the stream broke (${status ?? 'killed'})`));
    client.stdin.write(`${logHeaderPrefix}${JSON.stringify(options.header)}\n`);
  }

  /** The end line went out on this call. */
  get endSent(): boolean {
    return this.#endSent;
  }

  /** Lines that can be on disk there, counted from the log's beginning; undefined until it is opened. */
  get sent(): number | undefined {
    return this.#next;
  }

  /** The log is opened, and the receiver wants the line of this number next. */
  begin(next: number): void {
    this.#next = next;
  }

  /** Sends as much as goes out now. @param ended the last of `lines` is the end line */
  send(lines: UnsyncedLines, ended: boolean): void {
    if (this.#over || this.#next === undefined) return;
    const { total, synced } = lines;
    // After a break the end line waits until all before it are on disk: a log that was closed meanwhile
    // cannot pass for a whole one.
    const until =
      ended && this.#options.header.continues !== undefined && synced < total - 1 ? total - 1 : total;
    while (!this.#congested && this.#next < until) {
      // Many short lines go out in one write.
      const end = Math.min(until, this.#next + 256);
      this.#congested = !this.#client.stdin.write(lines.between(this.#next, end));
      this.#next = end;
    }
    if (ended && this.#next === total && !this.#endSent) {
      this.#endSent = true;
      this.#client.stdin.end();
    }
  }

  /** Ends it as broken: what came back cannot be. */
  drop(why: string): void {
    this.#client.kill('SIGKILL');
    this.#broke(why);
  }

  /** Nothing comes of it any more. */
  close(): void {
    this.#over = true;
    this.#client.stdin.end();
    this.#client.kill('SIGTERM');
  }

  #broke(why: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#options.broke(why);
  }

  #answers(): (chunk: Buffer) => void {
    let partial = '';
    return (chunk) => {
      partial += chunk.toString('latin1');
      for (let end = partial.indexOf('\n'); end >= 0 && !this.#over; end = partial.indexOf('\n')) {
        const untrustedLine = partial.slice(0, end);
        partial = partial.slice(end + 1);
        const answer = readLogAnswer(untrustedLine);
        if (answer === undefined) return this.drop(`not an answer: ${printable(untrustedLine)}`);
        this.#options.answered(answer);
      }
      if (partial.length > answerLimitBytes) this.#client.kill('SIGKILL');
    };
  }
}
