// SPDX-License-Identifier: GPL-2.0-or-later
// What Salt does in VMs that are not as it left them: settings that changed, options that went, what hands or
// an attacker in the VM did.
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import type { Option } from '../../agents/shared/formats/manifest.js';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { provision } from '../../agents/local/provision/provision.js';
import { threeEnvironments } from '../local/provision-farm.js';
import { applied, changes, contents, failures, made, ownVolume, Qubes } from './apply-qubes.js';
import { makeRig } from './rig.js';

const config = 'rw/config/build-infra';

await test(
  'a VM becomes what the farm says now: what changed arrives, what is no longer said goes, what hands did is mended',
  applied,
  async (t) => {
    const farm = threeEnvironments();
    const rig = makeRig(t, { farm, enable: ['ssh-proxy', 'webhooks'], config: { grains_cache: true } });
    const qubes = new Qubes(t, rig);
    const ids = ['build-debian', 'sys-net', 'keys-debian', 'build-fedora'];
    const [first] = await qubes.call(ids);
    for (const id of ids) t.strictSame(failures(first?.get(id)), [], id);
    const waiting = first?.get('build-fedora')?.states ?? {};
    t.match(
      Object.values(waiting)
        .map(({ comment }) => comment)
        .join('\n'),
      /^\/rw\/config\/build-infra\/build\.json waits for signing-key in farm\.yaml: .*make-keys$/m,
    );

    const debian = farm['build-envs']['debian'] as Pillar['build-envs'][string];
    const bob = debian.maintainers['bob'] as string;
    delete debian.maintainers['bob'];
    const logs = farm['logs-vms']['build-logs'] as Pillar['logs-vms'][string];
    const logsKey = logs.key as string;
    logs.key = null;
    // A key that was made: the same as of one that is in use nowhere else.
    (farm['build-envs']['fedora'] as Pillar['build-envs'][string]).key = bob;
    delete (farm['build-envs']['fedora'] as Pillar['build-envs'][string]).maintainers['bob'];
    delete (farm['build-envs']['ubuntu'] as Pillar['build-envs'][string]).maintainers['bob'];
    for (const env of Object.values(farm['build-envs'])) delete env.commands?.people['bob'];
    rig.setFarm(farm);
    rig.enable(['ssh-proxy']);

    const build = qubes.root('build-debian');
    const victim = join(rig.folder, 'victim');
    writeFileSync(victim, 'precious', { mode: 0o600 });
    rmSync(join(build, config, 'ssh_config'));
    symlinkSync(victim, join(build, config, 'ssh_config'));
    rmSync(join(build, 'usr/local/etc/qubes-rpc/qubesbuilder.TriggerBuild'));
    writeFileSync(join(build, 'usr/local/etc/qubes-rpc/qubesbuilder.TriggerBuild'), '#!/bin/sh\n', {
      mode: 0o755,
    });
    writeFileSync(join(build, config, 'public-keys/planted.asc'), 'a key of nobody');
    chmodSync(join(build, config, 'build.json'), 0o666);
    writeFileSync(join(build, config, 'ssh_key'), 'made by make-keys', { mode: 0o600 });
    mkdirSync(join(build, 'home/user/.ssh'), { recursive: true });

    const [second, third] = await qubes.call(ids, undefined, 2);
    for (const id of ids)
      t.strictSame(
        [failures(second?.get(id)), failures(third?.get(id)), changes(third?.get(id))],
        [[], [], []],
        id,
      );

    t.strictSame(changes(second?.get('build-debian')), [
      `build-infra /${config}/build.json`,
      `build-infra /${config}/ssh_config`,
      'build-infra /usr/local/etc/qubes-rpc/qubesbuilder.TriggerBuild',
      'build-infra no other public keys',
    ]);
    t.equal(readFileSync(victim, 'utf8'), 'precious', 'what a planted link leads to is not written');
    t.equal(lstatSync(victim).mode & 0o777, 0o600);
    t.ok(lstatSync(join(build, config, 'ssh_config')).isFile());
    t.equal(
      readlinkSync(join(build, 'usr/local/etc/qubes-rpc/qubesbuilder.TriggerBuild')),
      '/run/build-infra/qubesbuilder.TriggerBuild.sock',
    );
    t.notMatch(readFileSync(join(build, config, 'build.json'), 'utf8'), bob);
    t.strictSame(
      [...contents(join(build, config, 'public-keys')).keys()].sort(),
      [...Object.values(debian.maintainers), debian.key as string].map((key) => `/${key}.asc`).sort(),
    );
    t.equal(
      readFileSync(join(build, config, 'ssh_key'), 'utf8'),
      'made by make-keys',
      'what the VM made itself stays',
    );
    t.ok(existsSync(join(build, 'home/user/.ssh')));

    t.strictSame(
      [...contents(join(qubes.root('sys-net'), config)).keys()],
      ['/sys-net.json'],
      'without webhooks there is no nginx in the net VM',
    );
    t.notMatch(readFileSync(join(qubes.root('sys-net'), config, 'sys-net.json'), 'utf8'), /webhook/);
    t.notOk(
      existsSync(join(qubes.root('keys-debian'), config, 'keys.json')),
      'a keys VM whose logs key was taken back believes nobody',
    );
    t.strictSame(
      [...contents(join(qubes.root('keys-debian'), config, 'public-keys')).keys()],
      [],
      `${logsKey} is gone`,
    );
    t.ok(
      existsSync(join(qubes.root('build-fedora'), config, 'build.json')),
      'what waited for its key is there once the key is',
    );

    const asFresh = (id: string, enabled: Option[]): void => {
      const root = join(rig.folder, 'provisioned', `${id}-${enabled.length}`);
      mkdirSync(join(rig.folder, 'provisioned'), { recursive: true });
      provision({
        farm: planFarm({ pillar: farm, enabled }),
        vm: id,
        root,
        dist: join(rig.root, 'srv/formulas/base/build-infra/build-infra/dist'),
      });
      const now = contents(qubes.root(id));
      for (const [path, entry] of contents(root))
        if (ownVolume.some((part) => path.startsWith(`${part}/`)))
          t.strictSame(now.get(path), entry, `${id} ${path} is as in a new VM`);
    };
    for (const id of ids) asFresh(id, ['ssh-proxy']);
    rig.enable([]);
    const [direct] = await qubes.call(['build-debian']);
    t.strictSame(
      [failures(direct?.get('build-debian')), changes(direct?.get('build-debian'))],
      [[], [`build-infra /${config}/ssh_config`]],
    );
    asFresh('build-debian', []);
  },
);

