// SPDX-License-Identifier: GPL-2.0-or-later
// `build-infra upgrade-pillar`. Exit 0 done, 1 refused (one line says why), 2 a fault.
import { stringify } from 'yaml';
import type { CommandRow } from '../../shared/command-line/program.js';
import { newPillar } from './new-pillar.js';
import { readOldPillar } from './old-pillar.js';

/** Ours to stdout, what is left to do to stderr. */
export const upgradeCommand: CommandRow = {
  words: 'upgrade-pillar',
  takes: 'FILE...',
  does: 'writes a farm.yaml from the pillar files of qubes-infrastructure, merged in this order, and lists what is left to do',
  run: async ({ words }) => {
    const { farm, toWrite, without } = await newPillar(readOldPillar(words));
    process.stdout.write(stringify({ 'build-infra': farm }, { lineWidth: 0, aliasDuplicateObjects: false }));
    process.stderr.write(
      [
        ...toWrite.map((line) => `to write: ${line}\n`),
        ...without.map((line) => `no counterpart: ${line}\n`),
      ].join(''),
    );
    return 0;
  },
};
