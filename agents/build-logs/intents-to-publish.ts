// SPDX-License-Identifier: GPL-2.0-or-later
// Intents that wait for a publication, each with the caller who waits for its answer. Build VMs take turns:
// in each publication everyone who waits has its first one, and one VM's flood goes on in the next.
import type { Refusal } from './refusals.js';
import type { Used } from './intent-shares.js';
import type { Said } from './logs-to-publish.js';
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
  /** what its build VM had said by then */
  said: Said;
  /** of the document and of everything else that is published with it, bytes */
  publishedBytes: number;
  /** the caller has its answer, or waited too long: no grant may follow any more */
  settled: boolean;
  /** it is confirmed on every required remote; its grant is still to be asked for */
  confirmed: (commit: string) => void;
  resolve: (published: PublishedIntent) => void;
  reject: (error: Error) => void;
}

/**
 * Of one source in one publication, beyond its first intent: so much is pushed, shown to a keys VM and
 * answered in a moment, and others wait no longer.
 */
const shareBytes = 512 * 1024;
const shareIntents = 200;
/** Of all sources in one publication, beyond their first ones, bytes. */
const roundBytes = 2 * 1024 * 1024;

export class IntentsToPublish {
  #waiting: WaitingIntent[] = [];

  add(...intents: WaitingIntent[]): void {
    this.#waiting.push(...intents);
  }

  /** They are the first ones again. */
  putBack(intents: readonly WaitingIntent[]): void {
    this.#waiting.unshift(...intents);
  }

  has(source: string, sha256: string): boolean {
    return this.#waiting.some((intent) => intent.sha256 === sha256 && intent.source === source);
  }

  /** Build VMs whose intents wait. */
  sources(): Set<string> {
    this.#waiting = this.#waiting.filter((intent) => !intent.settled);
    return new Set(this.#waiting.map((intent) => intent.source));
  }

  /** @param source of all where it is left out */
  used(source?: string): Used {
    const theirs = this.#waiting.filter(
      (intent) => !intent.settled && (source === undefined || intent.source === source),
    );
    return { intents: theirs.length, bytes: theirs.reduce((sum, intent) => sum + intent.publishedBytes, 0) };
  }

  /** Whether one of them could go, if not now then with what is published before it. */
  some(mayGo: (intent: WaitingIntent) => boolean): boolean {
    // All are asked: each may have something begun.
    return this.#waiting.filter((intent) => !intent.settled && mayGo(intent)).length > 0;
  }

  /** @param mayGo whether what its build VM had said by then is published with it, or was before */
  take(mayGo: (intent: WaitingIntent) => boolean = () => true): WaitingIntent[] {
    const queues = new Map<string, { intents: WaitingIntent[]; bytes: number }>();
    for (const intent of this.#waiting) {
      if (intent.settled || !mayGo(intent)) continue;
      const queue = queues.get(intent.source) ?? { intents: [], bytes: 0 };
      queue.intents.push(intent);
      queues.set(intent.source, queue);
    }
    const taken = new Set<WaitingIntent>();
    let left = roundBytes;
    for (let turn = 0; queues.size > 0; turn++) {
      for (const [source, queue] of queues) {
        const next = queue.intents[turn];
        queue.bytes += next?.publishedBytes ?? 0;
        // The first one always goes, however large: whoever waits is never passed over.
        if (
          next === undefined ||
          (turn > 0 && (turn >= shareIntents || queue.bytes > shareBytes || next.publishedBytes > left))
        ) {
          queues.delete(source);
          continue;
        }
        if (turn > 0) left -= next.publishedBytes;
        taken.add(next);
      }
    }
    this.#waiting = this.#waiting.filter((intent) => !intent.settled && !taken.has(intent));
    return [...taken];
  }

  /** Nobody waits any more: the publication they waited for could not be made. */
  refuseAll(why: Refusal): void {
    for (const intent of this.#waiting.splice(0)) intent.reject(why);
  }
}
