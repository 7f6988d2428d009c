// SPDX-License-Identifier: GPL-2.0-or-later
// Who may call what under the policy made from a pillar: a table of what is allowed, and everything else
// denied, tried one by one.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import type { Option } from '../../agents/shared/formats/manifest.js';
import { evaluate } from '../../agents/local/policy/evaluate.js';
import { loadPolicy } from '../../agents/local/policy/policy-files.js';
import { SystemInfo, systemVm } from '../../agents/local/policy/system-info.js';
import { provision } from '../../agents/local/provision/provision.js';
import { planFarm, type PlannedFarm } from '../../agents/local/provision/planned-farm.js';
import { allOptions } from '../../agents/local/provision/vms.js';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { example, exampleFarm, isRoot, threeEnvironments, top, workshop } from './provision-farm.js';

const services = [
  'qubes.Gpg',
  'qubesbuilder.LogReceived',
  'qubesbuilder.BuildLog',
  'qubesbuilder.TriggerBuild',
  'qubesbuilder.ProcessGithubCommand',
  'local.ConnectSSH',
];
/** Services of split GPG that a template may bring, and that sign, or take keys, without our agent. */
const otherWaysToAKey = [
  'qubes.Gpg2',
  'qubes.GpgArmorSign',
  'qubes.GpgBinarySign',
  'qubes.GpgClearSign',
  'qubes.GpgImportKey',
];

/** Caller, service and argument, what is asked for → who answers. Everything that is not here is denied. */
function allowed(pillar: Pillar, options: readonly Option[]): Map<string, string> {
  const table = new Map<string, string>();
  const add = (
    source: string,
    call: string,
    answers: string,
    asked = ['@default', 'no-such-vm', answers, 'dom0', '@adminvm'],
  ): void => {
    for (const target of asked) table.set(`${source} ${call} ${target}`, answers);
  };
  for (const [env, { logs, commands }] of Object.entries(pillar['build-envs'])) {
    add(`build-${env}`, 'qubes.Gpg', `keys-${env}`);
    add(logs, `qubesbuilder.LogReceived+build-${env}`, `keys-${env}`);
    for (const argument of ['', '+intent', '+nightly'])
      add(`build-${env}`, `qubesbuilder.BuildLog${argument}`, logs);
    if (options.includes('webhooks'))
      for (const argument of ['', '+hello', '+zlib'])
        add(pillar.webhook.vm ?? pillar['net-vm'], `qubesbuilder.TriggerBuild${argument}`, `build-${env}`, [
          `build-${env}`,
        ]);
    if (options.includes('webhooks') && commands !== undefined)
      add(pillar.webhook.vm ?? pillar['net-vm'], 'qubesbuilder.ProcessGithubCommand', `build-${env}`, [
        `build-${env}`,
      ]);
  }
  if (options.includes('ssh-proxy'))
    for (const host of Object.keys(pillar['ssh-hosts'])) {
      for (const vm of [
        ...Object.keys(pillar['build-envs']).map((env) => `build-${env}`),
        ...Object.keys(pillar['logs-vms']),
      ])
        add(vm, `local.ConnectSSH+${host}`, pillar['ssh-proxy-vm'] ?? pillar['net-vm']);
    }
  return table;
}

