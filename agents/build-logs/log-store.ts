// SPDX-License-Identifier: GPL-2.0-or-later
// All logs that are not yet published to their end, and for a day those that are, so that a sender which lost
// its answer gets it.
import { closeSync, existsSync, openSync, readdirSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { makeFolder, syncFolder } from '../shared/durable-files.js';
import { Refusal } from './refusals.js';
import { logPathPattern, matches } from '../shared/formats/names.js';
import type { LogHeader } from '../shared/formats/log-stream.js';
import { demandRoom } from './disk-space.js';
import { stamp } from './line-stamper.js';
import { Log, type LogPlace } from './log.js';
import { readRecord, recordFile, recoverPosition, writeRecord, type LogRecord } from './log-record.js';

export interface LogStoreOptions extends LogPlace {
  /** <state>/logs */
  folder: string;
  openLogs: number;
  /** whether the repository holds this path */
  isPublished: (path: string) => Promise<boolean>;
}

const keepPublishedMs = 24 * 3600 * 1000;
const emptyPosition = { bytes: 0, complete: 0, lines: 0 };

export class LogStore {
  readonly #options: LogStoreOptions;
  readonly #logs = new Map<string, Log>();
  /**
   * names given in this second, which no second log may get even if the first is published and gone already
   */
  #givenSecond = '';
  readonly #given = new Set<string>();

  constructor(options: LogStoreOptions) {
    this.#options = options;
    makeFolder(options.folder);
    syncFolder(dirname(options.folder));
  }

  all(): Log[] {
    return [...this.#logs.values()];
  }

  of(vm: string): Log[] {
    return this.all().filter((log) => log.record.vm === vm);
  }

  /** @param path with or without .xz */
  get(path: string): Log | undefined {
    return this.#logs.get(path.replace(/\.xz$/, ''));
  }

  /** What a killed agent left: open logs wait for their senders, or are closed where nobody can come back. */
  recover(): void {
    for (const vm of readdirSync(this.#options.folder)) {
      for (const subdirectory of readdirSync(join(this.#options.folder, vm))) {
        const folder = join(this.#options.folder, vm, subdirectory);
        for (const entry of readdirSync(folder)) {
          const name = /^\.(log_.*)\.json$/.exec(entry)?.[1] ?? entry;
          const path = `${vm}/${subdirectory}/${name}`;
          if (matches(logPathPattern, path) && !this.#logs.has(path) && !name.endsWith('.xz'))
            this.#recoverOne(path, vm);
          else if (entry.endsWith('.tmp')) unlinkSync(join(folder, entry));
        }
      }
    }
  }

  #recoverOne(path: string, vm: string): void {
    const file = join(this.#options.folder, path);
    const hasFile = existsSync(file);
    const record: LogRecord = readRecord(file) ?? { path, vm, header: null, state: 'open' };
    if (!hasFile && record.state !== 'published') return unlinkSync(recordFile(file));
    const log = new Log(
      file,
      record,
      hasFile && record.state !== 'published' ? recoverPosition(file) : emptyPosition,
      this.#options,
    );
    this.#logs.set(path, log);
    if (record.state === 'published') this.#removeBytes(log);
    if (record.state !== 'open') return;
    if (record.header === null) log.close('the receiver was restarted');
    else log.expectSender();
  }

  /** @throws Refusal TOO_MANY_LOGS, DISK_FULL */
  async open(vm: string, subdirectory: string, header: LogHeader | null): Promise<Log> {
    if (this.of(vm).filter((log) => !log.ended).length >= this.#options.openLogs)
      throw new Refusal('TOO_MANY_LOGS', `${vm} has ${this.#options.openLogs} open logs`);
    const now = stamp(this.#options.clock());
    const folder = `${vm}/${subdirectory === '' ? now.slice(0, 10) : subdirectory}`;
    makeFolder(join(this.#options.folder, folder));
    await demandRoom(this.#options.folder);
    const path = await this.#name(
      folder,
      `log_${now.slice(0, 10)}_${now.slice(11, 19).replaceAll(':', '-')}`,
    );
    const record: LogRecord = { path, vm, header, state: 'open' };
    const log = new Log(join(this.#options.folder, path), record, emptyPosition, this.#options);
    closeSync(openSync(log.file, 'wx', 0o644));
    writeRecord(log.file, record);
    syncFolder(join(this.#options.folder, vm));
    syncFolder(this.#options.folder);
    this.#logs.set(path, log);
    return log;
  }

  /** A log of this VM's own, of one line. @throws as open, or the error of the disk */
  async write(vm: string, subdirectory: string, text: string): Promise<void> {
    const log = await this.open(vm, subdirectory, null);
    await log.say(text);
    log.close(undefined);
  }

  async #name(folder: string, name: string): Promise<string> {
    if (name !== this.#givenSecond) {
      this.#givenSecond = name;
      this.#given.clear();
    }
    for (let n = 0; n < 100_000; n++) {
      const path = `${folder}/${name}${n === 0 ? '' : `.${n}`}`;
      if (this.#given.has(path) || this.#logs.has(path) || existsSync(join(this.#options.folder, path)))
        continue;
      this.#given.add(path);
      if (!(await this.#options.isPublished(path)) && !(await this.#options.isPublished(`${path}.xz`)))
        return path;
    }
    throw new Refusal('TOO_MANY_LOGS', 'too many logs in one second');
  }

  /**
   * @returns the log that the header wants to go on with
   * @throws Refusal LOG_UNKNOWN, or LINES_LOST when the sender holds an acknowledgement that the file does
   * not bear out
   */
  async reopen(vm: string, header: LogHeader): Promise<Log> {
    const wanted = header.continues;
    const log = wanted === undefined ? undefined : this.get(wanted.path);
    const first = log?.record.header;
    if (wanted === undefined || log === undefined || log.record.vm !== vm || !first)
      throw new Refusal('LOG_UNKNOWN', 'this sender has no such log to continue');
    if (first.job !== header.job || first.component !== header.component || first.stage !== header.stage)
      throw new Refusal('LOG_UNKNOWN', 'this log belongs to another job or stage');
    await log.flush().catch(() => undefined);
    const lines = log.ended ? (log.record.lines ?? 0) : log.lines;
    if (wanted.lines > Math.max(0, lines - 1)) {
      this.#options.report(
        `ALARM ${log.record.path}: the sender knows of ${wanted.lines} synced lines, the file holds ${lines - 1}`,
      );
      throw new Refusal('LINES_LOST', 'acknowledged lines are missing from this log');
    }
    return log;
  }

  /**
   * The log is published to its end: its bytes are in the repository, so they go; the answer stays for a day.
   */
  published(log: Log, as: NonNullable<LogRecord['published']>): void {
    log.record.published = as;
    log.record.state = 'published';
    writeRecord(log.file, log.record);
    this.#removeBytes(log);
  }

  #removeBytes(log: Log): void {
    for (const file of [log.file, `${log.file}.xz`]) if (existsSync(file)) unlinkSync(file);
  }

  forgetOld(now = Date.now()): void {
    for (const [path, log] of this.#logs) {
      if (log.record.published === undefined || now - log.record.published.at < keepPublishedMs) continue;
      this.#logs.delete(path);
      if (existsSync(recordFile(log.file))) unlinkSync(recordFile(log.file));
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.all().map((log) => log.abandon()));
  }
}
