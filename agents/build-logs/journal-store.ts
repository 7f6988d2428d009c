// SPDX-License-Identifier: GPL-2.0-or-later
// The copy of a keys VM's journal that gets published. The keys VM may not change or drop an entry once it is
// here: each new line must hash-chain on the last one, or nothing from that VM is believed any more. What the
// keys VM signed about its end (a journal head) goes out with the entries, and entries that no head covers
// wait: the audit would take them for made up.
import { existsSync } from 'node:fs';
import { AppendOnlyLines } from '../shared/append-only-lines.js';
import { readIfThere, writeDurably } from '../shared/durable-files.js';
import { readDocument, type Check } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';
import { Refusal } from './refusals.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import {
  journalHeadLine,
  journalHeadPath,
  verifiesJournalHead,
  type JournalHead,
} from '../shared/formats/journal-head.js';
import {
  journalEntrySchema,
  journalLine,
  journalLineHash,
  journalPath,
  noEntry,
  type JournalEntry,
} from '../shared/formats/journal.js';

const checkEntry: Check<JournalEntry> = checkWith(journalEntrySchema);
const lineLimitBytes = 4096;
const perFile = 256;
const textOf = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join('');

/**
 * This name, or with the first number behind it that no file has: what an earlier damage left stays as it is.
 */
function freeName(name: string): string {
  let free = name;
  for (let number = 2; existsSync(free); number++) free = `${name}-${number}`;
  return free;
}

export class JournalStore {
  #file: AppendOnlyLines;
  readonly #lines: string[];
  readonly #keysVm: string;
  readonly #journalKey: string | null;
  readonly #headFile: string;
  /** the newest head that came; its entry may still be on its way */
  #newest: JournalHead | undefined;
  /** the newest head whose entry is here */
  #covering: JournalHead | undefined;
  /** entries that a commit of ours names */
  publishedEntries = 0;
  /** the newest file of heads in the repository */
  #publishedHeads: { path: string; text: string } = { path: '', text: '' };

