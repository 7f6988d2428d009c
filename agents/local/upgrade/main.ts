// SPDX-License-Identifier: GPL-2.0-or-later
// `build-infra upgrade-pillar`. Exit 0 done, 1 refused (one line says why), 2 a fault.
import { stringify } from 'yaml';
import { Refusal } from '../refusals.js';
import { newPillar } from './new-pillar.js';
import { readOldPillar } from './old-pillar.js';

export const upgradeUsage = 'build-infra upgrade-pillar FILE...';

/** Ours to stdout, what is left to do to stderr. @param paths files of the old pillar, merged in this order */
export async function upgradeMain(paths: readonly string[]): Promise<number> {
  if (paths.length === 0 || paths.some((path) => path.startsWith('-'))) {
    process.stderr.write(`usage: ${upgradeUsage}\n`);
    return 2;
  }
  try {
    const { farm, toWrite, without } = await newPillar(readOldPillar(paths));
    process.stdout.write(stringify({ 'build-infra': farm }, { lineWidth: 0, aliasDuplicateObjects: false }));
    process.stderr.write([...toWrite.map((line) => `to write: ${line}\n`), ...without.map((line) => `no counterpart: ${line}\n`)].join(''));
    return 0;
  } catch (error) {
    process.stderr.write(`build-infra upgrade-pillar: ${error instanceof Refusal ? error.line() : `fault: ${(error as Error).message}`}\n`);
    return error instanceof Refusal ? 1 : 2;
  }
}
