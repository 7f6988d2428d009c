// SPDX-License-Identifier: GPL-2.0-or-later
// Which id sees which keys of the pillar, exactly; and that they say there what the farm says. The pillar of
// a VM lies in its management disposable and in the VM while Salt runs: what is not in it, cannot leak there.
import { test } from 'tap';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { allOptions } from '../../agents/local/provision/vms.js';
import { example } from '../local/provision-farm.js';
import { idsOf, manyEnvironments, oneEnvironment, special, twoFamilies, unrelated } from './farms.js';
import { makeRig, run, salted } from './rig.js';

/** Every path of a mapping of mappings that ends in a value, a list or nothing. */
function paths(value: unknown, below = ''): string[] {
  if (value === null || typeof value !== 'object' || Array.isArray(value) || Object.keys(value).length === 0)
    return below === '' ? [] : [below];
  return Object.entries(value)
    .flatMap(([name, one]) => paths(one, below === '' ? name : `${below}.${name}`))
    .sort();
}

/** `a.{b c}.d` for a.b.d and a.c.d. */
function spelt(pattern: string): string[] {
  const found = /^(.*?)\{([^}]*)\}(.*)$/.exec(pattern);
  return found === null
    ? [pattern]
    : (found[2] as string).split(' ').flatMap((word) => spelt(`${found[1]}${word}${found[3]}`));
}

const logsKey = 'CF254E7E8366684FFEB6F61A1BB7256955FE5C7D';
const signingKey = 'FDE11DC49D11B1C7649A97F6EB3EDB405F822A05';
const people = '4EB33A111CD74D5673DBD2C4B1BC2F1EA81517C6 7719638AD6F8642E51E64B30AF7D060E5319D1A3';
const ofEveryVm =
  'this.{enabled env family keys.logs-key keys.maintainers keys.signing-key name needs-missing role}';
const ofBuild =
  'build-envs.debian.{anchor journal-key publication.url apt.upload apt.url components.hello distributions.bookworm.engine key logs maintainers.alice maintainers.bob required-signatures commands.releases commands.distribution-words.vm-bookworm commands.people.alice.components commands.people.alice.distributions commands.people.alice.key commands.people.alice.repositories commands.people.alice.verbs commands.people.bob.components commands.people.bob.key commands.people.bob.verbs}';

const table: Record<string, string[]> = {
  dom0: [
    ofBuild,
    'build-envs.debian.{netvm build.maxmem build.private-gib build.vcpus}',
    'components.hello.{full-name tag url}',
    'logs-vms.build-logs.{key netvm remotes.mirror.required remotes.mirror.url remotes.origin.required remotes.origin.url}',
    'net-vm',
    `public-keys.{${people} ${logsKey} ${signingKey}}`,
    'ssh-hosts.forge.example.{address host-keys port}',
    'template',
    'template-vms',
    'templates.debian-13-build-infra.{family source}',
    'vms',
    'webhook.{address comments port tls}',
    'this.{enabled env name role}',
  ],
  'build-debian': [
    ofBuild,
    'components.hello.{full-name tag url}',
    `public-keys.{${people} ${logsKey} ${signingKey}}`,
    'logs-vms.build-logs.key',
    'ssh-hosts.forge.example.{address host-keys port}',
    ofEveryVm,
  ],
  'keys-debian': [
    'build-envs.debian.{anchor journal-key key logs}',
    'logs-vms.build-logs.{key remotes.mirror.required remotes.origin.required}',
    `public-keys.${logsKey}`,
    ofEveryVm,
  ],
  'build-logs': [
    'build-envs.debian.{journal-key key logs}',
    'logs-vms.build-logs.{key remotes.mirror.required remotes.mirror.url remotes.origin.required remotes.origin.url}',
    `public-keys.${logsKey}`,
    'ssh-hosts.forge.example.{address host-keys port}',
    ofEveryVm,
  ],
  'sys-net': [
    'build-envs.debian.commands',
    'components.hello.{full-name tag}',
    'ssh-hosts.forge.example.{address port}',
    'webhook.{address comments port tls}',
    ofEveryVm,
  ],
  'debian-13-build-infra': ['this.{family name role roles}'],
};

await test('each id sees exactly the keys of its own table', salted, async (t) => {
  const rig = makeRig(t, { farm: example(), enable: [...allOptions] });
  const ids = [...Object.keys(table), ...unrelated];
  const found = await rig.render(ids, { want: [] });
  for (const [id, patterns] of Object.entries(table)) {
    t.strictSame(Object.keys(found.get(id)?.pillar ?? {}), ['build-infra'], `${id} has one key`);
    t.strictSame(
      paths(found.get(id)?.pillar['build-infra']),
      [...patterns.flatMap(spelt), 'seal'].sort(),
      id,
    );
  }
  for (const id of unrelated) t.strictSame(found.get(id)?.pillar, {}, `${id} sees nothing`);
});

await test('nothing of one environment reaches the VMs of another', salted, async (t) => {
  const farm = twoFamilies();
  const rig = makeRig(t, { farm, enable: [...allOptions] });
  const vms = planFarm({ pillar: farm }).vms.filter(({ env }) => env !== null);
  const found = await rig.render(
    vms.map(({ name }) => name),
    { want: [] },
  );
  for (const { name, env } of vms) {
    // One engine has the name of an environment.
    const text = JSON.stringify(found.get(name)?.pillar).replaceAll('"engine":"debian"', '');
    for (const other of Object.keys(farm['build-envs']).filter((one) => one !== env)) {
      t.notMatch(text, new RegExp(`"(?:build-|keys-)?${other}"`), `${name} does not hear of ${other}`);
      const { key } = farm['build-envs'][other] as { key: string | null };
      if (key !== null && key !== farm['build-envs'][env as string]?.key)
        t.notMatch(text, new RegExp(key), `${name} does not see the key of ${other}`);
    }
  }
});

