// SPDX-License-Identifier: GPL-2.0-or-later
// The history of publications as this VM made it: its head, and how one more commit comes onto it. Every
// commit has exactly one parent, carries the next number and is signed by the logs key; keys VMs get these
// very bytes as proof. docs/formats.md, "Publication".
import { gitObjectId, readGitCommit } from '../shared/formats/git-commit.js';
import {
  readPublicationMessage,
  writePublicationMessage,
  type PublishedFile,
} from '../shared/formats/publication.js';
import type { TreeEntry } from './git-objects.js';
import type { GitRepository } from './git-repository.js';
import type { StampTime } from './stamp-time.js';
import type { Target } from './remote.js';
import type { Signer } from './signer.js';

export interface Head extends Target {
  tree: string;
}

export interface CommitChainOptions {
  repository: GitRepository;
  signer: Signer;
  /** this VM's name, for the commits */
  vm: string;
  clock: StampTime;
}

export interface NewCommit {
  /** what the message vouches for */
  files: PublishedFile[];
  /** by path; null takes a file away */
  blobs: ReadonlyMap<string, string | null>;
  /** for the subject */
  intents: number;
  /**
   * microseconds: the commit is not earlier than the last line of a log that has ended, though the clock be
   * set back in between
   */
  notBefore: number;
}

/** Nothing was committed: the branch had moved on, and the chain stands where it is now. */
export class BranchMoved extends Error {}

const keptInMemory = 500;

export class CommitChain {
  readonly #options: CommitChainOptions;
  readonly #recent = new Map<string, Buffer>();
  #head: Head | null = null;

  constructor(options: CommitChainOptions) {
    this.#options = options;
  }

  /** null before the first publication */
  get head(): Head | null {
    return this.#head;
  }

  /** @param commit the head of the repository, checked */
  async open(commit: string): Promise<Head> {
    const { tree, message } = readGitCommit(await this.#commit(commit));
    return (this.#head = { commit, tree, seq: readPublicationMessage(message).seq });
  }

  async find(path: string): Promise<TreeEntry | undefined> {
    return this.#options.repository.find(this.#head?.tree ?? null, path);
  }

  /**
   * One more commit, signed and on disk, and the branch on it. @throws BranchMoved: make it anew from where
   * the branch is now
   */
  async append({ files, blobs, intents, notBefore }: NewCommit): Promise<Head> {
    const { repository, signer, vm, clock } = this.#options;
    const before = this.#head;
    const tree = await repository.withFiles(before?.tree ?? null, blobs);
    const seq = (before?.seq ?? 0) + 1;
    const subject = `Publish ${files.length} file${files.length === 1 ? '' : 's'}${intents === 0 ? '' : `, ${intents} intent${intents === 1 ? '' : 's'}`}`;
    const who = `${vm} <${vm}@build-infra.invalid> ${Math.floor(Math.max(clock(), notBefore) / 1e6)} +0000`;
    const head = [
      `tree ${tree}`,
      ...(before === null ? [] : [`parent ${before.commit}`]),
      `author ${who}`,
      `committer ${who}`,
    ].join('\n');
    const message = `\n\n${writePublicationMessage({ subject, files, seq })}`;
    const signature = await signer.sign(Buffer.from(head + message));
    const body = Buffer.from(`${head}\ngpgsig ${signature.trimEnd().replaceAll('\n', '\n ')}${message}`);
    const { id } = repository.objects.write('commit', body);
    try {
      await repository.moveBranch(before?.commit ?? null, id);
    } catch (error) {
      // The branch may have moved although git complained: what it shows counts.
      const shown = await repository.head();
      if (shown !== id) {
        if (shown !== null && shown !== before?.commit) await this.#follow(shown, before?.commit);
        throw error;
      }
    }
    this.#remember(id, body);
    return (this.#head = { commit: id, seq, tree });
  }

  /**
   * The last move that a killed agent had asked git for may come true only after this one has read the
   * branch: that commit is ours.
   * @throws BranchMoved if so
   */
  async #follow(shown: string, before: string | undefined): Promise<void> {
    const commit = readGitCommit(await this.#commit(shown));
    if (
      commit.parents[0] !== before ||
      !(await this.#options.signer.verifies(commit.signedBytes, commit.signature))
    )
      return;
    await this.open(shown);
    throw new BranchMoved(`the branch had moved to ${shown}, which is ours`);
  }

  #remember(commit: string, body: Buffer): void {
    if (this.#recent.size >= keptInMemory) this.#recent.delete(this.#recent.keys().next().value as string);
    this.#recent.set(commit, body);
  }

  async #commit(id: string): Promise<Buffer> {
    const known = this.#recent.get(id);
    if (known !== undefined) return known;
    const body = await this.#options.repository.object(id, 'commit');
    if (body === undefined || gitObjectId('commit', body) !== id) throw new Error(`commit ${id} is missing`);
    return body;
  }

  /** Raw commits from this one down, as far as they are in memory and fit. */
  newestCommits(from: string, limitBytes: number): Buffer[] {
    const bodies: Buffer[] = [];
    let left = limitBytes;
    for (
      let body = this.#recent.get(from);
      body !== undefined && body.length <= left;
      body = this.#recent.get(readGitCommit(body).parents[0] ?? '')
    ) {
      left -= body.length;
      bodies.push(body);
    }
    return bodies;
  }

  /**
   * For receipts: raw commits after `from` up to `to`, oldest first; undefined where `from` is not among
   * them.
   */
  async commitsAfter(from: string | null, to: string): Promise<Buffer[] | undefined> {
    const bodies: Buffer[] = [];
    for (let id: string | undefined = to; id !== undefined && id !== from;) {
      const body = await this.#commit(id);
      bodies.unshift(body);
      id = readGitCommit(body).parents[0];
      if (id === undefined && from !== null) return undefined;
    }
    return bodies;
  }
}
