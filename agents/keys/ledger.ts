// SPDX-License-Identifier: GPL-2.0-or-later
// All that the keys VM remembers, and the order in which it is written:
//   journal.jsonl  every grant, claim, signature and refusal; the only state of grants
//   head.json      the last publication believed, and the journal lines of the receipt that brought it
//   journal-key.pem  what the end of the journal is signed with (journal-key.ts)
// A receipt is one atomic step: head.json is replaced first, with the journal lines in it, then they are
// appended. After a kill in between, the next start appends what is missing. Nothing is told to anyone before
// both are on disk.
import { readIfThere, writeDurably } from '../shared/durable-files.js';
import { Refusal } from './refusals.js';
import { objectIdPattern, sha256Pattern } from '../shared/formats/names.js';
import type { SigningMode } from '../shared/formats/intent.js';
import {
  journalHeadFormat,
  journalHeadPath,
  signJournalHead,
  type JournalHead,
} from '../shared/formats/journal-head.js';
import { journalFileEntries, journalLineHash } from '../shared/formats/journal.js';
import type { PublishedFile } from '../shared/formats/publication.js';
import type { GrantRequest } from '../shared/formats/receipt.js';
import type { Clock } from '../shared/clock.js';
import { GrantBook, type Grant } from './grant-book.js';
import { Journal, type JournalNote, type JournalPosition } from './journal.js';
import { heldJournalKey, makeJournalKey, type JournalKey } from './journal-key.js';
import { anyText, list, oneOf, record, text, whole } from '../shared/formats/strict-reader.js';

export interface Head {
  commit: string;
  /** the `seq:` of that publication */
  seq: number;
  /** so many entries of this VM's journal have been seen published; left out by an earlier release */
  published?: number;
}

const headFormat = 'build-infra/keys-head@1';
interface HeadFile extends Head {
  format: typeof headFormat;
  /** the journal's end before `lines` */
  journal: JournalPosition;
  lines: string[];
}
const readHeadFile = record<Omit<HeadFile, 'published'>, { published: number }>(
  {
    format: oneOf([headFormat]),
    commit: text(objectIdPattern),
    seq: whole(1, Number.MAX_SAFE_INTEGER),
    journal: record<JournalPosition>({ seq: whole(0, Number.MAX_SAFE_INTEGER), sha256: text(sha256Pattern) }),
    lines: list(anyText, 0, 10_000),
  },
  { published: whole(0, Number.MAX_SAFE_INTEGER) },
);

/**
 * A caller can be refused without end, the disk has one: 100 refusals are listed at once and then one each 5
 * minutes, the others counted.
 */
const refusalBurst = 100;
const refusalEveryMs = 5 * 60_000;

export interface LedgerOptions {
  stateFolder: string;
  /** changes with every start of the VM */
  bootId: string;
  grantSeconds: number;
  clock: Pick<Clock, 'wall' | 'steady'>;
  /** what the configuration pins */
  journalKey?: string | null;
}

export class Ledger {
  readonly #journal: Journal;
  readonly #book: GrantBook;
  readonly #options: LedgerOptions;
  #journalKey!: JournalKey;
  #head: Head | null;
  #refusalsLeft = refusalBurst;
  #refusalsCountedAt: number;
  #refusalsNotListed = 0;

  private constructor(options: LedgerOptions, journal: Journal, book: GrantBook, head: Head | null) {
    this.#options = options;
    this.#journal = journal;
    this.#book = book;
    this.#head = head;
    this.#refusalsCountedAt = options.clock.steady();
  }

