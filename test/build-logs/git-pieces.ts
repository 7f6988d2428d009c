// SPDX-License-Identifier: GPL-2.0-or-later
// A small real repository for tests of its parts, and a logs key that is no more than a hash: who signed what
// is all that the parts ask.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { Test } from 'tap';
import { GitRepository } from '../../agents/build-logs/git-repository.js';
import type { Signer } from '../../agents/build-logs/signer.js';
import { gitObjectId } from '../../agents/shared/formats/git-commit.js';
import { writePublicationMessage } from '../../agents/shared/formats/publication.js';
import { folderOf } from '../support/folders.js';
import { sha256 } from './rig.js';

const signed = (by: string, bytes: Uint8Array): string =>
  `-----BEGIN PGP SIGNATURE-----\n\n${sha256(Buffer.concat([Buffer.from(by), bytes]))}\n-----END PGP SIGNATURE-----\n`;
export const signerOf = (by: string): Signer => ({
  sign: async (bytes) => signed(by, bytes),
  publicKey: async () => `public ${by}\n`,
  verifies: async (bytes, signature) => signature === signed(by, bytes),
});
export const logsKey = signerOf('logs key');

export async function repositoryIn(
  t: Pick<Test, 'teardown'>,
  folder = folderOf(t),
  name = 'ours.git',
): Promise<GitRepository> {
  const repository = await GitRepository.open(join(folder, name));
  t.teardown(() => repository.stop());
  return repository;
}

export const git = (repository: string, argv: readonly string[], input: string | Uint8Array = ''): Buffer =>
  execFileSync('git', ['--git-dir', repository, ...argv], {
    input,
    maxBuffer: 1 << 26,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
export const headOf = (repository: string, branch = 'main'): string =>
  git(repository, ['for-each-ref', '--format=%(objectname)', `refs/heads/${branch}`])
    .toString()
    .trim();

/** A commit as any key might have made it, into a repository; no branch shows it. @returns its id */
interface Stray {
  /** null: nobody signs */
  by?: Signer | null;
  parent?: string;
  seq?: number;
  subject?: string;
}

export async function strayCommit(
  repository: string,
  { by = logsKey, parent = '', seq = 1, subject = 'Publish 0 files' }: Stray = {},
): Promise<string> {
  const tree = git(repository, ['hash-object', '-t', 'tree', '-w', '--stdin']).toString().trim();
  const head = `tree ${tree}\n${parent === '' ? '' : `parent ${parent}\n`}author a <a@x> 1 +0000\ncommitter a <a@x> 1 +0000`;
  const message = `\n\n${writePublicationMessage({ subject, files: [], seq })}`;
  const signature =
    by === null
      ? ''
      : `\ngpgsig ${(await by.sign(Buffer.from(head + message))).trimEnd().replaceAll('\n', '\n ')}`;
  const body = Buffer.from(head + signature + message);
  git(repository, ['hash-object', '-t', 'commit', '-w', '--stdin'], body);
  return gitObjectId('commit', body);
}
