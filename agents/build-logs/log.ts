// SPDX-License-Identifier: GPL-2.0-or-later
// One log: its file, who is sending it now, and how it ends. Life: open (a sender is there, or may come back)
// → ended → published.
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import { logEndPattern } from '../shared/formats/log-stream.js';
import { demandRoom, diskFull, isDiskFull } from './disk-space.js';
import type { StampTime } from './stamp-time.js';
import { stampLength } from './line-stamper.js';
import { LogWriter, type LogPosition } from './log-writer.js';
import { writeRecord, type LogRecord } from './log-record.js';

/** The connection that feeds a log. */
export interface Sender {
  /** lines of the sender on disk, its header counted */
  synced: (lines: number) => void;
  room: () => void;
  /** the log takes no more from this sender */
  stopped: (why: Refusal) => void;
}

export interface LogPlace {
  clock: StampTime;
  report: Reporter;
  limitBytes: number;
  reopenMs: number;
  /** a log has new lines on disk, or has ended */
  changed: (log: Log) => void;
}

const closeRetryMs = 3000;
const spaceCheckMs = 200;

function isEndLine(line: string, vm: string): boolean {
  const text = line.slice(stampLength);
  return text.startsWith(`${vm}: `) && logEndPattern.test(text.slice(vm.length + 2));
}

export class Log {
  readonly record: LogRecord;
  readonly file: string;
  readonly #place: LogPlace;
  #position: LogPosition;
  #lastStamp: number;
  #writer: LogWriter | undefined;
  #fd: number | undefined;
  #sender: Sender | undefined;
  #waitsForSender: NodeJS.Timeout | undefined;
  #spaceCheckedAt = -Infinity;
  #closing = false;
  /**
   * the sender's last line before this connection, or before this start, was its end line, and nothing came
   * since
   */
  #endBefore: boolean;
  #settled: Promise<void> = Promise.resolve();

  constructor(
    file: string,
    record: LogRecord,
    position: LogPosition & { lastWords?: string; lastStamp?: number },
    place: LogPlace,
  ) {
    this.#endBefore = isEndLine(position.lastWords ?? '', record.vm);
    this.file = file;
    this.record = record;
    this.#position = position;
    this.#lastStamp = position.lastStamp ?? 0;
    this.#place = place;
  }

  /** bytes of complete lines that are on disk: what may be published */
  get readyBytes(): number {
    return this.#writer?.synced.complete ?? this.#position.complete;
  }

  get lines(): number {
    return this.#writer?.synced.lines ?? this.#position.lines;
  }

  /** of the last line, microseconds */
  get lastStamp(): number {
    return this.#writer?.lastStamp ?? this.#lastStamp;
  }

