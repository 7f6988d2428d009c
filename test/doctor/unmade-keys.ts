// SPDX-License-Identifier: GPL-2.0-or-later
// What the doctor says in each VM after the first run, while every key is null: docs/deploy.md shows these
// lines.
import { chownSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { examine } from '../../agents/doctor/doctor.js';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { provision } from '../../agents/local/provision/provision.js';
import { examplePillar, healthyVm, machineOf, manifests, vmNames } from './vm-tree.js';

/** Lines as the page has them: `# VM`, then what its doctor says. */
export async function linesWithoutKeys(work: string): Promise<string[]> {
  const lines: string[] = [];
  for (const role of ['keys', 'build-logs', 'build', 'sys-net'] as const) {
    const { root } = await healthyVm(work, role);
    const pillar = examplePillar();
    for (const settings of [...Object.values(pillar['build-envs']), ...Object.values(pillar['logs-vms'])])
      settings.key = null;
    provision({ farm: planFarm({ pillar }), vm: vmNames[role], root, dist: join(work, 'dist') });
    for (const name of ['ssh_key', 'webhook-secret'])
      rmSync(join(root, 'rw/config/build-infra', name), { force: true });
    if (role === 'keys' || role === 'build-logs') {
      const home = join(root, 'home/user/.gnupg');
      rmSync(home, { recursive: true });
      mkdirSync(home, { mode: 0o700 });
      chownSync(home, 1000, 1000);
    }
    const { report } = await examine(machineOf(root, role), manifests, false);
    lines.push(`# ${vmNames[role]}`, ...report.lines());
  }
  return lines;
}
