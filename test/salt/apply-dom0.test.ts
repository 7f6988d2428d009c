// SPDX-License-Identifier: GPL-2.0-or-later
// dom0's part applied by real Salt: the VMs that it makes, how they converge, and when it stops.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { provision } from '../../agents/local/provision/provision.js';
import { example, threeEnvironments } from '../local/provision-farm.js';
import { Dom0, gib, policyPath, readyMachine, stockMachine, type Qube } from './apply-machine.js';
import { applied, changes, contents, failures } from './apply-qubes.js';
import { top } from './rig.js';

const golden = (name: string): string => join(top, 'test/salt/golden', name);

await test(
  'the first run makes the templates, then stops at a net VM that is based on none of them and says what to run',
  applied,
  async (t) => {
    const dom0 = await Dom0.of(t, threeEnvironments(), { enable: ['ssh-proxy', 'webhooks'] });
    const stopped = await dom0.run();
    const failed = failures(stopped);
    t.equal(failed.length, 1);
    t.match(
      failed[0],
      /sys-net \(net-vm in farm\.yaml\) is based on none of our templates .*qvm-prefs sys-net template debian-13-build-infra && qvm-start sys-net/,
    );
    t.not(stopped.status, 0);
    const { vms } = dom0.machine;
    t.strictSame(
      Object.keys(vms)
        .filter((name) => !(name in stockMachine().vms))
        .sort(),
      ['debian-13-build-infra', 'debian-13-minimal'],
    );
    t.strictSame(vms['sys-net'], stockMachine().vms['sys-net'], 'the net VM is as it was');
    t.notOk(existsSync(dom0.policyFile), 'what comes after was not begun');

    dom0.byHand((now) => {
      (now['sys-net'] as Qube).prefs['template'] = 'debian-13-build-infra';
    });
    const [made, again] = await dom0.twice();
    t.strictSame(failures(made), []);
    t.strictSame(
      [failures(again), changes(again), again.status],
      [[], [], 0],
      'a second run changes nothing',
    );
    const now = `${JSON.stringify(dom0.machine.vms, undefined, 1)}\n`;
    if (process.env['UPDATE_GOLDEN'] !== undefined) writeFileSync(golden('dom0-vms.json'), now);
    t.equal(
      now,
      readFileSync(golden('dom0-vms.json'), 'utf8'),
      'the VMs, their preferences, features, tags and volumes',
    );
    for (const name of ['personal', 'fedora-43-xfce', 'sys-firewall', 'sys-whonix'])
      t.strictSame(dom0.machine.vms[name], stockMachine().vms[name], `${name} is not ours`);
    const root = join(dom0.rig.folder, 'provisioned');
    provision({ farm: planFarm({ pillar: threeEnvironments() }), vm: 'dom0', root });
    const path = `/${policyPath}`;
    t.strictSame(
      contents(dom0.qubes.root('dom0')).get(path),
      contents(root).get(path),
      'the policy is the one that provision lays, with owner and mode',
    );
  },
);