const ownWebhookVm = example();
ownWebhookVm.webhook.vm = 'sys-webhooks';
const ownVms = structuredClone(ownWebhookVm);
ownVms['ssh-proxy-vm'] = 'sys-ssh';
const typeOf = ({ class: type, ...vm }: PlannedFarm['vms'][number]): Parameters<typeof systemVm>[0] => ({
  name: vm.name,
  type,
  tags: vm.tags,
  running: true,
});
const farms: [words: string, pillar: Pillar, options: readonly Option[]][] = [
  ['the example', example(), allOptions],
  ['three environments', threeEnvironments(), allOptions],
  ['a VM of its own for webhooks', ownWebhookVm, allOptions],
  ['VMs of their own for webhooks and ssh', ownVms, allOptions],
  ['the example without ssh proxy', example(), ['webhooks']],
  ['the example without webhooks', example(), ['ssh-proxy']],
];
for (const [words, pillar, options] of farms) {
  await test(`policy of ${words}: what is in the table is allowed, everything else is denied`, async (t) => {
    const { folder } = workshop(t);
    provision({ farm: planFarm({ pillar, enabled: options }), vm: 'dom0', root: folder, owners: isRoot });
    const { vms } = planFarm({ pillar });
    const policies = join(folder, 'etc/qubes/policy.d');
    // A careless file that comes later opens nothing.
    writeFileSync(
      join(policies, '40-careless.policy'),
      services
        .map((service) => `${service} * @anyvm @anyvm allow target=work\n${service} * * dom0 allow\n`)
        .join(''),
    );
    const rules = loadPolicy([policies]);
    const strangers = [
      'work',
      'sys-whonix',
      'sys-firewall',
      'debian-13-build-infra',
      'build-debian2',
      'keys-debian2',
      'build-logs2',
      'sys-net2',
      'disp42',
    ];
    const system = new SystemInfo([
      ...vms.map((vm) => systemVm(typeOf(vm))),
      ...strangers.map((name) =>
        systemVm({
          name,
          type: name === 'disp42' ? 'DispVM' : name.startsWith('debian') ? 'TemplateVM' : 'AppVM',
          defaultDispvm: 'sys-net2',
          templateForDispvms: name === 'sys-net2',
        }),
      ),
    ]);
    const names = [...vms.map(({ name }) => name), ...strangers];
    const targets = [...names, 'no-such-vm', 'dom0', '@adminvm', '@default', '@dispvm', '@dispvm:sys-net2'];
    const table = allowed(pillar, options);
    const arguments_ = [
      '',
      '+intent',
      '+nightly',
      '+hello',
      '+zlib',
      '+forge.example',
      '+code.example.org',
      '+elsewhere.example',
      '+forge.example.',
      '+FORGE.example',
      ...names.map((name) => `+${name}`),
    ];
    let tried = 0;
    const wrong: string[] = [];
    for (const source of names) {
      for (const service of services) {
        for (const argument of arguments_) {
          for (const target of targets) {
            tried++;
            const verdict = evaluate(rules, system, { source, target, service: `${service}${argument}` });
            const call = `${source} ${service}${argument} ${target}`;
            const wide = `${source} ${service} ${target}`;
            // The argument of a log (a subdirectory) and of a hint (a component) is checked by the service,
            // not by the policy.
            const expected = ['qubesbuilder.BuildLog', 'qubesbuilder.TriggerBuild'].includes(service)
              ? table.get(wide)
              : table.get(call);
            const got =
              verdict.result === 'allow' ? verdict.target : verdict.result === 'deny' ? undefined : 'asked';
            if (got !== expected)
              wrong.push(`${call}: ${got ?? 'denied'} instead of ${expected ?? 'denied'}`);
          }
        }
      }
    }
    t.strictSame(wrong.slice(0, 10), []);
    t.ok(tried > 20_000, `${tried} calls tried`);
  });
}

await test('no other service of split GPG leads to a keys VM, not even by a click where another file asks, nor to one that left the farm', async (t) => {
  const { folder } = workshop(t);
  const pillar = threeEnvironments();
  const farm = planFarm({ pillar });
  provision({ farm, vm: 'dom0', root: folder, owners: isRoot });
  const policies = join(folder, 'etc/qubes/policy.d');
  writeFileSync(
    join(policies, '90-default.policy'),
    otherWaysToAKey.map((service) => `${service} * @anyvm @anyvm ask\n`).join(''),
  );
  const rules = loadPolicy([policies]);
  const system = new SystemInfo([
    ...farm.vms.map((vm) => systemVm(typeOf(vm))),
    ...['work', 'vault'].map((name) => systemVm({ name, type: 'AppVM' })),
    systemVm({ name: 'keys-gone', type: 'AppVM', tags: ['build-infra-keys'] }),
  ]);
  const keysVms = [
    ...farm.vms.map(({ name }) => name).filter((name) => name.startsWith('keys-')),
    'keys-gone',
  ];
  t.ok(keysVms.length > 0);
  for (const service of otherWaysToAKey) {
    for (const source of ['work', 'build-debian', 'build-logs', 'sys-net']) {
      for (const target of keysVms)
        t.equal(
          evaluate(rules, system, { source, target, service }).result,
          'deny',
          `${source} ${service} ${target}`,
        );
      const asked = evaluate(rules, system, { source, target: '@default', service });
      t.ok(
        asked.result === 'ask' &&
          asked.targets.includes('vault') &&
          !asked.targets.some((name) => keysVms.includes(name)),
        `${source} ${service} @default`,
      );
    }
  }
});

/** What Qubes lets any VM call without a click, and more that would be careless. */
const careless = [
  ...['VMShell', 'VMExec', 'OpenURL', 'OpenInVM'].flatMap((name) => [
    `qubes.${name} * @anyvm @dispvm allow`,
    `qubes.${name} * @anyvm @anyvm ask`,
  ]),
  'qubes.GetDate * @anyvm @anyvm allow target=dom0',
  'qubes.WindowIconUpdater * @anyvm dom0 allow',
  'qubes.UpdatesProxy * @anyvm @default allow target=sys-net',
  'qubes.Filecopy * @anyvm @anyvm ask',
  '* * @anyvm @anyvm allow',
  '* * @anyvm dom0 allow',
];