await test(
  'a VM whose volume would not be kept stops with the reason and gets nothing; a link in the place of a folder is not followed',
  applied,
  async (t) => {
    const farm = threeEnvironments();
    const rig = makeRig(t, { farm, enable: ['ssh-proxy', 'webhooks'], config: { grains_cache: true } });
    const qubes = new Qubes(t, rig);
    const ids = ['keys-debian', 'build-logs'];
    await qubes.layOut(...ids);
    mkdirSync(join(qubes.root('keys-debian'), 'run/qubes-service'));
    writeFileSync(join(qubes.root('keys-debian'), 'run/qubes-service/custom-persist'), '');
    const logs = qubes.root('build-logs');
    mkdirSync(join(logs, 'home/user'), { recursive: true });
    mkdirSync(join(logs, 'etc/victim'), { mode: 0o755 });
    symlinkSync('/etc/victim', join(logs, 'home/user/.gnupg'));
    const before = new Map(ids.map((id) => [id, contents(qubes.root(id))]));
    const [done] = await qubes.call(ids);

    t.match(failures(done?.get('keys-debian')), [
      /^build-infra persistence: keys-debian has the service custom-persist, .*qvm-service --default keys-debian custom-persist/,
    ]);
    t.equal(Object.keys(done?.get('keys-debian')?.states ?? {}).length, 1);
    t.strictSame(
      [...made(before.get('keys-debian') as never, contents(qubes.root('keys-debian'))).keys()],
      [],
    );

    t.match(failures(done?.get('build-logs')), [/^build-infra \/home\/user\/\.gnupg: .*/]);
    t.match(
      lstatSync(join(logs, 'etc/victim')),
      { uid: 0, mode: 0o40755 },
      'what the link leads to has neither owner nor mode changed',
    );
    t.ok(lstatSync(join(logs, 'home/user/.gnupg')).isSymbolicLink());
  },
);

