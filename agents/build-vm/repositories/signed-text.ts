// SPDX-License-Identifier: GPL-2.0-or-later
// Texts that an engine signed, against what was frozen before: a signature is all that may have come to them.
import * as openpgp from 'openpgp';
import { readPlainFile } from '../../shared/files/frozen-files.js';
import { verifyClearSigned } from '../signatures/one-signature.js';
import type { SignedCheck } from './package-repository.js';

const textLimitBytes = 16 * 1024 * 1024;

export function textOf(folder: string, name: string): string {
  return readPlainFile(folder, name, textLimitBytes).toString('utf8');
}

/**
 * Without what a clear signature may change, and without the checksums of files that were signed themselves.
 */
export function contentOf(text: string): string {
  const lines = text
    .split('\n')
    .map((line) => line.trimEnd())
    .filter((line) => !/^ [0-9a-f]{32,128} [0-9]+ (?:\S+ \S+ )?\S+\.(?:dsc|buildinfo)$/.test(line));
  return lines.join('\n').trimEnd();
}

/** Of a clear-signed file by that key. @throws Refusal BAD_SIGNATURE */
export async function signedContent(
  folder: string,
  name: string,
  { key }: Pick<SignedCheck, 'key'>,
): Promise<string> {
  const text = textOf(folder, name);
  await verifyClearSigned(text, name, key.armored, key.fingerprint);
  return (await openpgp.readCleartextMessage({ cleartextMessage: text })).getText();
}
