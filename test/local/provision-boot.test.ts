// SPDX-License-Identifier: GPL-2.0-or-later
// The tree under the real systemd: sockets as qrexec needs them, agents that run under their hardening, and
// come back after a kill. Asked for with BUILD_INFRA_BOOT=1, because it needs root and may not work inside a
// container; the stand-in runs the same units in every other test.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { provision } from '../../agents/local/provision/provision.js';
import { example, exampleFarm, isRoot, top, workshop } from './provision-farm.js';

const wanted = process.env['BUILD_INFRA_BOOT'] === '1';
const skip = wanted ? false : 'set BUILD_INFRA_BOOT=1 to boot systemd over each tree (needs root)';

const check = (role: string): string => `
wait_for() { for i in $(seq 100); do journalctl -q -u build-infra-${role} -o cat 2>/dev/null | grep -c ready | grep -qx "$1" && return; sleep 0.2; done; }
show() {
  systemctl is-active build-infra-${role}.service
  for s in /run/build-infra/*.sock; do stat -c '%n %U:%G %a' "$s"; done | sort
}
wait_for 1
show
stat -c '%n %U:%G %a' /run/build-infra /var/lib/build-infra
systemctl kill -s KILL build-infra-${role}.service
wait_for 2
show
${role === 'sys-net' ? `curl -s -o /dev/null -w '%{http_code}\\n' -X POST -H 'Content-Type: application/json' -d '{}' http://127.0.0.1:8080/github` : ''}
journalctl -q -u 'build-infra-*' -o cat >/out/journal
`;

/** Keys made in the tree as make-keys makes them in the VM; the pillar with them. */
function withKeys(root: string, role: string, user: string, pillar: Pillar): Pillar {
  const home = join(root, user === 'root' ? 'root' : 'home/user');
  mkdirSync(home, { recursive: true });
  // Not $HOME/.gnupg: gpg takes that for the default home, and all default homes of one account share one
  // agent where there is a /run/user.
  const env = { PATH: '/usr/bin:/bin', HOME: root, GNUPGHOME: join(home, '.gnupg'), BUILD_INFRA_ROOT: root };
  const run = (...args: string[]): string =>
    execFileSync(join(root, 'usr/lib/build-infra/make-keys'), [role, ...args], {
      encoding: 'utf8',
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  const said = run();
  const fingerprint = /-key ([0-9A-F]{40})$/m.exec(said)?.[1];
  if (fingerprint !== undefined) {
    pillar['public-keys'][fingerprint] = run('export');
    if (role === 'keys')
      Object.assign(pillar['build-envs']['debian'] as object, {
        key: fingerprint,
        'journal-key': /^journal-key (.*)$/m.exec(said)?.[1],
      });
    else (pillar['logs-vms']['build-logs'] as { key: string }).key = fingerprint;
    execFileSync('gpgconf', ['--homedir', join(home, '.gnupg'), '--kill', 'all']);
    execFileSync('chown', [
      '-R',
      '1000:1000',
      home,
      ...(role === 'keys' ? [join(root, 'var/lib/build-infra')] : []),
    ]);
  }
  if (role === 'sys-net' || role === 'build-logs')
    execFileSync('sh', [
      '-c',
      'chown -h 1000:1000 "$1"/ssh_key "$1"/webhook-secret 2>/dev/null; true',
      'sh',
      join(root, 'rw/config/build-infra'),
    ]);
  return pillar;
}

for (const vm of exampleFarm().vms) {
  await test(
    `${vm.name} starts under systemd, and again after a kill, with its sockets in place`,
    { skip },
    async (t) => {
      if (!isRoot) return t.fail('BUILD_INFRA_BOOT=1 needs root');
      if (!existsSync(join(top, 'dist', `${vm.role}-agent.mjs`)))
        return t.fail('the bundles are missing: npm run bundle');
      const { folder } = workshop(t);
      const root = join(folder, 'root');
      const out = join(folder, 'out');
      mkdirSync(join(out, 'mnt'), { recursive: true });
      writeFileSync(join(out, 'check.sh'), check(vm.role));
      provision({ farm: exampleFarm(), vm: vm.name, root });
      const pillar = withKeys(root, vm.role, vm.agentUser, example());
      provision({ farm: planFarm({ pillar }), vm: vm.name, root });
      const done = spawnSync(
        join(top, 'test/local/provision-boot.sh'),
        [root, out, ...vm.features.map((feature) => feature.replace('service.', ''))],
        { encoding: 'utf8', timeout: 600_000 },
      );
      const found = existsSync(join(out, 'found')) ? readFileSync(join(out, 'found'), 'utf8') : '';
      const sockets = vm.services.map((service) => `/run/build-infra/${service}.sock root:qubes 660`);
      if (vm.role === 'sys-net') sockets.push('/run/build-infra/webhook.http.sock user:user 600');
      const shown = ['active', ...sockets.sort()];
      t.strictSame(
        found.trim().split('\n'),
        [
          ...shown,
          '/run/build-infra root:root 755',
          `/var/lib/build-infra ${vm.agentUser}:${vm.agentUser} ${vm.role === 'build' ? 711 : 700}`,
          ...shown,
          ...(vm.role === 'sys-net' ? ['401'] : []),
        ],
        `${done.stdout}${done.stderr}${existsSync(join(out, 'journal')) ? readFileSync(join(out, 'journal'), 'utf8') : ''}`,
      );
      return undefined;
    },
  );
}
