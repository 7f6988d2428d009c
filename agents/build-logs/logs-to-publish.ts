// SPDX-License-Identifier: GPL-2.0-or-later
// Which logs are to be published next, and how far each one is: an open log some time after its last new line, an ended log at once, a
// very long one only after it was packed beside publications. What is published of a log may only grow.
import { printable, Refusal } from '../shared/refusal.js';
import type { Reporter } from '../shared/socket-service.js';
import type { GitRepository } from './git-repository.js';
import type { Log } from './log.js';
import { beginsWithBlob, isFarBehind, packLog, type LogBlob } from './log-blob.js';
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
  resolve(as: PublishedLog): void;
  reject(error: Error): void;
}

interface Progress {
  publishedBytes: number;
  /** its last published form was found again after a start and is a prefix of the file */
  compared: boolean;
  /** by performance.now(), which nobody sets: when its new lines are to be published at the latest */
  due: number | undefined;
  /** at its end in a commit that is not confirmed yet */
  inBatch: boolean;
  /** xz is at work on it beside publications */
  packing: boolean;
  /** how often it was, since the last publication: a log that grows faster than xz works is published all the same */
  packed: number;
  waiters: LogWaiter[];
}

export interface LogsToPublishOptions {
  store: LogStore;
  repository: GitRepository;
  report: Reporter;
  /** of an open log, after a new line */
  publishMs: number;
  /** there will be something to do at this time, by performance.now() */
  wakeAt(time: number): void;
  /** there is something to do now */
  wake(): void;
}

/** A log that grows faster than xz works is published after so many rounds beside. */
const packRounds = 3;

export class LogsToPublish {
  readonly #options: LogsToPublishOptions;
  readonly #progress = new WeakMap<Log, Progress>();

  constructor(options: LogsToPublishOptions) {
    this.#options = options;
  }

  #of(log: Log): Progress {
    let progress = this.#progress.get(log);
    if (progress === undefined) this.#progress.set(log, progress = { publishedBytes: -1, compared: false, due: undefined, inBatch: false, packing: false, packed: 0, waiters: [] });
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

  due(now: number): Log[] {
    return this.#options.store.all().filter((log) => {
      if (log.record.state === 'published') return false;
      const progress = this.#of(log);
      return (log.ended ? !progress.inBatch : (progress.due ?? Infinity) <= now) && !this.#mustBePacked(log);
    });
  }

  /** Those of `vms` that have a log which must be packed first; begins with that, on all such logs at once. */
  behind(vms: ReadonlySet<string>): Set<string> {
    return new Set([...vms].filter((vm) => this.#options.store.of(vm).filter((log) => log.record.state !== 'published' && this.#mustBePacked(log)).length > 0));
  }

  /** One build VM's large log must not keep another's intents waiting: it is packed beside them first. */
  #mustBePacked(log: Log): boolean {
    const progress = this.#of(log);
    if (progress.packing) return true;
    if (progress.inBatch || progress.packed >= packRounds || !isFarBehind(log)) return false;
    progress.packing = true;
    progress.packed++;
    packLog(log, log.readyBytes)
      .catch((error: unknown) => this.#options.report(`${log.record.path}: cannot be packed: ${printable(String(error))}`))
      .finally(() => {
        progress.packing = false;
        this.#options.wake();
      });
    return true;
  }

  /** What goes into the next publication: logs that are due, and with an intent everything that its build VM has said so far. */
  choose(now: number, intentsOf: Iterable<string>): Set<Log> {
    const chosen = new Set(this.due(now));
    const vms = new Set([...intentsOf, ...[...chosen].map((log) => log.record.vm)]);
    for (const vm of vms) {
      for (const log of this.#options.store.of(vm)) {
        const { inBatch, packing } = this.#of(log);
        if (log.record.state !== 'published' && !inBatch && !packing) chosen.add(log);
      }
    }
    return chosen;
  }

  /** @returns whether there is anything of the log that is not published */
  begin(log: Log): boolean {
    const progress = this.#of(log);
    progress.due = undefined;
    progress.packed = 0;
    return log.ended || (log.readyBytes !== 0 && log.readyBytes !== progress.publishedBytes);
  }

  /** After a start the published form is compared once; later our own count says it. @returns whether the log may be published as `blob` */
  async mayFollow(log: Log, blob: LogBlob, published: string | undefined): Promise<boolean> {
    const progress = this.#of(log);
    if (published === undefined || published === blob.id || progress.compared) {
      progress.compared = true;
      return true;
    }
    const size = (await this.#options.repository.object(published, 'blob'))?.length ?? -1;
    const file = blob.path === log.record.path ? log.file : `${log.file}.xz`;
    if (size >= 0 && size <= blob.size && await beginsWithBlob(file, published, size)) return progress.compared = true;
    this.#options.report(`ALARM ${log.record.path}: the published form is not a beginning of the file; it is not published any further`);
    for (const waiter of progress.waiters.splice(0)) waiter.reject(new Refusal('LOG_DIFFERS', 'the log differs from what is published'));
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
        store.published(log, { path: blob.path, commit, sha256: blob.sha256, size: blob.size, at: Date.now() });
      } catch (error) {
        report(`${log.record.path}: ${printable(String(error))}`);
      }
      for (const waiter of this.#of(log).waiters.splice(0)) waiter.resolve({ path: blob.path, commit, sha256: blob.sha256 });
    }
    store.forgetOld();
  }
}