await test('nothing leads out of a keys VM but the question for the time, and no VM of ours into a disposable, whatever a later file allows', async (t) => {
  const { folder } = workshop(t);
  const pillar = threeEnvironments();
  const farm = planFarm({ pillar });
  provision({ farm, vm: 'dom0', root: folder, owners: isRoot });
  const policies = join(folder, 'etc/qubes/policy.d');
  writeFileSync(join(policies, '90-default.policy'), `${careless.join('\n')}\n`);
  const rules = loadPolicy([policies]);
  const ours = farm.vms.map((vm) => systemVm({ ...typeOf(vm), defaultDispvm: 'default-dvm' }));
  const system = new SystemInfo([
    ...ours,
    systemVm({ name: 'default-dvm', type: 'AppVM', templateForDispvms: true }),
    systemVm({ name: 'work', type: 'AppVM', defaultDispvm: 'default-dvm' }),
    systemVm({ name: 'keys-gone', type: 'AppVM', tags: ['build-infra-keys'], defaultDispvm: 'default-dvm' }),
  ]);
  const targets = [
    '@dispvm',
    '@dispvm:default-dvm',
    '@default',
    'dom0',
    '@adminvm',
    'work',
    'sys-net',
    'build-debian',
    'keys-debian',
    'no-such-vm',
  ];
  const called = [
    'qubes.VMShell',
    'qubes.VMExec',
    'qubes.OpenURL',
    'qubes.OpenInVM',
    'qubes.Filecopy',
    'qubes.UpdatesProxy',
    'qubes.WindowIconUpdater',
    'admin.vm.List',
    'some.Service',
    ...services,
  ];
  const keysVms = [...Object.keys(pillar['build-envs']).map((env) => `keys-${env}`), 'keys-gone'];
  for (const source of keysVms) {
    for (const target of targets) {
      for (const service of [...called, 'qubes.VMShell+x'])
        t.equal(
          evaluate(rules, system, { source, target, service }).result,
          'deny',
          `${source} ${service} ${target}`,
        );
    }
    for (const service of ['qubes.GetDate', 'qubes.GetDate+nanoseconds'])
      t.match(
        evaluate(rules, system, { source, target: '@default', service }),
        { result: 'allow', target: 'dom0' },
        `${source} ${service}`,
      );
  }
  for (const source of farm.vms.map(({ name }) => name)) {
    for (const service of called)
      t.equal(
        evaluate(rules, system, { source, target: '@dispvm', service }).result,
        'deny',
        `${source} ${service} @dispvm`,
      );
  }
  t.match(
    evaluate(rules, system, { source: 'work', target: '@dispvm', service: 'qubes.OpenURL' }),
    { result: 'allow' },
    'who is not ours calls as before',
  );
});

await test('the committed policy parses, names exact VMs, and never allows @anyvm', async (t) => {
  const rules = loadPolicy([join(top, 'policies')]);
  t.ok(rules.length > 0);
  for (const rule of rules) {
    const [service, , source, target, action] = rule.text.split(/\s+/) as [
      string,
      string,
      string,
      string,
      string,
    ];
    t.ok(
      [...services, ...otherWaysToAKey].includes(service) || source.startsWith('@tag:build-infra-'),
      rule.text,
    );
    if (action !== 'allow' || service === 'qubes.GetDate') continue;
    t.notMatch(source, /^[@*]/, rule.text);
    t.match(target, /^(?:@default|@adminvm|[a-z-]+)$/, rule.text);
    t.match(rule.text, / target=[a-z-]+$/, rule.text);
  }
  for (const service of services) {
    const own = rules.filter((rule) => rule.text.startsWith(`${service} `));
    t.equal(own.at(-1)?.text, `${service} * * * deny`);
  }
});

await test('one error in a neighbouring file denies all of it, as in Qubes', async (t) => {
  const { folder } = workshop(t);
  provision({ farm: exampleFarm(), vm: 'dom0', root: folder, owners: isRoot });
  mkdirSync(join(folder, 'etc/qubes/policy.d'), { recursive: true });
  writeFileSync(join(folder, 'etc/qubes/policy.d/50-x.policy'), 'qubes.Gpg * a b allow,target=c\n');
  t.throws(() => loadPolicy([join(folder, 'etc/qubes/policy.d')]));
});
