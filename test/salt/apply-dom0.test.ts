// SPDX-License-Identifier: GPL-2.0-or-later
// dom0's part applied by real Salt, with strict stand-ins for what only dom0 has: the VMs that it makes, how it converges, when it stops, and what
// it never does.
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'tap';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { provision } from '../../agents/local/provision/provision.js';
import { example, threeEnvironments } from '../local/provision-farm.js';
import { applied, changes, contents, failures, Qubes } from './apply-qubes.js';
import { makeRig, top, type Applied, type Option, type Rig } from './rig.js';

interface Qube { class: string; prefs: Record<string, unknown>; features: Record<string, string>; tags: string[]; volumes: { private: number }; running: boolean }
interface Machine { repository: string[]; vms: Record<string, Qube> }
const gib = 1024 ** 3;
const policyPath = 'etc/qubes/policy.d/30-build-infra.policy';

/** A Qubes machine as it is installed, with somebody's own VM. */
function stockMachine(): Machine {
  const make = (of: string, prefs: Qube['prefs'], more: Partial<Qube> = {}): Qube => ({ class: of, prefs: { label: 'black', ...prefs }, features: {}, tags: [], volumes: { private: 2 * gib }, running: false, ...more });
  return {
    repository: ['debian-13-minimal', 'fedora-43-minimal'],
    vms: {
      'fedora-43-xfce': make('TemplateVM', {}),
      'sys-net': make('AppVM', { template: 'fedora-43-xfce', label: 'red', netvm: null, provides_network: true, autostart: true }, { running: true, features: { 'service.clocksync': '1' }, tags: ['created-by-dom0'] }),
      'sys-firewall': make('AppVM', { template: 'fedora-43-xfce', netvm: 'sys-net', provides_network: true, autostart: true }, { running: true }),
      'sys-whonix': make('AppVM', { template: 'fedora-43-xfce', netvm: 'sys-firewall', provides_network: true }),
      personal: make('AppVM', { template: 'fedora-43-xfce', label: 'yellow' }, { tags: ['mine'], features: { 'service.cups': '1' } }),
    },
  };
}

class Dom0 {
  private constructor(readonly qubes: Qubes, readonly rig: Rig) {}

  static async of(t: { teardown(fn: () => void): void }, farm: object | string, options: { enable: Option[]; machine?: Machine }): Promise<Dom0> {
    const rig = makeRig(t, { farm, enable: options.enable });
    const dom0 = new Dom0(new Qubes(t, rig), rig);
    dom0.machine = options.machine ?? stockMachine();
    await dom0.qubes.layOut('dom0');
    mkdirSync(dirname(dom0.policyFile), { recursive: true });
    return dom0;
  }

  get machine(): Machine {
    return JSON.parse(readFileSync(this.qubes.machine, 'utf8')) as Machine;
  }

  set machine(now: Machine) {
    writeFileSync(this.qubes.machine, JSON.stringify(now));
  }

  /** What somebody does by hand, between two runs. */
  byHand(change: (vms: Machine['vms']) => void): void {
    const now = this.machine;
    change(now.vms);
    this.machine = now;
  }

  get policyFile(): string {
    return join(this.qubes.root('dom0'), policyPath);
  }

  get policy(): string {
    return readFileSync(this.policyFile, 'utf8');
  }

  async run(args?: string[]): Promise<Applied> {
    const [done] = await this.qubes.call(['dom0'], args);
    return done?.get('dom0') as Applied;
  }

  async twice(): Promise<[Applied, Applied]> {
    const [first, second] = await this.qubes.call(['dom0'], undefined, 2);
    return [first?.get('dom0') as Applied, second?.get('dom0') as Applied];
  }
}

/** With the net VM on our template, as the first run asked for. */
function readyMachine(template = 'debian-13-build-infra'): Machine {
  const machine = stockMachine();
  const blank = { class: 'TemplateVM', prefs: { label: 'black' }, features: {}, tags: [], volumes: { private: 2 * gib }, running: false };
  machine.vms['debian-13-minimal'] = structuredClone(blank);
  machine.vms[template] = structuredClone(blank);
  (machine.vms['sys-net'] as Qube).prefs['template'] = template;
  return machine;
}

const golden = (name: string): string => join(top, 'test/salt/golden', name);
const text = (done: Applied): string => Object.values(done.states).map(({ comment }) => comment).join('\n');

