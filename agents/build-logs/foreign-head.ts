// SPDX-License-Identifier: GPL-2.0-or-later
// Whose is a head that is not in our history? Only the logs key can make a second one; anything else is a
// remote that somebody broke. The one commit is fetched into a folder of its own, so that nothing of it comes
// into our repository.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gitObjectId, readGitCommit, type GitCommit } from '../shared/formats/git-commit.js';
import { runProgram } from '../shared/programs/program.js';
import { branch, gitEnvironment } from './git-program.js';
import type { Signer } from './signer.js';

/** Of one file that a remote sends, and of a commit, bytes. */
const fetchedBytes = 64 * 1024 * 1024;
const commitBytes = 8 * 1024 * 1024;

export interface HeadPlace {
  url: string;
  signer: Signer;
  /** GIT_SSH_COMMAND */
  sshCommand: string;
  timeoutMs: number;
}

/** `unknown`: it was not handed out, or was gone by then. */
export type HeadSigner = 'the logs key' | 'somebody else' | 'unknown';

async function isSigned(body: Buffer, signer: Signer): Promise<boolean> {
  let commit: GitCommit;
  try {
    commit = readGitCommit(body);
  } catch {
    // It is there, and no commit that this agent would write.
    return false;
  }
  return await signer.verifies(commit.signedBytes, commit.signature);
}

/** Never throws: what cannot be read is no history. */
export async function signerOfHead(
  id: string,
  { url, signer, sshCommand, timeoutMs }: HeadPlace,
): Promise<HeadSigner> {
  const folder = mkdtempSync(join(tmpdir(), 'bl-head-'));
  const env = { ...gitEnvironment, GIT_SSH_COMMAND: sshCommand };
  const git = (...argv: string[]): Promise<Buffer> =>
    runProgram(['prlimit', `--fsize=${fetchedBytes}`, '--', 'git', '--git-dir', folder, ...argv], {
      env,
      timeoutMs,
      limitBytes: commitBytes,
    });
  try {
    await git('init', '--quiet', '--bare', '--template=');
    await git(
      'fetch',
      '--quiet',
      '--no-tags',
      '--depth=1',
      '--filter=tree:0',
      '--no-write-fetch-head',
      '--no-auto-maintenance',
      url,
      `+${branch}:refs/build-infra/head`,
    );
    const body = await git('cat-file', 'commit', id);
    if (gitObjectId('commit', body) !== id) return 'unknown';
    return (await isSigned(body, signer)) ? 'the logs key' : 'somebody else';
  } catch {
    return 'unknown';
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
