// SPDX-License-Identifier: GPL-2.0-or-later
// What a repository served before: on the server `<repository>` is a link into `<repository>.releases/`,
// where a few earlier generations stay. Only an auditor who has the folder can see them.
import { readdir } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { sha256 } from './announced-signature.js';
import type { Budget } from '../published/budget.js';
import { BudgetedFiles } from '../published/files/budgeted-files.js';
import type { Signature } from './journal.js';

const signatureLimitBytes = 64 * 1024 * 1024;
const isMetadataSignature = (path: string): boolean =>
  /(?:^|\/)dists\/.+\/(?:InRelease|Release\.gpg)$|(?:^|\/)repodata\/repomd\.xml\.asc$/.test(path);

/**
 * @param source as the auditor gave it @returns those of the signatures that earlier generations hold; none
 * where these cannot be seen
 */
export async function signaturesOfGenerations(
  source: string,
  signatures: ReadonlyMap<string, Signature>,
  budget: Budget,
): Promise<Signature[]> {
  const folder = `${resolve(source.replace(/\/+$/, ''))}.releases`;
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(source) || !existsSync(folder)) return [];
  const found: Signature[] = [];
  for (const release of (await readdir(folder)).sort()) {
    const files = new BudgetedFiles(`${folder}/${release}`, budget);
    for (const path of (await files.list('')) ?? []) {
      if (!isMetadataSignature(path)) continue;
      const bytes = await files.read(path, signatureLimitBytes);
      const signature = bytes === undefined ? undefined : signatures.get(sha256(bytes));
      if (signature !== undefined) found.push(signature);
    }
  }
  return found;
}
