// SPDX-License-Identifier: GPL-2.0-or-later
// `build-infra upgrade-pillar`: an old pillar becomes ours as far as it goes; what is left is said, nothing
// is dropped in silence, no secret comes along.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { parse, stringify } from 'yaml';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { oneCommand } from '../support/one-command.js';
import { alice, debian } from './bad-pillars.js';
import { example, top, workshop } from './provision-farm.js';

const program = oneCommand('local/upgrade/main.js', 'upgradeCommand', 1);
const upgrade = (...paths: string[]): { status: number | null; stdout: string; stderr: string } =>
  spawnSync(process.execPath, ['--input-type=module', '-e', program, '--', ...paths], { encoding: 'utf8' });

const farm = example();
const person = alice(farm);
const hostKey = farm['ssh-hosts']['forge.example']?.['host-keys'][0] as string;
const [keyType, keyText] = hostKey.split(' ') as [string, string];
/** Every field that the old formula reads, and one that it does not know either. */
const old = {
  netvm: 'sys-net',
  'logs-template': 'fedora-43-xfce',
  'logs-netvm': 'sys-firewall',
  'build-template': 'debian-13-xfce',
  'build-netvm': 'sys-whonix',
  'keys-template': 'fedora-43-minimal',
  'build-envs': {
    fedora2: {
      builderv2: true,
      'volume-size': '20GiB',
      logs: 'logs',
      windows: true,
      mystery: 1,
      'builders-list': {
        '/home/user/builder-r4.2': {
          release: '4.2',
          keys: [person],
          config: [
            { file: 'R4.2/vm.yml' },
            {
              repository: [
                { baseurl: 'https://github.com/example/qubes-' },
                { component: 'configs' },
                { maintainers: [person, '55FE5C7D'] },
              ],
            },
          ],
        },
      },
    },
    kernel: {
      'volume-size': '1TiB',
      logs: 'logs-kernel',
      'builders-list': { '/home/user/builder-r4.1': { release: '4.1' } },
    },
  },
  'remote-hosts': { 'forge.example': { ssh_user: 'user', ssh_host_enc: keyType, ssh_host_key: keyText } },
  github_api_key: 'SECRET-1',
  openqa_server: 'openqa.example',
  openqa_key: 'SECRET-2',
  openqa_secret: 'SECRET-3',
  mirror_ssh_key: '-----BEGIN OPENSSH PRIVATE KEY-----\nSECRET-4\n',
  github_ssh_key: 'SECRET-5',
  commands_public_keys: Object.values(farm['public-keys']).slice(2).join(''),
  logs_repo: 'example/logs',
  logs_key_fpr: 'A'.repeat(40),
  logs_repo_public_key: 'x',
  build_report_repo: 'example/reports',
  build_issues_repo: 'example/issues',
  build_bot_name: 'bot',
  build_bot_email: 'bot@example.org',
  mystery: 'x',
};

