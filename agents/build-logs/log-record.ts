// SPDX-License-Identifier: GPL-2.0-or-later
// What is known of one log beside its bytes, in a file next to it, so that a killed agent finds its way back.
import { closeSync, ftruncateSync, openSync, readSync, fsyncSync, fstatSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readIfThere, writeDurably } from '../shared/durable-files.js';
import type { LogHeader } from '../shared/formats/log-stream.js';
import type { LogPosition } from './log-writer.js';
import { brokenMark, splitMark, stampLength, timeOfLine } from './line-stamper.js';

export interface LogRecord {
  /** as BuildLog answered it while the log was open; `published.path` may end in .xz */
  path: string;
  vm: string;
  /** null: a raw sender, as upstream's builders are */
  header: LogHeader | null;
  state: 'open' | 'ended' | 'published';
  /** once ended */
  lines?: number;
  truncated?: boolean;
  /** how much of the log the compressed file beside it holds, bytes of either */
  xz?: { plain: number; packed: number };
  published?: { path: string; commit: string; sha256: string; size: number; at: number };
}

export function recordFile(logFile: string): string {
  return join(dirname(logFile), `.${logFile.slice(dirname(logFile).length + 1)}.json`);
}

export function writeRecord(logFile: string, record: LogRecord): void {
  writeDurably(recordFile(logFile), `${JSON.stringify(record)}\n`);
}

/**
 * Ours, so believed; undefined where there is none or where it makes no sense (the disk was full when it was
 * made).
 */
export function readRecord(logFile: string): LogRecord | undefined {
  try {
    return JSON.parse(readIfThere(recordFile(logFile))?.toString('utf8') ?? '') as LogRecord;
  } catch {
    return undefined;
  }
}

/**
 * Where a log stands after a kill or a power cut, the beginning of its sender's last line, and the time of
 * its last line: complete lines of clean text count, the rest was never acknowledged and is cut off.
 */
export function recoverPosition(logFile: string): LogPosition & { lastWords: string; lastStamp: number } {
  const fd = openSync(logFile, 'r+');
  try {
    const chunk = Buffer.allocUnsafe(1024 * 1024);
    const size = fstatSync(fd).size;
    let complete = 0;
    let lines = 0;
    let lastWords = '';
    let lastLine = '';
    // First bytes of the line that is being read, enough to tell whose it is.
    let head = '';
    scan: for (let offset = 0; offset < size;) {
      const count = readSync(fd, chunk, 0, chunk.length, offset);
      if (count === 0) break;
      let from = 0;
      while (from < count) {
        const found = chunk.subarray(from, count).indexOf(10);
        const end = found < 0 ? count : from + found;
        for (let i = from; i < end; i++) {
          const byte = chunk[i] as number;
          if (byte < 0x20 || byte > 0x7e) break scan;
        }
        if (head.length < 128) head += chunk.toString('latin1', from, Math.min(end, from + 128));
        if (found < 0) break;
        from = end + 1;
        complete = offset + from;
        const text = head.slice(stampLength);
        lastLine = head;
        if (!text.startsWith('>')) {
          lines++;
          lastWords = head;
        }
        if (text === `> ${splitMark}` || text === `> ${brokenMark}`) lines--;
        head = '';
      }
      offset += count;
    }
    if (complete !== size) {
      ftruncateSync(fd, complete);
    }
    fsyncSync(fd);
    return { bytes: complete, complete, lines, lastWords, lastStamp: timeOfLine(lastLine) };
  } finally {
    closeSync(fd);
  }
}