  /**
   * An open log is to say that the clock was set back before it is published: its lines would be later than
   * their commit.
   */
  noteClock(): void {
    if (!this.ended && !this.#closing && this.#place.clock() < this.lastStamp) this.#write().markSetBack();
  }

  get ended(): boolean {
    return this.record.state !== 'open';
  }

  get hasSender(): boolean {
    return this.#sender !== undefined;
  }

  /**
   * Makes `sender` the one that feeds this log; whoever did so before is stopped. @throws Refusal LOG_ENDED,
   * DISK_FULL
   */
  async attach(sender: Sender, mark: string): Promise<void> {
    clearTimeout(this.#waitsForSender);
    this.#sender?.stopped(new Refusal('LOG_TAKEN_OVER', 'another connection continues this log'));
    this.#sender = sender;
    try {
      await this.#settled;
      if (this.ended || this.#closing) throw new Refusal('LOG_ENDED', 'this log has ended');
      await demandRoom(this.file.slice(0, this.file.lastIndexOf('/')));
      const endBefore = this.saidEnd;
      this.#write().mark(mark);
      this.#endBefore = endBefore;
      await this.flush();
    } catch (error) {
      if (this.#sender === sender) this.detach(sender);
      throw isDiskFull(error) ? diskFull() : error;
    }
  }

  push(sender: Sender, chunk: Uint8Array): 'more' | 'wait' {
    if (this.#sender !== sender || this.#writer === undefined) return 'wait';
    if (chunk.length > 0) this.#endBefore = false;
    const answer = this.#writer.push(chunk);
    if (answer !== 'cut') return answer;
    this.#sender = undefined;
    sender.stopped(
      new Refusal(
        'LOG_TOO_LARGE',
        `a log holds at most ${this.#place.limitBytes} bytes; it was cut, and is published like that`,
      ),
    );
    this.close(undefined);
    return 'wait';
  }

  /** A line of the receiver; on disk then. */
  async say(text: string): Promise<void> {
    this.#write().mark(text);
    await this.flush();
  }

  /** Whether the last line that came is the sender's own end of the log. */
  get saidEnd(): boolean {
    return (
      this.#endBefore ||
      isEndLine(this.#writer?.tail.replace(/\n$/, '').split('\n').at(-1) ?? '', this.record.vm)
    );
  }

  /** The sender has gone without an end: it may come back for `reopenMs`. */
  detach(sender: Sender): void {
    if (this.#sender !== sender) return;
    this.#sender = undefined;
    this.expectSender();
  }

  /** Waits for a sender to come back; a log whose end has been said needs none. */
  expectSender(): void {
    if (this.ended || this.#closing) return;
    clearTimeout(this.#waitsForSender);
    if (this.saidEnd) return this.close(undefined);
    this.#waitsForSender = setTimeout(
      () => this.close('the sender went away without its end line'),
      this.#place.reopenMs,
    );
  }

  /**
   * The sender is done, or `truncated` says why the log ends without it. Goes on trying while the disk is
   * full.
   */
  close(truncated: string | undefined): void {
    if (this.ended || this.#closing) return;
    this.#closing = true;
    // A sender that is done still hears that its last lines are on disk.
    if (truncated !== undefined) this.#sender = undefined;
    clearTimeout(this.#waitsForSender);
    this.#settled = this.#settled.then(() => this.#close(truncated));
  }

  async #close(truncated: string | undefined): Promise<void> {
    try {
      const writer = this.#write();
      if (writer.midLine && truncated === undefined) writer.push(Buffer.from('\n'));
      writer.mark(truncated === undefined ? 'closing log' : `truncated: ${truncated}`);
      await writer.flush();
      this.#position = writer.synced;
      this.#sender = undefined;
      await this.#release();
      this.record.state = 'ended';
      this.record.lines = this.#position.lines;
      this.record.truncated = truncated !== undefined;
      writeRecord(this.file, this.record);
      this.#place.changed(this);
    } catch (error) {
      this.record.state = 'open';
      this.#place.report(`${this.record.path}: cannot be closed yet: ${printable(String(error))}`);
      await new Promise((resolve) => setTimeout(resolve, closeRetryMs).unref());
      await this.#failed(error as Error);
      return this.#close(truncated ?? 'the disk was full');
    }
  }

  /** A log that is being closed is closed then. */
  settled(): Promise<void> {
    return this.#settled;
  }

  /** All that came so far is on disk. */
  async flush(): Promise<void> {
    await this.#writer?.flush();
  }

  #write(): LogWriter {
    if (this.#writer !== undefined) return this.#writer;
    const fd = openSync(this.file, 'a');
    this.#fd = fd;
    this.#writer = new LogWriter({
      fd,
      vm: this.record.vm,
      clock: this.#place.clock,
      start: this.#position,
      lastStamp: this.#lastStamp,
      limitBytes: this.#place.limitBytes,
      onSynced: (position) => {
        this.#sender?.synced(position.lines);
        this.#place.changed(this);
        this.#checkSpace();
      },
      onRoom: () => this.#sender?.room(),
      onFailed: (error) => {
        this.#settled = this.#settled.then(() => this.#failed(error));
      },
    });
    return this.#writer;
  }

  #checkSpace(): void {
    const now = performance.now();
    if (now - this.#spaceCheckedAt < spaceCheckMs) return;
    this.#spaceCheckedAt = now;
    demandRoom(this.file.slice(0, this.file.lastIndexOf('/'))).catch((error: Error) => {
      if (this.#sender !== undefined) this.#settled = this.#settled.then(() => this.#failed(error));
    });
  }

  /** Back to the last acknowledged line. The sender may come back for the rest. */
  async #failed(error: Error): Promise<void> {
    const writer = this.#writer;
    if (writer === undefined) return;
    const sender = this.#sender;
    this.#sender = undefined;
    this.#place.report(`${this.record.path}: ${printable(String(error))}`);
    const { complete, lines } = writer.synced;
    this.#position = { bytes: complete, complete, lines };
    await this.#release();
    try {
      const fd = openSync(this.file, 'r+');
      ftruncateSync(fd, complete);
      closeSync(fd);
    } catch (again) {
      this.#place.report(`${this.record.path}: ${printable(String(again))}`);
    }
    sender?.stopped(
      isDiskFull(error)
        ? diskFull()
        : new Refusal('STORAGE_FAILED', 'the build-logs VM could not store the log'),
    );
    this.expectSender();
  }

  async #release(): Promise<void> {
    const fd = this.#fd;
    const writer = this.#writer;
    this.#lastStamp = this.lastStamp;
    this.#writer = undefined;
    this.#fd = undefined;
    await writer?.stop();
    if (fd !== undefined) closeSync(fd);
  }

  /** Lets go of the file and of timers; the file stays. For a clean stop. */
  async abandon(): Promise<void> {
    clearTimeout(this.#waitsForSender);
    await this.#writer?.flush().catch(() => undefined);
    await this.#release();
  }
}
