// SPDX-License-Identifier: GPL-2.0-or-later
// What stands in the way in dom0 stops a run with its line before anything is touched; what goes wrong in the
// middle leaves no VM with network or autostart.
import { appendFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'tap';
import { example } from '../local/provision-farm.js';
import { Dom0, readyMachine, type Machine, type Qube } from './apply-machine.js';
import { applied, changes, failures } from './apply-qubes.js';
import { makeRig, salted } from './rig.js';

const qube = (of: string, prefs: Qube['prefs'] = {}, more: Partial<Qube> = {}): Qube => ({
  class: of,
  prefs: { label: 'red', ...prefs },
  features: {},
  tags: [],
  volumes: { private: 1 },
  running: false,
  ...more,
});
const on = (vms: Machine['vms'], name: string): Qube => vms[name] as Qube;
const added =
  (name: string, made: Qube) =>
  (vms: Machine['vms']): void => {
    vms[name] = made;
  };
const fedora = { template: 'fedora-43-xfce' };

/** One thing in the way of the example's farm, on a machine that is ready for it, and the line about it. */
const obstacles: [what: string, spoil: (vms: Machine['vms']) => void, line: RegExp][] = [
  [
    'a VM of that name without our tag',
    added('build-debian', qube('AppVM', fedora, { tags: ['mine'] })),
    /^build-debian exists and does not carry our tag, .*qvm-tags build-debian add build-infra$/,
  ],
  [
    'a keys VM of that name that was taken out of service',
    added('keys-debian', qube('AppVM', fedora, { tags: ['build-infra-keys'] })),
    /^keys-debian exists and does not carry our tag/,
  ],
  [
    'a StandaloneVM',
    added('build-logs', qube('StandaloneVM', {}, { tags: ['build-infra'] })),
    /^build-logs exists and is of the class StandaloneVM, and farm\.yaml makes an AppVM/,
  ],
  [
    'a template where a VM is due',
    added('keys-debian', qube('TemplateVM', {}, { tags: ['build-infra'] })),
    /^keys-debian exists and is of the class TemplateVM/,
  ],
  [
    'a VM where our template is due',
    (vms) => {
      vms['debian-13-build-infra'] = qube('AppVM', fedora);
      on(vms, 'sys-net').prefs['template'] = 'fedora-43-xfce';
    },
    /^debian-13-build-infra exists and is of the class AppVM, and farm\.yaml makes a template/,
  ],
  [
    "a template that is somebody else's",
    (vms) => {
      on(vms, 'debian-13-build-infra').tags = [];
    },
    /^debian-13-build-infra exists and does not carry our tag, .*qvm-tags debian-13-build-infra add build-infra-template$/,
  ],
  [
    'a running VM on another template',
    added('build-debian', qube('AppVM', fedora, { tags: ['build-infra'], running: true })),
    /^build-debian runs on fedora-43-xfce, and farm\.yaml says debian-13-build-infra, .*qvm-shutdown --wait build-debian; then this again$/,
  ],
  [
    'a netvm that does not exist',
    (vms) => {
      delete vms['sys-whonix'];
    },
    /^build-debian: its netvm sys-whonix does not exist$/,
  ],
  [
    'a netvm without network',
    (vms) => {
      on(vms, 'sys-firewall').prefs['provides_network'] = false;
    },
    /^build-logs: its netvm sys-firewall does not provide network$/,
  ],
  [
    'no net VM',
    (vms) => {
      delete vms['sys-net'];
    },
    /^sys-net \(net-vm in farm\.yaml\) does not exist$/,
  ],
  [
    'a disposable net VM',
    (vms) => {
      vms['sys-net'] = qube('DispVM', { template: 'default-dvm', provides_network: true }, { running: true });
    },
    /^sys-net .* is a disposable, .*ssh-proxy-vm, and webhook: vm/,
  ],
  [
    'a net VM without template',
    (vms) => {
      vms['sys-net'] = qube('StandaloneVM', { provides_network: true });
    },
    /^sys-net .* is a StandaloneVM, .*ssh-proxy-vm/,
  ],
];
/** Policy files, and what is said of those that come before ours and win. */
const policies: [path: string, text: string, line: RegExp | null][] = [
  ['/run/qubes/policy.d/30-build-infra.policy', '', /takes the place of our policy: remove it$/],
  [
    '/etc/qubes/policy.d/10-choice.policy',
    'qubes.Gpg * work @default ask default_target=keys-debian\n',
    /10-choice\.policy .* default_target=keys-debian$/,
  ],
  [
    '/etc/qubes/policy.d/11-redirect.policy',
    'qubes.Gpg * work vault allow target=keys-debian\n',
    /11-redirect\.policy .* target=keys-debian$/,
  ],
  ['/etc/qubes/policy.d/12-tag.policy', '* * @tag:work @anyvm allow\n', /\* \* @tag:work @anyvm allow$/],
  [
    '/etc/qubes/policy.d/13-include.policy',
    '!include include/b\n',
    /13-include\.policy comes before our policy, and this line of it wins \(take it out, .*\): !include include\/b$/,
  ],
  [
    '/etc/qubes/policy.d/14-disposable.policy',
    'qubes.OpenURL * @anyvm @dispvm:online allow\n',
    /14-disposable\.policy comes before .*: qubes\.OpenURL \* @anyvm @dispvm:online allow$/,
  ],
  [
    '/etc/qubes/policy.d/15-ours.policy',
    'qubes.Filecopy * keys-debian work allow\n',
    /: qubes\.Filecopy \* keys-debian work allow$/,
  ],
  [
    '/etc/qubes/policy.d/16-by-tag.policy',
    'qubes.Filecopy * @tag:build-infra-keys work allow\n',
    /: qubes\.Filecopy \* @tag:build-infra-keys work allow$/,
  ],
  [
    '/etc/qubes/policy.d/20-qubesbuilder-webhook.policy',
    'qubesbuilder.TriggerBuild * sys-net build-x allow\n',
    /20-qubesbuilder-webhook\.policy is the policy of the formula/,
  ],
  [
    '/etc/qubes/policy.d/20-qubesbuilder.policy',
    '# nothing\n',
    /20-qubesbuilder\.policy is the policy of the formula qubes-infrastructure, comes before ours and wins: remove it$/,
  ],
  ['/etc/qubes/policy.d/20-qubesbuilder.policy.rpmsave', 'qubes.Gpg * work keys-debian ask\n', null],
  [
    '/etc/qubes/policy.d/25-mine.policy',
    'qubes.Gpg * work vault ask\nqubes.Gpg * work @default allow target=vault\nqubes.Gpg * * keys-debian deny\nqubes.Filecopy * @anyvm @anyvm ask\nqubes.OpenURL * work @dispvm allow\nqubes.UpdatesProxy * @type:TemplateVM @default allow target=sys-whonix\n',
    null,
  ],
  [
    '/etc/qubes/policy.d/26-mine.policy',
    '# mine\n\nqubes.Gpg  *  work  keys-debian  ask\n',
    /26-mine\.policy comes before our policy, and this line of it wins \(take it out, .*\): qubes\.Gpg \* work keys-debian ask$/,
  ],
  [
    '/etc/qubes/policy.d/30-before.policy',
    'qubesbuilder.BuildLog * build-debian dom0 allow target=logs\n',
    /30-before\.policy comes before/,
  ],
  ['/etc/qubes/policy.d/30-user.policy', 'qubes.Gpg * work keys-debian ask\n', null],
];

await test('what stands in the way is said in one line and is all that there is to do', salted, async (t) => {
  const rig = makeRig(t, { farm: example(), enable: ['ssh-proxy', 'webhooks'] });
  for (const [what, spoil, line] of obstacles) {
    const machine = readyMachine();
    spoil(machine.vms);
    writeFileSync(join(rig.folder, 'machine.json'), JSON.stringify(machine));
    const low = await rig.lowstate('dom0');
    t.match(low, [{ state: 'test', fun: 'fail_without_changes', comment: line }], what);
    t.equal(low.length, 1, what);
  }
});

await test(
  'a run stops at obstacles before anything is touched, and the check says them too',
  applied,
  async (t) => {
    const dom0 = await Dom0.of(t, example(), { enable: ['ssh-proxy', 'webhooks'], machine: readyMachine() });
    for (const [path, text] of policies) {
      const file = join(dom0.qubes.root('dom0'), path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, text);
    }
    dom0.byHand((vms) => {
      vms['keys-debian'] = qube('StandaloneVM');
    });
    const before = dom0.machine;
    const expected = [
      /^keys-debian exists and is of the class StandaloneVM/,
      ...policies.flatMap(([, , line]) => line ?? []),
    ];
    const comments = (done: Awaited<ReturnType<Dom0['run']>>): string[] =>
      failures(done).map((line) => line.replace(/^build-infra [a-z]+ [0-9]+: /, ''));
    const done = await dom0.run();
    t.match(comments(done), expected);
    t.equal(comments(done).length, expected.length);
    t.not(done.status, 0);
    t.strictSame(
      [dom0.machine, existsSync(dom0.policyFile), changes(done)],
      [before, false, []],
      'nothing is touched',
    );
    t.match(
      comments(await dom0.run(['state.apply', 'build-infra.check'])).slice(0, expected.length),
      expected,
    );
  },
);

await test(
  'a preference that fails in the middle leaves a new VM without network, without a disposable and without autostart',
  applied,
  async (t) => {
    const farm = example();
    const dom0 = await Dom0.of(t, farm, { enable: ['ssh-proxy', 'webhooks'], machine: readyMachine() });
    const vms = join(dom0.rig.root, 'srv/formulas/base/build-infra/build-infra/dom0/vms.sls');
    appendFileSync(
      vms,
      '\nextend:\n  build-infra vm build-logs:\n    qvm.vm:\n      - prefs:\n        - label: mauve\n',
    );
    const failed = await dom0.run();
    t.ok(
      failures(failed).some((line) => /build-logs: .*mauve/.test(line)),
      failures(failed).join('\n'),
    );
    const left = dom0.machine.vms['build-logs'] as Qube;
    t.strictSame([left.prefs['netvm'], left.prefs['default_dispvm']], [null, null]);
    t.notOk('autostart' in left.prefs, 'it does not start with the machine');
    t.strictSame(left.tags, ['build-infra', 'build-infra-build-logs'], 'and the policy knows it');
  },
);

await test('after a shutdown the same run moves a VM to its new template', applied, async (t) => {
  const dom0 = await Dom0.of(t, example(), { enable: [], machine: readyMachine() });
  t.strictSame(failures(await dom0.run()), []);
  dom0.byHand((vms) => {
    Object.assign(on(vms, 'build-debian'), {
      prefs: { ...on(vms, 'build-debian').prefs, template: 'fedora-43-xfce' },
      running: true,
    });
  });
  t.match(failures(await dom0.run()), [/build-debian runs on fedora-43-xfce/]);
  dom0.byHand((vms) => {
    on(vms, 'build-debian').running = false;
  });
  t.strictSame(failures(await dom0.run()), []);
  t.equal(on(dom0.machine.vms, 'build-debian').prefs['template'], 'debian-13-build-infra');
});
