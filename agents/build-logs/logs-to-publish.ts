// SPDX-License-Identifier: GPL-2.0-or-later
// Which logs are to be published next, and how far each one is: an open log some time after its last new
// line, an ended log at once, a large one only as far as it was packed, which is done beside publications.
// Build VMs take turns: each has a share of the bytes of one publication. What is published of a log may only
// grow.
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import type { GitRepository } from './git-repository.js';
import type { Log } from './log.js';
import { beginsWithBlob, isLarge, writePackedBlob, type LogBlob } from './log-blob.js';
import type { LogStore } from './log-store.js';

export interface PublishedLog {
  path: string;
  commit: string;
  sha256: string;
}

/** A log as it goes into a publication. */
export interface LogInPublication {
  log: Log;
  blob: LogBlob;
  /** it was at its end when it was written */
  ended: boolean;
}

interface LogWaiter {
  resolve: (as: PublishedLog) => void;
  reject: (error: Error) => void;
}

interface Progress {
  publishedBytes: number;
  /** its last published form was found again after a start and is a prefix of the file */
  compared: boolean;
  /** by performance.now(), which nobody sets: when its new lines are to be published at the latest */
  due: number | undefined;
  /** at its end in a commit that is not confirmed yet */
  inBatch: boolean;
  /** it is packed, or waits for it */
  packing: boolean;
  /** as it was packed last */
  packed: LogBlob | undefined;
  waiters: LogWaiter[];
}

export interface LogsToPublishOptions {
  store: LogStore;
  repository: GitRepository;
  report: Reporter;
  /** of an open log, after a new line */
  publishMs: number;
  /** there will be something to do at this time, by performance.now() */
  wakeAt: (time: number) => void;
  /** there is something to do now */
  wake: () => void;
}

/**
 * How far each log of a VM was when it asked for something: all of that is published with the answer, or
 * before.
 */
export type Said = readonly { log: Log; bytes: number }[];

/** Until a log that could not be packed is tried again. */
const packRetryMs = 2000;
/** Of one VM's logs in one publication, beyond the first: so much is written and pushed in a moment. */
const shareBytes = 16 * 1024 * 1024;

export class LogsToPublish {
  readonly #options: LogsToPublishOptions;
  readonly #progress = new WeakMap<Log, Progress>();
  /** of each VM one log is packed at a time */
  readonly #packing = new Map<string, Promise<void>>();

  constructor(options: LogsToPublishOptions) {
    this.#options = options;
  }

