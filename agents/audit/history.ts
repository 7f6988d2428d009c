// SPDX-License-Identifier: GPL-2.0-or-later
// The commits themselves: one line, numbered, each signed by the pinned logs key, the same on every mirror.
import type { PublicKey } from 'openpgp';
import type { PublicationMessage } from '../shared/formats/publication.js';
import { printable } from '../shared/refusal.js';
import { judgeCommit, quickKeysOf } from './commit-signature.js';
import type { Findings } from './findings.js';
import { Unreadable } from '../published/unreadable.js';
import type { PublishedGit } from '../published/history/published-git.js';
import type { ReadCommit } from '../published/history/read-commit.js';
import {
  commitLimitBytes,
  type ReadChange,
  type Reading,
  type ReadingThread,
} from '../published/history/thread.js';
import type { BadFolder } from '../published/history/tree-walk.js';

/** The commit and its signature are made in the same second, but for a clock that is set in between. */
const signedWithinMs = 600_000;
/** A clock may be set back by so much. */
const clockStepMs = 3_600_000;

export interface PublishedCommit {
  id: string;
  /** undefined where the commit could not be read */
  tree: string | undefined;
  /** when it says that it was made, ms */
  time: number | undefined;
  /** undefined where the message is not a publication's */
  message: PublicationMessage | undefined;
}

/**
 * @returns of each remote's main branch, the commit; what is there may be something else that leads to one
 */
async function headsOf(git: PublishedGit, remotes: readonly string[], findings: Findings): Promise<string[]> {
  const heads: string[] = [];
  for (const [i, id] of (await git.fetch(remotes)).entries()) {
    const commit = await git.commitOf(id);
    if (commit !== id)
      findings.wrong('mirrors', {
        code: 'HEAD_NOT_COMMIT',
        commit: id,
        path: printable(remotes[i] as string),
        expected: 'a commit as the head of main',
        found: `a tag, of ${commit}`,
      });
    heads.push(commit);
  }
  findings.looked('mirrors', heads.length);
  return heads;
}

/**
 * The commits of the longest history, oldest first; all others are a part of it, or that remote has forked.
 */
export async function chooseHistory(
  git: PublishedGit,
  remotes: readonly string[],
  remembered: readonly string[],
  findings: Findings,
): Promise<string[]> {
  const heads = await headsOf(git, remotes, findings);
  const lines = new Map<string, string[]>();
  for (const head of heads) if (!lines.has(head)) lines.set(head, await git.commits(head));
  const ids = [...lines.values()].reduce((one, other) => (other.length > one.length ? other : one));
  const head = ids.at(-1) as string;
  const places = new Map(ids.map((id, i) => [id, i]));
  const longest = heads.indexOf(head);
  for (const [i, other] of heads.entries()) {
    if (places.has(other)) continue;
    const fork = (lines.get(other) as string[]).findLast((id) => places.has(id));
    findings.wrong('mirrors', {
      code: 'MIRROR_FORKED',
      commit: other,
      path: printable(remotes[i] as string),
      expected: `a part of the history that ends in ${head} at ${printable(remotes[longest] as string)}`,
      found: fork === undefined ? 'nothing in common' : `a different history after ${fork}`,
    });
  }
  // A commit that somebody audited before must still be there.
  for (const commit of remembered) {
    if (places.has(commit)) continue;
    findings.wrong('mirrors', {
      code: 'HEAD_LOST',
      commit,
      expected: 'a commit of the history, as it was before',
      found: `the history that ends in ${head} does not hold it`,
    });
  }
  return ids;
}

/** Judges the commits, oldest first, some at a time, as they are read. */
export class PublishedHistory {
  readonly #git: PublishedGit;
  readonly #ids: readonly string[];
  readonly #logsKey: PublicKey;
  readonly #findings: Findings;
  #latest = 0;

  constructor(git: PublishedGit, ids: readonly string[], logsKey: PublicKey, findings: Findings) {
    this.#git = git;
    this.#ids = ids;
    this.#logsKey = logsKey;
    this.#findings = findings;
  }

