// SPDX-License-Identifier: GPL-2.0-or-later
// Intents that wait for a publication, each with the caller who waits for its answer.
import type { Refusal } from '../shared/refusal.js';
import type { GrantedIntent } from './receipts.js';

export interface PublishedIntent {
  commit: string;
  grantedUntil: string;
}

export interface WaitingIntent extends GrantedIntent {
  /** the build VM that asks */
  source: string;
  /** the publication's, YYYY-MM-DD: where document and payloads go in the repository */
  day: string;
  /** the caller has its answer, or waited too long: no grant may follow any more */
  settled: boolean;
  resolve(published: PublishedIntent): void;
  reject(error: Error): void;
}

/** Raw bytes of intents, and of the commit's lines about their payloads, that go into one publication of one source: what fits into one receipt. */
const bytesPerPublication = 1_500_000;
const payloadLineBytes = 300;

export class IntentsToPublish {
  #waiting: WaitingIntent[] = [];

  add(...intents: WaitingIntent[]): void {
    this.#waiting.push(...intents);
  }

  has(source: string, sha256: string): boolean {
    return this.#waiting.some((intent) => intent.sha256 === sha256 && intent.source === source);
  }

  /** Build VMs whose intents wait. */
  sources(): Set<string> {
    this.#waiting = this.#waiting.filter((intent) => !intent.settled);
    return new Set(this.#waiting.map((intent) => intent.source));
  }

  /** @param held build VMs whose intents have to wait on */
  take(held: ReadonlySet<string>): WaitingIntent[] {
    const used = new Map<string, number>();
    const taken: WaitingIntent[] = [];
    this.#waiting = this.#waiting.filter((intent) => {
      const sum = (used.get(intent.source) ?? 0) + intent.bytes.length + intent.payloads.length * payloadLineBytes;
      if (intent.settled || sum > bytesPerPublication || held.has(intent.source)) return !intent.settled;
      used.set(intent.source, sum);
      taken.push(intent);
      return false;
    });
    return taken;
  }

  /** Nobody waits any more: the publication they waited for could not be made. */
  refuseAll(why: Refusal): void {
    for (const intent of this.#waiting.splice(0)) intent.reject(why);
  }
}
