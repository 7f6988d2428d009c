// SPDX-License-Identifier: GPL-2.0-or-later
// The local farm's trees laid by Salt from the unpacked package, and by provision(): the same files, owners,
// modes and contents.
import { lstatSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { test, type Test } from 'tap';
import { parse } from 'yaml';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { provision } from '../../agents/local/provision/provision.js';
import { provisionBySalt } from '../../agents/local/provision-by-salt/provision-by-salt.js';
import { unpackedPackage } from '../../agents/local/provision-by-salt/salt-package.js';
import { withKeysOfTests } from '../support/farm-keys.js';
import { salted } from '../salt/rig.js';
import { folderOf } from '../support/folders.js';
import { listing, top } from './package-tree.js';

function farm(change: (pillar: Pillar) => void = () => undefined): Pillar {
  const { 'build-infra': pillar } = parse(
    withKeysOfTests(readFileSync(join(top, 'salt/pillar.example.yaml'), 'utf8')),
  ) as { 'build-infra': Pillar };
  change(pillar);
  return pillar;
}

const pathOf = (line: string): string => line.split(' ').find((word) => word.startsWith('/')) as string;
/** Files of a template, not of a VM; of folders, those of our own. */
const ofTemplate = (line: string): boolean =>
  (!line.includes(' folder ') || pathOf(line).startsWith('/usr/lib/build-infra/')) &&
  /^\/(usr\/(?!local\/)|etc\/(?!qubes\/policy\.d\/))/.test(pathOf(line));

const work = folderOf(t);
let unpacked: string | undefined;

class TwoFarms {
  readonly #folder: string;
  changed: Record<string, string[]> = {};

  constructor(t: Test) {
    this.#folder = folderOf(t);
  }

  rootOf(machine: string): string {
    return join(this.#folder, 'salt', machine);
  }

  async bySalt(pillar: Pillar): Promise<void> {
    this.changed = {};
    unpacked ??= unpackedPackage(top, join(work, 'package'));
    await provisionBySalt({
      pillar,
      unpacked,
      work: join(this.#folder, 'work'),
      templates: join(this.#folder, 'templates'),
      rootOf: (machine) => this.rootOf(machine),
      done: (machine, changed) => {
        this.changed[machine] = changed;
      },
    });
  }

  /**
   * From Salt, and from provision(): owners, kind, mode, path and content of all that lies there. All VMs of
   * the example have one template, so from Salt each has the template's files of all roles: those are counted
   * to what it should have. What only provision() writes for itself is left out.
   */
  both(pillar: Pillar, vm: string): [string[], string[]] {
    const owned = (tree: string): string[] =>
      listing(tree)
        .map((line) => {
          const { uid, gid } = lstatSync(join(tree, pathOf(line)));
          return `${uid}:${gid} ${line}`;
        })
        .filter((line) => !line.includes('/provisioned.json '));
    const planned = planFarm({ pillar });
    const laid = Object.fromEntries(
      Object.keys(planned.machines).map((name) => {
        const root = join(this.#folder, 'provision', name);
        provision({ farm: planned, vm: name, root });
        return [name, owned(root)] as const;
      }),
    );
    const shared = vm === 'dom0' ? [] : Object.values(laid).flat().filter(ofTemplate);
    return [owned(this.rootOf(vm)).sort(), [...new Set([...(laid[vm] as string[]), ...shared])].sort()];
  }
}

const names = (pillar: Pillar): string[] => Object.keys(planFarm({ pillar }).machines);

await test('every VM of the farm, and dom0, has the same from Salt as from provision', salted, async (t) => {
  const farms = new TwoFarms(t);
  const without = farm((pillar) => {
    for (const one of [...Object.values(pillar['logs-vms']), ...Object.values(pillar['build-envs'])])
      one.key = null;
  });
  await farms.bySalt(without);
  for (const vm of names(without))
    t.strictSame(...farms.both(without, vm), `${vm}, before its keys are made`);

  const pillar = farm();
  await farms.bySalt(pillar);
  for (const vm of names(pillar)) t.strictSame(...farms.both(pillar, vm), vm);
  t.ok((farms.changed['keys-debian'] as string[]).includes('/rw/config/build-infra/keys.json'));

  const times = (): number[] =>
    names(pillar).flatMap((vm) =>
      listing(farms.rootOf(vm)).map((line) => lstatSync(join(farms.rootOf(vm), pathOf(line))).ino),
    );
  const before = times();
  // What a VM did to its own tree in the meantime is set right, and nothing else is touched.
  const spoilt = join(farms.rootOf('keys-debian'), 'rw/config/build-infra/keys.json');
  writeFileSync(spoilt, '{}');
  rmSync(join(farms.rootOf('keys-debian'), 'usr/local/etc/qubes-rpc/qubes.Gpg'));
  writeFileSync(join(farms.rootOf('keys-debian'), 'home/user/own'), 'mine');
  await farms.bySalt(pillar);
  t.strictSame(farms.changed['keys-debian']?.sort(), [
    '/rw/config/build-infra/keys.json',
    '/usr/local/etc/qubes-rpc/qubes.Gpg',
  ]);
  t.equal(readFileSync(join(farms.rootOf('keys-debian'), 'home/user/own'), 'utf8'), 'mine');
  rmSync(join(farms.rootOf('keys-debian'), 'home/user/own'));
  for (const vm of names(pillar)) t.strictSame(...farms.both(pillar, vm), vm);
  for (const vm of names(pillar).filter((name) => name !== 'keys-debian'))
    t.strictSame(farms.changed[vm], [], `a second run changes nothing in ${vm}`);
  t.ok(times().filter((inode) => !before.includes(inode)).length <= 2, 'not even replaced by the same');
});

await test('a pillar that is refused says why in one line, and nothing is laid', salted, async (t) => {
  const farms = new TwoFarms(t);
  const pillar = farm();
  (pillar['build-envs']['debian'] as Pillar['build-envs'][string]).logs = 'nowhere';
  await t.rejects(farms.bySalt(pillar), { message: /^the pillar is refused: UNKNOWN_LOGS_VM .*\S$/ });
  t.throws(() => readdirSync(farms.rootOf('dom0')), { code: 'ENOENT' });
});
