// SPDX-License-Identifier: GPL-2.0-or-later
// topd merges tops through a Python set, so the order of what it names changes from run to run. Ours must not
// matter.
import { test } from 'tap';
import { twoFamilies } from './farms.js';
import { makeRig, salted } from './rig.js';

const ids = ['dom0', 'build-ubuntu', 'sys-net', 'fedora-43-build-infra'];

await test(
  "the same states in the same order, whatever the order of Python's sets and of the merged tops",
  salted,
  async (t) => {
    const rig = makeRig(t, { farm: twoFamilies(), enable: ['ssh-proxy', 'webhooks'] });
    const first = await rig.render(ids);
    for (const id of ids) t.ok((first.get(id)?.lowstate.length ?? 0) > 0, `${id} has states`);
    for (const [hashSeed, reversed] of [
      [1, false],
      [2, false],
      [4711, true],
    ] as const) {
      rig.enable(reversed ? ['webhooks', 'ssh-proxy'] : ['ssh-proxy', 'webhooks'], reversed);
      const again = await rig.render(ids, { hashSeed });
      for (const id of ids)
        t.strictSame(
          again.get(id)?.lowstate,
          first.get(id)?.lowstate,
          `${id}, hash seed ${hashSeed}${reversed ? ', tops turned round' : ''}`,
        );
    }
  },
);
