// SPDX-License-Identifier: GPL-2.0-or-later
// The journals of the keys VMs, as published: one chain each, without gaps, and no use of a key without a
// grant, no grant without an intent that was public before. The journal comes through the build-logs VM,
// which is the one who could tamper with it: it can hold the end back (then a signature in the APT repository
// has no entry), and make up nothing: journal-heads.ts.
import { hash } from 'node:crypto';
import {
  journalEntrySchema,
  journalLine,
  journalLineHash,
  journalPath,
  noEntry,
  type JournalEntry,
} from '../shared/formats/journal.js';
import { readDocument, type Check } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { FindingCode, Findings } from './findings.js';
import type { JournalHeads } from './journal-heads.js';
import type { PublishedIntents } from './intents.js';
import { detached, OneText } from '../published/one-text.js';
import type { NewBytes } from './published-content.js';

const checkEntry: Check<JournalEntry> = checkWith(journalEntrySchema);
const lineLimitBytes = 4096;
/** A clock that was set back by more than this, with no restart in between, is worth a look. */
const clockStepMs = 60_000;

/** An entry about one use of a key: none of its names is null. */
type UseEntry = JournalEntry & Record<'source' | 'sha256' | 'key' | 'mode' | 'commit' | 'intent', string>;

export interface Claim {
  seq: number;
  /** SHA-256 of the entry's line */
  line: string;
  commit: string;
  /** SHA-256 of the one that names it, once it was met */
  signature: string | undefined;
}

/** What is asked for later of an entry about a signature. */
export type SignedEntry = Pick<UseEntry, 'seq' | 'time' | 'sha256' | 'key' | 'mode' | 'commit' | 'intent'>;

export interface Signature {
  keysVm: string;
  entry: SignedEntry;
  /** every claim of the same grant's name: which of them led to it, the signature itself says */
  claims: readonly Claim[];
}

interface Chain {
  seq: number;
  last: string;
  time: number;
  boot: string;
  /** by name and commit */
  live: Map<string, { boot: string; until: number }[]>;
  /** how many of that name and commit are not used yet */
  claimed: Map<string, number>;
  granted: Map<string, { times: number; claims: Claim[] }>;
  /** place of the newest publication that granted something, -1 before any */
  granting: number;
}

/** Short, for each grant's name is kept. */
const nameOf = (entry: UseEntry): string =>
  hash('sha256', [entry.source, entry.sha256, entry.key, entry.mode, entry.intent].join(' '), 'binary');

export class PublishedJournals {
  /** SHA-256 of a signature's bytes → who made it */
  readonly signatures = new Map<string, Signature>();
  readonly #chains = new Map<string, Chain>();
  readonly #commits: ReadonlyMap<string, number>;
  readonly #ids: readonly string[];
  readonly #texts = new OneText();
  readonly #intents: PublishedIntents;
  readonly #heads: JournalHeads;
  readonly #findings: Findings;

  /** @param commits id → place in the history */
  constructor(
    commits: ReadonlyMap<string, number>,
    intents: PublishedIntents,
    heads: JournalHeads,
    findings: Findings,
  ) {
    this.#commits = commits;
    this.#ids = [...commits.keys()];
    this.#intents = intents;
    this.#heads = heads;
    this.#findings = findings;
  }

