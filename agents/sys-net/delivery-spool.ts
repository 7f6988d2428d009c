// SPDX-License-Identifier: GPL-2.0-or-later
// What was accepted and not yet told to every build VM, and what was accepted before: on disk before GitHub
// hears 202.
//   pending/<delivery>.json  one accepted push or comment, with the state of each build VM
//   deliveries               "<delivery> <sha256 of the body>", a line for each accepted one, oldest first
// A delivery is in `deliveries` before its pending file goes away, so at any kill one of the two knows it.
import { readdirSync, readFileSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { AppendOnlyLines } from '../shared/append-only-lines.js';
import { makeFolder, removeDurably, writeDurably } from '../shared/durable-files.js';
import { readDocument, type Check } from '../shared/json-document.js';
import { checkWith, object, text } from '../shared/json-schema.js';
import { Refusal } from './refusals.js';
import { objectIdPattern, plainNamePattern, sha256Pattern, vmNamePattern } from '../shared/formats/names.js';
import { blockPattern, type SignedComment } from './comment-event.js';
import { isDeliveryId, type VersionPush } from './push-event.js';

const deliveryFormat = 'build-infra/webhook-delivery@1';

export interface VmState {
  vm: string;
  attempts: number;
  /** the build VM's answer, or why we gave up; null while it waits */
  outcome: string | null;
}

export interface PendingDelivery {
  format: typeof deliveryFormat;
  delivery: string;
  body: string;
  /** our clock, ISO 8601 */
  received: string;
  /** one of the two */
  push?: VersionPush;
  comment?: SignedComment;
  vms: VmState[];
}

const fields = {
  format: { const: deliveryFormat },
  delivery: { type: 'string' },
  body: text(sha256Pattern),
  received: text('^[0-9T:.-]{20,30}Z$'),
  push: object({
    repository: { type: 'string' },
    component: text(plainNamePattern),
    tag: { type: 'string' },
    after: text(objectIdPattern),
  }),
  comment: object({ repository: { type: 'string' }, block: text(blockPattern) }),
  vms: {
    type: 'array',
    items: object({
      vm: text(vmNamePattern),
      attempts: { type: 'integer' },
      outcome: { type: ['string', 'null'] },
    }),
  },
} as const;
const checkPending: Check<PendingDelivery> = checkWith({
  ...object(fields),
  required: ['format', 'delivery', 'body', 'received', 'vms'],
  minProperties: 6,
  maxProperties: 6,
});

export interface SpoolLimits {
  /** deliveries that may wait at once */
  pending: number;
  /** of these, comments: anybody can write one, and they must not keep out the pushes */
  comments: number;
  /**
   * accepted deliveries that are remembered; older ones are forgotten (a replay of one would start nothing:
   * the build VM knows the tag)
   */
  remembered: number;
}

export class DeliverySpool {
  readonly #folder: string;
  readonly #limits: SpoolLimits;
  readonly #pending = new Map<string, PendingDelivery>();
  /** delivery id and body hash, both as keys */
  readonly #known = new Set<string>();
  #lines: string[];
  #file: AppendOnlyLines;

  /** @throws Refusal on a pending file that is not one of ours: a person must look before anything is lost */
  constructor(folder: string, limits: SpoolLimits = { pending: 1000, comments: 200, remembered: 20_000 }) {
    this.#folder = folder;
    this.#limits = limits;
    makeFolder(join(folder, 'pending'), 0o700);
    ({ file: this.#file, lines: this.#lines } = AppendOnlyLines.open(join(folder, 'deliveries'), 0o600));
    for (const line of this.#lines) this.#know(line);
    for (const name of readdirSync(join(folder, 'pending')).sort()) {
      // What a kill in mid-write left; each has the name of its process, so nobody would overwrite it.
      if (/^\..*\.tmp$/.test(name)) unlinkSync(join(folder, 'pending', name));
      if (!isDeliveryId(name.replace(/\.json$/, ''))) continue;
      const pending = readDocument(readFileSync(join(folder, 'pending', name)), 64 * 1024, checkPending);
      this.#pending.set(pending.delivery, pending);
      if (!this.#known.has(pending.delivery)) this.#remember(pending);
    }
  }

  /** Whether this delivery id, or this very body under any id, was accepted before. */
  knows(delivery: string, body: string): boolean {
    return this.#known.has(delivery) || this.#known.has(body);
  }

  /** Returns once it is on disk. @throws Refusal SPOOL_FULL */
  accept(
    delivery: string,
    body: string,
    what: VersionPush | SignedComment,
    vms: readonly string[],
    now: Date,
  ): void {
    const comments = [...this.#pending.values()].filter(({ comment }) => comment !== undefined).length;
    if (this.#pending.size >= this.#limits.pending || ('block' in what && comments >= this.#limits.comments))
      throw new Refusal('SPOOL_FULL', 'too many deliveries wait already');
    const pending: PendingDelivery = {
      format: deliveryFormat,
      delivery,
      body,
      received: now.toISOString(),
      ...('block' in what ? { comment: what } : { push: what }),
      vms: vms.map((vm) => ({ vm, attempts: 0, outcome: null })),
    };
    this.#write(pending);
    this.#pending.set(delivery, pending);
    this.#remember(pending);
  }

  /** Oldest first. */
  waitingFor(vm: string): PendingDelivery[] {
    return [...this.#pending.values()]
      .filter((pending) => pending.vms.some((state) => state.vm === vm && state.outcome === null))
      .sort((a, b) => (a.received < b.received ? -1 : a.received > b.received ? 1 : 0));
  }

  /** Every VM that something waits for: also one that the configuration no longer names. */
  vms(): Set<string> {
    return new Set(
      [...this.#pending.values()].flatMap((pending) =>
        pending.vms.filter((state) => state.outcome === null).map((state) => state.vm),
      ),
    );
  }

  /** After an attempt; `outcome` ends it for this VM. Durable when it returns. */
  record(delivery: string, vm: string, outcome: string | null): void {
    const pending = this.#pending.get(delivery);
    const state = pending?.vms.find((one) => one.vm === vm);
    if (pending === undefined || state === undefined)
      throw new Error(`no delivery ${delivery} waits for ${vm}`);
    state.attempts += 1;
    state.outcome = outcome;
    if (pending.vms.some((one) => one.outcome === null)) return this.#write(pending);
    removeDurably(this.#path(delivery));
    this.#pending.delete(delivery);
  }

  get pending(): number {
    return this.#pending.size;
  }

  close(): void {
    this.#file.close();
  }

  #path(delivery: string): string {
    return join(this.#folder, 'pending', `${delivery}.json`);
  }

  #write(pending: PendingDelivery): void {
    writeDurably(this.#path(pending.delivery), JSON.stringify(pending), 0o600);
  }

  #know(line: string): void {
    for (const key of line.split(' ')) this.#known.add(key);
  }

  #remember(pending: PendingDelivery): void {
    const line = `${pending.delivery} ${pending.body}`;
    this.#file.append([line]);
    this.#lines.push(line);
    this.#know(line);
    if (this.#lines.length > 2 * this.#limits.remembered) this.#forget();
  }

  /** Rewrites the file with the younger half. What still waits stays known. */
  #forget(): void {
    const waiting = [...this.#pending.values()].map((pending) => `${pending.delivery} ${pending.body}`);
    const young = this.#lines.slice(-this.#limits.remembered);
    const kept = [...new Set([...waiting, ...young])];
    const path = join(this.#folder, 'deliveries');
    writeDurably(path, kept.map((line) => `${line}\n`).join(''), 0o600);
    this.#file.close();
    ({ file: this.#file, lines: this.#lines } = AppendOnlyLines.open(path, 0o600));
    this.#known.clear();
    for (const line of this.#lines) this.#know(line);
  }
}