await test('the first run makes the templates, then stops at a net VM that is based on none of them and says what to run', applied, async (t) => {
  const dom0 = await Dom0.of(t, threeEnvironments(), { enable: ['ssh-proxy', 'webhooks'] });
  const stopped = await dom0.run();
  const failed = failures(stopped);
  t.equal(failed.length, 1);
  t.match(failed[0], /sys-net \(net-vm in farm\.yaml\) is based on none of our templates .*qvm-prefs sys-net template debian-13-build-infra && qvm-start sys-net/);
  t.not(stopped.status, 0);
  const { vms } = dom0.machine;
  t.strictSame(Object.keys(vms).filter((name) => !(name in stockMachine().vms)).sort(), ['debian-13-build-infra', 'debian-13-minimal']);
  t.strictSame(vms['sys-net'], stockMachine().vms['sys-net'], 'the net VM is as it was');
  t.notOk(existsSync(dom0.policyFile), 'what comes after was not begun');

  dom0.byHand((now) => {
    (now['sys-net'] as Qube).prefs['template'] = 'debian-13-build-infra';
  });
  const [made, again] = await dom0.twice();
  t.strictSame(failures(made), []);
  t.strictSame([failures(again), changes(again), again.status], [[], [], 0], 'a second run changes nothing');
  const now = `${JSON.stringify(dom0.machine.vms, undefined, 1)}\n`;
  if (process.env['UPDATE_GOLDEN'] !== undefined) writeFileSync(golden('dom0-vms.json'), now);
  t.equal(now, readFileSync(golden('dom0-vms.json'), 'utf8'), 'the VMs, their preferences, features, tags and volumes');
  for (const name of ['personal', 'fedora-43-xfce', 'sys-firewall', 'sys-whonix']) t.strictSame(dom0.machine.vms[name], stockMachine().vms[name], `${name} is not ours`);
  const root = join(dom0.rig.folder, 'provisioned');
  provision({ pillar: threeEnvironments(), vm: 'dom0', root });
  const path = `/${policyPath}`;
  t.strictSame(contents(dom0.qubes.root('dom0')).get(path), contents(root).get(path), 'the policy is the one that provision lays, with owner and mode');
});

