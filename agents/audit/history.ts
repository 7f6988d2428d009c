// SPDX-License-Identifier: GPL-2.0-or-later
// The commits themselves: one line, numbered, each signed by the pinned logs key, the same on every mirror.
import type { PublicKey } from 'openpgp';
import { printable, Refusal } from '../shared/refusal.js';
import { readGitCommit, type GitCommit } from '../shared/formats/git-commit.js';
import { readPublicationMessage, type PublicationMessage } from '../shared/formats/publication.js';
import { matches, vmNamePattern } from '../shared/formats/names.js';
import { CommitSignatures, type JudgedCommit } from './commit-signature.js';
import { type Findings } from './findings.js';
import type { PublishedGit } from './published-git.js';

/** What fits into a receipt, and so the largest commit that a keys VM ever took. */
const commitLimitBytes = 4 * 1024 * 1024;
/** Commits read and judged at once; their bodies are forgotten again. */
const windowCommits = 128;
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

/** @returns of each remote's main branch, the commit; what is there may be something else that leads to one */
async function headsOf(git: PublishedGit, remotes: readonly string[], findings: Findings): Promise<string[]> {
  const heads: string[] = [];
  for (const [i, id] of (await git.fetch(remotes)).entries()) {
    const commit = await git.commitOf(id);
    if (commit !== id) findings.wrong('mirrors', { code: 'HEAD_NOT_COMMIT', commit: id, path: printable(remotes[i] as string), expected: 'a commit as the head of main', found: `a tag, of ${commit}` });
    heads.push(commit);
  }
  findings.looked('mirrors', heads.length);
  return heads;
}

/** The commits of the longest history, oldest first; all others are a part of it, or that remote has forked. */
export async function chooseHistory(git: PublishedGit, remotes: readonly string[], remembered: readonly string[], findings: Findings): Promise<string[]> {
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
      code: 'MIRROR_FORKED', commit: other, path: printable(remotes[i] as string),
      expected: `a part of the history that ends in ${head} at ${printable(remotes[longest] as string)}`,
      found: fork === undefined ? 'nothing in common' : `a different history after ${fork}`,
    });
  }
  // A commit that somebody audited before must still be there.
  for (const commit of remembered) {
    if (places.has(commit)) continue;
    findings.wrong('mirrors', { code: 'HEAD_LOST', commit, expected: 'a commit of the history, as it was before', found: `the history that ends in ${head} does not hold it` });
  }
  return ids;
}

interface RawCommit {
  tree: string | undefined;
  parents: string[];
  commit: GitCommit | undefined;
  refusal: Refusal | undefined;
  message: string;
}

function readRaw(body: Buffer): RawCommit {
  try {
    const commit = readGitCommit(body);
    return { tree: commit.tree, parents: commit.parents, commit, refusal: undefined, message: commit.message };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    // It is wrong already; what follows is only to go on looking.
    const text = body.toString('latin1');
    const head = text.slice(0, Math.max(0, text.indexOf('\n\n')));
    return {
      tree: /^tree ([0-9a-f]{40})\n/.exec(head)?.[1], parents: [...head.matchAll(/^parent ([0-9a-f]{40})$/gm)].map((found) => found[1] as string),
      commit: undefined, refusal: error, message: text.slice(head.length + 2),
    };
  }
}

/** When the commit says that it was made, ms; undefined for author and committer in any other spelling than commit-chain.ts writes. */
function commitTime({ signedBytes }: GitCommit): number | undefined {
  const head = signedBytes.toString('latin1', 0, signedBytes.indexOf('\n\n'));
  const [, author, vm, domain, seconds, committer] = /\nauthor ((\S+) <(\S+)@build-infra\.invalid> (\d{1,11}) \+0000)\ncommitter (.*)$/.exec(head) ?? [];
  return author === committer && vm === domain && matches(vmNamePattern, vm) ? Number(seconds) * 1000 : undefined;
}

/** Reads and judges the commits, oldest first, some at a time. */
export class PublishedHistory {
  readonly #git: PublishedGit;
  readonly #ids: readonly string[];
  readonly #signatures: CommitSignatures;
  readonly #findings: Findings;
  #latest = 0;

