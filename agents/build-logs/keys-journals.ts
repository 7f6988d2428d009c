// SPDX-License-Identifier: GPL-2.0-or-later
// The journals of the keys VMs on their way into the repository: entries come with the answers to receipts,
// and the last ones of a job are asked for with a receipt of their own, because nothing else would bring
// them.
import { printable } from '../shared/refusal.js';
import type { Reporter } from '../shared/calls/socket-service.js';
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
  wakeAt: (time: number) => void;
  wake: () => void;
}

/** Entries that go into a publication. */
export interface JournalsInPublication {
  files: { path: string; body: Buffer }[];
  /** they are in a commit now */
  committed: () => void;
}

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
    const files = folder === undefined ? [] : await repository.tree(folder.id);
    const read = async (id: string): Promise<string> =>
      ((await repository.object(id, 'blob')) as Buffer).toString('utf8');
    let published = 0;
    for (const { name, id } of files.filter((file) => /^[0-9]+\.jsonl$/.test(file.name))) {
      const before = Number(name.split('.')[0]) * 256;
      // A file that is full and here already need not be read.
      published = before + 256;
      if (journal.entries >= published && name !== files.findLast((file) => /^[0-9]/.test(file.name))?.name)
        continue;
      const lines = (await read(id)).split('\n').slice(0, -1);
      published = before + lines.length;
      if (journal.entries < published) journal.append(lines.slice(journal.entries - before));
    }
    const heads = files.findLast(({ name }) => name.startsWith('heads-'));
    journal.tookOver(
      published,
      heads === undefined
        ? undefined
        : { path: `journal/${source.keysVm}/${heads.name}`, text: await read(heads.id) },
    );
    if (journal.hasUnpublished) this.grew();
  }

  grew(): void {
    this.#due ??= performance.now() + this.#options.publishMs;
    this.#options.wakeAt(this.#due);
  }

  isDue(now: number): boolean {
    return (this.#due ?? Infinity) <= now;
  }

  /** Every entry that no commit holds, up to the newest head, for the publication that is being made. */
  take(): JournalsInPublication {
    this.#due = undefined;
    const parts = [...this.#options.receipts.values()].map(({ journal }) => journal.unpublished());
    return {
      files: parts.flatMap(({ files }) => files),
      committed: () => parts.forEach((part) => part.committed()),
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
   * The receipt without grants, after the last log of a job: the keys VM's entries come back and go out with
   * one more publication.
   * @param commit is confirmed, on `remotes`
   */
  askForLastEntries(commit: string, remotes: string[]): void {
    const { logs, receipts, report } = this.#options;
    for (const source of this.#wanted) {
      if (logs.of(source).some((log) => !log.ended)) continue;
      this.#wanted.delete(source);
      this.#ask(receipts.get(source) as Receipts, commit, remotes).catch((error: unknown) =>
        report(
          `the last entries of the keys VM of ${source} are missing: ${printable(String((error as Error).message))}`,
        ),
      );
    }
  }

  async #ask(receipts: Receipts, commit: string, remotes: string[]): Promise<void> {
    const before = receipts.journal.entries;
    // Entries can wait in the keys VM; what is acknowledged here cannot.
    await demandRoom(this.#options.repository.path);
    await receipts.send(commit, remotes, []);
    const came = receipts.journal.entries - before;
    if (came > 0) this.#due = performance.now();
    this.#options.wake();
  }
}
