// SPDX-License-Identifier: GPL-2.0-or-later
// The byte path: chunks from a sender, stamped, to one file, on disk within 200 ms (design section 4). The
// event loop only stamps; write and fdatasync run in libuv's threads, and whoever sends faster than the disk
// is made to wait.
import { fdatasync, write } from 'node:fs';
import type { StampTime } from './stamp-time.js';
import { LineStamper, smallestOutput } from './line-stamper.js';

const bufferBytes = 256 * 1024;
const spareBuffers: Buffer[] = [];
const spareLimit = 32;
/** Buffered in memory for one log, bytes. */
const bufferedLimit = 768 * 1024;
/** Given to the kernel and not yet synced, bytes: what a slow disk can still sync in time. */
const unsyncedLimit = 32 * 1024 * 1024;
/** From the first byte that waits to the start of its fdatasync. */
const syncDelayMs = 40;

/** A point in the file. */
export interface LogPosition {
  bytes: number;
  /** end of the last complete line, bytes */
  complete: number;
  /** complete lines of the sender, its header counted */
  lines: number;
}

interface Filled {
  buffer: Buffer;
  length: number;
  after: LogPosition;
}

export interface LogWriterOptions {
  fd: number;
  vm: string;
  clock: StampTime;
  /** where the file stands, synced */
  start: LogPosition;
  /** of its last line, microseconds */
  lastStamp: number;
  /** of the file, before the mark that cuts it */
  limitBytes: number;
  onSynced: (position: LogPosition) => void;
  /** there is room again after push() answered 'wait' */
  onRoom: () => void;
  /** write or fdatasync failed; nothing after the last onSynced counts */
  onFailed: (error: Error) => void;
}

export class LogWriter {
  readonly #options: LogWriterOptions;
  readonly #stamper: LineStamper;
  readonly #queue: Filled[] = [];
  #current: Filled | undefined;
  /** after everything that was pushed */
  #end: LogPosition;
  #written: LogPosition;
  #synced: LogPosition;
  #buffered = 0;
  #writing = false;
  #syncing = false;
  #timer: NodeJS.Timeout | undefined;
  #idle: (() => void) | undefined;
  #waiting = false;
  #failure: Error | undefined;
  readonly #flushes: { bytes: number; resolve: () => void; reject: (error: Error) => void }[] = [];
  /** the last bytes that were stamped, to find a sender's end line */
  #tail = '';
  cut = false;

  constructor(options: LogWriterOptions) {
    this.#options = options;
    this.#stamper = new LineStamper(options.vm, options.clock, options.start.lines, options.lastStamp);
    this.#end = this.#written = this.#synced = { ...options.start };
  }

  get synced(): LogPosition {
    return this.#synced;
  }

  get end(): LogPosition {
    return this.#end;
  }

  get midLine(): boolean {
    return this.#stamper.midLine;
  }

  get lastStamp(): number {
    return this.#stamper.lastStamp;
  }

  /** The end of the file as text, at most 200 characters, buffered bytes included. */
  get tail(): string {
    const current = this.#current;
    return current === undefined
      ? this.#tail
      : (
          this.#tail + current.buffer.toString('latin1', Math.max(0, current.length - 200), current.length)
        ).slice(-200);
  }

  /**
   * Takes the sender's bytes. 'wait': taken, but send no more before onRoom. 'cut': the log is at its limit
   * and takes no more.
   */
  push(input: Uint8Array): 'more' | 'wait' | 'cut' {
    if (this.cut) return 'cut';
    if (this.#failure !== undefined) return 'wait';
    for (let from = 0; from < input.length;) {
      const target = this.#room(smallestOutput);
      const linesBefore = this.#stamper.lines;
      const at = target.length;
      const end = this.#stamper.stamp(input, from, target.buffer, at);
      from += this.#stamper.used;
      if (this.#end.bytes + end - at > this.#options.limitBytes) {
        this.#cutAt(target, at, at + this.#options.limitBytes - this.#end.bytes, linesBefore);
        return 'cut';
      }
      this.#filled(target, end, this.#stamper.completeAt, this.#stamper.lines);
    }
    this.#pump();
    this.#waiting =
      this.#buffered > bufferedLimit || this.#written.bytes - this.#synced.bytes > unsyncedLimit;
    return this.#waiting ? 'wait' : 'more';
  }

  /** Adds a receiver's line; a line that the sender left unfinished is ended before it and does not count. */
  mark(text: string): void {
    this.#put(this.#stamper.mark(text));
  }

  /** Says that the clock was set back, where it was since the last line. */
  markSetBack(): void {
    const line = this.#stamper.markSetBack();
    if (line !== undefined) this.#put(line);
  }

  #put(line: string): void {
    const target = this.#room(line.length);
    const end = target.length + target.buffer.write(line, target.length, 'latin1');
    this.#filled(target, end, end, this.#stamper.lines);
    this.#pump();
  }