  /**
   * Lines that do not continue the chain, which a damaged disk can leave, are moved to a file of their own
   * beside it, and never published: the repository holds those that were published, and the keys VM sends the
   * others again.
   * @param journalKey what the heads must be signed with, or null where nobody pinned it
   */
  constructor(path: string, keysVm: string, journalKey: string | null, report: Reporter) {
    this.#keysVm = keysVm;
    this.#journalKey = journalKey;
    const { file, lines } = AppendOnlyLines.open(path);
    const whole = this.#wholePart(lines);
    this.#lines = lines.slice(0, whole);
    this.#file = file;
    if (whole < lines.length) {
      file.close();
      const kept = freeName(`${path}.damaged`);
      writeDurably(kept, textOf(lines.slice(whole)));
      writeDurably(path, textOf(this.#lines));
      ({ file: this.#file } = AppendOnlyLines.open(path));
      report(
        `${keysVm}: the copy of its journal is damaged from entry ${whole + 1} of ${lines.length} on; the damaged part is kept in ${kept}, its entries are fetched again`,
      );
    }
    this.#headFile = path.replace(/\.jsonl$/, '.head.json');
    const newest = readIfThere(this.#headFile);
    if (newest !== undefined) this.#newest = JSON.parse(newest.toString('utf8')) as JournalHead;
    if (this.#newest !== undefined && this.#newest.seq <= lines.length) this.#covering = this.#newest;
  }

  /** How many lines, from the first on, are a chain. */
  #wholePart(lines: readonly string[]): number {
    let previous = noEntry;
    for (const [i, line] of lines.entries()) {
      try {
        this.#check(line, i + 1, previous);
      } catch {
        return i;
      }
      previous = journalLineHash(line);
    }
    return lines.length;
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

  /** Whether a head has come whose entries are not all here. */
  get hasMore(): boolean {
    return (this.#newest?.seq ?? 0) > this.#lines.length;
  }

  /**
   * Takes the head of an answer whose entries were appended; the newest is on disk then.
   * @throws Refusal JOURNAL_BROKEN: it is not signed by the pinned key, or the keys VM has gone back behind
   * what it told before
   */
  takeHead(head: JournalHead): void {
    const broken = (why: string): Refusal =>
      new Refusal('JOURNAL_BROKEN', `${this.#keysVm}: its journal head for entry ${head.seq} ${why}`);
    if (head.keysVm !== this.#keysVm) throw broken(`is that of ${head.keysVm}`);
    if (this.#journalKey !== null && !verifiesJournalHead(head, this.#journalKey))
      throw broken('is not signed by the journal key that is pinned');
    const before = this.#newest;
    if (head.seq < Math.max(before?.seq ?? 0, this.#lines.length))
      throw broken(
        `comes after entry ${Math.max(before?.seq ?? 0, this.#lines.length)}: its state was set back`,
      );
    for (const one of [before, head]) {
      const line = one === undefined ? undefined : this.#lines[one.seq - 1];
      if (line !== undefined && journalLineHash(line) !== one?.entry)
        throw broken('names another entry than the one that is here');
    }
    if (head.seq === before?.seq && head.entry !== before.entry)
      throw broken('names another entry than the head before it');
    if (head.seq !== before?.seq) {
      writeDurably(this.#headFile, `${journalHeadLine(head)}\n`);
      this.#newest = head;
    }
    if (head.seq <= this.#lines.length) this.#covering = this.#newest;
    else if (before !== undefined && before.seq <= this.#lines.length) this.#covering = before;
  }

  /** What the repository holds: after a start, or when somebody else's commit is on the branch. */
  tookOver(publishedEntries: number, heads: { path: string; text: string } | undefined): void {
    this.publishedEntries = publishedEntries;
    this.#publishedHeads = heads ?? { path: '', text: '' };
    const line = heads?.text.trimEnd().split('\n').at(-1);
    if (line === undefined || this.#newest !== undefined) return;
    this.#newest = JSON.parse(line) as JournalHead;
    writeDurably(this.#headFile, `${line}\n`);
  }

  get #coveredEntries(): number {
    return this.#covering?.seq ?? 0;
  }

  get hasUnpublished(): boolean {
    return this.#coveredEntries > this.publishedEntries;
  }

  #check(line: string, seq: number, previous: string): JournalEntry {
    let entry: JournalEntry;
    try {
      entry = readDocument(Buffer.from(line), lineLimitBytes, checkEntry);
    } catch (error) {
      throw new Refusal(
        'JOURNAL_BROKEN',
        `${this.#keysVm}: entry ${seq} cannot be read: ${(error as Error).message}`,
      );
    }
    if (journalLine(entry) !== line)
      throw new Refusal('JOURNAL_BROKEN', `${this.#keysVm}: entry ${seq} is spelled in another way`);
    if (entry.seq !== seq)
      throw new Refusal('JOURNAL_BROKEN', `${this.#keysVm}: entry ${entry.seq} came where ${seq} was due`);
    if (entry.prev !== previous)
      throw new Refusal('JOURNAL_BROKEN', `${this.#keysVm}: entry ${seq} does not follow on the one before`);
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

  /**
   * The journal files that hold entries which are not published yet, whole, up to the newest head, and the
   * head.
   */
  unpublished(): { files: { path: string; body: Buffer }[]; committed: () => void } {
    const files: { path: string; body: Buffer }[] = [];
    const head = this.#covering;
    if (head === undefined || !this.hasUnpublished) return { files, committed: () => undefined };
    for (
      let start = Math.floor(this.publishedEntries / perFile) * perFile;
      start < head.seq;
      start += perFile
    ) {
      files.push({
        path: journalPath(this.#keysVm, start + 1),
        body: Buffer.from(textOf(this.#lines.slice(start, Math.min(start + perFile, head.seq)))),
      });
    }
    const path = journalHeadPath(this.#keysVm, head.seq);
    const text = `${path === this.#publishedHeads.path ? this.#publishedHeads.text : ''}${journalHeadLine(head)}\n`;
    files.push({ path, body: Buffer.from(text) });
    return {
      files,
      committed: () => {
        this.publishedEntries = head.seq;
        this.#publishedHeads = { path, text };
      },
    };
  }
}
