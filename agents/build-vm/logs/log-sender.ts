// SPDX-License-Identifier: GPL-2.0-or-later
// One stage's log on its way to the build-logs VM while it happens. A line is kept here until the receiver
// has it on disk; when too many are not, the producer has to wait, and so does the build. docs/formats.md,
// "Log stream".
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { Reporter } from '../../shared/calls/socket-service.js';
import { logEndLine, type LogAnswer, type LogHeader } from '../../shared/formats/log-stream.js';
import { LogCall } from './log-call.js';
import { piecesOf } from '../../shared/programs/tool-line.js';
import { UnsyncedLines } from './unsynced-lines.js';
import { systemClock, type Clock } from '../../shared/clock.js';

export interface LogSenderOptions {
  client: string;
  header: Omit<LogHeader, 'continues'>;
  report: Reporter;
  /** how long the first `opened` may take: the VM may have to start */
  openMs?: number;
  /** how long a break, or the wait for `published`, may last */
  breakMs?: number;
  /** of lines that are not synced yet, before write() asks to wait */
  spoolBytes?: number;
  clock?: Clock;
}

const longestPauseMs = 5000;

export interface PublishedLog {
  /** as opened, or with `.xz` after it: how the logs repository has a large one */
  path: string;
  commit: string;
}

/**
 * What build-logs says for good. Anything else is worth coming back: a full disk, a publication that takes
 * its time.
 */
export const final: ReadonlySet<string> = new Set([
  'LOG_UNKNOWN',
  'LINES_LOST',
  'LOG_TOO_LARGE',
  'LOG_ENDED',
  'UNKNOWN_SOURCE',
  'BAD_HEADER',
  'BAD_ARGUMENT',
]);

/**
 * @throws Refusal NO_LOG_SINK when the log cannot be opened, or a break lasts too long: without its log, no
 * stage goes on.
 */
export class LogSender {
  readonly #options: Required<LogSenderOptions>;
  #path: string | undefined;
  #publishedPath: string | undefined;
  readonly #lines = new UnsyncedLines();
  #ended = false;
  #call: LogCall | undefined;
  #brokenSince: number | undefined;
  #retry: NodeJS.Timeout | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #waiters: (() => void)[] = [];
  #failure: Refusal | undefined;
  #opened!: { resolve: (path: string) => void; reject: (why: Refusal) => void };
  #finished!: { resolve: (log: PublishedLog) => void; reject: (why: Refusal) => void };
  readonly #published: Promise<PublishedLog>;
  readonly #whenFailed: Promise<Refusal>;
  #fail!: (why: Refusal) => void;