await test('what has a counterpart is carried over, all else is named, and with what is left to write it is a farm.yaml', async (t) => {
  const { folder } = workshop(t);
  const path = join(folder, 'old.yaml');
  // As qubesctl prints it; and as two of its files.
  writeFileSync(path, stringify({ local: { 'build-infra': old, other: 'x' } }));
  const done = upgrade(path);
  t.equal(done.status, 0, done.stderr);
  const { 'build-envs': envs, commands_public_keys: people, ...rest } = old;
  writeFileSync(
    join(folder, 'a.sls'),
    stringify({
      'build-infra': { ...rest, commands_public_keys: people, 'build-envs': { fedora2: envs.fedora2 } },
    }),
  );
  writeFileSync(
    join(folder, 'b.sls'),
    stringify({ 'build-infra': { 'build-envs': { kernel: envs.kernel } } }),
  );
  t.equal(upgrade(join(folder, 'a.sls'), join(folder, 'b.sls')).stdout, done.stdout, 'files are merged');
  t.notMatch(`${done.stdout}${done.stderr}`, /SECRET|PRIVATE/);

  const { 'build-infra': made } = parse(done.stdout) as { 'build-infra': Pillar };
  t.match(made, {
    'net-vm': 'sys-net',
    template: 'bi-debian-13-xfce',
    templates: {
      'bi-debian-13-xfce': { source: 'debian-13-xfce', family: 'Debian' },
      'bi-fedora-43-xfce': { source: 'fedora-43-xfce', family: 'RedHat' },
      'bi-fedora-43-minimal': { source: 'fedora-43-minimal', family: 'RedHat' },
    },
    webhook: { comments: ['example/issues'] },
    'ssh-hosts': { 'forge.example': { port: 22, 'host-keys': [hostKey] } },
    'logs-vms': {
      logs: { netvm: 'sys-firewall', key: null, template: 'bi-fedora-43-xfce' },
      'logs-kernel': {},
    },
    'build-envs': {
      fedora2: {
        logs: 'logs',
        netvm: 'sys-whonix',
        key: null,
        build: { 'private-gib': 20 },
        keys: { template: 'bi-fedora-43-minimal' },
        maintainers: { 'maintainer-1': person },
        commands: { releases: ['r4.2'] },
      },
      kernel: { logs: 'logs-kernel', build: { 'private-gib': 1024 }, commands: { releases: ['r4.1'] } },
    },
  });
  t.equal(
    Object.keys(made['build-envs']['fedora2']?.commands?.people ?? {}).length,
    2,
    'a person for each key, who may nothing yet',
  );
  const without = [...done.stderr.matchAll(/^no counterpart: (\S+?): /gm)].map(([, field]) => field);
  t.strictSame(
    without.sort(),
    [
      'build-envs.fedora2',
      'build-envs.fedora2.builders-list./home/user/builder-r4.2',
      'build-envs.fedora2.mystery',
      'build-envs.fedora2.windows',
      'build-envs.kernel.builders-list./home/user/builder-r4.1',
      'build_bot_email',
      'build_bot_name',
      'github_api_key',
      'github_ssh_key',
      'logs_key_fpr',
      'logs_repo',
      'logs_repo_public_key',
      'mirror_ssh_key',
      'mystery',
      'openqa_key',
      'openqa_secret',
      'openqa_server',
    ].sort(),
    'every other field is named',
  );

  t.throws(
    () => planFarm({ pillar: made }),
    { code: 'MISSING_FIELD' },
    'unfinished it is refused, by the field',
  );
  made.components = farm.components;
  Object.assign(made['public-keys'], farm['public-keys']);
  for (const logs of Object.values(made['logs-vms']))
    logs.remotes = { origin: { url: 'ssh://git@forge.example/logs.git', required: true } };
  const { distributions, apt, maintainers, components } = debian(farm);
  for (const env of Object.values(made['build-envs']))
    Object.assign(env, { distributions, apt, components, maintainers: env.maintainers ?? maintainers });
  t.ok(planFarm({ pillar: made }), 'with what it says is left to write, it is one');
});

await test('Jinja, nothing and no YAML are refused in one line', (t) => {
  const { folder } = workshop(t);
  const path = join(folder, 'old.sls');
  for (const [text, code] of [
    ["build-infra:\n  netvm: {{ grains['id'] }}\n", 'NOT_YAML'],
    ['{% if x %}\n', 'NOT_YAML'],
    ['other: 1\n', 'NO_PILLAR'],
    ['build-infra: [\n', 'NOT_YAML'],
  ] as const) {
    writeFileSync(path, text);
    t.match(
      upgrade(path),
      {
        status: 1,
        stdout: '',
        stderr: new RegExp(`^build-infra upgrade-pillar: refused ${code} [^\\n]*\\n$`),
      },
      text,
    );
  }
  t.match(upgrade(), { status: 2, stderr: /^build-infra upgrade-pillar: FILE... is missing/ });
  t.end();
});

await test('the page about moving over names every field that is carried or not', (t) => {
  const page = readFileSync(join(top, 'docs/upgrade-from-qubes-infrastructure.md'), 'utf8');
  for (const field of [
    ...Object.keys(old).filter((name) => name !== 'mystery'),
    'volume-size',
    'builders-list',
    'windows',
    'ssh_user',
  ])
    t.match(page, new RegExp(`\`${field}\``), field);
  t.end();
});
