// SPDX-License-Identifier: GPL-2.0-or-later
// One VM through real salt-ssh, as a management disposable runs it: states are compiled there, a thin Salt is
// shipped and the VM's own Python runs it. What only salt-call would forgive (a file that no state names, a
// module that is not in the thin) fails here.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'tap';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { provision } from '../../agents/local/provision/provision.js';
import { example } from '../local/provision-farm.js';
import { applied, contents, Qubes, type Made } from './apply-qubes.js';
import { makeRig, run, saltPython, top, type Returned, type Rig } from './rig.js';

/**
 * What qubes.SaltLinuxVM writes in the disposable: the state tree, the pillar of this VM alone, a roster of
 * one.
 */
async function disposable(
  rig: Rig,
  vm: string,
): Promise<{ argv: string[]; env: Record<string, string>; folder: string }> {
  await rig.prepare(vm);
  const folder = join(rig.folder, 'disposable');
  for (const name of ['bin', 'tops']) mkdirSync(join(folder, name), { recursive: true });
  for (const name of ['ssh', 'scp'])
    writeFileSync(
      join(folder, 'bin', name),
      `#!/bin/sh\nexec ${saltPython} ${join(top, 'test/salt/transport_shell.py')} ${name} "$@"\n`,
      { mode: 0o755 },
    );
  writeFileSync(join(folder, 'tops/top.sls'), "{% include 'build-infra/init.top' %}\n");
  const roots = (rig.config() as { file_roots: { base: string[] } }).file_roots.base;
  const master = {
    root_dir: join(folder, 'run'),
    user: 'root',
    ssh_priv: 'agent-forwarding',
    log_level: 'error',
    log_level_logfile: 'quiet',
    ssh_log_file: join(folder, 'ssh.log'),
    roster_file: join(folder, 'roster'),
    file_roots: {
      base: [join(folder, 'tops'), ...roots.filter((path) => existsSync(join(path, 'build-infra')))],
    },
    pillar_roots: { base: [join(rig.folder, 'vm', vm, 'pillar')] },
  };
  writeFileSync(join(folder, 'master'), JSON.stringify(master));
  // By the same path salt-ssh keeps files of the VM here and there: below our own folder, not in this
  // machine's /var/tmp.
  writeFileSync(
    join(folder, 'roster'),
    JSON.stringify({ [vm]: { host: vm, user: 'root', timeout: 60, thin_dir: join(folder, 'thin') } }),
  );
  return {
    folder,
    argv: [
      saltPython,
      join(top, '.venv-salt/bin/salt-ssh'),
      '--config-dir',
      folder,
      '--wipe',
      '--out=json',
      '--out-indent=-1',
      '--no-color',
      '-l',
      'error',
      vm,
    ],
    env: { ...rig.environment, PATH: `${join(folder, 'bin')}:/usr/sbin:/usr/bin:/sbin:/bin`, HOME: folder },
  };
}

await test(
  'a keys VM is set up through salt-ssh as build-infra provision would, and again without a change',
  applied,
  async (t) => {
    const farm = example();
    const vm = 'keys-debian';
    const rig = makeRig(t, { farm });
    const qubes = new Qubes(t, rig);
    await qubes.layOut(vm);
    const root = qubes.root(vm);
    const { argv, env, folder } = await disposable(rig, vm);
    mkdirSync(join(root, folder), { recursive: true });
    const before = contents(root);
    const salt = async (...args: string[]): Promise<{ status: number | null; states: Returned[] }> => {
      const done = await run([...argv, ...args], { env: { ...env, BUILD_INFRA_QUBE: root } });
      const said = (): string => `${done.stdout}${done.stderr}`.slice(0, 4000);
      let found: unknown;
      try {
        found = (JSON.parse(done.stdout) as Record<string, unknown>)[vm];
      } catch {
        t.fail(`salt-ssh ended with ${done.status}: ${said()}`);
      }
      if (typeof found !== 'object' || found === null || Array.isArray(found)) t.fail(said());
      return { status: done.status, states: Object.values((found ?? {}) as Record<string, Returned>) };
    };

    const first = await salt('state.highstate');
    t.equal(first.status, 0);
    t.ok(first.states.length > 10, `${first.states.length} states ran`);
    t.strictSame(
      first.states.filter(({ result }) => result !== true).map(({ name, comment }) => `${name}: ${comment}`),
      [],
    );
    t.ok(
      first.states.filter(({ changes }) => Object.keys(changes).length > 0).length > 5,
      'it changed something',
    );
    const calls = readFileSync(`${root}.calls`, 'utf8');
    t.match(calls, /^ssh keys-debian$/m);
    t.match(calls, /^scp$/m, 'the thin Salt was shipped');

    const wanted = join(rig.folder, 'provisioned');
    mkdirSync(wanted);
    provision({
      farm: planFarm({ pillar: farm, enabled: [] }),
      vm,
      root: wanted,
      dist: join(rig.root, 'srv/formulas/base/build-infra/build-infra/dist'),
    });
    const now = contents(root);
    const onVolume = ([path]: [string, Made]): boolean => /^\/(?:rw|home|usr\/local)\//.test(path);
    const laid = [...contents(wanted)].filter(onVolume);
    t.ok(laid.length > 10);
    for (const [path, entry] of laid) t.strictSame(now.get(path), entry, path);
    t.strictSame(
      [...now]
        .filter(onVolume)
        .map(([path]) => path)
        .filter((path) => !before.has(path) && !laid.some(([one]) => one === path)),
      [],
      'nothing else is on its volume',
    );
    t.strictSame(readdirSync(join(root, folder)), [], 'the thin Salt is wiped');

    const second = await salt('state.highstate');
    t.strictSame(
      [
        second.status,
        second.states.filter(({ result, changes }) => result !== true || Object.keys(changes).length > 0),
      ],
      [0, []],
      'a second run changes nothing',
    );
  },
);
