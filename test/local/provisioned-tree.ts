// SPDX-License-Identifier: GPL-2.0-or-later
// A folder into which a test lays a VM's tree, as often as it likes.
import { join } from 'node:path';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { provision, type Provisioned } from '../../agents/local/provision/provision.js';
import { example, isRoot, workshop } from './provision-farm.js';

export function lay(t: { teardown(act: () => void): void }): { root: string; run(vm: string, pillar?: Pillar): Provisioned } {
  const { folder, dist } = workshop(t);
  const root = join(folder, 'root');
  return { root, run: (vm, pillar = example()) => provision({ pillar, vm, root, dist, owners: isRoot }) };
}
