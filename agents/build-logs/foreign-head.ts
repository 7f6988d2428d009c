// SPDX-License-Identifier: GPL-2.0-or-later
// Whose is a head that is not in our history? Only the logs key can make a second one; anything else is a remote that somebody broke. The one
// commit is fetched into a folder of its own, so that nothing of it comes into our repository.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gitObjectId, readGitCommit } from '../shared/formats/git-commit.js';
import { AnyRefusal } from '../shared/refusal.js';
import { branch, gitEnvironment } from './git-program.js';
import type { Signer } from './signer.js';

const run = promisify(execFile);
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

/** Never throws: what cannot be read is no history. */
export async function signerOfHead(id: string, { url, signer, sshCommand, timeoutMs }: HeadPlace): Promise<HeadSigner> {
  const folder = mkdtempSync(join(tmpdir(), 'bl-head-'));
  const env = { ...gitEnvironment, GIT_SSH_COMMAND: sshCommand };
  const git = async (...argv: string[]): Promise<Buffer> => (await run('prlimit', [`--fsize=${fetchedBytes}`, '--', 'git', '--git-dir', folder, ...argv], { env, timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: commitBytes, encoding: 'buffer' })).stdout;
  try {
    await git('init', '--quiet', '--bare', '--template=');
    await git('fetch', '--quiet', '--no-tags', '--depth=1', '--filter=tree:0', '--no-write-fetch-head', '--no-auto-maintenance', url, `+${branch}:refs/build-infra/head`);
    const body = await git('cat-file', 'commit', id);
    if (gitObjectId('commit', body) !== id) return 'unknown';
    const commit = readGitCommit(body);
    return await signer.verifies(commit.signedBytes, commit.signature) ? 'the logs key' : 'somebody else';
  } catch (error) {
    // It is there, and no commit that this agent would write.
    return error instanceof AnyRefusal ? 'somebody else' : 'unknown';
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
