// SPDX-License-Identifier: GPL-2.0-or-later
// What was accepted, and what of it some build VM has not answered yet: on disk before GitHub hears 202. One
// file, `deliveries`, a line for each event:
//   <delivery> <key>…                            accepted; nothing of it waits
//   {"format":…,"delivery":…,"keys":[…],…}       accepted; the VMs that it names have to hear of it
//   {"told":<delivery>,"vm":…,"outcome":…}       one of them has answered, or we gave up
// All that comes in one turn of the event loop is one write and one fdatasync: a release of thousands of tags
// costs few of them.
import { join } from 'node:path';
import { AppendOnlyLines } from '../shared/append-only-lines.js';
import { makeFolder, writeDurably } from '../shared/durable-files.js';
import { isDiskFull } from '../shared/files/free-room.js';
import { readDocument, type Check } from '../shared/json-document.js';
import { checkWith, object, text } from '../shared/json-schema.js';
import { objectIdPattern, plainNamePattern, vmNamePattern } from '../shared/formats/names.js';
import { Refusal } from './refusals.js';
import { blockPattern, type SignedComment } from './comment-event.js';
import { deliveryPattern, type VersionPush } from './push-event.js';

const deliveryFormat = 'build-infra/webhook-delivery@2' as const;
const keyPattern = '^[a-z0-9-]{1,80}$';

export interface VmState {
  vm: string;
  /** the build VM's answer, or why we gave up; null while it waits */
  outcome: string | null;
}

export interface PendingDelivery {
  format: typeof deliveryFormat;
  delivery: string;
  /** under which it is known too: the hash of the body, the number of the comment */
  keys: string[];
  /** our clock, ISO 8601 */
  received: string;
  /** one of the two */
  push?: VersionPush;
  comment?: SignedComment;
  vms: VmState[];
}

interface Told {
  told: string;
  vm: string;
  outcome: string;
}

const fields = {
  format: { const: deliveryFormat },
  delivery: text(deliveryPattern),
  keys: { type: 'array', minItems: 1, maxItems: 4, items: text(keyPattern) },
  received: text('^[0-9T:.-]{20,30}Z$'),
  push: object({
    repository: { type: 'string' },
    component: text(plainNamePattern),
    tag: { type: 'string' },
    after: text(objectIdPattern),
  }),
  comment: object({
    repository: { type: 'string' },
    id: { type: 'integer' },
    author: { type: 'string' },
    block: text(blockPattern),
  }),
  vms: { type: 'array', items: object({ vm: text(vmNamePattern), outcome: { type: ['string', 'null'] } }) },
} as const;
const checkPending: Check<PendingDelivery> = checkWith({
  ...object(fields),
  required: ['format', 'delivery', 'keys', 'received', 'vms'],
  minProperties: 6,
  maxProperties: 6,
});
const checkTold: Check<Told> = checkWith(
  object({ told: text(deliveryPattern), vm: text(vmNamePattern), outcome: { type: 'string' } }),
);
const isKnownLine = /^[0-9a-f-]{36}(?: [a-z0-9-]{1,80}){1,4}$/;

export interface SpoolLimits {
  /** comments that may wait at once: anybody can write one */
  comments: number;
  /** of these, of one author: nobody takes the others' places */
  commentsOfOne: number;
  /**
   * pushes that may wait at once. Of one component there are two at most: one that is being told, and one for
   * all that came since
   */
  pushes: number;
  /**
   * accepted deliveries that are remembered; older ones are forgotten (a replay of one would start nothing:
   * the build VM knows the tag)
   */
  remembered: number;
}

const shippedLimits: SpoolLimits = { comments: 2000, commentsOfOne: 100, pushes: 5000, remembered: 20_000 };
/** The file is written again, without what is over, before it is larger. */
const rewriteBytes = 64 * 1024 * 1024;

export type Accepted = 'accepted' | 'known';

interface Coming {
  delivery: string;
  keys: readonly string[];
  what: VersionPush | SignedComment;
  vms: readonly string[];
  now: Date;
  settle: (error?: Error) => void;
}

const nameOf = (delivery: string, keys: readonly string[]): string => [delivery, ...keys].join(' ');

