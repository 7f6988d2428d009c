// SPDX-License-Identifier: GPL-2.0-or-later
// The journal on disk: docs/formats.md, "Journal". Appending returns once the lines are on disk. At start
// every line is read again, in pieces of 1 MiB, and must continue the chain: whoever changed, dropped or
// reordered a line keeps this VM from signing.
import { createHash } from 'node:crypto';
import { closeSync, fdatasyncSync, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs';
import { dirname } from 'node:path';
import { appendDurably, syncFolder } from '../shared/durable-files.js';
import { Refusal } from './refusals.js';
import {
  journalEvents,
  journalFormat,
  journalLine,
  journalLineHash,
  noEntry,
  type JournalEntry,
} from '../shared/formats/journal.js';

/** The longest line that this program writes is under 700 bytes. */
const lineLimitBytes = 4096;

/** What an entry says, before it has its place in the chain. */
export type JournalNote = Pick<JournalEntry, 'event' | 'result'> &
  Partial<Pick<JournalEntry, 'source' | 'sha256' | 'key' | 'mode' | 'commit' | 'intent'>>;

export interface JournalPosition {
  seq: number;
  /** SHA-256 of that entry's line */
  sha256: string;
}

export class Journal {
  readonly #fd: number;
  readonly #path: string;
  /** where each entry's line starts; 8 bytes of memory per entry */
  readonly #starts: number[] = [];
  #size = 0;
  #last = noEntry;
  #stopped = false;

  private constructor(path: string) {
    this.#path = path;
    this.#fd = openSync(path, 'a+', 0o600);
    syncFolder(dirname(path));
  }

  /**
   * Opens or makes the file and gives every entry to `each`, oldest first. A last line without its newline is
   * what a kill in mid-write left: nobody was told of it, and it is cut off.
   * @throws Error naming the entry where the chain breaks
   */
  static open(path: string, each: (entry: JournalEntry) => void): Journal {
    const journal = new Journal(path);
    try {
      journal.#replay(each);
    } catch (error) {
      journal.close();
      throw error;
    }
    return journal;
  }

  /** @throws Error after a failure: what is remembered here may not be on disk */
  get end(): JournalPosition {
    if (this.#stopped) throw new Error('the journal could not be written earlier');
    return this.position;
  }

  get position(): JournalPosition {
    return { seq: this.#starts.length, sha256: this.#last };
  }

  #replay(each: (entry: JournalEntry) => void): void {
    const piece = Buffer.alloc(1024 * 1024);
    const size = fstatSync(this.#fd).size;
    let rest = Buffer.alloc(0);
    for (let at = 0; at < size;) {
      const got = readSync(this.#fd, piece, 0, piece.length, at);
      if (got === 0) break;
      at += got;
      const bytes = Buffer.concat([rest, piece.subarray(0, got)]);
      let start = 0;
      for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
        each(this.#link(bytes.toString('utf8', start, end)));
        start = end + 1;
      }
      rest = Buffer.from(bytes.subarray(start));
      if (rest.length > lineLimitBytes) throw this.#broken('a line is too long');
    }
    if (rest.length > 0) {
      ftruncateSync(this.#fd, this.#size);
      fdatasyncSync(this.#fd);
    }
  }

  #broken(why: string): Error {
    return new Error(
      `the journal ${this.#path} is broken at entry ${this.#starts.length + 1}: ${why}; nothing will be signed until a person has looked at it`,
    );
  }

  /** Takes a line as the next of the chain, or throws. */
  #link(line: string): JournalEntry {
    let entry: JournalEntry;
    try {
      entry = JSON.parse(line) as JournalEntry;
    } catch {
      throw this.#broken('it is not JSON');
    }
    // Its fields and their order; what stands in them this program wrote, or the chain does not hold.
    if (
      entry?.format !== journalFormat ||
      !journalEvents.includes(entry.event) ||
      journalLine(entry) !== line
    )
      throw this.#broken('it is not a journal entry');
    if (entry.seq !== this.#starts.length + 1) throw this.#broken(`its number is ${entry.seq}`);
    if (entry.prev !== this.#last) throw this.#broken('it does not name the entry before it');
    this.#starts.push(this.#size);
    this.#size += Buffer.byteLength(line) + 1;
    this.#last = journalLineHash(line);
    return entry;
  }

  /** The lines that these notes will be if they are appended next. */
  compose(notes: readonly JournalNote[], time: string): string[] {
    let { seq, sha256: prev } = this.position;
    return notes.map((note) => {
      const blank = { source: null, sha256: null, key: null, mode: null, commit: null, intent: null };
      const line = journalLine({ ...blank, ...note, format: journalFormat, seq: ++seq, prev, time });
      prev = journalLineHash(line);
      return line;
    });
  }

  /**
   * Returns when the lines are on disk.
   * @throws Refusal JOURNAL_FULL if there is no room: what was written of them is cut off, and later lines
   * may be tried. Any other
   * failure is a fault, after which this journal takes nothing more, so nothing more is signed until the
   * agent starts again.
   */
  append(lines: readonly string[]): JournalEntry[] {
    if (this.#stopped) throw new Error('the journal could not be written earlier');
    if (lines.length === 0) return [];
    const before = { count: this.#starts.length, size: this.#size, last: this.#last };
    this.#stopped = true;
    const entries = lines.map((line) => this.#link(line));
    try {
      appendDurably(this.#fd, before.size, Buffer.from(lines.map((line) => `${line}\n`).join('')));
    } catch (error) {
      if (
        (error as NodeJS.ErrnoException).code !== 'ENOSPC' ||
        (error as NodeJS.ErrnoException).syscall !== 'write'
      )
        throw error;
      this.#starts.length = before.count;
      this.#size = before.size;
      this.#last = before.last;
      this.#stopped = false;
      throw new Refusal('JOURNAL_FULL', 'the disk has no room for the journal');
    }
    this.#stopped = false;
    return entries;
  }

  /** Takes nothing more: another file already says what the next lines are. */
  stop(): void {
    this.#stopped = true;
  }

  /** The hash of entry `seq`, or undefined if there is none. */
  hashAt(seq: number): string | undefined {
    if (seq === this.#starts.length) return this.#last;
    const line = this.linesAfter(seq - 1, 1)[0];
    return line === undefined ? undefined : journalLineHash(line);
  }

  /** Up to `limit` lines after entry `seq` (0: from the first). */
  linesAfter(seq: number, limit: number): string[] {
    const start = this.#starts[seq];
    if (start === undefined) return [];
    const end = this.#starts[seq + limit] ?? this.#size;
    return this.#bytes(start, end - start)
      .toString('utf8')
      .slice(0, -1)
      .split('\n');
  }

  #bytes(from: number, size: number): Buffer {
    const bytes = Buffer.alloc(size);
    for (let done = 0; done < size;) {
      const got = readSync(this.#fd, bytes, done, size - done, from + done);
      if (got === 0) throw new Error('the journal is shorter than it was');
      done += got;
    }
    return bytes;
  }

  /** How many entries the journal has had up to `size` bytes after the start of entry `first`. */
  entriesUpTo(first: number, size: number): number {
    const end = (this.#starts[first - 1] ?? 0) + size;
    let entries = first - 1;
    while ((this.#starts[entries + 1] ?? this.#size) <= end && entries < this.#starts.length) entries++;
    return entries;
  }

  /**
   * SHA-256 of the first `size` bytes of the lines from entry `first` on; undefined if there are not so many
   * before entry `end`.
   */
  prefixHash(first: number, end: number, size: number): string | undefined {
    const from = this.#starts[first - 1];
    if (from === undefined || from + size > (this.#starts[end - 1] ?? this.#size)) return undefined;
    return createHash('sha256').update(this.#bytes(from, size)).digest('hex');
  }

  close(): void {
    closeSync(this.#fd);
  }
}
