// SPDX-License-Identifier: GPL-2.0-or-later
// The heads of the journals: each keys VM's signed word about where its journal ends. Who carries a journal
// could make one up, for a keys VM that exists or for one that does not; it cannot sign for it. So each
// commit that makes a journal longer publishes a head for its last entry.
import type { KeyObject } from 'node:crypto';
import {
  journalHeadLine,
  journalHeadPath,
  journalHeadSchema,
  journalPublicKey,
  verifiesJournalHead,
  type JournalHead,
} from '../shared/formats/journal-head.js';
import { readDocument, type Check } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { FindingCode, Findings } from './findings.js';
import type { NewBytes } from './published-content.js';

const checkHead: Check<JournalHead> = checkWith(journalHeadSchema);
const lineLimitBytes = 4096;
/** As between the entries of a journal: a clock may be set back by that much. */
const clockStepMs = 60_000;

/** What the journal itself says of an entry. */
export interface HeadedEntry {
  seq: number;
  /** SHA-256 of its line */
  sha256: string;
  time: number;
  /** boot id of the last `start` up to here */
  boot: string;
  /** place in the history of the newest publication that granted something up to here; -1 for none */
  granting: number;
}

interface Ends {
  /** entries of the commit that is being read */
  fresh: Map<number, HeadedEntry>;
  last: HeadedEntry | undefined;
  newest: JournalHead | undefined;
}

export class JournalHeads {
  readonly #ends = new Map<string, Ends>();
  readonly #commits: ReadonlyMap<string, number>;
  readonly #pinned: ReadonlyMap<string, readonly string[]>;
  readonly #findings: Findings;
  readonly #keys = new Map<string, KeyObject>();

  /**
   * @param commits id → place in the history
   * @param pinned keys VM → its journal keys, 64 hex digits each
   */
  constructor(
    commits: ReadonlyMap<string, number>,
    pinned: ReadonlyMap<string, readonly string[]>,
    findings: Findings,
  ) {
    this.#commits = commits;
    this.#pinned = pinned;
    this.#findings = findings;
  }