await test(
  'settings of the farm and of hands converge, and only a volume that was grown stays as it is',
  applied,
  async (t) => {
    const farm = example();
    const dom0 = await Dom0.of(t, farm, { enable: ['ssh-proxy', 'webhooks'], machine: readyMachine() });
    const check = ['state.apply', 'build-infra.check'];
    t.match(
      failures(await dom0.run(check))
        .map((line) => line.replace(/^[^:]*: /, ''))
        .sort(),
      [
        '/etc/qubes/policy.d/30-build-infra.policy is missing',
        'build-debian does not exist',
        'build-logs does not exist',
        'keys-debian does not exist',
        'sys-net: features of ours is , farm.yaml says service.build-infra-ssh-proxy service.build-infra-sys-net service.build-infra-webhooks',
        'sys-net: tags of ours is , farm.yaml says build-infra build-infra-sys-net',
      ],
    );
    t.strictSame(failures(await dom0.run()), []);
    t.strictSame(failures(await dom0.run(check)), [], 'what a run made, the check finds as it should be');
    t.equal(dom0.policy, readFileSync(join(top, 'policies/30-build-infra.policy'), 'utf8'));
    dom0.byHand((vms) => {
      const keys = vms['keys-debian'] as Qube;
      keys.prefs['netvm'] = 'sys-firewall';
      keys.prefs['label'] = 'green';
      keys.features = { 'service.build-infra-build': '1', 'service.cups': '1' };
      keys.tags = ['build-infra', 'build-infra-build', 'mine'];
      keys.prefs['default_dispvm'] = 'default-dvm';
      keys.volumes.private = 90 * gib;
      (vms['build-debian'] as Qube).prefs['autostart'] = false;
      keys.prefs['vcpus'] = 8;
    });
    writeFileSync(dom0.policyFile, '# somebody was here\n');
    const env = farm['build-envs']['debian'] as Pillar['build-envs'][string];
    env.netvm = 'sys-firewall';
    env.build = { ...env.build, 'private-gib': 200, memory: 800, vcpus: 6 };
    delete env.build.maxmem;
    farm.webhook.vm = 'sys-webhooks';
    dom0.rig.setFarm(farm);
    const before = [dom0.machine, dom0.policy];
    t.strictSame(
      failures(await dom0.run(check))
        .map((line) => line.replace(/^[^:]*: /, ''))
        .sort(),
      [
        '/etc/qubes/policy.d/30-build-infra.policy is not what farm.yaml makes it',
        'build-debian: autostart is False, farm.yaml says True',
        'build-debian: maxmem is 8000, farm.yaml leaves it to Qubes',
        'build-debian: memory is 400, farm.yaml says 800',
        'build-debian: netvm is sys-whonix, farm.yaml says sys-firewall',
        `build-debian: the private volume has ${80 * gib} bytes, farm.yaml says ${200 * gib}`,
        'build-debian: vcpus is 4, farm.yaml says 6',
        'keys-debian: default_dispvm is default-dvm, farm.yaml says None',
        'keys-debian: features of ours is service.build-infra-build, farm.yaml says service.build-infra-keys',
        'keys-debian: label is green, farm.yaml says black',
        'keys-debian: netvm is sys-firewall, farm.yaml says None',
        'keys-debian: tags of ours is build-infra build-infra-build, farm.yaml says build-infra build-infra-keys',
        'keys-debian: vcpus is 8, farm.yaml leaves it to Qubes',
        'sys-net: features of ours is service.build-infra-ssh-proxy service.build-infra-sys-net service.build-infra-webhooks, farm.yaml says service.build-infra-ssh-proxy service.build-infra-sys-net',
        'sys-webhooks does not exist',
      ],
    );
    t.strictSame([dom0.machine, dom0.policy], before, 'the check changes nothing');
    const [first, second] = await dom0.twice();
    t.strictSame(failures(first), []);
    t.strictSame([failures(second), changes(second)], [[], []]);
    const { vms } = dom0.machine;
    t.match(vms['keys-debian'], { prefs: { label: 'black' }, volumes: { private: 90 * gib } });
    t.strictSame(
      [vms['keys-debian']?.prefs['netvm'], vms['keys-debian']?.prefs['default_dispvm']],
      [null, null],
      'none, and not what Qubes gives a VM',
    );
    t.strictSame(
      vms['keys-debian']?.features,
      { 'service.build-infra-keys': '1', 'service.cups': '1' },
      'what is not ours stays',
    );
    t.strictSame(vms['keys-debian']?.tags, ['build-infra', 'build-infra-keys', 'mine']);
    t.match(vms['build-debian'], {
      prefs: { autostart: true, netvm: 'sys-firewall', memory: 800, vcpus: 6 },
      volumes: { private: 200 * gib },
    });
    for (const name of ['build-debian', 'keys-debian'])
      t.notOk('maxmem' in (vms[name] as Qube).prefs, `${name} has the default again`);
    t.notOk('vcpus' in (vms['keys-debian'] as Qube).prefs);
    t.match(vms['sys-webhooks'], {
      prefs: { netvm: 'sys-net' },
      features: { 'service.build-infra-webhooks': '1' },
      tags: ['build-infra', 'build-infra-sys-net'],
    });
    t.strictSame(
      vms['sys-net']?.features,
      { 'service.build-infra-ssh-proxy': '1', 'service.build-infra-sys-net': '1', 'service.clocksync': '1' },
      'the net VM does what is left to it',
    );
    t.match(dom0.policy, /^qubesbuilder\.TriggerBuild \* sys-webhooks build-debian allow/m);
  },
);

await test(
  'a policy that does not parse never lands: the old one stays, and no VM is made under it',
  applied,
  async (t) => {
    const dom0 = await Dom0.of(t, example(), { enable: ['ssh-proxy', 'webhooks'], machine: readyMachine() });
    writeFileSync(dom0.policyFile, '# the old one\n');
    const before = dom0.machine;
    appendFileSync(
      join(dom0.rig.root, 'srv/formulas/base/build-infra/build-infra/policy.jinja'),
      'qubes.Gpg * build-debian @default alow\n',
    );
    const done = await dom0.run();
    t.match(failures(done), [/policy: check_cmd.*alow/s]);
    t.equal(failures(done).length, 1);
    t.equal(dom0.policy, '# the old one\n');
    t.strictSame(dom0.machine, before);
  },
);

await test('a refused farm fails with its one line, and nothing else happens', applied, async (t) => {
  const dom0 = await Dom0.of(t, 'build-infra: {}\n', { enable: [] });
  const before = contents(dom0.qubes.root('dom0'));
  const done = await dom0.run();
  t.match(failures(done), [/^build-infra refused: MISSING_FIELD /]);
  t.equal(Object.keys(done.states).length, 1);
  t.not(done.status, 0);
  t.strictSame(dom0.machine, stockMachine());
  t.strictSame([...contents(dom0.qubes.root('dom0'))], [...before]);
});