  /** @throws Error with a clear message if what was remembered is damaged: the VM then signs nothing. */
  static open(options: LedgerOptions): Ledger {
    const book = new GrantBook(options.clock, options.grantSeconds);
    let grantsSeen = false;
    const journal = Journal.open(`${options.stateFolder}/journal.jsonl`, (entry) => {
      grantsSeen ||= entry.event === 'granted';
      book.apply(entry);
    });
    const headBytes = readIfThere(`${options.stateFolder}/head.json`);
    if (headBytes === undefined && grantsSeen)
      throw new Error(
        `${options.stateFolder}/head.json is lost although there were grants; nothing will be signed`,
      );
    const file = headBytes === undefined ? null : readHeadFile(JSON.parse(headBytes.toString('utf8')), '');
    const key = heldJournalKey(options.stateFolder, options.journalKey ?? null, journal.position.seq > 0);
    const ledger = new Ledger(
      options,
      journal,
      book,
      file === null ? null : { commit: file.commit, seq: file.seq, published: file.published ?? 0 },
    );
    if (file !== null) ledger.#finishReceipt(file);
    ledger.#write([{ event: 'start', result: options.bootId }]);
    ledger.#journalKey = key ?? makeJournalKey(options.stateFolder);
    ledger.expire();
    return ledger;
  }

  #finishReceipt(file: HeadFile): void {
    const before = file.journal.seq === 0 ? file.journal.sha256 : this.#journal.hashAt(file.journal.seq);
    const missing = file.lines.filter((line, index) => {
      const there = this.#journal.hashAt(file.journal.seq + 1 + index);
      if (there !== undefined && there !== journalLineHash(line))
        throw new Error('head.json and journal.jsonl contradict each other; nothing will be signed');
      return there === undefined;
    });
    if (before !== file.journal.sha256)
      throw new Error('journal.jsonl does not hold what head.json says it held; nothing will be signed');
    for (const entry of this.#journal.append(missing)) this.#book.apply(entry);
  }

  #time(): string {
    return new Date(this.#options.clock.wall()).toISOString();
  }

