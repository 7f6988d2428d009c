// SPDX-License-Identifier: GPL-2.0-or-later
// `--provisioner salt`: what the farm calls in place of provision().
import { join } from 'node:path';
import type { Provisioner } from '../farm/farm.js';
import { findTree } from '../provision/checkout.js';
import { provisionBySalt } from './provision-by-salt.js';
import { unpackedPackage } from './salt-package.js';

/** Made once in the life of this process: a farm is provisioned before and after its keys are made. */
let unpacked: string | undefined;

export const bySalt: Provisioner = async (state, { pillar }, tell) => {
  const changed: string[] = [];
  if (unpacked === undefined) {
    tell('dom0', 'its package is made and unpacked');
    unpacked = unpackedPackage(findTree(), join(state.folder, 'tmp/package'));
  }
  await provisionBySalt({
    pillar,
    unpacked,
    work: join(state.folder, 'tmp/salt'),
    templates: join(state.folder, 'templates'),
    rootOf: (machine) => state.rootOf(machine),
    done: (machine, paths) => {
      tell(
        machine,
        paths.length > 0 ? `provisioned by Salt: ${paths.length} changed` : 'Salt changes nothing',
      );
      if (paths.length > 0) changed.push(machine);
    },
  });
  return changed;
};