  /**
   * The next ones are read while the caller looks at these.
   * @throws Unreadable
   */
  async *windows(
    thread: ReadingThread,
  ): AsyncGenerator<{ commit: PublishedCommit; changes: ReadChange[]; bad: BadFolder[] }[]> {
    const { budget } = this.#git;
    const { pipes, ended } = await this.#git.answerThread();
    const reading: Reading = {
      pipes,
      ids: this.#ids,
      keys: await quickKeysOf(this.#logsKey),
      limits: budget.left,
    };
    let place = 0;
    for await (const { commits, objects, bytes } of thread.windows(reading, async ({ end, why }) => {
      if (end === 'objects' || end === 'bytes') budget.spend(end, Infinity);
      if (why !== undefined) throw new Unreadable(printable(why));
      const how = await ended;
      if (end === 'git' || how !== 0)
        throw new Unreadable(`git cat-file ended ${end === 'git' ? 'early ' : ''}with ${how}`);
    })) {
      budget.spend('objects', objects);
      budget.spend('bytes', bytes);
      const judged: { commit: PublishedCommit; changes: ReadChange[]; bad: BadFolder[] }[] = [];
      for (const { commit, ...more } of commits)
        judged.push({ commit: await this.#judge(place++, commit), ...more });
      yield judged;
    }
  }

  async #judge(place: number, read: ReadCommit): Promise<PublishedCommit> {
    const findings = this.#findings;
    const id = this.#ids[place] as string;
    const { tooLarge, tree, parents, refusal, unjudged, time, message } = read;
    findings.looked('one-line');
    findings.looked('commits-signed');
    if (tooLarge !== undefined) {
      findings.wrong('commits-signed', {
        code: 'BAD_COMMIT',
        commit: id,
        expected: `a commit of at most ${commitLimitBytes} bytes`,
        found: `${tooLarge} bytes, not read`,
      });
      return { id, tree: undefined, time: undefined, message: undefined };
    }
    if (parents.length > 1)
      findings.wrong('one-line', {
        code: 'MERGE',
        commit: id,
        expected: 'one parent',
        found: parents.join(' '),
      });
    let { signedAt } = read;
    if (refusal !== undefined) {
      findings.wrong('commits-signed', {
        code: refusal.code === 'NOT_SIGNED' ? 'NOT_SIGNED' : 'BAD_COMMIT',
        commit: id,
        expected: 'a commit signed by the logs key',
        found: refusal.detail,
      });
    } else if (unjudged !== undefined) {
      const { bad, created } = await judgeCommit(
        Buffer.from(unjudged.signed, 'latin1'),
        unjudged.signature,
        this.#logsKey,
      );
      if (bad === undefined) signedAt = created;
      else
        findings.wrong('commits-signed', {
          code: bad.code,
          commit: id,
          expected: `a good signature by ${this.#logsKey.getFingerprint().toUpperCase()}`,
          found: bad.found,
        });
    }
    if (refusal === undefined) this.#time(id, time, signedAt);
    if (message === undefined)
      findings.wrong('file-lines', {
        code: 'BAD_PUBLICATION',
        commit: id,
        expected: 'subject, file lines, seq',
        found: read.badMessage ?? '',
      });
    else if (message.seq !== place + 1)
      findings.wrong('one-line', {
        code: 'SEQ_GAP',
        commit: id,
        expected: `seq: ${place + 1}`,
        found: `seq: ${message.seq}`,
      });
    return { id, tree, time, message };
  }

  /** @param signedAt of a good signature */
  #time(id: string, time: number | undefined, signedAt: number | undefined): void {
    if (time === undefined)
      return this.#findings.wrong('one-line', {
        code: 'BAD_COMMIT',
        commit: id,
        expected: 'author and committer as the build-logs VM writes them',
        found: 'others',
      });
    const wrong = (expected: string): void =>
      this.#findings.wrong('one-line', {
        code: 'COMMIT_TIME',
        commit: id,
        expected,
        found: new Date(time).toISOString(),
      });
    if (signedAt !== undefined && Math.abs(signedAt - time) > signedWithinMs)
      wrong(`the time of its signature, ${new Date(signedAt).toISOString()}`);
    else if (time < this.#latest - clockStepMs)
      wrong(`not before ${new Date(this.#latest - clockStepMs).toISOString()}, as a commit before it says`);
    this.#latest = Math.max(this.#latest, time);
  }
}
