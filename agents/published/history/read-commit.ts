// SPDX-License-Identifier: GPL-2.0-or-later
// One commit as it goes from the thread that reads to the one that judges: plain data, with nothing decided
// but whether the signature is good.
import { readGitCommit, type GitCommit } from '../../shared/formats/git-commit.js';
import { matches, vmNamePattern } from '../../shared/formats/names.js';
import { readPublicationMessage, type PublicationMessage } from '../../shared/formats/publication.js';
import { Refusal } from '../../shared/refusals.js';
import type { QuickSignatures } from './quick-signatures.js';

export interface ReadCommit {
  /** bytes, of one that is too large; nothing else is known of it then */
  tooLarge?: number;
  /** undefined where it cannot be read */
  tree?: string;
  parents: string[];
  /** why it is no commit as this farm makes them */
  refusal?: { code: string; detail: string };
  /**
   * when it says that it was made, ms; undefined for author and committer in any other spelling than
   * commit-chain.ts writes
   */
  time?: number;
  /** when its signature was made, ms: a good one, by the pinned key */
  signedAt?: number;
  /** latin1: what is left to openpgp */
  unjudged?: { signed: string; signature: string };
  /** undefined where it is not a publication's: then `badMessage` says why */
  message?: PublicationMessage;
  badMessage?: string;
}

function commitTime({ signedBytes }: GitCommit): number | undefined {
  const head = signedBytes.toString('latin1', 0, signedBytes.indexOf('\n\n'));
  const [, author, vm, domain, seconds, committer] =
    /\nauthor ((\S+) <(\S+)@build-infra\.invalid> (\d{1,11}) \+0000)\ncommitter (.*)$/.exec(head) ?? [];
  return author === committer && vm === domain && matches(vmNamePattern, vm)
    ? Number(seconds) * 1000
    : undefined;
}

/** What the refusal of a reader says, or what it read. */
function orRefusal<T>(read: () => T): T | Refusal {
  try {
    return read();
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

export function readCommit(body: Buffer, signatures: QuickSignatures): ReadCommit {
  const commit = orRefusal(() => readGitCommit(body));
  if (commit instanceof Refusal) {
    // It is wrong already; what follows is only to go on looking.
    const text = body.toString('latin1');
    const head = text.slice(0, Math.max(0, text.indexOf('\n\n')));
    const tree = /^tree ([0-9a-f]{40})\n/.exec(head)?.[1];
    return {
      ...(tree === undefined ? {} : { tree }),
      parents: [...head.matchAll(/^parent ([0-9a-f]{40})$/gm)].map((found) => found[1] as string),
      refusal: { code: commit.code, detail: commit.detail },
      ...messageOf(text.slice(head.length + 2)),
    };
  }
  const time = commitTime(commit);
  const signedAt = signatures.judge(commit.signedBytes, commit.signature);
  return {
    tree: commit.tree,
    parents: commit.parents,
    ...(time === undefined ? {} : { time }),
    ...messageOf(commit.message),
    ...(signedAt === undefined
      ? { unjudged: { signed: commit.signedBytes.toString('latin1'), signature: commit.signature } }
      : { signedAt }),
  };
}

function messageOf(text: string): Pick<ReadCommit, 'message' | 'badMessage'> {
  const message = orRefusal(() => readPublicationMessage(text));
  return message instanceof Refusal ? { badMessage: message.detail } : { message };
}
