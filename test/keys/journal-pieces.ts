// SPDX-License-Identifier: GPL-2.0-or-later
// Journals made up line by line, for the tests of what reads them.
import { GrantBook } from '../../agents/keys/grant-book.js';
import {
  journalFormat,
  journalLine,
  journalLineHash,
  noEntry,
  type JournalEntry,
} from '../../agents/shared/formats/journal.js';

export const key = 'A'.repeat(40);
export const hash = (digit: string): string => digit.repeat(64);
export const id = (digit: string): string => digit.repeat(40);
export const time = '2026-11-21T21:37:52.123Z';

/** Lines of a chain that holds. */
export function chained(notes: readonly Partial<JournalEntry>[]): string[] {
  let prev = noEntry;
  return notes.map((note, index) => {
    const line = journalLine({
      format: journalFormat,
      seq: index + 1,
      prev,
      time,
      event: 'start',
      source: null,
      sha256: null,
      key: null,
      mode: null,
      commit: null,
      intent: null,
      result: '',
      ...note,
    });
    prev = journalLineHash(line);
    return line;
  });
}
export const text = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('');

export const entryOf = (event: JournalEntry['event'], changes: Partial<JournalEntry> = {}): JournalEntry => ({
  format: journalFormat,
  seq: 7,
  prev: noEntry,
  time,
  event,
  source: 'build-debian',
  sha256: hash('1'),
  key,
  mode: 'detach',
  commit: id('c'),
  intent: hash('f'),
  result: event === 'granted' ? '2026-11-21T22:00:00.000Z' : '',
  ...changes,
});
export class Book {
  wall = Date.parse(time);
  up = 0;
  readonly book = new GrantBook({ wall: () => this.wall, steady: () => this.up }, 900);
  find(sha = hash('1'), source = 'build-debian', by = key, mode: 'detach' | 'clearsign' = 'detach'): string {
    try {
      return this.book.find(source, sha, by, mode).commit;
    } catch (error) {
      return (error as { code: string }).code;
    }
  }
}
