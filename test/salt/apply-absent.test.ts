// SPDX-License-Identifier: GPL-2.0-or-later
// What leaves the farm: reported by a run, taken out of service by build-infra.absent, and never removed.
import { existsSync } from 'node:fs';
import { test } from 'tap';
import { example, threeEnvironments } from '../local/provision-farm.js';
import { Dom0, policyPath, readyMachine, text, type Qube } from './apply-machine.js';
import { applied, changes, failures } from './apply-qubes.js';

await test(
  'what left the farm is reported, then taken out of service by absent, its data untouched',
  applied,
  async (t) => {
    const farm = threeEnvironments();
    const dom0 = await Dom0.of(t, farm, { enable: ['ssh-proxy', 'webhooks'], machine: readyMachine() });
    t.strictSame(failures(await dom0.run()), []);
    dom0.byHand((vms) => {
      for (const name of ['build-ubuntu', 'keys-ubuntu', 'zz-logs']) (vms[name] as Qube).running = true;
    });
    const before = dom0.machine.vms;
    delete farm['build-envs']['ubuntu'];
    delete farm['logs-vms']['zz-logs'];
    dom0.rig.setFarm(farm);
    const gone = ['build-ubuntu', 'keys-ubuntu', 'zz-logs'];

    const reported = await dom0.run();
    t.strictSame(
      [failures(reported), changes(reported)],
      [[], [`build-infra /${policyPath}`]],
      'green, and only the policy forgets them',
    );
    for (const name of gone)
      t.match(
        text(reported),
        new RegExp(
          `^${name} is not in farm\\.yaml any more.*qubesctl state\\.apply build-infra\\.absent$`,
          'm',
        ),
      );
    t.strictSame(dom0.machine.vms, before);
    t.notMatch(dom0.policy, /ubuntu|zz-logs/);

    const absent = ['state.apply', 'build-infra.absent'];
    const removed = await dom0.run(absent);
    t.strictSame(failures(removed), []);
    for (const [name, vm] of Object.entries(dom0.machine.vms)) {
      if (!gone.includes(name)) t.strictSame(vm, before[name], `${name} goes on`);
      else
        t.strictSame(
          vm,
          {
            ...before[name],
            prefs: { ...before[name]?.prefs, autostart: false },
            features: {},
            tags: name.startsWith('keys-') ? ['build-infra-keys'] : [],
            running: false,
          },
          `${name} is out of service, and there`,
        );
    }
    t.strictSame(changes(await dom0.run(absent)), [], 'there is nothing left to do');
    t.notMatch(text(await dom0.run()), /not in farm\.yaml/);
  },
);

await test(
  'absent does nothing without a valid farm, and the whole farm goes only when that is said',
  applied,
  async (t) => {
    const dom0 = await Dom0.of(t, example(), { enable: ['ssh-proxy'], machine: readyMachine() });
    t.strictSame(failures(await dom0.run()), []);
    dom0.byHand((vms) => {
      for (const name of ['build-debian', 'build-logs']) (vms[name] as Qube).running = true;
    });
    const before = dom0.machine.vms;
    dom0.rig.setForeignPillar('build-infra: {vms: []}');
    for (const sls of ['absent', 'check'])
      t.match(
        failures(await dom0.run(['state.apply', `build-infra.${sls}`])),
        [/^build-infra refused: OTHER_PILLAR /],
        `${sls} takes no other pillar's word`,
      );
    t.strictSame(dom0.machine.vms, before);
    dom0.rig.setForeignPillar('{}');
    dom0.rig.setFarm('build-infra: {}\n');
    const refused = await dom0.run(['state.apply', 'build-infra.absent']);
    t.match(failures(refused), [/^build-infra refused: MISSING_FIELD /]);
    t.strictSame(dom0.machine.vms, before);

    const all = await dom0.run([
      'state.apply',
      'build-infra.absent',
      'pillar={"build-infra-remove": "everything"}',
    ]);
    t.strictSame(failures(all), []);
    const { vms } = dom0.machine;
    t.strictSame(Object.keys(vms), Object.keys(before), 'no VM is ever removed');
    for (const [name, vm] of Object.entries(vms))
      t.strictSame(vm.volumes, before[name]?.volumes, `the volumes of ${name}`);
    for (const name of ['build-debian', 'keys-debian', 'build-logs'])
      t.match(
        vms[name],
        {
          features: {},
          tags: name.startsWith('keys-') ? ['build-infra-keys'] : [],
          running: false,
          prefs: { autostart: false },
        },
        name,
      );
    t.match(
      vms['sys-net'],
      {
        running: true,
        prefs: { autostart: true },
        features: { 'service.clocksync': '1' },
        tags: ['created-by-dom0'],
      },
      'the net VM runs on',
    );
    t.ok(existsSync(dom0.policyFile), 'the policy stays as long as keys may be there');
  },
);
