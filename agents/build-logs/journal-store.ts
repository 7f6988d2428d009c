// SPDX-License-Identifier: GPL-2.0-or-later
// The copy of a keys VM's journal that gets published. The keys VM may not change or drop an entry once it is here: each new line must
// hash-chain on the last one, or nothing from that VM is believed any more.
import { AppendOnlyLines } from '../shared/durable-files.js';
import { readDocument } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';
import { Refusal } from '../shared/refusal.js';
import { journalEntrySchema, journalLine, journalLineHash, journalPath, noEntry, type JournalEntry } from '../shared/formats/journal.js';

const checkEntry = checkWith<JournalEntry>(journalEntrySchema);
const lineLimitBytes = 4096;
const perFile = 256;

export class JournalStore {
  readonly #file: AppendOnlyLines;
  readonly #lines: string[];
  readonly #keysVm: string;
  /** entries that a commit of ours names */
  publishedEntries = 0;

  constructor(path: string, keysVm: string) {
    const { file, lines } = AppendOnlyLines.open(path);
    this.#file = file;
    this.#lines = lines;
    this.#keysVm = keysVm;
  }

  get entries(): number {
    return this.#lines.length;
  }

  /** The last entry held, for a receipt's `journal`. */
  get last(): { seq: number; sha256: string } | null {
    const line = this.#lines.at(-1);
    return line === undefined ? null : { seq: this.#lines.length, sha256: journalLineHash(line) };
  }

  /**
   * @returns the entries, on disk now
   * @throws Refusal JOURNAL_BROKEN; the good lines before the bad one are kept
   */
  append(untrustedLines: readonly string[]): JournalEntry[] {
    const entries: JournalEntry[] = [];
    const good: string[] = [];
    let previous = this.last?.sha256 ?? noEntry;
    try {
      for (const line of untrustedLines) {
        const entry = this.#check(line, this.#lines.length + good.length + 1, previous);
        previous = journalLineHash(line);
        good.push(line);
        entries.push(entry);
      }
    } finally {
      this.#file.append(good);
      this.#lines.push(...good);
    }
    return entries;
  }

  #check(line: string, seq: number, previous: string): JournalEntry {
    let entry: JournalEntry;
    try {
      entry = readDocument(Buffer.from(line), lineLimitBytes, checkEntry);
    } catch (error) {
      throw new Refusal('JOURNAL_BROKEN', `${this.#keysVm}: entry ${seq} cannot be read: ${(error as Error).message}`);
    }
    if (journalLine(entry) !== line) throw new Refusal('JOURNAL_BROKEN', `${this.#keysVm}: entry ${seq} is spelled in another way`);
    if (entry.seq !== seq) throw new Refusal('JOURNAL_BROKEN', `${this.#keysVm}: entry ${entry.seq} came where ${seq} was due`);
    if (entry.prev !== previous) throw new Refusal('JOURNAL_BROKEN', `${this.#keysVm}: entry ${seq} does not follow on the one before`);
    return entry;
  }

  /** The last `granted` entry of an intent, newest first. */
  grantOf(intent: string): JournalEntry | undefined {
    for (let i = this.#lines.length - 1; i >= Math.max(0, this.#lines.length - 2000); i--) {
      const line = this.#lines[i] as string;
      if (!line.includes(intent)) continue;
      const entry = JSON.parse(line) as JournalEntry;
      if (entry.event === 'granted' && entry.intent === intent) return entry;
    }
    return undefined;
  }

  /** The journal files that hold entries which are not published yet, whole, as they stand now. */
  unpublishedFiles(): { path: string; body: Buffer }[] {
    const files: { path: string; body: Buffer }[] = [];
    const first = Math.floor(this.publishedEntries / perFile) * perFile;
    if (this.publishedEntries >= this.#lines.length) return files;
    for (let start = first; start < this.#lines.length; start += perFile) {
      files.push({ path: journalPath(this.#keysVm, start + 1), body: Buffer.from(this.#lines.slice(start, start + perFile).map((line) => `${line}\n`).join('')) });
    }
    return files;
  }
}