await test(
  'a template has what its roles need and loses what its roles no longer need; another family than the farm says is refused',
  applied,
  async (t) => {
    const farm = threeEnvironments();
    farm.templates['fedora-43-keys'] = { source: 'fedora-43-minimal', family: 'RedHat' };
    for (const env of Object.values(farm['build-envs']))
      env.keys = { ...env.keys, template: 'fedora-43-keys' };
    const rig = makeRig(t, { farm, enable: ['ssh-proxy'] });
    const qubes = new Qubes(t, rig);
    const [first] = await qubes.call(['fedora-43-keys', 'debian-13-build-infra']);
    const programs = (id: string): string[] =>
      [...contents(qubes.root(id), '/usr/lib').keys()]
        .filter((path) => /-agent\.mjs$/.test(path))
        .map((path) => path.split('/').at(-1) as string);
    const packages = (id: string, file = 'build-infra-packages'): string[] =>
      readFileSync(join(qubes.root(id), 'var/lib', file), 'utf8')
        .split('\n')
        .filter((line) => line !== '');
    for (const id of ['fedora-43-keys', 'debian-13-build-infra'])
      t.strictSame(failures(first?.get(id)), [], id);
    t.strictSame(programs('debian-13-build-infra'), [
      'build-agent.mjs',
      'build-logs-agent.mjs',
      'sys-net-agent.mjs',
    ]);
    t.ok(programs('fedora-43-keys').includes('keys-agent.mjs'));
    t.notOk(programs('fedora-43-keys').includes('build-agent.mjs'), 'a template of keys VMs has no builder');
    t.ok(packages('fedora-43-keys').includes('gnupg2') && !packages('fedora-43-keys').includes('gnupg'));
    t.ok(
      packages('debian-13-build-infra').includes('gnupg') &&
        packages('debian-13-build-infra').includes('mmdebstrap'),
    );
    t.strictSame(
      packages('debian-13-build-infra', 'build-infra-packages.options'),
      ['install_recommends=False'],
      'dpkg-dev alone recommends a compiler',
    );

    for (const env of Object.values(farm['build-envs'])) delete env.keys;
    rig.setFarm(farm);
    const [moved, again] = await qubes.call(['fedora-43-keys', 'debian-13-build-infra'], undefined, 2);
    for (const id of ['fedora-43-keys', 'debian-13-build-infra'])
      t.strictSame(
        [failures(moved?.get(id)), failures(again?.get(id)), changes(again?.get(id))],
        [[], [], []],
        id,
      );
    t.ok(programs('debian-13-build-infra').includes('keys-agent.mjs'), 'the role came');
    t.notOk(programs('fedora-43-keys').includes('keys-agent.mjs'), 'the role went');

    farm.templates['fedora-43-keys'].family = 'Debian';
    rig.setFarm(farm);
    const [refused] = await qubes.call(['fedora-43-keys'], undefined, 1, {
      os_family: 'RedHat',
      os: 'Fedora',
    });
    t.match(failures(refused?.get('fedora-43-keys')), [
      /farm\.yaml says that this template is of the family Debian, and it is of the family RedHat$/,
    ]);
  },
);
