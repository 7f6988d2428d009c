// SPDX-License-Identifier: GPL-2.0-or-later
// What lies in the tree must be readable by those who read it: systemd, the qrexec agent, nginx, ssh, a
// shell.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { test } from 'tap';
import { parse } from 'yaml';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { provision } from '../../agents/local/provision/provision.js';
import { readManifest, roles } from './manifest-shape.js';
import { example, exampleFarm, isRoot, python, threeEnvironments, top, workshop } from './provision-farm.js';

const servicesOf = (role: string): string[] =>
  readdirSync(join(top, 'qrexec-services', role), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();

await test('systemd finds nothing to say about the units', async (t) => {
  const { folder } = workshop(t);
  const units: string[] = [];
  for (const role of roles) {
    const { template } = readManifest(role);
    for (const { path, source } of template?.files ?? []) {
      if (!path.startsWith('/usr/lib/systemd/system/') || source === undefined) continue;
      const unit = join(folder, path.split('/').at(-1) as string);
      writeFileSync(
        unit,
        readFileSync(join(top, source.startsWith('units/') ? 'salt/build-infra' : '', source)),
      );
      units.push(unit);
    }
  }
  t.equal(units.length, 13);
  const done = spawnSync('systemd-analyze', ['verify', '--man=no', ...units], { encoding: 'utf8' });
  t.equal(done.status, 0);
  // Its exit status is 0 for misspelt settings too: only silence counts.
  t.equal(done.stdout + done.stderr, '');
});

await test('systemd rates the exposure of every agent but the one that makes chroots as low', async (t) => {
  for (const name of ['keys', 'build-logs', 'sys-net', 'nginx', 'notifier']) {
    const unit = join(top, 'salt/build-infra/units', `build-infra-${name}.service`);
    const done = spawnSync(
      'systemd-analyze',
      ['security', '--offline=true', '--no-pager', '--threshold=25', unit],
      { encoding: 'utf8' },
    );
    t.equal(done.status, 0, done.stdout.split('\n').at(-2) ?? name);
  }
});

/** Units that an option switches, in whichever VM it concerns. */
const featureOf: Record<string, string> = {
  'build-infra-nginx.service': 'webhooks',
  'build-infra-webhook.socket': 'webhooks',
  'build-infra-local.ConnectSSH.socket': 'ssh-proxy',
};

await test('every unit is bound to the feature and the configuration of its role', async (t) => {
  for (const role of roles) {
    const units = (readManifest(role).template?.files ?? []).filter(
      ({ path, source }) => path.startsWith('/usr/lib/systemd/system/') && source !== undefined,
    );
    for (const { path, source } of units) {
      const text = readFileSync(
        join(top, source?.startsWith('units/') === true ? 'salt/build-infra' : '', source as string),
        'utf8',
      );
      t.match(
        text,
        `\nConditionPathExists=/run/qubes-service/build-infra-${featureOf[basename(path)] ?? role}\n`,
        source as string,
      );
      t.match(text, `\nConditionPathExists=/rw/config/build-infra/${role}.json\n`, source as string);
    }
  }
});

await test('every service of a role is in the tree, in the manifest and in the code, under one name', async (t) => {
  for (const vm of exampleFarm().vms) {
    t.strictSame([...vm.services].sort(), servicesOf(vm.role), vm.role);
    const manifest = readManifest(vm.role);
    t.strictSame(manifest.vm.features, vm.features.slice(0, 1), 'the rest are options');
    const paths = [...(manifest.template?.files ?? []), ...manifest.vm.files].map(
      ({ path, link, source }) => `${path} ${link ?? source ?? ''}`,
    );
    for (const service of vm.services) {
      const here = `qrexec-services/${vm.role}/${service}`;
      for (const line of [
        `/usr/local/etc/qubes-rpc/${service} /run/build-infra/${service}.sock`,
        `/usr/local/etc/qubes/rpc-config/${service} ${here}/rpc-config`,
        `/usr/lib/systemd/system/build-infra-${service}.socket ${here}/build-infra-${service}.socket`,
        `/etc/systemd/system/sockets.target.wants/build-infra-${service}.socket /usr/lib/systemd/system/build-infra-${service}.socket`,
      ])
        t.ok(paths.includes(line), line);
      const socket = readFileSync(join(top, here, `build-infra-${service}.socket`), 'utf8');
      for (const line of [
        `ListenStream=/run/build-infra/${service}.sock`,
        `FileDescriptorName=${service}`,
        `Service=build-infra-${vm.role}.service`,
        'SocketMode=0660',
        'SocketUser=root',
        'SocketGroup=qubes',
        'Before=qubes-qrexec-agent.service',
      ])
        t.match(socket, `\n${line}\n`, service);
      const unit = readFileSync(join(top, `salt/build-infra/units/build-infra-${vm.role}.service`), 'utf8');
      t.ok(
        /^Requires=(.*)$/m.exec(unit)?.[1]?.split(' ').includes(`build-infra-${service}.socket`),
        `the agent has the socket of ${service}`,
      );
    }
  }
});

await test('manifests and the example pillar read the same by the YAML 1.1 of Salt and by ours', async (t) => {
  for (const name of [
    ...['dom0', ...roles].map((role) => `salt/build-infra/manifests/${role}.yaml`),
    'salt/pillar.example.yaml',
  ]) {
    const text = readFileSync(join(top, name), 'utf8');
    t.strictSame(parse(text, { version: '1.1' }), parse(text, { version: '1.2' }), name);
  }
});

await test('every manifest has the shape of one, and no path twice', async (t) => {
  for (const role of ['dom0', ...roles] as const) {
    const { role: own, template, vm } = readManifest(role);
    t.equal(own, role);
    const paths = [...(template?.files ?? []), ...(vm.folders ?? []), ...vm.files].map(({ path }) => path);
    t.equal(new Set(paths).size, paths.length, role);
  }
});

await test('what two roles put onto one template is the same file in both', async (t) => {
  const seen = new Map<string, string>();
  for (const role of roles) {
    for (const file of readManifest(role).template?.files ?? []) {
      const text = JSON.stringify(file);
      t.equal(seen.get(file.path) ?? text, text, file.path);
      seen.set(file.path, text);
    }
  }
});

await test('rpc-config keeps to the grammar of the qrexec agent', async (t) => {
  const line =
    /^(?:|#.*|(?:wait-for-session|skip-service-descriptor|exit-on-client-eof|exit-on-service-eof) = (?:true|false))$/;
  for (const role of roles) {
    for (const service of servicesOf(role)) {
      const path = join(top, 'qrexec-services', role, service, 'rpc-config');
      const text = readFileSync(path, 'utf8');
      t.ok(statSync(path).size < 4096);
      for (const one of text.split('\n')) t.match(one, line, service);
      const keys = text
        .split('\n')
        .filter((one) => /^[a-z]/.test(one))
        .map((one) => one.split(' ')[0]);
      t.equal(new Set(keys).size, keys.length);
      t.match(text, '\nskip-service-descriptor = false\n', 'the agent must learn who is calling');
    }
  }
});

await test('the argument rule of each service takes what belongs there and nothing else', async (t) => {
  const cases: Record<string, [good: string[], bad: string[]]> = {
    'qubesbuilder.TriggerBuild': [
      ['hello', 'libx11-6', '0ad', 'g++-12'],
      ['', '../x', 'Hello', '-x', 'a b', 'a/b'],
    ],
    'qubesbuilder.ProcessGithubCommand': [[''], ['x', 'hello']],
    'qubesbuilder.BuildLog': [
      ['', 'intent', 'nightly', 'r4.3'],
      ['..', '.x', '-x', 'a/b', 'a+b'],
    ],
    'qubes.Gpg': [[''], ['x']],
    'qubesbuilder.LogReceived': [['build-debian'], ['', '..', '1x', 'a/b', 'x'.repeat(32)]],
    'local.ConnectSSH': [
      ['forge.example', 'localhost', '10.0.0.1'],
      ['', '-x', '.x', 'x.', 'X', 'a:22'],
    ],
  };
  for (const role of roles) {
    for (const service of servicesOf(role)) {
      const lines = readFileSync(join(top, 'qrexec-services', role, service, 'argument'), 'utf8')
        .split('\n')
        .filter((line) => line !== '' && !line.startsWith('#'));
      t.equal(lines.length, 1, service);
      const rule = new RegExp(lines[0] as string);
      for (const good of cases[service]?.[0] ?? []) t.match(good, rule, `${service}+${good}`);
      for (const bad of cases[service]?.[1] ?? []) t.notMatch(bad, rule, `${service}+${bad}`);
    }
  }
});

await test('each agent accepts the configuration made for it, at its plainest and with every setting', async (t) => {
  const { folder, dist } = workshop(t);
  type Reader = (path: string) => Promise<unknown>;
  const load = async (file: string): Promise<Record<string, unknown>> =>
    (await import(pathToFileURL(join(top, 'out/agents', file)).href)) as Record<string, unknown>;
  const readDocument = (await load('shared/json-document.js'))['readDocument'] as (
    bytes: Uint8Array,
    limit: number,
    check: unknown,
  ) => unknown;
  const readers: Record<string, Reader> = {
    build: async (path) =>
      ((await load('build-vm/configuration/config.js'))['readConfig'] as (path: string) => unknown)(path),
    keys: async (path) =>
      readDocument(readFileSync(path), 65536, (await load('keys/documents.js'))['readKeysConfig']),
    'build-logs': async (path) =>
      readDocument(readFileSync(path), 65536, (await load('build-logs/config.js'))['checkConfig']),
    'sys-net': async (path) =>
      ((await load('sys-net/config.js'))['readConfig'] as (bytes: Uint8Array) => unknown)(readFileSync(path)),
  };
  const farms: [string, Pillar][] = [
    ['example', example()],
    ['three', threeEnvironments()],
  ];
  for (const [name, pillar] of farms) {
    const farm = planFarm({ pillar });
    for (const vm of farm.vms) {
      const root = join(folder, name, vm.name);
      const done = provision({ farm, vm: vm.name, root, dist, owners: isRoot });
      if (done.waiting.length > 0) {
        t.match(vm.name, /fedora/);
        continue;
      }
      const config = (await readers[vm.role]?.(join(root, `rw/config/build-infra/${vm.role}.json`))) as {
        vm: string;
        apt?: { validDays?: number };
      };
      t.equal(config.vm, vm.name, `${name}: ${vm.name}`);
      if (vm.role === 'build')
        t.equal(
          config.apt?.validDays,
          pillar['build-envs'][vm.env ?? '']?.apt?.['valid-days'] ?? undefined,
          `${name}: until when a Release of ${vm.name} is good`,
        );
      const notify = join(root, 'rw/config/build-infra/notify.json');
      t.equal(
        existsSync(notify),
        pillar['build-envs'][vm.env ?? '']?.notify !== undefined && vm.role === 'build',
        `${name}: ${vm.name} has a notifier or not`,
      );
      if (!existsSync(notify)) continue;
      const told = (
        (await load('notifier/config.js'))['readConfig'] as (path: string) => {
          vm: string;
          componentUrls: object;
          distributions: object;
        }
      )(notify);
      t.match(told, {
        vm: vm.name,
        account: 'other-bot[bot]',
        minAgeDays: 7,
        logsUrl: 'https://code.example.org/logs/blob/{commit}/{path}?plain=1',
        componentUrls: { zlib: 'https://code.example.org/Other-Org/zlib.deb' },
        distributions: { jammy: { name: 'jammy-2' } },
      });
    }
  }
});

await test('ssh reads the configuration, goes through qrexec, and checks the host key', async (t) => {
  const { folder, dist } = workshop(t);
  for (const vm of ['build-debian', 'build-logs']) {
    provision({ farm: exampleFarm(), vm, root: join(folder, vm), dist, owners: isRoot });
    const config = execFileSync(
      'ssh',
      ['-G', '-F', join(folder, vm, 'rw/config/build-infra/ssh_config'), 'git@forge.example'],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    );
    for (const line of [
      'proxycommand /usr/bin/qrexec-client-vm @default local.ConnectSSH+%h',
      'stricthostkeychecking true',
      'forwardagent no',
      'identityfile /rw/config/build-infra/ssh_key',
      'userknownhostsfile /rw/config/build-infra/ssh_known_hosts',
      'batchmode yes',
      'identitiesonly yes',
    ])
      t.match(config, `${line}\n`);
  }
  const found = execFileSync(
    'ssh-keygen',
    ['-F', 'forge.example', '-f', join(folder, 'build-logs/rw/config/build-infra/ssh_known_hosts')],
    { encoding: 'utf8' },
  );
  t.match(found, /forge\.example ssh-ed25519 /);
});

await test('without the proxy ssh goes straight to the host, which is checked under the same name', async (t) => {
  const { folder, dist } = workshop(t);
  provision({
    farm: planFarm({ pillar: threeEnvironments(), enabled: ['webhooks'] }),
    vm: 'build-logs',
    root: folder,
    dist,
    owners: isRoot,
  });
  const config = execFileSync(
    'ssh',
    ['-G', '-F', join(folder, 'rw/config/build-infra/ssh_config'), 'git@code.example.org'],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
  );
  for (const line of [
    'hostname 192.0.2.7',
    'port 22',
    'hostkeyalias code.example.org',
    'stricthostkeychecking true',
    'userknownhostsfile /rw/config/build-infra/ssh_known_hosts',
  ])
    t.match(config, `${line}\n`);
  t.notMatch(config, /proxycommand/);
});

await test('a net VM holds what its options need and no more', async (t) => {
  const { folder, dist } = workshop(t);
  const has = (root: string, path: string): boolean => existsSync(join(root, path));
  const pillar = example();
  pillar.webhook.vm = 'sys-webhooks';
  const farm = planFarm({ pillar });
  const webhooks = join(folder, 'webhooks');
  provision({ farm, vm: 'sys-webhooks', root: webhooks, dist, owners: isRoot });
  t.ok(has(webhooks, 'rw/config/build-infra/nginx.conf'));
  t.notOk(has(webhooks, 'usr/local/etc/qubes/rpc-config/local.ConnectSSH'));
  t.notMatch(readFileSync(join(webhooks, 'rw/config/build-infra/sys-net.json'), 'utf8'), /forge\.example/);
  const proxy = join(folder, 'proxy');
  provision({ farm, vm: 'sys-net', root: proxy, dist, owners: isRoot });
  t.notOk(has(proxy, 'rw/config/build-infra/nginx.conf'));
  t.ok(has(proxy, 'usr/local/etc/qubes/rpc-config/local.ConnectSSH'));
  t.notMatch(readFileSync(join(proxy, 'rw/config/build-infra/sys-net.json'), 'utf8'), /buildVms/);
  const { readConfig } = (await import(pathToFileURL(join(top, 'out/agents/sys-net/config.js')).href)) as {
    readConfig: (bytes: Uint8Array) => unknown;
  };
  for (const root of [webhooks, proxy])
    t.ok(readConfig(readFileSync(join(root, 'rw/config/build-infra/sys-net.json'))));
  t.throws(
    () =>
      provision({
        farm: planFarm({ pillar: example(), enabled: [] }),
        vm: 'sys-net',
        root: folder,
        dist,
        owners: isRoot,
      }),
    { code: 'UNKNOWN_VM' },
  );
});

await test('nginx accepts the configuration with the listen line of the pillar', async (t) => {
  const { folder, dist } = workshop(t);
  const root = join(folder, 'sys-net');
  provision({ farm: exampleFarm(), vm: 'sys-net', root, dist, owners: isRoot });
  mkdirSync(join(root, 'var/lib/build-infra'), { recursive: true });
  const path = join(root, 'rw/config/build-infra/nginx.conf');
  const here = readFileSync(path, 'utf8')
    .replaceAll('/var/lib/build-infra', join(root, 'var/lib/build-infra'))
    .replaceAll('/rw/config', join(root, 'rw/config'));
  writeFileSync(path, here);
  const done = spawnSync('nginx', ['-t', '-c', path, '-e', 'stderr'], { encoding: 'utf8' });
  t.equal(done.status, 0, done.stderr);
  t.match(here, /daemon off;/);
});

await test('the scripts are readable by the shell that runs them', async (t) => {
  const check = (shell: string, name: string): void => {
    t.match(
      spawnSync(shell, ['-n', join(top, 'salt/build-infra/files', name)], { encoding: 'utf8' }),
      { status: 0, stderr: '' },
      name,
    );
  };
  for (const name of ['make-keys', 'post-install.sh']) check('sh', name);
  t.match(spawnSync('perl', ['-c', join(top, 'salt/build-infra/files/gpg')], { encoding: 'utf8' }), {
    status: 0,
    stderr: /syntax OK$/m,
  });
  check('bash', 'bind-dirs.conf');
});

await test('the stand-in reads our units as systemd does', async (t) => {
  const { folder, dist } = workshop(t);
  provision({ farm: exampleFarm(), vm: 'build-logs', root: folder, dist, owners: isRoot });
  const program = `
import sys, json
sys.path.insert(0, ${JSON.stringify(join(top, 'agents/local/vm'))})
sys.dont_write_bytecode = True
import unit_files, rpc_config
unit = unit_files.Unit(${JSON.stringify(join(folder, 'usr/lib/systemd/system/build-infra-qubesbuilder.BuildLog.socket'))})
service = unit_files.Unit(${JSON.stringify(join(folder, 'usr/lib/systemd/system/build-infra-build-logs.service'))})
print(json.dumps([unit.get('Socket', 'ListenStream'), unit.get('Socket', 'Service'), unit_files.command(service.get('Service', 'ExecStart'))[0], unit.wanted(),
  rpc_config.parse(open(${JSON.stringify(join(folder, 'usr/local/etc/qubes/rpc-config/qubesbuilder.BuildLog'))}, 'rb').read())]))`;
  const done = spawnSync(python, ['-c', program], { encoding: 'utf8' });
  t.equal(done.status, 0, done.stderr);
  t.strictSame(JSON.parse(done.stdout), [
    '/run/build-infra/qubesbuilder.BuildLog.sock',
    'build-infra-build-logs.service',
    ['/usr/bin/node', '/usr/lib/build-infra/build-logs-agent.mjs'],
    false,
    {
      'skip-service-descriptor': false,
      'exit-on-client-eof': false,
      'exit-on-service-eof': true,
      'wait-for-session': false,
    },
  ]);
  chmodSync(folder, 0o755);
});