export class DeliverySpool {
  readonly #path: string;
  readonly #limits: SpoolLimits;
  readonly #pending = new Map<string, PendingDelivery>();
  /** what a build VM is being told just now, "DELIVERY VM": nothing that comes meanwhile is covered by it */
  readonly #calling = new Set<string>();
  /** delivery ids and keys */
  readonly #known = new Set<string>();
  /** for the next write: what came, also by each name that it will be known under, and what was answered */
  #coming: Coming[] = [];
  #answered: { told: Told; settle: (error?: Error) => void }[] = [];
  #isWriting = false;
  readonly #names = new Map<string, Promise<Accepted>>();
  /** "DELIVERY KEY…", oldest first */
  #remembered: string[] = [];
  #file: AppendOnlyLines;
  #bytes = 0;

  /** @throws Refusal on a line that is not one of ours: a person must look before anything is lost */
  constructor(folder: string, limits: Partial<SpoolLimits> = {}) {
    this.#path = join(folder, 'deliveries');
    this.#limits = { ...shippedLimits, ...limits };
    makeFolder(folder, 0o700);
    const opened = AppendOnlyLines.open(this.#path, 0o600);
    this.#file = opened.file;
    for (const line of opened.lines) this.#read(line);
    if (opened.lines.length > 0) this.#tidy();
  }

  #read(line: string): void {
    if (isKnownLine.test(line)) return this.#know(line);
    const bytes = Buffer.from(line);
    if (!line.startsWith('{"told"')) {
      const pending = readDocument(bytes, 64 * 1024, checkPending);
      this.#pending.set(pending.delivery, pending);
      return this.#know(nameOf(pending.delivery, pending.keys));
    }
    const { told, vm, outcome } = readDocument(bytes, 64 * 1024, checkTold);
    this.#settle(told, vm, outcome);
  }