await test('no id is given anything secret', salted, async (t) => {
  const rig = makeRig(t, { farm: null });
  const cases = [...oneEnvironment.slice(-1), ...manyEnvironments.slice(-1), ...special.slice(0, 1)];
  const answers = await rig.renderFarms(
    cases.map((one) => ({ farm: one.farm, enable: one.enable, ids: idsOf(one).all, want: [] })),
  );
  for (const [id, { pillar }] of answers.flatMap((answer) => [...answer])) {
    const text = JSON.stringify(pillar);
    t.notMatch(
      text,
      /PRIVATE KEY|BEGIN OPENSSH|-----BEGIN (?!PGP PUBLIC KEY BLOCK)/,
      `${id} has public keys only`,
    );
    t.notMatch(paths(pillar).join('\n'), /secret|token|passw/i, `${id} has no field for a secret`);
    t.notMatch(text, /:\/\/[^/"@]*:[^/"@]*@/, `${id} has no address with a password`);
  }
});

/** Whether all that a slice says stands at the same place of the farm. */
function within(slice: unknown, farm: unknown): boolean {
  if (slice === null || typeof slice !== 'object' || Array.isArray(slice))
    return JSON.stringify(slice) === JSON.stringify(farm);
  return Object.entries(slice).every(([name, one]) =>
    within(one, (farm as Record<string, unknown> | undefined)?.[name]),
  );
}

await test(
  'dom0 sees the whole farm and its VMs, and a VM sees of itself and of the farm what is so',
  salted,
  async (t) => {
    const rig = makeRig(t, { farm: null });
    const cases = [...oneEnvironment.slice(1, 2), ...manyEnvironments, ...special];
    const answers = await rig.renderFarms(
      cases.map((one) => ({
        farm: one.farm,
        enable: one.enable,
        ids: ['dom0', ...idsOf(one).vms.map(({ name }) => name)],
        want: [],
      })),
    );
    for (const [index, one] of cases.entries()) {
      const { what, farm, enable } = one;
      const ours = (id: string): Record<string, unknown> =>
        answers[index]?.get(id)?.pillar['build-infra'] as Record<string, unknown>;
      const { vms, this: self, 'template-vms': templates, seal: _, ...whole } = ours('dom0');
      t.strictSame(whole, farm, `${what}: dom0 sees the farm`);
      t.strictSame(
        self,
        { name: 'dom0', role: 'dom0', env: '', enabled: enable },
        `${what}: dom0 knows itself`,
      );
      t.strictSame(
        templates,
        Object.entries(farm.templates)
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([name, rest]) => ({ name, ...rest })),
        what,
      );
      t.strictSame(
        (vms as { name: string }[]).map(({ name }) => name),
        idsOf(one).vms.map(({ name }) => name),
        `${what}: dom0 has the VMs that provision lists, in that order`,
      );
      for (const vm of idsOf(one).vms) {
        const { this: about, seal: _seal, ...slice } = ours(vm.name);
        // That an environment takes commands is all that sys-net hears of them.
        if (vm.role === 'sys-net')
          for (const [env, told] of Object.entries(slice['build-envs'] ?? {}))
            if ('commands' in told) told.commands = farm['build-envs'][env]?.commands;
        t.ok(within(slice, farm), `${what}: ${vm.name}`);
        t.match(
          about,
          { name: vm.name, role: vm.role, env: vm.env ?? '', enabled: vm.enabled, family: vm.family },
          `${what}: ${vm.name} knows itself`,
        );
      }
    }
  },
);

await test('what the driver renders is what salt-call prints', salted, async (t) => {
  const rig = makeRig(t, { farm: twoFamilies(), enable: [...allOptions] });
  const ids = ['dom0', 'keys-fedora', 'fedora-43-build-infra'];
  const found = await rig.render(ids);
  for (const id of ids) {
    const call = async (config: string, ...args: string[]): Promise<unknown> =>
      (
        JSON.parse((await run(rig.saltCall(config, args), { env: rig.environment })).stdout) as {
          local: unknown;
        }
      ).local;
    const { config } = await rig.prepare(id);
    t.strictSame(
      await call(config, 'state.show_lowstate'),
      found.get(id)?.lowstate,
      `${id}: state.show_lowstate`,
    );
    if (id !== 'keys-fedora') continue;
    // As qubesctl asks dom0 for the pillar and the top of a VM.
    t.strictSame(
      await call(`${rig.folder}/dom0`, `--id=${id}`, 'pillar.items'),
      found.get(id)?.pillar,
      `${id}: pillar.items`,
    );
    t.strictSame(
      await call(`${rig.folder}/dom0`, `--id=${id}`, 'state.show_top'),
      found.get(id)?.top,
      `${id}: state.show_top`,
    );
    t.strictSame(
      await call(config, 'state.show_highstate'),
      found.get(id)?.highstate,
      `${id}: state.show_highstate`,
    );
  }
});
