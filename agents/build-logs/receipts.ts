// SPDX-License-Identifier: GPL-2.0-or-later
// What this VM tells a keys VM, and what comes back. One chain of receipts per keys VM, one at a time: each
// proves the commits since the head that the keys VM acknowledged last. The keys VM believes the proof, not
// us; we believe its journal only as a chain.
import { join } from 'node:path';
import { makeFolder, readIfThere, writeDurably } from '../shared/durable-files.js';
import { readDocument, type Check } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';
import { AnyRefusal, printable, RelayedRefusal } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import {
  receiptFormat,
  receiptLimitBytes,
  receiptReplySchema,
  type GrantRequest,
  type Receipt,
  type ReceiptReply,
} from '../shared/formats/receipt.js';
import { gitObjectId } from '../shared/formats/git-commit.js';
import type { SourceConfig } from './config.js';
import type { Payload } from './intent-input.js';
import { JournalStore } from './journal-store.js';

export interface ReceiptsOptions {
  source: SourceConfig;
  /** <state>; holds keys/<keysVm>.json and journal/<keysVm>.jsonl */
  stateFolder: string;
  report: Reporter;
  /**
   * raw bodies of the commits after `from` (null: from the root) to `to`, oldest first; undefined where
   * `from` is not in our history
   */
  commitsAfter: (from: string | null, to: string) => Promise<Buffer[] | undefined>;
  /** the names of the remotes that have confirmed everything up to `commit` */
  call: (receipt: Uint8Array) => Promise<Buffer>;
  /** entries came that wait for publication */
  journalGrew: () => void;
}

/** Commits of one receipt. `end` is the last of them where more follow. */
interface Part {
  commits: Buffer[];
  last: boolean;
  end: string;
}

interface KeysVmState {
  /** the last commit that the keys VM acknowledged */
  head: string | null;
  /** grants were given since the last receipt without any: its journal has more to tell */
  owed: boolean;
  /** why nothing is granted any more; a person clears it by hand after looking */
  alarm: string | null;
}

export interface GrantedIntent {
  sha256: string;
  bytes: Buffer;
  /** what is published beside it */
  payloads: readonly Payload[];
  grants: GrantRequest[];
}

const checkReply: Check<ReceiptReply> = checkWith(receiptReplySchema);
/** Of base64 in one receipt, below the limit of 4 MiB with everything around it. */
const proofBytes = receiptLimitBytes - 256 * 1024;
const commitsPerReceipt = 4000;
const attempts = 6;
/**
 * Two accounts of one journal: it was set back, lost, or rewritten on its way. A person has to look, whatever
 * the next answer says.
 */
export const contradictions: ReadonlySet<string> = new Set(['JOURNAL_FORK', 'JOURNAL_ALTERED', 'STATE_LOST']);
const base64Length = (bytes: Buffer): number => Math.ceil(bytes.length / 3) * 4 + 3;

