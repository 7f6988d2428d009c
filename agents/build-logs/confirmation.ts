// SPDX-License-Identifier: GPL-2.0-or-later
// From a commit to its confirmation: what rides on a commit is answered only once every required remote has
// shown that it holds it. Here is the one place from which receipts with grants leave; a required remote with
// another history stops them all.
import { AnyRefusal } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { WaitingIntent } from './intents-to-publish.js';
import type { KeysJournals } from './keys-journals.js';
import type { LogInPublication, LogsToPublish } from './logs-to-publish.js';
import type { Receipts } from './receipts.js';
import type { Remote, Target } from './remote.js';

/** What rides on a commit until it is confirmed. */
export interface Batch extends Target {
  intents: WaitingIntent[];
  logs: LogInPublication[];
}

export interface ConfirmationOptions {
  remotes: readonly Remote[];
  receipts: ReadonlyMap<string, Receipts>;
  logs: LogsToPublish;
  journals: KeysJournals;
}

export class Confirmation {
  readonly #options: ConfirmationOptions;
  /** oldest first */
  readonly #batches: Batch[] = [];

  constructor(options: ConfirmationOptions) {
    this.#options = options;
  }

  get #required(): Remote[] {
    return this.#options.remotes.filter((remote) => remote.required);
  }

  /** Whether a required remote is being pushed to or read back. */
  get busy(): boolean {
    return this.#required.some((remote) => remote.busy);
  }

  add(batch: Batch): void {
    this.#batches.push(batch);
    this.push({ commit: batch.commit, seq: batch.seq });
  }

  /** To every remote. */
  push(target: Target): void {
    for (const remote of this.#options.remotes) remote.aim(target);
  }

  /** Whether everything up to `seq` is confirmed and answered. */
  isComplete(seq: number): boolean {
    return (
      this.#batches.length === 0 &&
      this.diverged() === undefined &&
      this.#required.every((remote) => remote.confirmedSeq >= seq)
    );
  }

  confirmedOn(seq: number): string[] {
    return this.#options.remotes
      .filter((remote) => remote.confirmedSeq >= seq)
      .map((remote) => remote.name)
      .sort();
  }

  /**
   * Why nothing is granted at all, if a required remote holds another history. Of any other remote that is an
   * alarm and no more.
   */
  diverged(): Refusal | undefined {
    const names = this.#required.filter((remote) => remote.diverged).map((remote) => remote.name);
    return names.length === 0
      ? undefined
      : new Refusal(
          'HISTORY_DIVERGED',
          `remote ${names.join(', ')} holds another history; nothing is granted`,
        );
  }

  /** Which required remotes, and why, do not confirm `seq`; '' where all do. */
  missing(seq: number): string {
    return this.#required
      .filter((remote) => remote.confirmedSeq < seq)
      .map((remote) => `${remote.name}${remote.trouble === '' ? '' : ` (${remote.trouble})`}`)
      .join(', ');
  }

  /** Whatever is confirmed on every required remote now is published: logs are answered, receipts leave. */
  settle(): void {
    const diverged = this.diverged();
    if (diverged !== undefined)
      for (const { intents } of this.#batches)
        for (const intent of intents) if (!intent.settled) intent.reject(diverged);
    const confirmed = Math.min(...this.#required.map((remote) => remote.confirmedSeq));
    while (this.#batches[0] !== undefined && this.#batches[0].seq <= confirmed)
      this.#settleBatch(this.#batches.shift() as Batch, diverged === undefined);
  }

  #settleBatch(batch: Batch, mayGrant: boolean): void {
    const { logs, receipts, journals } = this.#options;
    logs.confirmed(batch.logs, batch.commit);
    const names = this.confirmedOn(batch.seq);
    for (const [source, each] of receipts) {
      const intents = batch.intents.filter((intent) => intent.source === source && !intent.settled);
      if (intents.length > 0 && mayGrant) {
        for (const intent of intents) intent.confirmed(batch.commit);
        each.send(batch.commit, names, intents).then(
          (grantedUntil) =>
            intents.forEach((intent) => intent.resolve({ commit: batch.commit, grantedUntil })),
          (error: unknown) =>
            intents.forEach((intent) =>
              intent.reject(
                error instanceof AnyRefusal
                  ? error
                  : new Refusal('KEYS_VM_UNREACHABLE', 'the receipt failed'),
              ),
            ),
        );
      }
      if (batch.logs.some(({ log, ended }) => ended && log.record.vm === source))
        journals.wantLastEntries(source);
    }
  }
}
