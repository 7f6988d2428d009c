// SPDX-License-Identifier: GPL-2.0-or-later
// The commits themselves: one line, numbered, each signed by the pinned logs key, the same on every mirror.
import type { PublicKey } from 'openpgp';
import { printable, Refusal } from '../shared/refusal.js';
import { readGitCommit, type GitCommit } from '../shared/formats/git-commit.js';
import { readPublicationMessage, type PublicationMessage } from '../shared/formats/publication.js';
import { type Findings } from './findings.js';
import { judgeDetached } from './public-keys.js';
import type { PublishedGit } from './published-git.js';

const commitLimitBytes = 16 * 1024 * 1024;

export interface PublishedCommit {
  id: string;
  parent: string | undefined;
  /** undefined where the message is not a publication's */
  message: PublicationMessage | undefined;
}

/** The longest head of which all others are a part; a remote that is none of it has forked. */
export async function chooseHead(git: PublishedGit, remotes: readonly string[], heads: readonly string[], findings: Findings): Promise<string> {
  findings.looked('mirrors', heads.length);
  if (new Set(heads).size === 1) return heads[0] as string;
  const lengths = await Promise.all(heads.map(async (head) => Number(await git.git(['rev-list', '--count', head]))));
  const longest = lengths.indexOf(Math.max(...lengths));
  const head = heads[longest] as string;
  for (const [i, other] of heads.entries()) {
    if (i === longest || await git.isAncestor(other, head)) continue;
    const fork = (await git.git(['merge-base', other, head]).catch(() => '')).trim();
    findings.wrong('mirrors', {
      code: 'MIRROR_FORKED', commit: other, path: printable(remotes[i] as string),
      expected: `a part of the history that ends in ${head} at ${printable(remotes[longest] as string)}`,
      found: fork === '' ? 'nothing in common' : `a different history after ${fork}`,
    });
  }
  return head;
}

/** A commit that somebody audited before must still be there. */
export async function checkRemembered(git: PublishedGit, remembered: readonly string[], head: string, findings: Findings): Promise<void> {
  for (const commit of remembered) {
    if (await git.isAncestor(commit, head)) continue;
    findings.wrong('mirrors', { code: 'HEAD_LOST', commit, expected: 'a commit of the history, as it was before', found: `the history that ends in ${head} does not hold it` });
  }
}

interface RawCommit {
  parents: string[];
  commit: GitCommit | undefined;
  refusal: Refusal | undefined;
  message: string;
}

function readRaw(body: Buffer): RawCommit {
  try {
    const commit = readGitCommit(body);
    return { parents: commit.parents, commit, refusal: undefined, message: commit.message };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    // It is wrong already; what follows is only to go on looking.
    const text = body.toString('latin1');
    const head = text.slice(0, Math.max(0, text.indexOf('\n\n')));
    return { parents: [...head.matchAll(/^parent ([0-9a-f]{40})$/gm)].map((found) => found[1] as string), commit: undefined, refusal: error, message: text.slice(head.length + 2) };
  }
}

/** Reads and judges every commit up to `head`; returned oldest first. */
export async function readHistory(git: PublishedGit, head: string, logsKey: PublicKey, findings: Findings): Promise<PublishedCommit[]> {
  const ids = await git.commits(head);
  const history: PublishedCommit[] = [];
  const bodies = ids.map((id) => git.readWhole(id, commitLimitBytes));
  for (const promise of bodies) promise.catch(() => undefined);
  for (const [i, id] of ids.entries()) {
    const body = await bodies[i];
    if (body === undefined) throw new Error(`git does not have ${id}`);
    const { parents, commit, refusal, message } = readRaw(body);
    findings.looked('one-line');
    if (parents.length > 1) findings.wrong('one-line', { code: 'MERGE', commit: id, expected: 'one parent', found: parents.join(' ') });

    findings.looked('commits-signed');
    if (commit === undefined) {
      findings.wrong('commits-signed', { code: refusal?.code === 'NOT_SIGNED' ? 'NOT_SIGNED' : 'BAD_COMMIT', commit: id, expected: 'a commit signed by the logs key', found: refusal?.detail ?? '' });
    } else {
      const bad = await judgeDetached(commit.signedBytes, Buffer.from(commit.signature), logsKey);
      if (bad !== undefined) findings.wrong('commits-signed', { code: bad.code, commit: id, expected: `a good signature by ${logsKey.getFingerprint().toUpperCase()}`, found: bad.found });
    }
    history.push({ id, parent: ids[i - 1], message: readMessage(id, message, i + 1, findings) });
  }
  return history;
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