export class Receipts {
  readonly source: SourceConfig;
  readonly journal: JournalStore;
  readonly #options: ReceiptsOptions;
  readonly #stateFile: string;
  #state: KeysVmState;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: ReceiptsOptions) {
    this.source = options.source;
    this.#options = options;
    for (const folder of ['keys', 'journal']) makeFolder(join(options.stateFolder, folder));
    this.#stateFile = join(options.stateFolder, 'keys', `${options.source.keysVm}.json`);
    this.#state = JSON.parse(
      readIfThere(this.#stateFile)?.toString('utf8') ?? '{"head":null,"owed":false,"alarm":null}',
    ) as KeysVmState;
    this.journal = new JournalStore(
      join(options.stateFolder, 'journal', `${options.source.keysVm}.jsonl`),
      options.source.keysVm,
      options.source.journalKey,
      options.report,
    );
  }

  /** @throws Refusal KEYS_VM_ALARM */
  demandTrust(): void {
    if (this.#state.alarm !== null)
      throw new Refusal('KEYS_VM_ALARM', `nothing is granted on ${this.source.keysVm}: ${this.#state.alarm}`);
  }

  get owed(): boolean {
    return this.#state.owed && this.#state.alarm === null;
  }

  #remember(change: Partial<KeysVmState>): void {
    this.#state = { ...this.#state, ...change };
    writeDurably(this.#stateFile, `${JSON.stringify(this.#state)}\n`);
  }

  #alarm(why: string): Refusal {
    this.#options.report(`ALARM ${this.source.keysVm}: ${why}`);
    this.#remember({ alarm: why });
    return new Refusal('KEYS_VM_ALARM', `nothing is granted on ${this.source.keysVm}: ${why}`);
  }

  /**
   * Shows the keys VM everything up to `commit`, which is confirmed on `remotes`, and asks for the grants of
   * `intents`.
   * @returns until when they are granted
   * @throws Refusal with the keys VM's code, KEYS_VM_UNREACHABLE, or KEYS_VM_ALARM
   */
  send(commit: string, remotes: string[], intents: GrantedIntent[]): Promise<string> {
    const turn = this.#last.then(() => this.#send(commit, remotes, intents));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #send(commit: string, remotes: string[], intents: GrantedIntent[]): Promise<string> {
    const until = await this.#sendWhole(commit, remotes, intents);
    await this.#fetchRest(commit, remotes);
    return until;
  }

  /**
   * An answer brings so many entries; the head in it says how many there are. What is missing comes with the
   * next receipt.
   */
  async #fetchRest(commit: string, remotes: string[]): Promise<void> {
    try {
      for (let before = -1; this.journal.hasMore && this.journal.entries > before;) {
        before = this.journal.entries;
        await this.#call({
          format: receiptFormat,
          source: this.source.vm,
          commit,
          remotes,
          grants: [],
          journal: this.journal.last,
          proof: { commits: [], intents: [] },
        });
      }
    } catch (error) {
      if (error instanceof Refusal && error.code === 'JOURNAL_BROKEN') throw this.#alarm(error.detail);
      this.#options.report(
        `${this.source.keysVm}: entries up to its journal head are missing: ${printable(String((error as Error).message))}`,
      );
    }
  }

  /** @param grants what is granted with it; none with a receipt that only fetches the journal */
  #receiptOf(part: Part, commit: string, remotes: string[], grants: GrantedIntent[]): Receipt {
    return {
      format: receiptFormat,
      source: this.source.vm,
      commit: part.last ? commit : part.end,
      remotes,
      grants: grants.flatMap((intent) => intent.grants),
      journal: this.journal.last,
      proof: {
        commits: part.commits.map((body) => body.toString('base64')),
        intents: grants.map((intent) => intent.bytes.toString('base64')),
      },
    };
  }

  async #sendWhole(commit: string, remotes: string[], intents: GrantedIntent[]): Promise<string> {
    this.demandTrust();
    if (intents.length > 0 && !this.#state.owed) this.#remember({ owed: true });
    let failure: unknown;
    for (let attempt = 0; attempt < attempts; attempt++) {
      const commits =
        this.#state.head === commit ? [] : await this.#options.commitsAfter(this.#state.head, commit);
      if (commits === undefined)
        throw this.#alarm(`it remembers commit ${this.#state.head}, which is not in our history`);
      // A receipt for an older publication than the last one: only another start of this agent can ask for
      // that.
      const parts = this.#parts(commits, intents);
      const part = parts[0] as Part;
      const grants = part.last ? intents : [];
      let reply: ReceiptReply;
      try {
        reply = await this.#call(this.#receiptOf(part, commit, remotes, commits.length === 0 ? [] : grants));
      } catch (error) {
        if (error instanceof Refusal && error.code === 'JOURNAL_BROKEN') throw this.#alarm(error.detail);
        // The receipt may have arrived; the next attempt finds out.
        failure = error;
        this.#options.report(`${this.source.keysVm}: ${printable(String((error as Error).message))}`);
        if (attempt >= 1) break;
        await new Promise((resolve) => setTimeout(resolve, 500));
        continue;
      }
      if (reply.result === 'accepted') {
        if (reply.head !== (part.last ? commit : part.end))
          throw this.#alarm(`it accepted a receipt but remembers ${reply.head}`);
        this.#remember(
          part.last && intents.length === 0 ? { head: reply.head, owed: false } : { head: reply.head },
        );
        if (!part.last) continue;
        // An earlier attempt had arrived, and this one only fetched the journal.
        if (commits.length === 0 && intents.length > 0) return this.#grantedEarlier(intents);
        return reply.until;
      }
      if (contradictions.has(reply.code))
        throw this.#alarm(`it refused a receipt: ${reply.code} ${printable(reply.detail)}`);
      const anchor =
        reply.head === null && reply.code === 'NOT_FROM_ANCHOR'
          ? /\b[0-9a-f]{40,64}\b/.exec(reply.detail)?.[0]
          : undefined;
      const head = anchor ?? reply.head;
      if (head === this.#state.head)
        throw new RelayedRefusal(reply.code, `${this.source.keysVm}: ${reply.detail}`);
      this.#remember({ head });
      failure = new RelayedRefusal(reply.code, reply.detail);
    }
    if (failure instanceof AnyRefusal && !(failure instanceof Refusal && failure.code === 'CALL_REFUSED'))
      throw failure;
    throw new Refusal(
      'KEYS_VM_UNREACHABLE',
      `${this.source.keysVm} cannot be reached: ${printable(String((failure as Error | undefined)?.message ?? 'too many attempts'))}`,
    );
  }

  #grantedEarlier(intents: GrantedIntent[]): string {
    const ends = intents.map((intent) => this.journal.grantOf(intent.sha256)?.result);
    if (ends.some((end) => end === undefined))
      throw new Refusal('NOT_GRANTED', `${this.source.keysVm} holds no grant for this intent`);
    return (ends as string[]).sort()[0] as string;
  }

  /**
   * The intents and the newest commits go into the last receipt; what does not fit goes before, without
   * grants.
   */
  #parts(commits: Buffer[], intents: GrantedIntent[]): Part[] {
    const room =
      proofBytes -
      intents.reduce((sum, intent) => sum + base64Length(intent.bytes) + 300 * intent.grants.length, 0);
    let used = 0;
    let from = commits.length;
    while (
      from > 0 &&
      commits.length - from < commitsPerReceipt &&
      used + base64Length(commits[from - 1] as Buffer) <= room
    )
      used += base64Length(commits[--from] as Buffer);
    if (from === 0) return [{ commits, last: true, end: '' }];
    const early: Buffer[] = [];
    used = 0;
    while (
      early.length < Math.min(from, commitsPerReceipt) &&
      used + base64Length(commits[early.length] as Buffer) <= proofBytes
    ) {
      used += base64Length(commits[early.length] as Buffer);
      early.push(commits[early.length] as Buffer);
    }
    return [{ commits: early, last: false, end: gitObjectId('commit', early.at(-1) as Buffer) }];
  }

  async #call(receipt: Receipt): Promise<ReceiptReply> {
    const untrusted = await this.#options.call(Buffer.from(JSON.stringify(receipt)));
    const lines = untrusted.toString('utf8').split('\n');
    if (lines.pop() !== '') throw new Error('the answer to the receipt has no end');
    if (lines[0]?.startsWith('refused ')) throw new Refusal('CALL_REFUSED', printable(lines[0]));
    const reply = readDocument(Buffer.from(lines.shift() ?? ''), 64 * 1024, checkReply);
    // A keys VM that was set back says so by its code: that alarm says more than one about its head.
    if (reply.result === 'refused' && contradictions.has(reply.code)) return reply;
    this.journal.append(lines);
    this.journal.takeHead(reply.journalHead);
    if (this.journal.hasUnpublished) this.#options.journalGrew();
    return reply;
  }
}