  /** Resolves once all that was pushed so far is on disk. @throws the error of write or fdatasync */
  flush(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      if (this.#synced.bytes >= this.#end.bytes) return resolve();
      this.#flushes.push({ bytes: this.#end.bytes, resolve, reject });
      this.#pump();
      this.#syncSoon();
    });
  }

  /**
   * Writes no more, after flush() or a failure. Once it resolves no thread uses the descriptor, and the
   * caller may close it.
   */
  stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#failure ??= new Error('this log is written no more');
    for (const filled of this.#queue.splice(0)) this.#giveBack(filled.buffer);
    if (this.#current !== undefined) this.#giveBack(this.#current.buffer);
    this.#current = undefined;
    return new Promise((resolve) => {
      this.#idle = resolve;
      this.#checkIdle();
    });
  }

  #checkIdle(): void {
    if (!this.#writing && !this.#syncing) this.#idle?.();
  }

  #room(bytes: number): Filled {
    if (this.#current !== undefined && this.#current.buffer.length - this.#current.length < bytes) {
      this.#tail = this.tail;
      this.#queue.push(this.#current);
      this.#current = undefined;
    }
    this.#current ??= {
      buffer: spareBuffers.pop() ?? Buffer.allocUnsafeSlow(bufferBytes),
      length: 0,
      after: this.#end,
    };
    return this.#current;
  }

  #filled(target: Filled, end: number, completeAt: number, lines: number): void {
    const begin = this.#end.bytes - target.length;
    this.#buffered += end - target.length;
    target.length = end;
    this.#end = {
      bytes: begin + end,
      complete: completeAt < 0 ? this.#end.complete : begin + completeAt,
      lines,
    };
    target.after = this.#end;
  }

  #cutAt(target: Filled, from: number, to: number, linesBefore: number): void {
    this.cut = true;
    let lines = linesBefore;
    let complete = -1;
    for (let i = from; i < to; i++) {
      if (target.buffer[i] !== 10) continue;
      lines++;
      complete = i + 1;
    }
    this.#stamper.lines = lines;
    if (complete === to || (to === from && this.#end.complete === this.#end.bytes)) this.#stamper.startLine();
    this.#filled(target, to, complete, lines);
    this.mark(`log cut at ${this.#options.limitBytes} bytes, the rest is refused`);
  }

  #giveBack(buffer: Buffer): void {
    if (spareBuffers.length < spareLimit) spareBuffers.push(buffer);
  }

  #pump(): void {
    if (this.#writing || this.#failure !== undefined) return;
    const next = this.#queue.shift() ?? this.#current;
    if (next === undefined || next.length === 0) return;
    if (next === this.#current) {
      this.#tail = this.tail;
      this.#current = undefined;
    }
    this.#writing = true;
    this.#write(next, 0);
  }

  #write(filled: Filled, from: number): void {
    write(this.#options.fd, filled.buffer, from, filled.length - from, null, (error, count) => {
      if (error === null && from + count < filled.length && this.#failure === undefined)
        return this.#write(filled, from + count);
      this.#writing = false;
      this.#giveBack(filled.buffer);
      this.#checkIdle();
      if (error !== null) return this.#fail(error);
      if (this.#failure !== undefined) return;
      this.#buffered -= filled.length;
      this.#written = filled.after;
      this.#pump();
      this.#syncSoon();
      this.#offerRoom();
    });
  }

  #syncSoon(): void {
    if (this.#syncing || this.#failure !== undefined || this.#written.bytes === this.#synced.bytes) return;
    // A flush waits for the write that reaches it, not for the timer.
    if (this.#flushes.some((flush) => flush.bytes <= this.#written.bytes)) return this.#sync();
    this.#timer ??= setTimeout(() => this.#sync(), syncDelayMs);
  }

  #sync(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#syncing || this.#failure !== undefined) return;
    this.#syncing = true;
    const reached = this.#written;
    fdatasync(this.#options.fd, (error) => {
      this.#syncing = false;
      this.#checkIdle();
      if (error !== null) return this.#fail(error);
      if (this.#failure !== undefined) return;
      this.#synced = reached;
      this.#options.onSynced(reached);
      while (this.#flushes[0] !== undefined && this.#flushes[0].bytes <= reached.bytes)
        this.#flushes.shift()?.resolve();
      this.#syncSoon();
      this.#offerRoom();
    });
  }

  #offerRoom(): void {
    if (
      !this.#waiting ||
      this.#buffered > bufferedLimit / 2 ||
      this.#written.bytes - this.#synced.bytes > unsyncedLimit / 2
    )
      return;
    this.#waiting = false;
    this.#options.onRoom();
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    clearTimeout(this.#timer);
    for (const flush of this.#flushes.splice(0)) flush.reject(error);
    this.#options.onFailed(error);
  }
}
