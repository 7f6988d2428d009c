// SPDX-License-Identifier: GPL-2.0-or-later
// Takes documents from the outbox to GitHub: in order for one component's version, the subjects in turn, each
// with pauses of its own, so that what GitHub does not want to hear about one never holds up another.
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import { isRefusedCommand, type OutboxDocument } from '../shared/formats/refused-command.js';
import type { Clock } from '../shared/clock.js';
import type { Pace } from './github/pace.js';
import { GitHubTrouble } from './github/trouble.js';
import type { OutboxReader, Waiting } from './outbox-reader.js';
import { orderOf } from './subject.js';

export interface DeliveriesOptions {
  outbox: OutboxReader;
  announce: (notification: OutboxDocument) => Promise<void>;
  pace: Pick<Pace, 'silentMs'>;
  clock: Clock;
  report: Reporter;
}

const firstPauseMs = 2000;
const longestPauseMs = 600_000;
/**
 * An answer "no" that may still change (a repository that is away, a right that is missing): so often and so
 * long before it is believed.
 */
const patience = { attempts: 10, ms: 2 * 3600_000 };
/** These are about what we said, and asking again cannot help. */
const finalStatus = new Set([400, 413, 414, 422, 451]);

interface Trying {
  attempts: number;
  until: number;
  /** since when GitHub says no to the document in front */
  refusedSince: number | undefined;
  refusals: number;
}

export class Deliveries {
  readonly #options: DeliveriesOptions;
  readonly #queues = new Map<string, Waiting[]>();
  readonly #names = new Set<string>();
  readonly #trying = new Map<string, Trying>();
  /** nothing works until a person acts, or GitHub wants silence */
  #allUntil = 0;
  #tokenPauseMs = firstPauseMs;
  #lastLine = '';

  constructor(options: DeliveriesOptions) {
    this.#options = options;
  }

  /**
   * Does what can be done now. @returns milliseconds until something may be tried again, undefined when
   * nothing waits
   */
  async work(): Promise<number | undefined> {
    for (;;) {
      this.#refresh();
      if (this.#queues.size === 0) return undefined;
      const now = this.#options.clock.wall();
      const all = Math.max(this.#allUntil - now, this.#options.pace.silentMs);
      if (all > 0) return all;
      const ready = [...this.#queues.keys()].find(
        (subject) => (this.#trying.get(subject)?.until ?? 0) <= now,
      );
      if (ready === undefined)
        return Math.max(
          1,
          Math.min(
            ...[...this.#queues.keys()].map((subject) => (this.#trying.get(subject)?.until ?? 0) - now),
          ),
        );
      await this.#try(ready);
    }
  }

  get waiting(): number {
    return this.#names.size;
  }

  #refresh(): void {
    for (const waiting of this.#options.outbox.waiting(this.#names)) {
      const subject = orderOf(waiting.notification);
      const queue = this.#queues.get(subject) ?? [];
      // What a person wants again was said no to before; everything else has its place by its name.
      const at = queue.findIndex((other) => other.name > waiting.name);
      // The document in front may be in the middle of being said.
      queue.splice(at === -1 ? queue.length : at, 0, waiting);
      this.#queues.set(subject, queue);
      this.#names.add(waiting.name);
    }
  }

  #leave(subject: string, waiting: Waiting): void {
    const queue = (this.#queues.get(subject) ?? []).filter((other) => other !== waiting);
    this.#names.delete(waiting.name);
    this.#trying.delete(subject);
    // To the end of the row: the others have their turn.
    this.#queues.delete(subject);
    if (queue.length > 0) this.#queues.set(subject, queue);
  }

  async #try(subject: string): Promise<void> {
    const { announce, outbox } = this.#options;
    const waiting = this.#queues.get(subject)?.[0] as Waiting;
    if (outbox.isOver(waiting)) return this.#leave(subject, waiting);
    try {
      await announce(waiting.notification);
      outbox.done(waiting);
      this.#leave(subject, waiting);
      this.#tokenPauseMs = firstPauseMs;
      this.#say(`${this.#what(waiting)}: said`);
    } catch (error) {
      this.#failed(subject, waiting, error);
    }
  }

  #what(waiting: Waiting): string {
    if (isRefusedCommand(waiting.notification)) return `refused "${waiting.notification.line}"`;
    const { event, component, version, dist, repository } = waiting.notification;
    return [event, component, version, dist ?? 'all', ...(repository === null ? [] : [repository])].join(' ');
  }

  #failed(subject: string, waiting: Waiting, error: unknown): void {
    const now = this.#options.clock.wall();
    const what = this.#what(waiting);
    // A no to this very document may sound like that too, with words of the document in it: it must not hold up the others for ever.
    const soundsLimited = error instanceof GitHubTrouble && error.kind === 'limited';
    if (soundsLimited && !(finalStatus.has(error.status) && this.#isRefusedForLong(subject, now))) {
      this.#allUntil = now + (error.waitMs ?? 60_000);
      this.#toTheEnd(subject);
      return this.#say(`${what}: waits, ${error.message}`);
    }
    if (error instanceof GitHubTrouble && error.kind === 'token') {
      this.#allUntil = now + this.#tokenPauseMs;
      this.#tokenPauseMs = Math.min(this.#tokenPauseMs * 2, longestPauseMs);
      return this.#say(`${what}: waits for a token that works, ${error.message}`);
    }
    const known = error instanceof Refusal;
    let line = known ? error.message : `fault: ${printable(String((error as Error).stack ?? error))}`;
    const trying = this.#tryingOf(subject);
    // A full or broken disk of ours says nothing about the document.
    const ourDisk = !known && typeof (error as NodeJS.ErrnoException).code === 'string';
    const later = ourDisk || (error instanceof GitHubTrouble && error.kind === 'later');
    if (!later) {
      const final = error instanceof GitHubTrouble ? finalStatus.has(error.status) : known;
      if (final || this.#isRefusedForLong(subject, now)) {
        try {
          this.#options.outbox.setAside(waiting, line, what);
          return this.#leave(subject, waiting);
        } catch (failure) {
          line = `not set aside: ${printable(String(failure))}; ${line}`;
        }
      }
    }
    const pause = Math.max(
      Math.min(firstPauseMs * 2 ** Math.min(trying.attempts, 20), longestPauseMs),
      error instanceof GitHubTrouble ? (error.waitMs ?? 0) : 0,
    );
    trying.attempts += 1;
    trying.until = now + pause;
    this.#toTheEnd(subject);
    this.#say(`${what}: again in ${Math.ceil(pause / 1000)} s, ${line}`);
  }

  #toTheEnd(subject: string): void {
    const queue = this.#queues.get(subject) as Waiting[];
    this.#queues.delete(subject);
    this.#queues.set(subject, queue);
  }

  #tryingOf(subject: string): Trying {
    const trying = this.#trying.get(subject) ?? {
      attempts: 0,
      until: 0,
      refusedSince: undefined,
      refusals: 0,
    };
    this.#trying.set(subject, trying);
    return trying;
  }

  /** Notes one more no to the document in front. */
  #isRefusedForLong(subject: string, now: number): boolean {
    const trying = this.#tryingOf(subject);
    trying.refusedSince ??= now;
    trying.refusals += 1;
    return trying.refusals >= patience.attempts && now - trying.refusedSince >= patience.ms;
  }

  /** The same line over and over helps nobody. */
  #say(line: string): void {
    if (line !== this.#lastLine) this.#options.report(line);
    this.#lastLine = line;
  }
}