  constructor(git: PublishedGit, ids: readonly string[], logsKey: PublicKey, findings: Findings) {
    this.#git = git;
    this.#ids = ids;
    this.#signatures = new CommitSignatures(logsKey);
    this.#findings = findings;
    this.#key = logsKey.getFingerprint().toUpperCase();
  }

  readonly #key: string;

  /** The next ones are read while the caller looks at these. */
  async* windows(): AsyncGenerator<PublishedCommit[]> {
    const read = (from: number): Promise<[RawCommit | number, JudgedCommit | undefined][]> => {
      const all = Promise.all(this.#ids.slice(from, from + windowCommits).map(async (id): Promise<[RawCommit | number, JudgedCommit | undefined]> => {
        const body = await this.#git.readWhole(id, 'commit', commitLimitBytes);
        if (typeof body === 'number') return [body, undefined];
        const raw = readRaw(body);
        return [raw, raw.commit === undefined ? undefined : await this.#signatures.judge(raw.commit.signedBytes, raw.commit.signature)];
      }));
      all.catch(() => undefined);
      return all;
    };
    let next = read(0);
    for (let from = 0; from < this.#ids.length; from += windowCommits) {
      const here = await next;
      next = read(from + windowCommits);
      yield here.map(([raw, judged], i) => this.#judge(from + i, raw, judged));
    }
  }

  #judge(place: number, raw: RawCommit | number, judged: JudgedCommit | undefined): PublishedCommit {
    const findings = this.#findings;
    const id = this.#ids[place] as string;
    findings.looked('one-line');
    findings.looked('commits-signed');
    if (typeof raw === 'number') {
      findings.wrong('commits-signed', { code: 'BAD_COMMIT', commit: id, expected: `a commit of at most ${commitLimitBytes} bytes`, found: `${raw} bytes, not read` });
      return { id, tree: undefined, time: undefined, message: undefined };
    }
    const { tree, parents, commit, refusal, message } = raw;
    if (parents.length > 1) findings.wrong('one-line', { code: 'MERGE', commit: id, expected: 'one parent', found: parents.join(' ') });
    if (commit === undefined) {
      findings.wrong('commits-signed', { code: refusal?.code === 'NOT_SIGNED' ? 'NOT_SIGNED' : 'BAD_COMMIT', commit: id, expected: 'a commit signed by the logs key', found: refusal?.detail ?? '' });
    } else if (judged?.bad !== undefined) {
      findings.wrong('commits-signed', { code: judged.bad.code, commit: id, expected: `a good signature by ${this.#key}`, found: judged.bad.found });
    }
    const time = commit === undefined ? undefined : this.#time(id, commit, judged);
    return { id, tree, time, message: readMessage(id, message, place + 1, findings) };
  }

  #time(id: string, commit: GitCommit, judged: JudgedCommit | undefined): number | undefined {
    const time = commitTime(commit);
    if (time === undefined) {
      this.#findings.wrong('one-line', { code: 'BAD_COMMIT', commit: id, expected: 'author and committer as the build-logs VM writes them', found: 'others' });
      return undefined;
    }
    const wrong = (expected: string): void => this.#findings.wrong('one-line', { code: 'COMMIT_TIME', commit: id, expected, found: new Date(time).toISOString() });
    if (judged?.bad === undefined && judged?.created !== undefined && Math.abs(judged.created - time) > signedWithinMs) wrong(`the time of its signature, ${new Date(judged.created).toISOString()}`);
    else if (time < this.#latest - clockStepMs) wrong(`not before ${new Date(this.#latest - clockStepMs).toISOString()}, as a commit before it says`);
    this.#latest = Math.max(this.#latest, time);
    return time;
  }
}

function readMessage(id: string, untrustedText: string, place: number, findings: Findings): PublicationMessage | undefined {
  try {
    const message = readPublicationMessage(untrustedText);
    if (message.seq !== place) findings.wrong('one-line', { code: 'SEQ_GAP', commit: id, expected: `seq: ${place}`, found: `seq: ${message.seq}` });
    return message;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    findings.wrong('file-lines', { code: 'BAD_PUBLICATION', commit: id, expected: 'subject, file lines, seq', found: error.detail });
    return undefined;
  }
}
