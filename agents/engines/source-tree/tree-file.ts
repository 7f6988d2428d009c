// SPDX-License-Identifier: GPL-2.0-or-later
// One small file of a verified tree, which is a stranger's: a plain one, through no link, of a size that was
// expected.
import { lstatSync } from 'node:fs';
import { join, posix } from 'node:path';
import { matches } from '../../shared/formats/names.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { readPlainFile } from '../../shared/files/frozen-files.js';

/** Up to six plain names, none of them hidden. */
export const treePathPattern =
  '^(?:[A-Za-z0-9_][A-Za-z0-9._+:~-]{0,199}/){0,5}[A-Za-z0-9_][A-Za-z0-9._+:~-]{0,199}$';

/** Whether something of that name is there, be it a link. */
export const isInTree = (tree: string, path: string): boolean =>
  lstatSync(join(tree, path), { throwIfNoEntry: false }) !== undefined;

/** @returns undefined where there is none @throws Refusal BAD_TREE */
export function readTreeFile(tree: string, path: string, limitBytes: number): Buffer | undefined {
  if (!matches(treePathPattern, path))
    throw new Refusal('BAD_TREE', `${printable(path)} is not an acceptable path`);
  const parents = path.split('/').slice(0, -1);
  for (const [index] of parents.entries()) {
    const about = lstatSync(join(tree, ...parents.slice(0, index + 1)), { throwIfNoEntry: false });
    if (about === undefined) return undefined;
    if (!about.isDirectory()) throw new Refusal('BAD_TREE', `${path} leads through a link`);
  }
  if (!isInTree(tree, path)) return undefined;
  try {
    return readPlainFile(join(tree, posix.dirname(path)), posix.basename(path), limitBytes);
  } catch (error) {
    throw new Refusal(
      'BAD_TREE',
      `${path} cannot be read in the tree: ${error instanceof Refusal ? error.detail : ((error as NodeJS.ErrnoException).code ?? 'unreadable')}`,
    );
  }
}