  #write(notes: readonly JournalNote[]): void {
    const all = [...notes];
    if (this.#refusalsNotListed > 0)
      all.unshift({ event: 'refused', result: `NOT_LISTED ${this.#refusalsNotListed}` });
    for (const entry of this.#journal.append(this.#journal.compose(all, this.#time())))
      this.#book.apply(entry);
    this.#refusalsNotListed = 0;
  }

  get head(): Head | null {
    return this.#head;
  }

  get position(): JournalPosition {
    return this.#journal.position;
  }

  get journalKey(): string {
    return this.#journalKey.public;
  }

  /** Where the journal on disk ends now. @throws Error after a failed write */
  journalHead(keysVm: string): JournalHead {
    const { seq, sha256: entry } = this.#journal.end;
    return signJournalHead(
      {
        format: journalHeadFormat,
        keysVm,
        seq,
        entry,
        commit: this.#head?.commit ?? null,
        boot: this.#options.bootId,
        time: this.#time(),
      },
      this.#journalKey.secret,
    );
  }

  /**
   * Believes a checked receipt: all of its grants, or none.
   * @param allowed how often each grant's entry stands in its intent document
   * @returns when the grants end
   * @throws Refusal ALREADY_GRANTED, DISK_FULL, JOURNAL_FULL
   */
  accept(
    head: Head,
    source: string,
    grants: readonly GrantRequest[],
    allowed: (grant: GrantRequest) => number,
  ): string {
    this.expire();
    const until = new Date(this.#options.clock.wall() + this.#options.grantSeconds * 1000).toISOString();
    const asked = new Map<string, number>();
    for (const grant of grants) {
      const name = JSON.stringify([grant.intent, grant.sha256, grant.key, grant.mode]);
      const times = (asked.get(name) ?? 0) + 1;
      asked.set(name, times);
      if (this.#book.timesGranted({ ...grant, source }) + times > allowed(grant))
        throw new Refusal('ALREADY_GRANTED', `intent ${grant.intent} was granted before for ${grant.sha256}`);
    }
    const lines = this.#journal.compose(
      grants.map(({ sha256, key, mode, intent }) => ({
        event: 'granted',
        source,
        sha256,
        key,
        mode,
        commit: head.commit,
        intent,
        result: until,
      })),
      this.#time(),
    );
    const file: HeadFile = { format: headFormat, ...head, journal: this.position, lines };
    try {
      writeDurably(`${this.#options.stateFolder}/head.json`, `${JSON.stringify(file)}\n`, 0o600);
    } catch (error) {
      const { code, syscall } = error as NodeJS.ErrnoException;
      // Both happen before the old file is replaced. After any other failure only a new start can tell which
      // one is there.
      if (code === 'ENOSPC' && (syscall === 'open' || syscall === 'write'))
        throw new Refusal('DISK_FULL', 'the disk has no room for the receipt');
      this.#journal.stop();
      throw error;
    }
    try {
      for (const entry of this.#journal.append(lines)) this.#book.apply(entry);
    } catch (error) {
      // The next start appends them; until then no other line may take their place.
      this.#journal.stop();
      throw error;
    }
    this.#head = head;
    return until;
  }

  /**
   * Uses up one grant: from here on it is gone, whatever happens next. @returns it, and where its `claimed`
   * entry stands. @throws Refusal as GrantBook.find
   */
  claim(
    source: string,
    sha256: string,
    key: string,
    mode: SigningMode,
  ): { grant: Grant; claim: JournalPosition } {
    const grant = this.#book.find(source, sha256, key, mode);
    this.#write([{ event: 'claimed', ...publicPart(grant), result: '' }]);
    return { grant, claim: this.position };
  }

  /** @param signatureSha256 of the bytes that will be handed out, and must not be before this returns */
  signed(grant: Grant, signatureSha256: string): void {
    this.#write([{ event: 'signed', ...publicPart(grant), result: `sha256:${signatureSha256}` }]);
  }

  /** A claim that gave no signature. */
  failed(grant: Grant, code: string): void {
    this.#write([{ event: 'refused', ...publicPart(grant), result: code }]);
  }

  /** Lists a refusal, or counts it where there are too many. */
  refused(note: Omit<JournalNote, 'event'>): void {
    const earned = Math.floor((this.#options.clock.steady() - this.#refusalsCountedAt) / refusalEveryMs);
    this.#refusalsLeft = Math.min(refusalBurst, this.#refusalsLeft + earned);
    this.#refusalsCountedAt += earned * refusalEveryMs;
    if (this.#refusalsLeft === 0) {
      this.#refusalsNotListed++;
      return;
    }
    this.#refusalsLeft--;
    this.#write([{ event: 'refused', ...note }]);
  }

  /** Notes the end of grants that nobody used in time. */
  expire(): void {
    const overdue = this.#book.overdue();
    if (overdue.length > 0)
      this.#write(overdue.map((grant) => ({ event: 'expired', ...publicPart(grant), result: '' })));
  }

  /**
   * What the journal holds after the entry that the build-logs VM has.
   * @throws Refusal JOURNAL_FORK: it holds an entry that is not ours, so one of the two was set back or
   * rewritten
   */
  linesAfter(known: JournalPosition | null, limit: number): string[] {
    if (known !== null && this.#journal.hashAt(known.seq) !== known.sha256)
      throw new Refusal('JOURNAL_FORK', `journal entry ${known.seq} is not the one that build-logs holds`);
    return this.#journal.linesAfter(known?.seq ?? 0, limit);
  }

  /**
   * How many entries a file publishes up to its end, as part of `keysVm`'s journal, which is this one;
   * undefined where it does not hold what this journal holds. The files of its heads count as 0: their lines
   * are signed, and whoever audits reads them.
   */
  entriesPublished(keysVm: string, file: PublishedFile): number | undefined {
    const ofHeads = journalFileEntries(keysVm, file.path.replace('/heads-', '/'));
    if (ofHeads !== undefined && file.path === journalHeadPath(keysVm, ofHeads.first))
      return ofHeads.first <= this.position.seq ? 0 : undefined;
    const entries = journalFileEntries(keysVm, file.path);
    if (
      entries === undefined ||
      this.#journal.prefixHash(entries.first, entries.end, file.size) !== file.sha256
    )
      return undefined;
    return this.#journal.entriesUpTo(entries.first, file.size);
  }

  close(): void {
    this.#journal.close();
  }
}

function publicPart(
  grant: Grant,
): Pick<JournalNote, 'source' | 'sha256' | 'key' | 'mode' | 'commit' | 'intent'> {
  const { source, sha256, key, mode, commit, intent } = grant;
  return { source, sha256, key, mode, commit, intent };
}
