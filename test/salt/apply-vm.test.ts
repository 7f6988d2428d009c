// SPDX-License-Identifier: GPL-2.0-or-later
// Every VM's part applied by real Salt inside a root of its own: twice, compared with `build-infra
// provision`, and after a "reboot".
import { existsSync, mkdirSync, readFileSync, readlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'tap';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { provision } from '../../agents/local/provision/provision.js';
import { threeEnvironments } from '../local/provision-farm.js';
import {
  applied,
  carry,
  changes,
  contents,
  failures,
  made,
  ownVolume,
  Qubes,
  type Made,
} from './apply-qubes.js';
import { makeRig } from './rig.js';

const plain = (entries: Map<string, Made>): Record<string, Made> =>
  Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : 1)));
const onVolume = (path: string): boolean => ownVolume.some((part) => path.startsWith(`${part}/`));

await test(
  'every VM gets from Salt what provision would lay, at once, and keeps it over a reboot',
  applied,
  async (t) => {
    const farm = threeEnvironments();
    const rig = makeRig(t, { farm, enable: ['ssh-proxy', 'webhooks'], config: { grains_cache: true } });
    const qubes = new Qubes(t, rig);
    // Each role; the one with every setting; those that wait for a key. A salt-call takes more than a second.
    const ids = ['sys-net', 'build-logs', 'keys-debian', 'build-ubuntu', 'keys-fedora', 'build-fedora'];
    const planned = planFarm({ pillar: farm });
    const vms = planned.vms.filter(({ name }) => ids.includes(name));
    t.equal(vms.length, ids.length);
    const templates = [...new Set(vms.map(({ template }) => template))];
    await qubes.layOut(...templates);
    const bare = new Map(templates.map((name) => [name, contents(qubes.root(name))]));

    const [first, second] = await qubes.call(templates, undefined, 2);
    for (const name of templates) {
      t.strictSame(failures(first?.get(name)), [], name);
      t.strictSame([failures(second?.get(name)), changes(second?.get(name))], [[], []], `${name} again`);
    }
    // A VM has its template's root, but for the template's own volume and what only its package manager
    // reads.
    const ofTemplate = new Map(
      templates.map((name) => [
        name,
        new Map(
          [...made(bare.get(name) as Map<string, Made>, contents(qubes.root(name)))].filter(
            ([path]) => !onVolume(path) && !path.startsWith('/var/'),
          ),
        ),
      ]),
    );
    const give = (template: string, root: string): void =>
      carry(
        qubes.root(template),
        root,
        [...(ofTemplate.get(template) as Map<string, Made>)]
          .filter(([, { kind }]) => kind !== 'folder')
          .map(([path]) => path),
      );
    for (const { name, template } of vms) give(template, qubes.root(name));
    await qubes.layOut(...ids);
    const fresh = new Map(ids.map((id) => [id, contents(qubes.root(id))]));
    const [once, twice] = await qubes.call(ids, undefined, 2);
    for (const id of ids) {
      t.strictSame(failures(once?.get(id)), [], id);
      t.strictSame([failures(twice?.get(id)), changes(twice?.get(id))], [[], []], `${id} again`);
    }

    const byTemplate = new Map(templates.map((name) => [name, new Map<string, Made>()]));
    for (const { name, template } of vms) {
      const root = join(rig.folder, 'provisioned', name);
      mkdirSync(dirname(root), { recursive: true });
      provision({
        farm: planned,
        vm: name,
        root,
        dist: join(rig.root, 'srv/formulas/base/build-infra/build-infra/dist'),
      });
      const wanted = contents(root);
      wanted.delete('/usr/lib/build-infra/provisioned.json');
      const now = contents(qubes.root(name));
      for (const [path, entry] of wanted) {
        t.strictSame(now.get(path), entry, `${name} ${path}`);
        if (entry.kind !== 'folder' && !onVolume(path)) byTemplate.get(template)?.set(path, entry);
      }
      const strange = [...made(fresh.get(name) as Map<string, Made>, now).keys()].filter(
        (path) => !wanted.has(path),
      );
      t.strictSame(strange, [], `${name} has nothing else`);
      t.ok(
        [...made(fresh.get(name) as Map<string, Made>, now).keys()].every(onVolume),
        `${name} writes to its own volume only`,
      );
    }
    for (const name of templates) {
      const files = new Map(
        [...(ofTemplate.get(name) as Map<string, Made>)].filter(([, { kind }]) => kind !== 'folder'),
      );
      t.strictSame(
        plain(files),
        plain(byTemplate.get(name) as Map<string, Made>),
        `${name} has the files of its roles and no other`,
      );
    }

    // A new root from the template, the volume as it was: all that an AppVM has after a reboot.
    const rebooted = vms.map(({ name, role, template }) => {
      const root = join(qubes.folder, `${name}-again`);
      give(template, root);
      carry(qubes.root(name), root, ownVolume);
      return { name, role, root };
    });
    for (const { name, root } of rebooted) {
      for (const [path, { kind }] of contents(root)) {
        if (kind !== 'link' || (!path.includes('build-infra') && !path.includes('/qubes-rpc/'))) continue;
        const target = readlinkSync(join(root, path));
        const socket = /^\/run\/build-infra\/(.+)\.sock$/.exec(target)?.[1];
        const unit =
          socket === undefined
            ? target
            : `/etc/systemd/system/sockets.target.wants/build-infra-${socket}.socket`;
        t.ok(
          existsSync(join(root, socket === undefined ? unit : readlinkSync(join(root, unit)))),
          `${name} ${path} leads to something`,
        );
        if (socket !== undefined)
          t.match(
            readFileSync(join(root, readlinkSync(join(root, unit))), 'utf8'),
            `\nListenStream=${target}\n`,
          );
      }
    }
    const units = (root: string): string[] =>
      [...contents(root, '/usr/lib/systemd/system').keys()].filter((path) => path.includes('/build-infra-'));
    const verified = await qubes.rounds([
      rebooted
        .filter(({ role }, at) => rebooted.findIndex((other) => other.role === role) === at)
        .map(({ root }) => ({ root, argv: ['systemd-analyze', 'verify', '--man=no', ...units(root)] })),
    ]);
    // Its exit status is 0 for misspelt settings too: only silence counts.
    for (const one of verified.flat()) t.strictSame(one, { status: 0, stdout: '', stderr: '' });
  },
);