await test('settings of the farm and of hands converge, and only a volume that was grown stays as it is', applied, async (t) => {
  const farm = example();
  const dom0 = await Dom0.of(t, farm, { enable: ['ssh-proxy', 'webhooks'], machine: readyMachine() });
  const check = ['state.apply', 'build-infra.check'];
  t.match(failures(await dom0.run(check)).map((line) => line.replace(/^[^:]*: /, '')).sort(), [
    '/etc/qubes/policy.d/30-build-infra.policy is missing', 'build-debian does not exist', 'build-logs does not exist', 'keys-debian does not exist',
    'sys-net: features of ours is , farm.yaml says service.build-infra-ssh-proxy service.build-infra-sys-net service.build-infra-webhooks',
    'sys-net: tags of ours is , farm.yaml says build-infra build-infra-sys-net',
  ]);
  t.strictSame(failures(await dom0.run()), []);
  t.strictSame(failures(await dom0.run(check)), [], 'what a run made, the check finds as it should be');
  t.equal(dom0.policy, readFileSync(join(top, 'policies/30-build-infra.policy'), 'utf8'));
  dom0.byHand((vms) => {
    const keys = vms['keys-debian'] as Qube;
    keys.prefs['netvm'] = 'sys-firewall';
    keys.prefs['label'] = 'green';
    keys.features = { 'service.build-infra-build': '1', 'service.cups': '1' };
    keys.tags = ['build-infra-build', 'mine'];
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
  t.strictSame(failures(await dom0.run(check)).map((line) => line.replace(/^[^:]*: /, '')).sort(), [
    '/etc/qubes/policy.d/30-build-infra.policy is not what farm.yaml makes it',
    'build-debian: autostart is False, farm.yaml says True', 'build-debian: maxmem is 8000, farm.yaml leaves it to Qubes', 'build-debian: memory is 400, farm.yaml says 800', 'build-debian: netvm is sys-whonix, farm.yaml says sys-firewall',
    `build-debian: the private volume has ${80 * gib} bytes, farm.yaml says ${200 * gib}`, 'build-debian: vcpus is 4, farm.yaml says 6',
    'keys-debian: features of ours is service.build-infra-build, farm.yaml says service.build-infra-keys', 'keys-debian: label is green, farm.yaml says black',
    'keys-debian: netvm is sys-firewall, farm.yaml says None', 'keys-debian: tags of ours is build-infra-build, farm.yaml says build-infra build-infra-keys',
    'keys-debian: vcpus is 8, farm.yaml leaves it to Qubes',
    'sys-net: features of ours is service.build-infra-ssh-proxy service.build-infra-sys-net service.build-infra-webhooks, farm.yaml says service.build-infra-ssh-proxy service.build-infra-sys-net',
    'sys-webhooks does not exist',
  ]);
  t.strictSame([dom0.machine, dom0.policy], before, 'the check changes nothing');
  const [first, second] = await dom0.twice();
  t.strictSame(failures(first), []);
  t.strictSame([failures(second), changes(second)], [[], []]);
  const { vms } = dom0.machine;
  t.match(vms['keys-debian'], { prefs: { netvm: null, label: 'black' }, volumes: { private: 90 * gib } });
  t.strictSame(vms['keys-debian']?.features, { 'service.build-infra-keys': '1', 'service.cups': '1' }, 'what is not ours stays');
  t.strictSame(vms['keys-debian']?.tags, ['build-infra', 'build-infra-keys', 'mine']);
  t.match(vms['build-debian'], { prefs: { autostart: true, netvm: 'sys-firewall', memory: 800, vcpus: 6 }, volumes: { private: 200 * gib } });
  for (const name of ['build-debian', 'keys-debian']) t.notOk('maxmem' in (vms[name] as Qube).prefs, `${name} has the default again`);
  t.notOk('vcpus' in (vms['keys-debian'] as Qube).prefs);
  t.match(vms['sys-webhooks'], { prefs: { netvm: 'sys-net' }, features: { 'service.build-infra-webhooks': '1' }, tags: ['build-infra', 'build-infra-sys-net'] });
  t.strictSame(vms['sys-net']?.features, { 'service.build-infra-ssh-proxy': '1', 'service.build-infra-sys-net': '1', 'service.clocksync': '1' }, 'the net VM does what is left to it');
  t.match(dom0.policy, /^qubesbuilder\.TriggerBuild \* sys-webhooks build-debian allow/m);
});

await test('a policy that does not parse never lands: the old one stays, and no VM is made under it', applied, async (t) => {
  const dom0 = await Dom0.of(t, example(), { enable: ['ssh-proxy', 'webhooks'], machine: readyMachine() });
  writeFileSync(dom0.policyFile, '# the old one\n');
  const before = dom0.machine;
  appendFileSync(join(dom0.rig.root, 'srv/formulas/base/build-infra/build-infra/policy.jinja'), 'qubes.Gpg * build-debian @default alow\n');
  const done = await dom0.run();
  t.match(failures(done), [/policy: check_cmd.*alow/s]);
  t.equal(failures(done).length, 1);
  t.equal(dom0.policy, '# the old one\n');
  t.strictSame(dom0.machine, before);
});

await test('what left the farm is reported, then taken out of service by absent, its data untouched', applied, async (t) => {
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
  t.strictSame([failures(reported), changes(reported)], [[], [`build-infra /${policyPath}`]], 'green, and only the policy forgets them');
  for (const name of gone) t.match(text(reported), new RegExp(`^${name} is not in farm\\.yaml any more.*qubesctl state\\.apply build-infra\\.absent$`, 'm'));
  t.strictSame(dom0.machine.vms, before);
  t.notMatch(dom0.policy, /ubuntu|zz-logs/);

  const absent = ['state.apply', 'build-infra.absent'];
  const removed = await dom0.run(absent);
  t.strictSame(failures(removed), []);
  for (const [name, vm] of Object.entries(dom0.machine.vms)) {
    if (!gone.includes(name)) t.strictSame(vm, before[name], `${name} goes on`);
    else t.strictSame(vm, { ...before[name], prefs: { ...before[name]?.prefs, autostart: false }, features: {}, tags: [], running: false }, `${name} is out of service, and there`);
  }
  t.strictSame(changes(await dom0.run(absent)), [], 'there is nothing left to do');
  t.notMatch(text(await dom0.run()), /not in farm\.yaml/);
});

await test('absent does nothing without a valid farm, and the whole farm goes only when that is said', applied, async (t) => {
  const dom0 = await Dom0.of(t, example(), { enable: ['ssh-proxy'], machine: readyMachine() });
  t.strictSame(failures(await dom0.run()), []);
  dom0.byHand((vms) => {
    for (const name of ['build-debian', 'build-logs']) (vms[name] as Qube).running = true;
  });
  const before = dom0.machine.vms;
  dom0.rig.setFarm('build-infra: {}\n');
  const refused = await dom0.run(['state.apply', 'build-infra.absent']);
  t.match(failures(refused), [/^build-infra refused: MISSING_FIELD /]);
  t.strictSame(dom0.machine.vms, before);

  const all = await dom0.run(['state.apply', 'build-infra.absent', 'pillar={"build-infra-remove": "everything"}']);
  t.strictSame(failures(all), []);
  const { vms } = dom0.machine;
  t.strictSame(Object.keys(vms), Object.keys(before), 'no VM is ever removed');
  for (const [name, vm] of Object.entries(vms)) t.strictSame(vm.volumes, before[name]?.volumes, `the volumes of ${name}`);
  for (const name of ['build-debian', 'keys-debian', 'build-logs']) t.match(vms[name], { features: {}, tags: [], running: false, prefs: { autostart: false } }, name);
  t.match(vms['sys-net'], { running: true, prefs: { autostart: true }, features: { 'service.clocksync': '1' }, tags: ['created-by-dom0'] }, 'the net VM runs on');
  t.ok(existsSync(dom0.policyFile), 'the policy stays as long as keys may be there');
});

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