  private constructor(options: LogSenderOptions) {
    this.#options = {
      openMs: 120_000,
      breakMs: 600_000,
      spoolBytes: 4 * 1024 * 1024,
      clock: systemClock,
      ...options,
    };
    this.#published = new Promise((resolve, reject) => {
      this.#finished = { resolve, reject };
    });
    this.#published.catch(() => undefined);
    this.#whenFailed = new Promise((resolve) => {
      this.#fail = resolve;
    });
  }

  static async open(options: LogSenderOptions): Promise<LogSender> {
    const sender = new LogSender(options);
    const opened = new Promise<string>((resolve, reject) => {
      sender.#opened = { resolve, reject };
    });
    sender.#deadline = setTimeout(
      () => sender.#giveUp(new Refusal('NO_LOG_SINK', 'the log was not opened in time')),
      sender.#options.openMs,
    );
    sender.#connect();
    await opened;
    return sender;
  }

  /** as the receiver named it */
  get path(): string {
    return this.#path as string;
  }

  /** Resolves if the log is lost for good; whoever produces lines then stops. */
  get whenFailed(): Promise<Refusal> {
    return this.#whenFailed;
  }

  /** Our own word, never a tool's. */
  say(text: string): void {
    this.write(Buffer.from(`> ${text}`, 'latin1'));
  }

  /**
   * One line of a tool, without its newline.
   * @returns false when the producer should wait for drained()
   */
  tool(line: Buffer): boolean {
    let roomy = true;
    for (const piece of piecesOf(line)) roomy = this.write(piece);
    return roomy;
  }

  private write(line: Buffer): boolean {
    if (this.#ended) throw new Error('a line after the end of its log');
    this.#append(line);
    return this.#lines.bytes < this.#options.spoolBytes;
  }

  #append(line: Buffer): void {
    this.#lines.append(line);
    this.#pump();
  }

  async drained(): Promise<void> {
    while (this.#lines.bytes >= this.#options.spoolBytes && this.#failure === undefined)
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Says how the stage ended and returns when the whole log is published. */
  async end(status: number): Promise<PublishedLog> {
    if (!this.#ended) {
      this.#ended = true;
      this.#append(Buffer.from(logEndLine(status)));
      this.#armPublishDeadline();
    }
    return this.#published;
  }

  /** Breaks the stream off without an end: the receiver marks the log as truncated. */
  abandon(): void {
    this.#giveUp(new Refusal('LOG_ABANDONED', 'the stage was broken off'));
  }

  #connect(): void {
    const header: LogHeader = { ...this.#options.header };
    if (this.#path !== undefined) header.continues = { path: this.#path, lines: this.#lines.synced };
    this.#call = new LogCall({
      client: this.#options.client,
      header,
      answered: (answer) => this.#answered(answer),
      roomy: () => this.#pump(),
      broke: (why) => this.#broke(why),
    });
  }

  #answered(answer: LogAnswer): void {
    switch (answer.kind) {
      case 'opened':
        return this.#onOpened(answer.path, answer.lines);
      case 'synced':
        return this.#onSynced(answer.lines);
      case 'path':
        return this.#onClosed(answer.path);
      case 'published':
        return this.#onPublished(answer.commit);
      case 'refused':
        return this.#refused(answer.code, answer.detail);
    }
  }

  #onClosed(path: string): void {
    if (path !== this.#path && path !== `${this.#path ?? ''}.xz`)
      return this.#call?.drop('another log was closed');
    this.#publishedPath = path;
  }

  #onPublished(commit: string): void {
    if (this.#path === undefined) return this.#call?.drop('published before it was opened');
    // The receiver waited too long for us and closed the log as truncated: it is not the log of this stage
    // any more.
    if (this.#call?.endSent !== true)
      return this.#giveUp(new Refusal('NO_LOG_SINK', `${this.#path} was closed without our end`));
    clearTimeout(this.#deadline);
    this.#finished.resolve({ path: this.#publishedPath ?? this.#path, commit });
    this.#close();
  }

  #refused(code: string, detail: string): void {
    if (this.#path !== undefined && !final.has(code))
      return this.#call?.drop(`build-logs: ${code} ${printable(detail)}`);
    this.#giveUp(new Refusal('NO_LOG_SINK', `build-logs refused the log: ${code} ${detail}`));
  }

  #onOpened(path: string, lines: number): void {
    if (this.#path !== undefined && path !== this.#path) return this.#call?.drop('another log was opened');
    // Fewer than were acknowledged: acknowledged lines are lost there (P3), and this log proves nothing any
    // more.
    if (lines < this.#lines.synced || lines > this.#lines.total) {
      return this.#giveUp(
        new Refusal(
          'NO_LOG_SINK',
          `build-logs has ${lines} lines of ${path}, we know of ${this.#lines.synced}`,
        ),
      );
    }
    const first = this.#path === undefined;
    this.#path = path;
    this.#forget(lines);
    this.#call?.begin(lines);
    this.#brokenSince = undefined;
    clearTimeout(this.#deadline);
    if (this.#ended) this.#armPublishDeadline();
    if (first) this.#opened.resolve(path);
    this.#pump();
  }

  #onSynced(lines: number): void {
    if (lines < this.#lines.synced || lines > (this.#call?.sent ?? -1))
      return this.#call?.drop('a count of lines that cannot be');
    this.#forget(lines);
    this.#pump();
  }

  #forget(lines: number): void {
    this.#lines.forget(lines);
    if (this.#lines.bytes < this.#options.spoolBytes) this.#wake();
  }

  #pump(): void {
    this.#call?.send(this.#lines, this.#ended);
  }

  #broke(why: string): void {
    this.#call = undefined;
    const { clock } = this.#options;
    const now = clock.steady();
    this.#brokenSince ??= now;
    const lasted = now - this.#brokenSince;
    if (this.#path === undefined)
      return this.#giveUp(new Refusal('NO_LOG_SINK', `no log could be opened: ${why}`));
    if (lasted > this.#options.breakMs)
      return this.#giveUp(
        new Refusal('NO_LOG_SINK', `${this.#path}: ${why}, for ${Math.round(lasted / 1000)} s`),
      );
    this.#options.report(`log ${this.#path}: ${why}; trying again`);
    this.#retry = clock.after(Math.min(longestPauseMs, 200 + lasted / 4), () => this.#connect());
  }

  #armPublishDeadline(): void {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(
      () => this.#giveUp(new Refusal('NO_LOG_SINK', `${this.#path} was not published in time`)),
      this.#options.breakMs,
    );
  }

  #giveUp(why: Refusal): void {
    if (this.#failure !== undefined) return;
    this.#failure = why;
    clearTimeout(this.#deadline);
    clearTimeout(this.#retry);
    this.#opened.reject(why);
    this.#finished.reject(why);
    this.#fail(why);
    this.#close();
    this.#wake();
  }

  #close(): void {
    this.#call?.close();
    this.#call = undefined;
  }

  #wake(): void {
    for (const waiter of this.#waiters.splice(0)) waiter();
  }
}
