// SPDX-License-Identifier: GPL-2.0-or-later
// Where to go on at a start. A VM that was restored, or whose disk is new, must not begin a second history
// beside the one that its remotes hold: it takes that one over, if the logs key signed it.
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import { readGitCommit } from '../shared/formats/git-commit.js';
import { readPublicationMessage } from '../shared/formats/publication.js';
import { branch } from './git-program.js';
import type { GitRepository } from './git-repository.js';
import type { Remote } from './remote.js';
import type { Signer } from './signer.js';

/**
 * A remote that is not required never keeps the agent from starting, and neither does a broken one where
 * there is a history here.
 * @throws Refusal HISTORY_DIVERGED, FOREIGN_HISTORY; any error of a required remote that cannot be asked
 */
export async function findHistory(
  repository: GitRepository,
  remotes: readonly Remote[],
  signer: Signer,
  report: Reporter,
): Promise<string | null> {
  let head = await repository.head();
  // With a history of its own the agent need not wait for anybody: a remote that is ahead shows when it is
  // pushed to.
  const mustAsk = head === null;
  const away = (remote: Remote, error: unknown): void =>
    report(`remote ${remote.name}: cannot be asked: ${printable(String((error as Error).message))}`);
  const answers = await Promise.all(
    remotes.map(async (remote) => {
      try {
        return { remote, theirs: await (mustAsk ? remote.head() : soon(remote.head())) };
      } catch (error) {
        if (mustAsk && remote.required) throw error;
        away(remote, error);
        return { remote, theirs: null };
      }
    }),
  );
  // What a required remote holds is taken first: the others are compared with that.
  for (const { remote, theirs } of answers.sort(
    (a, b) => Number(b.remote.required) - Number(a.remote.required),
  )) {
    if (theirs === null || theirs === head) continue;
    if (head !== null && (await repository.isAncestor(theirs, head))) continue;
    try {
      head = await takeOver(remote, theirs, head, repository, signer, report);
    } catch (error) {
      if (remote.required) throw error;
      away(remote, error);
    }
  }
  return head;
}

async function takeOver(
  remote: Remote,
  theirs: string,
  head: string | null,
  repository: GitRepository,
  signer: Signer,
  report: Reporter,
): Promise<string | null> {
  const signedBy = await remote.signerOf(theirs);
  if (signedBy !== 'the logs key' && head !== null) {
    remote.alarm(`holds commit ${theirs}, which is not in our history, signed by ${signedBy}`);
    return head;
  }
  if (signedBy === 'somebody else')
    throw new Refusal(
      'FOREIGN_HISTORY',
      `commit ${theirs} of remote ${remote.name} is not signed by the logs key`,
    );
  await remote.fetch();
  if (head !== null && !(await repository.isAncestor(head, theirs))) {
    remote.alarm(
      `holds commit ${theirs}, which the logs key signed and which is not in our history: a second history`,
    );
    throw new Refusal('HISTORY_DIVERGED', `remote ${remote.name} holds ${theirs}, here is ${head}`);
  }
  await demandOurs(repository, theirs, signer);
  await repository.moveBranch(head, theirs);
  report(`took over the history of remote ${remote.name} up to ${theirs}`);
  return theirs;
}

function soon<T>(answer: Promise<T>): Promise<T> {
  return Promise.race([
    answer,
    new Promise<never>((_, reject) => setTimeout(() => reject(new Error('no answer yet')), 3000).unref()),
  ]);
}

async function demandOurs(repository: GitRepository, id: string, signer: Signer): Promise<void> {
  const body = await repository.object(id, 'commit');
  if (body === undefined) throw new Error(`${branch} ${id} was not fetched`);
  const commit = readGitCommit(body);
  readPublicationMessage(commit.message);
  if (!(await signer.verifies(commit.signedBytes, commit.signature)))
    throw new Refusal('FOREIGN_HISTORY', `commit ${id} is not signed by the logs key`);
}
