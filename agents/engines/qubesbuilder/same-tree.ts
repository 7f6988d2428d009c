// SPDX-License-Identifier: GPL-2.0-or-later
// Is what the builder fetched by itself the tree that was verified? Compared by content: a commit's name is
// the builder's word, and SHA-1.
import { createHash } from 'node:crypto';
import { closeSync, constants, lstatSync, openSync, readdirSync, readlinkSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';

function hashOf(path: string): string {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const hash = createHash('sha256');
    const chunk = Buffer.alloc(1024 * 1024);
    for (let got = readSync(fd, chunk); got > 0; got = readSync(fd, chunk))
      hash.update(chunk.subarray(0, got));
    return hash.digest('hex');
  } finally {
    closeSync(fd);
  }
}

function describe(path: string): string {
  const about = lstatSync(path);
  if (about.isSymbolicLink()) return `link ${readlinkSync(path)}`;
  if (about.isDirectory()) return 'folder';
  if (!about.isFile()) return 'neither file nor folder';
  return `${(about.mode & 0o100) === 0 ? 'file' : 'program'} ${about.size} ${hashOf(path)}`;
}

/**
 * @param fetched a checkout: its .git is left out
 * @param downloads names at the top that this agent downloaded and verified: the builder keeps its own beside
 * the checkout
 * @throws Refusal OTHER_TREE with the first path that differs
 */
export function refuseOtherTree(
  verified: string,
  fetched: string,
  below = '',
  downloads: readonly string[] = [],
): void {
  const names = new Set([...readdirSync(join(verified, below)), ...readdirSync(join(fetched, below))]);
  if (below === '') {
    names.delete('.git');
    const theirs = new Set(readdirSync(fetched));
    for (const name of downloads) if (!theirs.has(name)) names.delete(name);
  }
  for (const name of [...names].sort()) {
    const path = join(below, name);
    const [mine, theirs] = [verified, fetched].map((top) => {
      try {
        return describe(join(top, path));
      } catch {
        return 'nothing';
      }
    });
    if (mine !== theirs)
      throw new Refusal(
        'OTHER_TREE',
        `${printable(path)} is not as it was verified: ${printable(theirs ?? '').slice(0, 40)}`,
      );
    if (mine === 'folder') refuseOtherTree(verified, fetched, path);
  }
}
