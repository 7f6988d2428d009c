// SPDX-License-Identifier: GPL-2.0-or-later
// A folder into which a test lays a VM's tree, as often as it likes.
import { join } from 'node:path';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { provision, type Provisioned } from '../../agents/local/provision/provision.js';
import { exampleFarm, isRoot, workshop } from './provision-farm.js';

export function lay(t: { teardown: (act: () => void) => void }): {
  root: string;
  run: (vm: string, pillar?: Pillar) => Provisioned;
} {
  const { folder, dist } = workshop(t);
  const root = join(folder, 'root');
  return {
    root,
    run: (vm, pillar) =>
      provision({
        farm: pillar === undefined ? exampleFarm() : planFarm({ pillar }),
        vm,
        root,
        dist,
        owners: isRoot,
      }),
  };
}
