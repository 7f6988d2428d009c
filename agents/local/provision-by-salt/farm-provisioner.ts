// SPDX-License-Identifier: GPL-2.0-or-later
// `--provisioner salt`: what the farm calls in place of provision().
import { join } from 'node:path';
import type { Provisioner } from '../farm/farm.js';
import { provisionBySalt } from './provision-by-salt.js';

export const bySalt: Provisioner = async (state, pillar, tell) => {
  const changed: string[] = [];
  tell('dom0', 'the package is made and unpacked, then Salt');
  await provisionBySalt({
    pillar, work: join(state.folder, 'tmp/salt'), templates: join(state.folder, 'templates'), rootOf: (machine) => state.rootOf(machine),
    done: (machine, paths) => {
      tell(machine, paths.length > 0 ? `provisioned by Salt: ${paths.length} changed` : 'Salt changes nothing');
      if (paths.length > 0) changed.push(machine);
    },
  });
  return changed;
};
