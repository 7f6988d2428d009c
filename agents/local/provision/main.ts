// SPDX-License-Identifier: GPL-2.0-or-later
// `build-infra provision`. Exit 0 done, 1 refused (one line says why), 2 a fault.
import type { Option } from '../../shared/formats/manifest.js';
import { Misuse, type CommandCall, type CommandRow } from '../../shared/command-line/program.js';
import { Refusal } from '../refusals.js';
import { planFarm } from './planned-farm.js';
import { provision } from './provision.js';
import { allOptions } from './vms.js';

function run({ value, values, has }: CommandCall): number {
  const [file, vm, root] = [value('pillar'), value('vm'), value('root')];
  if (file === undefined) throw new Misuse('--pillar FILE is missing');
  if (!has('list') && (vm === undefined || root === undefined))
    throw new Misuse('--vm NAME and --root DIR are needed, or --list');
  const without = values('without');
  const unknown = without.find((name) => !allOptions.includes(name as Option));
  if (unknown !== undefined)
    throw new Refusal('UNKNOWN_OPTION', `${unknown} is not one of ${allOptions.join(', ')}`);
  const enabled = allOptions.filter((option) => !without.includes(option));
  const farm = planFarm({ file, enabled }, value('tree'));
  if (has('list')) {
    process.stdout.write(`${JSON.stringify(farm.vms, null, 1)}\n`);
    return 0;
  }
  const [dist, tree] = [value('dist'), value('tree')];
  const done = provision({
    farm,
    vm: vm as string,
    root: root as string,
    owners: !has('no-owner'),
    ...(dist === undefined ? {} : { dist }),
    ...(tree === undefined ? {} : { tree }),
  });
  if (has('json')) {
    const { vm, changed, removed, waiting } = done;
    process.stdout.write(`${JSON.stringify({ vm, changed, removed, waiting })}\n`);
    return 0;
  }
  for (const line of done.waiting) process.stdout.write(`waiting: ${line}\n`);
  process.stdout.write(`changed: ${done.changed.length}\n`);
  if (done.removed.length > 0) process.stdout.write(`removed: ${done.removed.length}\n`);
  return 0;
}

export const provisionCommand: CommandRow = {
  words: 'provision',
  does: 'lays the files of one VM of a farm, or lists its VMs',
  options: [
    {
      name: 'pillar',
      value: 'FILE',
      does: 'the description of the farm (salt/pillar.example.yaml is an example)',
    },
    { name: 'vm', value: 'NAME', does: 'a VM of it, or dom0' },
    { name: 'root', value: 'DIR', does: "where to lay the VM's files" },
    { name: 'dist', value: 'DIR', does: 'the bundles (by default dist/ of the checkout)' },
    { name: 'tree', value: 'DIR', does: 'the checkout (by default the one that holds this program)' },
    { name: 'no-owner', does: 'as an ordinary user: leaves owners as they come' },
    { name: 'without', value: 'OPTION', does: 'switches an option off: ssh-proxy, webhooks; repeat' },
    { name: 'list', does: 'prints the VMs that the pillar makes, as JSON' },
    { name: 'json', does: 'prints one JSON document' },
  ],
  run,
};
