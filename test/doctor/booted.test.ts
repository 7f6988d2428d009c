// SPDX-License-Identifier: GPL-2.0-or-later
// The doctor under the real systemd: it asks it for the units, and says which one failed. Asked for as
// test/local/provision-boot is, whose script boots the tree.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Role } from '../../agents/shared/formats/manifest.js';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { provision } from '../../agents/local/provision/provision.js';
import { examplePillar, folder, makeKeys, options, pillarWith, top, vmNames } from './vm-tree.js';

const skip =
  process.env['BUILD_INFRA_BOOT'] === '1'
    ? false
    : 'set BUILD_INFRA_BOOT=1 to boot systemd over each tree (needs root)';

/**
 * What Qubes does at a VM's start, as far as the doctor looks at it; then the doctor, with all well and with
 * the agent gone.
 */
const check = (role: Role): string => `
hostname ${vmNames[role]}
mount --bind /rw /rw
mount --bind /rw/bind-dirs/var/lib/build-infra /var/lib/build-infra
for i in $(seq 100); do journalctl -q -u build-infra-${role} -o cat 2>/dev/null | grep -q ready && break; sleep 0.2; done
echo "well: $(build-infra doctor; echo "exit $?")"
mv /usr/lib/build-infra/${role}-agent.mjs /usr/lib/build-infra/kept
echo 'process.exit(1)' >/usr/lib/build-infra/${role}-agent.mjs
chmod 755 /usr/lib/build-infra/${role}-agent.mjs
systemctl stop build-infra-${role}.service
echo "stopped: $(build-infra doctor; echo "exit $?")"
`;

for (const role of ['keys', 'build-logs', 'sys-net', 'build'] as const) {
  await t.test(`${vmNames[role]}: systemd is asked, and what it says is told`, { skip }, async (t) => {
    if (!existsSync(join(top, 'dist/build-infra-vm.mjs')))
      return t.fail('the bundles are missing: npm run bundle');
    const work = folder(t);
    const [root, out] = [join(work, 'root'), join(work, 'out')];
    mkdirSync(join(out, 'mnt'), { recursive: true });
    writeFileSync(join(out, 'check.sh'), check(role));
    provision({ farm: planFarm({ pillar: examplePillar() }), vm: vmNames[role], root });
    provision({
      farm: planFarm({ pillar: pillarWith(role, makeKeys(root, role), () => undefined) }),
      vm: vmNames[role],
      root,
    });
    // Where Qubes' bind-dirs keep it.
    if (existsSync(join(root, 'var/lib/build-infra')))
      execFileSync('sh', [
        '-ec',
        'mkdir -p "$1" && cp -a "$0/." "$1"',
        join(root, 'var/lib/build-infra'),
        join(root, 'rw/bind-dirs/var/lib/build-infra'),
      ]);
    const features = [role, ...(role === 'sys-net' ? options : [])].map((name) => `build-infra-${name}`);
    const boot = spawnSync(join(top, 'test/local/provision-boot.sh'), [root, out, ...features], {
      encoding: 'utf8',
      timeout: 600_000,
    });
    const found = existsSync(join(out, 'found')) ? readFileSync(join(out, 'found'), 'utf8') : '';
    t.match(
      found,
      new RegExp(
        `^well: (?:note: PASSWORDLESS_ROOT .*\\n)?${vmNames[role]} \\(${role}\\): nothing is missing, [0-9]+ checks\\nexit 0\\n`,
      ),
      `${found}${boot.stdout}${boot.stderr}`,
    );
    t.match(
      found,
      new RegExp(`\\nstopped: UNIT_NOT_ACTIVE build-infra-${role}\\.service is inactive .*\\n.*exit 1\\n`),
      found,
    );
    return undefined;
  });
}