  add(commit: string, file: NewBytes): void {
    const [, keysVm = ''] = file.path.split('/');
    let chain = this.#chains.get(keysVm);
    if (chain === undefined)
      this.#chains.set(
        keysVm,
        (chain = {
          seq: 0,
          last: noEntry,
          time: 0,
          boot: '',
          live: new Map(),
          claimed: new Map(),
          granted: new Map(),
          granting: -1,
        }),
      );
    chain.time = Math.max(chain.time, this.#heads.timeOf(keysVm));
    const lines = file.bytes.toString('utf8').split('\n');
    if (lines.pop() !== '')
      this.#findings.wrong('journal-chain', {
        code: 'BAD_ENTRY',
        commit,
        path: file.path,
        expected: 'complete lines',
        found: 'a last line without its newline',
      });
    for (const line of lines) this.#entry(chain, keysVm, line, commit, file.path);
  }

  #entry(chain: Chain, keysVm: string, line: string, commit: string, path: string): void {
    const chainWrong = (code: FindingCode, expected: string, found: string): void =>
      this.#findings.wrong('journal-chain', { code, commit, path, expected, found });
    this.#findings.looked('journal-chain');
    let entry: JournalEntry;
    try {
      entry = readDocument(Buffer.from(line), lineLimitBytes, checkEntry);
      if (journalLine(entry) !== line)
        throw new Refusal('BAD_ENTRY', 'spelled in another way than entries are');
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      chain.last = journalLineHash(line);
      this.#heads.entry(keysVm, commit, path, {
        seq: chain.seq + 1,
        sha256: chain.last,
        time: chain.time,
        boot: chain.boot,
        granting: chain.granting,
      });
      return chainWrong(
        'BAD_ENTRY',
        `entry ${chain.seq + 1}`,
        `${error.message}: ${printable(line).slice(0, 200)}`,
      );
    }
    if (entry.seq !== chain.seq + 1)
      chainWrong('JOURNAL_GAP', `entry ${chain.seq + 1}`, `entry ${entry.seq}`);
    if (entry.prev !== chain.last)
      chainWrong(
        'JOURNAL_CHAIN',
        `entry ${entry.seq} to follow on ${chain.last}`,
        `it follows on ${entry.prev}`,
      );
    if (journalPath(keysVm, entry.seq) !== path)
      chainWrong('JOURNAL_PLACE', `entry ${entry.seq} in ${journalPath(keysVm, entry.seq)}`, path);
    chain.seq = entry.seq;
    chain.last = journalLineHash(line);
    const time = Date.parse(entry.time);
    if (entry.event !== 'start' && time < chain.time - clockStepMs)
      chainWrong(
        'JOURNAL_TIME',
        `entry ${entry.seq} not before ${new Date(chain.time).toISOString()}`,
        entry.time,
      );
    chain.time = time;
    if (entry.event === 'start') chain.boot = entry.result;
    else if (entry.event !== 'refused') this.#use(chain, keysVm, entry, commit, path);
    this.#heads.entry(keysVm, commit, path, {
      seq: entry.seq,
      sha256: chain.last,
      time,
      boot: chain.boot,
      granting: chain.granting,
    });
  }

  /** granted → claimed → signed, each once; granted → expired. */
  #use(chain: Chain, keysVm: string, untold: JournalEntry, commit: string, path: string): void {
    const { seq } = untold;
    const wrong = (code: FindingCode, expected: string, found: string): void =>
      this.#findings.wrong('journal-grants', {
        code,
        commit,
        path,
        expected: `entry ${seq} (${untold.event}): ${expected}`,
        found,
      });
    if (
      untold.source === null ||
      untold.sha256 === null ||
      untold.key === null ||
      untold.mode === null ||
      untold.commit === null ||
      untold.intent === null
    ) {
      return wrong('BAD_ENTRY', 'names source, sha256, key, mode, commit and intent', 'it does not');
    }
    const entry = untold as UseEntry;
    const name = nameOf(entry);
    const place = `${name} ${entry.commit}`;
    if (entry.event === 'granted') {
      this.#granted(chain, entry, wrong);
      return;
    }
    if (entry.event === 'signed') {
      this.#findings.looked('journal-grants');
      const claims = chain.claimed.get(place) ?? 0;
      if (claims === 0) wrong('NO_CLAIM', 'a claim before it', 'there is none, or it was used');
      else if (claims === 1) chain.claimed.delete(place);
      else chain.claimed.set(place, claims - 1);
      const signature = /^sha256:([0-9a-f]{64})$/.exec(entry.result)?.[1];
      if (signature === undefined) return wrong('BAD_ENTRY', 'sha256:<hex> of the signature', entry.result);
      this.signatures.set(detached(signature), {
        keysVm,
        entry: this.#kept(entry),
        claims: chain.granted.get(name)?.claims ?? [],
      });
      return;
    }
    const grants = chain.live.get(place);
    const grant = grants?.shift();
    if (grants?.length === 0) chain.live.delete(place);
    if (entry.event === 'expired') {
      if (grant === undefined) wrong('NO_GRANT', 'a grant that can end', 'there is none');
      return;
    }
    if (grant === undefined) {
      wrong(
        chain.granted.has(name) ? 'SIGNED_TWICE' : 'NO_GRANT',
        'a grant of its own',
        chain.granted.has(name) ? 'the grant was used or ended before' : 'nothing was granted',
      );
    } else if (grant.boot !== chain.boot || Date.parse(entry.time) > grant.until) {
      wrong('CLAIMED_LATE', `before ${new Date(grant.until).toISOString()}, in the same boot`, entry.time);
    }
    chain.claimed.set(place, (chain.claimed.get(place) ?? 0) + 1);
    chain.granted
      .get(name)
      ?.claims.push({ seq, line: chain.last, commit: this.#idOf(entry.commit), signature: undefined });
  }

  #kept({ seq, time, sha256, key, mode, commit, intent }: UseEntry): SignedEntry {
    const payload =
      this.#intents.announced(intent).find((one) => one.payload.sha256 === sha256)?.payload.sha256 ?? sha256;
    return {
      seq,
      time,
      sha256: payload,
      key: this.#texts.of(key),
      mode: this.#texts.of(mode),
      commit: this.#idOf(commit),
      intent: this.#intents.text(intent),
    };
  }

  /** The same id, as the one text that is kept of it. */
  #idOf(commit: string): string {
    return this.#ids[this.#commits.get(commit) ?? -1] ?? commit;
  }

  #granted(
    chain: Chain,
    entry: UseEntry,
    wrong: (code: FindingCode, expected: string, found: string) => void,
  ): void {
    const name = nameOf(entry);
    const before = chain.granted.get(name);
    const times = (before?.times ?? 0) + 1;
    if (before === undefined) chain.granted.set(name, { times, claims: [] });
    else before.times = times;
    const live = chain.live.get(`${name} ${entry.commit}`);
    const grant = { boot: chain.boot, until: Date.parse(entry.result) };
    if (live === undefined) chain.live.set(`${name} ${entry.commit}`, [grant]);
    else live.push(grant);
    if (Number.isNaN(Date.parse(entry.result))) wrong('BAD_ENTRY', 'when the grant ends', entry.result);
    // It is older than the entry's own publication: nobody can name a commit that is still to be made.
    const granting = this.#commits.get(entry.commit);
    if (granting === undefined) return wrong('UNKNOWN_COMMIT', 'a commit of this history', entry.commit);
    chain.granting = Math.max(chain.granting, granting);
    const published = this.#intents.published(entry.intent, entry.source);
    if (published === undefined)
      return wrong('NO_INTENT', `an intent ${entry.intent} of ${entry.source}`, 'none is published');
    if (published.first > granting)
      return wrong(
        'INTENT_LATER',
        `intent ${entry.intent} published in ${entry.commit} or before`,
        `published ${published.first - granting} commits later`,
      );
    const allowed = this.#intents
      .announced(entry.intent)
      .filter(
        (intent) =>
          intent.payload.sha256 === entry.sha256 && intent.key === entry.key && intent.mode === entry.mode,
      ).length;
    if (allowed === 0)
      wrong(
        'NO_INTENT',
        `intent ${entry.intent} to name sha256:${entry.sha256}, ${entry.key}, ${entry.mode}`,
        'it names other bytes, another key or mode',
      );
    else if (times > allowed)
      wrong('GRANTED_TWICE', `${allowed} grants for intent ${entry.intent}`, `the ${times}th`);
  }
}