  #of(log: Log): Progress {
    let progress = this.#progress.get(log);
    if (progress === undefined)
      this.#progress.set(
        log,
        (progress = {
          publishedBytes: -1,
          compared: false,
          due: undefined,
          inBatch: false,
          packing: false,
          packed: undefined,
          waiters: [],
        }),
      );
    return progress;
  }

  /** A log has new lines on disk, or has ended. */
  changed(log: Log): void {
    if (log.record.state === 'published') return;
    const progress = this.#of(log);
    if (log.ended) return this.#options.wake();
    if (log.readyBytes <= progress.publishedBytes || progress.due !== undefined) return;
    progress.due = performance.now() + this.#options.publishMs;
    this.#options.wakeAt(progress.due);
  }

  /** Answers `waiter` when the whole log is published. */
  wait(log: Log, waiter: LogWaiter): void {
    this.#of(log).waiters.push(waiter);
  }

  /** What is to be published by now, as far as it was packed; begins to pack what was not. */
  due(now: number): Log[] {
    return this.#options.store.all().filter((log) => {
      const progress = this.#of(log);
      if (log.record.state === 'published' || progress.inBatch) return false;
      if (!log.ended && (progress.due ?? Infinity) > now) return false;
      if (log.ended || log.readyBytes > progress.publishedBytes) return this.#hasNews(log);
      // What it was due for went out with something else.
      progress.due = undefined;
      return false;
    });
  }

  /** What a build VM has said so far, on disk. */
  async said(vm: string): Promise<Said> {
    const logs = this.#options.store.of(vm).filter((log) => log.record.state !== 'published');
    await Promise.all(logs.map((log) => log.flush().catch(() => undefined)));
    return logs.map((log) => ({ log, bytes: log.readyBytes }));
  }

  /**
   * Whether all of that is published, or goes into the publication of `chosen`. Begins to pack what has to
   * be.
   * @param chosen where it is left out: whether it can be, in this publication or in those after it
   */
  covers(said: Said, chosen?: ReadonlyMap<Log, unknown>): boolean {
    return said
      .map(({ log, bytes }) => {
        const progress = this.#of(log);
        if (
          log.record.state === 'published' ||
          progress.inBatch ||
          progress.publishedBytes >= bytes ||
          bytes === 0
        )
          return true;
        if (!isLarge(log)) return chosen?.has(log) ?? true;
        if ((progress.packed?.plainBytes ?? 0) >= bytes) return chosen?.has(log) ?? true;
        this.#pack(log);
        return false;
      })
      .every((covered) => covered);
  }

  /**
   * Whether something of the log can go into a publication now that was in none; of an ended log, the whole.
   */
  #hasNews(log: Log): boolean {
    if (!isLarge(log)) return true;
    const { packed, publishedBytes } = this.#of(log);
    if (
      packed !== undefined &&
      (log.ended ? packed.plainBytes === log.readyBytes : packed.plainBytes > publishedBytes)
    )
      return true;
    this.#pack(log);
    return false;
  }

  /** One build VM's large log must not keep another's intents waiting: xz works beside them. */
  #pack(log: Log): void {
    const progress = this.#of(log);
    const { vm, path } = log.record;
    if (progress.packing) return;
    progress.packing = true;
    const packed = (this.#packing.get(vm) ?? Promise.resolve())
      .then(() => writePackedBlob(log, this.#options.repository))
      .then((blob) => void (progress.packed = blob));
    this.#packing.set(
      vm,
      packed
        .catch(async (error: unknown) => {
          this.#options.report(`${path}: cannot be packed: ${printable(String(error))}`);
          await new Promise((resolve) => setTimeout(resolve, packRetryMs).unref());
        })
        .finally(() => {
          progress.packing = false;
          this.#options.wake();
        }),
    );
  }

  /** The packed form of a large log, made beside publications; undefined for any other. */
  packedBlob(log: Log): LogBlob | undefined {
    return isLarge(log) ? this.#of(log).packed : undefined;
  }

  /**
   * What goes into the next publication: logs that are due, and with an intent what its build VM has said so
   * far; of each VM its share.
   * @returns of each log whether it goes whole, at its end
   */
  choose(now: number, intentsOf: Iterable<string>): Map<Log, boolean> {
    const due = new Set(this.due(now));
    const chosen = new Map<Log, boolean>();
    for (const vm of new Set([...intentsOf, ...[...due].map((log) => log.record.vm)])) {
      // What has waited longest goes first: an ended log has no time.
      const since = (log: Log): number => (due.has(log) ? (this.#of(log).due ?? 0) : Number.MAX_VALUE);
      const theirs = this.#options.store
        .of(vm)
        .filter((log) => log.record.state !== 'published' && this.#mayGo(log))
        .sort((a, b) => since(a) - since(b));
      let bytes = 0;
      for (const [index, log] of theirs.entries()) {
        const packed = this.packedBlob(log);
        bytes += packed?.size ?? log.readyBytes;
        if (index > 0 && bytes > shareBytes) break;
        chosen.set(log, log.ended && (packed === undefined || packed.plainBytes === log.readyBytes));
      }
    }
    return chosen;
  }

  #mayGo(log: Log): boolean {
    const { inBatch, packed, publishedBytes } = this.#of(log);
    if (inBatch || (isLarge(log) && packed === undefined)) return false;
    const plainBytes = isLarge(log) ? (packed?.plainBytes ?? 0) : log.readyBytes;
    return plainBytes > publishedBytes || (log.ended && plainBytes === log.readyBytes);
  }

  /** @returns whether there is anything of the log that is not published */
  begin(log: Log): boolean {
    const progress = this.#of(log);
    progress.due = undefined;
    return log.ended || (log.readyBytes !== 0 && log.readyBytes !== progress.publishedBytes);
  }

  /**
   * After a start the published form is compared once; later our own count says it. @returns whether the log
   * may be published as `blob`
   */
  async mayFollow(log: Log, blob: LogBlob, published: string | undefined): Promise<boolean> {
    const progress = this.#of(log);
    if (published === undefined || published === blob.id || progress.compared) {
      progress.compared = true;
      return true;
    }
    const size = (await this.#options.repository.object(published, 'blob'))?.length ?? -1;
    const file = blob.path === log.record.path ? log.file : `${log.file}.xz`;
    if (size >= 0 && size <= blob.size && (await beginsWithBlob(file, published, size)))
      return (progress.compared = true);
    this.#options.report(
      `ALARM ${log.record.path}: the published form is not a beginning of the file; it is not published any further`,
    );
    for (const waiter of progress.waiters.splice(0))
      waiter.reject(new Refusal('LOG_DIFFERS', 'the log differs from what is published'));
    progress.inBatch = true;
    return false;
  }

  /** They are in a commit now, which is not confirmed yet. */
  committed(logs: readonly LogInPublication[]): void {
    for (const { log, blob, ended } of logs) {
      const progress = this.#of(log);
      progress.publishedBytes = blob.plainBytes;
      if (ended) progress.inBatch = true;
    }
  }

  /** Their commit is confirmed: the file of a whole log can go, and who waits for it gets the answer. */
  confirmed(logs: readonly LogInPublication[], commit: string): void {
    const { store, report } = this.#options;
    for (const { log, blob, ended } of logs) {
      if (!ended) continue;
      try {
        store.published(log, {
          path: blob.path,
          commit,
          sha256: blob.sha256,
          size: blob.size,
          at: Date.now(),
        });
      } catch (error) {
        report(`${log.record.path}: ${printable(String(error))}`);
      }
      for (const waiter of this.#of(log).waiters.splice(0))
        waiter.resolve({ path: blob.path, commit, sha256: blob.sha256 });
    }
    store.forgetOld();
  }
}
