// SPDX-License-Identifier: GPL-2.0-or-later
// When we may speak: one request at a time, a second between those that write (GitHub's documentation asks
// for it), and silence when GitHub wants it. The silence is on disk: a notifier that restarts in one does not
// break it.
import type { Clock } from '../../shared/clock.js';
import { readIfThere, writeDurably } from '../../shared/durable-files.js';
import type { Exchanged, Answer } from './exchange.js';
import { longestSilenceMs, silenceOf } from '../../shared/formats/wanted-silence.js';
import { GitHubTrouble, shortestSilenceMs } from './trouble.js';

export class Pace {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #writePauseMs: number;
  #silentUntil = 0;
  #lastWrite = 0;
  /** secondary limits in a row that named no time */
  #unnamed = 0;

  constructor(path: string, clock: Clock, writePauseMs = 1000) {
    this.#path = path;
    this.#clock = clock;
    this.#writePauseMs = writePauseMs;
    const until = Date.parse(readIfThere(path)?.toString('latin1').trim() ?? '');
    // A clock that was set back must not silence us for ever.
    if (!Number.isNaN(until)) this.#silentUntil = Math.min(until, clock.wall() + longestSilenceMs);
  }

  /**
   * Returns when a request may leave. @throws GitHubTrouble RATE_LIMITED while GitHub wants silence: whoever
   * asks has other things to do
   */
  async turn(method: Exchanged['method']): Promise<void> {
    const left = this.#silentUntil - this.#clock.wall();
    if (left > 0) throw new GitHubTrouble('limited', 'RATE_LIMITED', 'GitHub asks for a pause', 0, left);
    if (method === 'GET') return;
    const pause = this.#lastWrite + this.#writePauseMs - this.#clock.wall();
    if (pause > 0)
      await new Promise<void>(
        (resolve) => void this.#clock.after(Math.min(pause, this.#writePauseMs), resolve),
      );
    this.#lastWrite = this.#clock.wall();
  }

  /** After each answer. */
  heard(answer: Answer, trouble: GitHubTrouble | undefined): void {
    if (trouble?.kind === 'limited') {
      this.silence(trouble.waitMs ?? Math.min(shortestSilenceMs * 2 ** this.#unnamed, longestSilenceMs));
      if (trouble.waitMs === undefined) this.#unnamed = Math.min(this.#unnamed + 1, 6);
      return;
    }
    if (trouble === undefined) this.#unnamed = 0;
    const wait = silenceOf(answer.headers, new Date(this.#clock.wall()));
    if (wait !== undefined && (trouble !== undefined || answer.headers.get('x-ratelimit-remaining') === '0'))
      this.silence(wait);
  }

  silence(ms: number): void {
    this.#silentUntil = Math.max(this.#silentUntil, this.#clock.wall() + ms);
    writeDurably(this.#path, `${new Date(this.#silentUntil).toISOString()}\n`, 0o600);
  }

  get silentMs(): number {
    return Math.max(0, this.#silentUntil - this.#clock.wall());
  }
}
