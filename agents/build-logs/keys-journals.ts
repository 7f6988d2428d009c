// SPDX-License-Identifier: GPL-2.0-or-later
// The journals of the keys VMs on their way into the repository: entries come with the answers to receipts, and the last ones of a job
// are asked for with a receipt of their own, because nothing else would bring them.
import { printable } from '../shared/refusal.js';
import type { Reporter } from '../shared/socket-service.js';
import type { CommitChain } from './commit-chain.js';
import { demandRoom } from './disk-space.js';
import type { GitRepository } from './git-repository.js';
import type { LogStore } from './log-store.js';
import type { Receipts } from './receipts.js';

export interface KeysJournalsOptions {
  receipts: ReadonlyMap<string, Receipts>;
  logs: LogStore;
  repository: GitRepository;
  chain: CommitChain;
  report: Reporter;
  publishMs: number;
  wakeAt(time: number): void;
  wake(): void;
}

/** Entries that go into a publication. */
export interface JournalsInPublication {
  files: { path: string; body: Buffer }[];
  /** they are in a commit now */
  committed(): void;
}

/** As many entries as a keys VM sends back at once. */
const entriesAtOnce = 1000;

export class KeysJournals {
  readonly #options: KeysJournalsOptions;
  /** by performance.now() */
  #due: number | undefined;
  /** build VMs whose keys VM is to be asked for its last entries once all is confirmed */
  readonly #wanted = new Set<string>();

  constructor(options: KeysJournalsOptions) {
    this.#options = options;
  }

  /** After a start: the repository may hold entries that are not here any more, or not hold some that are. */
  async recover(): Promise<void> {
    for (const receipts of this.#options.receipts.values()) await this.#recoverOne(receipts);
  }

  async #recoverOne({ journal, source }: Receipts): Promise<void> {
    const { chain, repository } = this.#options;
    const folder = await chain.find(`journal/${source.keysVm}`);
    const last = folder === undefined ? undefined : (await repository.tree(folder.id)).at(-1);
    if (last === undefined) return;
    const body = await repository.object(last.id, 'blob') as Buffer;
    const before = Number(last.name.split('.')[0]) * 256;
    const lines = body.toString('utf8').split('\n').slice(0, -1);
    if (journal.entries < before + lines.length && journal.entries >= before) journal.append(lines.slice(journal.entries - before));
    journal.publishedEntries = Math.min(before + lines.length, journal.entries);
    if (journal.entries > journal.publishedEntries) this.grew();
  }

  grew(): void {
    this.#due ??= performance.now() + this.#options.publishMs;
    this.#options.wakeAt(this.#due);
  }

  isDue(now: number): boolean {
    return (this.#due ?? Infinity) <= now;
  }

  /** Every entry that no commit holds, for the publication that is being made. */
  take(): JournalsInPublication {
    this.#due = undefined;
    const journals = [...this.#options.receipts.values()].map(({ journal }) => ({ journal, entries: journal.entries }));
    return {
      files: journals.flatMap(({ journal }) => journal.unpublishedFiles()),
      committed: () => {
        for (const { journal, entries } of journals) journal.publishedEntries = entries;
      },
    };
  }

  /** If its keys VM gave grants since it was asked last. */
  wantLastEntries(source: string): void {
    if (this.#options.receipts.get(source)?.owed) this.#wanted.add(source);
  }

  get wanted(): boolean {
    return this.#wanted.size > 0;
  }

  /**
   * The receipt without grants, after the last log of a job: the keys VM's entries come back and go out with one more publication.
   * @param commit is confirmed, on `remotes`
   */
  askForLastEntries(commit: string, remotes: string[]): void {
    const { logs, receipts, report } = this.#options;
    for (const source of this.#wanted) {
      if (logs.of(source).some((log) => !log.ended)) continue;
      this.#wanted.delete(source);
      this.#ask(source, receipts.get(source) as Receipts, commit, remotes).catch((error: unknown) =>
        report(`the last entries of the keys VM of ${source} are missing: ${printable(String((error as Error).message))}`));
    }
  }

  async #ask(source: string, receipts: Receipts, commit: string, remotes: string[]): Promise<void> {
    const before = receipts.journal.entries;
    // Entries can wait in the keys VM; what is acknowledged here cannot.
    await demandRoom(this.#options.repository.path);
    await receipts.send(commit, remotes, []);
    const came = receipts.journal.entries - before;
    if (came > 0) this.#due = performance.now();
    // There may be more. The keys VM may know a newer commit by then and must not be shown this one again.
    if (came >= entriesAtOnce) this.#wanted.add(source);
    this.#options.wake();
  }
}