  /**
   * Returns once it is on disk. `known`: this delivery id, or one of these keys under any id, was accepted
   * before.
   * @param keys other names of what was delivered: the hash of its body, the number of its comment
   * @throws Refusal SPOOL_FULL, DISK_FULL
   */
  async accept(
    delivery: string,
    keys: readonly string[],
    what: VersionPush | SignedComment,
    vms: readonly string[],
    now: Date,
  ): Promise<Accepted> {
    const names = [delivery, ...keys];
    if (names.some((name) => this.#known.has(name))) return 'known';
    // One that is not on disk yet may still fail, and then this one fails with it.
    const twin = names.map((name) => this.#names.get(name)).find((found) => found !== undefined);
    if (twin !== undefined) return await twin.then(() => 'known');
    const written = new Promise<Accepted>((resolve, reject) => {
      const settle = (error?: Error): void => {
        for (const name of names) this.#names.delete(name);
        if (error === undefined) resolve('accepted');
        else reject(error);
      };
      this.#coming.push({ delivery, keys, what, vms, now, settle });
    });
    for (const name of names) this.#names.set(name, written);
    this.#writeSoon();
    return await written;
  }

  #writeSoon(): void {
    if (this.#isWriting) return;
    this.#isWriting = true;
    setImmediate(() => this.#write());
  }

  /** Everything that came in this turn, with one write. */
  #write(): void {
    const [coming, answered] = [this.#coming, this.#answered];
    [this.#coming, this.#answered, this.#isWriting] = [[], [], false];
    const planned: { one: Coming; pending: PendingDelivery | undefined }[] = [];
    const waiting = [...this.#pending.values()];
    for (const one of coming) {
      try {
        const pending = this.#plan(one, waiting);
        if (pending !== undefined) waiting.push(pending);
        planned.push({ one, pending });
      } catch (error) {
        one.settle(error as Error);
      }
    }
    try {
      const lines = planned.map(({ one, pending }) =>
        pending === undefined ? nameOf(one.delivery, one.keys) : JSON.stringify(pending),
      );
      this.#append([...answered.map(({ told }) => JSON.stringify(told)), ...lines]);
    } catch (error) {
      const refusal = isDiskFull(error) ? new Refusal('DISK_FULL', 'no room to write it down') : error;
      for (const { settle } of [...answered, ...planned.map(({ one }) => one)]) settle(refusal as Error);
      return;
    }
    for (const { told, settle } of answered) {
      this.#settle(told.told, told.vm, told.outcome);
      settle();
    }
    for (const { one, pending } of planned) {
      if (pending !== undefined) this.#pending.set(one.delivery, pending);
      this.#know(nameOf(one.delivery, one.keys));
      one.settle();
    }
    if (this.#remembered.length > 2 * this.#limits.remembered || this.#bytes > rewriteBytes) this.#tidy();
  }

  /**
   * What has to wait of it; undefined where every VM will hear of that component anyhow: it is told no more
   * than the component's name, so one call that has not begun is good for any number of pushes.
   */
  #plan(
    { delivery, keys, what, vms, now }: Coming,
    waiting: readonly PendingDelivery[],
  ): PendingDelivery | undefined {
    const known = { format: deliveryFormat, delivery, keys: [...keys], received: now.toISOString() };
    if ('block' in what) {
      const comments = waiting.flatMap(({ comment }) => comment ?? []);
      const ofOne = comments.filter(({ author }) => author === what.author).length;
      if (ofOne >= this.#limits.commentsOfOne)
        throw new Refusal('SPOOL_FULL', 'too many comments of this author wait already');
      if (comments.length >= this.#limits.comments)
        throw new Refusal('SPOOL_FULL', 'too many comments wait already');
      return { ...known, comment: what, vms: vms.map((vm) => ({ vm, outcome: null })) };
    }
    const sameComponent = waiting.filter(({ push }) => push?.component === what.component);
    const willHear = (vm: string): boolean =>
      sameComponent.some((one) => this.#waits(one, vm) && !this.#calling.has(`${one.delivery} ${vm}`));
    const left = vms.filter((vm) => !willHear(vm));
    if (left.length === 0) return undefined;
    if (waiting.filter(({ push }) => push !== undefined).length >= this.#limits.pushes) {
      throw new Refusal('SPOOL_FULL', 'too many pushes wait already');
    }
    return { ...known, push: what, vms: left.map((vm) => ({ vm, outcome: null })) };
  }

  #waits({ vms }: PendingDelivery, vm: string): boolean {
    return vms.some((state) => state.vm === vm && state.outcome === null);
  }

  /** Oldest first. */
  waitingFor(vm: string): PendingDelivery[] {
    return [...this.#pending.values()]
      .filter((pending) => this.#waits(pending, vm))
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

  /**
   * Around a call and the note of its answer: what comes meanwhile may be newer than what the build VM looked
   * at.
   */
  async calling<T>(delivery: string, vm: string, call: () => Promise<T>): Promise<T> {
    const name = `${delivery} ${vm}`;
    this.#calling.add(name);
    try {
      return await call();
    } finally {
      this.#calling.delete(name);
    }
  }

  /** The last word about it for this VM. Durable when it returns. @throws Refusal DISK_FULL */
  record(delivery: string, vm: string, outcome: string): Promise<void> {
    const pending = this.#pending.get(delivery);
    if (pending === undefined || !this.#waits(pending, vm))
      throw new Error(`no delivery ${delivery} waits for ${vm}`);
    return new Promise((resolve, reject) => {
      const settle = (error?: Error): void => (error === undefined ? resolve() : reject(error));
      this.#answered.push({ told: { told: delivery, vm, outcome }, settle });
      this.#writeSoon();
    });
  }

  get pending(): number {
    return this.#pending.size;
  }

  close(): void {
    this.#file.close();
  }

  #append(lines: readonly string[]): void {
    this.#file.append(lines);
    for (const line of lines) this.#bytes += line.length + 1;
  }

  #settle(delivery: string, vm: string, outcome: string): void {
    const pending = this.#pending.get(delivery);
    for (const state of pending?.vms ?? []) if (state.vm === vm) state.outcome = outcome;
    if (pending?.vms.every((state) => state.outcome !== null) === true) this.#pending.delete(delivery);
  }

  #know(line: string): void {
    this.#remembered.push(line);
    for (const name of line.split(' ')) this.#known.add(name);
  }

  /** Writes the file again. Where there is no room for a second one, the first is as good, only longer. */
  #tidy(): void {
    try {
      this.#rewrite();
    } catch (error) {
      if (!isDiskFull(error)) throw error;
    }
  }

  /** What waits, and the younger half of what was accepted. */
  #rewrite(): void {
    const waiting = new Map(
      [...this.#pending.values()].map((pending) => [nameOf(pending.delivery, pending.keys), pending]),
    );
    const young = new Set(this.#remembered.slice(-this.#limits.remembered));
    const kept = this.#remembered.filter((line) => young.has(line) || waiting.has(line));
    const lines = kept.map((line) => (waiting.has(line) ? JSON.stringify(waiting.get(line)) : line));
    writeDurably(this.#path, lines.map((line) => `${line}\n`).join(''), 0o600);
    this.#file.close();
    this.#file = AppendOnlyLines.open(this.#path, 0o600).file;
    this.#bytes = lines.reduce((sum, line) => sum + line.length + 1, 0);
    this.#remembered = [];
    this.#known.clear();
    for (const line of kept) this.#know(line);
  }
}