  #keyOf(hex: string): KeyObject {
    let key = this.#keys.get(hex);
    if (key === undefined) this.#keys.set(hex, (key = journalPublicKey(hex)));
    return key;
  }

  #endsOf(keysVm: string, commit: string, path: string): Ends {
    let ends = this.#ends.get(keysVm);
    if (ends !== undefined) return ends;
    this.#ends.set(keysVm, (ends = { fresh: new Map(), last: undefined, newest: undefined }));
    if (!this.#pinned.has(keysVm)) {
      this.#findings.wrong('journal-heads', {
        code: 'NOT_PINNED',
        commit,
        path,
        expected: `a --journal-key for ${keysVm}, or no such keys VM`,
        found: "a journal that may be anybody's",
      });
    }
    return ends;
  }

  /** A published entry, in its order. */
  entry(keysVm: string, commit: string, path: string, entry: HeadedEntry): void {
    const ends = this.#endsOf(keysVm, commit, path);
    ends.fresh.set(entry.seq, entry);
    ends.last = entry;
  }

  /** A file of heads, after the entries of the same commit. @param place of the commit in the history */
  add(commit: string, place: number, file: NewBytes): void {
    const [, keysVm = ''] = file.path.split('/');
    const ends = this.#endsOf(keysVm, commit, file.path);
    const lines = file.bytes.toString('utf8').split('\n');
    if (lines.pop() !== '')
      this.#findings.wrong('journal-heads', {
        code: 'BAD_HEAD',
        commit,
        path: file.path,
        expected: 'complete lines',
        found: 'a last line without its newline',
      });
    for (const line of lines) this.#head(ends, keysVm, line, commit, place, file.path);
  }

  #head(ends: Ends, keysVm: string, line: string, commit: string, place: number, path: string): void {
    this.#findings.looked('journal-heads');
    let head: JournalHead;
    try {
      head = readDocument(Buffer.from(line), lineLimitBytes, checkHead);
      if (journalHeadLine(head) !== line)
        throw new Refusal('BAD_HEAD', 'spelled in another way than heads are');
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return this.#findings.wrong('journal-heads', {
        code: 'BAD_HEAD',
        commit,
        path,
        expected: 'a journal head',
        found: `${error.message}: ${printable(line).slice(0, 200)}`,
      });
    }
    const wrong = (code: FindingCode, expected: string, found: string): void =>
      this.#findings.wrong('journal-heads', {
        code,
        commit,
        path,
        expected: `head ${head.seq}: ${expected}`,
        found,
      });
    const keys = this.#pinned.get(keysVm);
    if (head.keysVm !== keysVm || journalHeadPath(keysVm, head.seq) !== path)
      wrong('BAD_HEAD', `in ${journalHeadPath(head.keysVm, head.seq)}`, path);
    if (keys !== undefined && !keys.some((key) => verifiesJournalHead(head, this.#keyOf(key)))) {
      wrong('HEAD_SIGNATURE', `signed by ${keys.join(' or ')}`, 'it is not');
      return;
    }
    const before = ends.newest;
    if (before !== undefined && head.seq <= before.seq)
      wrong('HEAD_ORDER', `after head ${before.seq}`, 'it is not');
    ends.newest = head;
    this.#compare(ends.fresh.get(head.seq), before, head, place, wrong);
  }

  #compare(
    entry: HeadedEntry | undefined,
    before: JournalHead | undefined,
    head: JournalHead,
    place: number,
    wrong: (code: FindingCode, expected: string, found: string) => void,
  ): void {
    if (entry?.sha256 !== head.entry) {
      wrong(
        'HEAD_ENTRY',
        `an entry sha256:${head.entry} in the same commit`,
        entry === undefined ? 'no such entry' : `sha256:${entry.sha256}`,
      );
      return;
    }
    if (head.boot !== entry.boot)
      wrong('HEAD_BOOT', `boot ${printable(entry.boot)}, as the last start`, printable(head.boot));
    const time = Date.parse(head.time);
    if (!(time >= entry.time - clockStepMs))
      wrong('HEAD_TIME', `not before its entry, ${new Date(entry.time).toISOString()}`, head.time);
    // A keys VM remembers a publication only after it was made, and grants nothing by one that it has not
    // seen.
    const remembered = head.commit === null ? -1 : (this.#commits.get(head.commit) ?? Infinity);
    const earliest = Math.max(
      entry.granting,
      before === undefined || before.commit === null ? -1 : (this.#commits.get(before.commit) ?? -1),
    );
    if (remembered >= place)
      wrong('HEAD_COMMIT', 'a commit of this history, before this one', head.commit ?? 'none');
    else if (remembered < earliest)
      wrong('HEAD_COMMIT', 'a commit not before those that it knew or granted by', head.commit ?? 'none');
  }

  /** When the head was said, for the next entry's time. */
  timeOf(keysVm: string): number {
    return Date.parse(this.#ends.get(keysVm)?.newest?.time ?? '') || 0;
  }

  /** After all files of a commit: whatever became longer ends with its head. */
  endCommit(commit: string): void {
    for (const [keysVm, ends] of this.#ends) {
      if (ends.fresh.size === 0) continue;
      ends.fresh.clear();
      const { last, newest } = ends;
      if (last === undefined || (newest?.seq === last.seq && newest.entry === last.sha256)) continue;
      this.#findings.wrong('journal-heads', {
        code: 'HEAD_MISSING',
        commit,
        path: `journal/${keysVm}`,
        expected: `a head signed by ${keysVm} for its entry ${last.seq}`,
        found: newest === undefined ? 'none' : `the newest is for entry ${newest.seq}`,
      });
    }
  }

  /**
   * Each keys VM with a journal or a pinned key, by name: its entries and the newest head that is as it has
   * to be signed.
   */
  summary(): { keysVm: string; entries: number; head: JournalHead | undefined }[] {
    return [...new Set([...this.#ends.keys(), ...this.#pinned.keys()])].sort().map((keysVm) => {
      const ends = this.#ends.get(keysVm);
      return { keysVm, entries: ends?.last?.seq ?? 0, head: ends?.newest };
    });
  }
}
