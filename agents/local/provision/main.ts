// SPDX-License-Identifier: GPL-2.0-or-later
// `build-infra provision`. Exit 0 done, 1 refused (one line says why), 2 a fault.
import { parseArgs } from 'node:util';
import type { Option } from '../../shared/formats/manifest.js';
import { Refusal } from '../refusals.js';
import { readPillar } from './pillar-reader.js';
import { provision } from './provision.js';
import { allOptions, vmsOf } from './vms.js';

const usage = `usage: build-infra provision --pillar FILE --vm NAME --root DIR [--dist DIR] [--tree DIR] [--no-owner] [--without OPTION]… [--json]
       build-infra provision --pillar FILE --list [--without OPTION]…

  --pillar FILE  the description of the farm (salt/pillar.example.yaml is an example)
  --vm NAME      a VM of it, or dom0
  --root DIR     where to lay the VM's files
  --dist DIR     the bundles (by default dist/ of the checkout)
  --tree DIR     the checkout (by default the one that holds this program)
  --no-owner     as an ordinary user: leave owners as they come
  --without O    switch an option off: ssh-proxy, webhooks
  --list         print the VMs that the pillar makes, as JSON
`;

/** @param argv what stands after `provision` */
export async function provisionMain(argv: readonly string[]): Promise<number> {
  try {
    return await run(argv);
  } catch (error) {
    if (error instanceof Refusal) {
      process.stderr.write(`build-infra provision: ${error.line()}\n`);
      return 1;
    }
    process.stderr.write(`build-infra provision: fault: ${(error as Error).message}\n`);
    return 2;
  }
}

async function run(argv: readonly string[]): Promise<number> {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...argv], strict: true, allowPositionals: false,
      options: {
        pillar: { type: 'string' }, vm: { type: 'string' }, root: { type: 'string' }, dist: { type: 'string' }, tree: { type: 'string' },
        'no-owner': { type: 'boolean' }, without: { type: 'string', multiple: true }, json: { type: 'boolean' }, list: { type: 'boolean' }, help: { type: 'boolean' },
      },
    }));
  } catch (error) {
    process.stderr.write(`build-infra provision: ${(error as Error).message}\n${usage}`);
    return 2;
  }
  if (values.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  if (values.pillar === undefined || (values.list !== true && (values.vm === undefined || values.root === undefined))) {
    process.stderr.write(usage);
    return 2;
  }
  const without = values.without ?? [];
  const unknown = without.find((name) => !allOptions.includes(name as Option));
  if (unknown !== undefined) throw new Refusal('UNKNOWN_OPTION', `${unknown} is not one of ${allOptions.join(', ')}`);
  const enabled = allOptions.filter((option) => !without.includes(option));
  const pillar = await readPillar(values.pillar);
  if (values.list === true) {
    process.stdout.write(`${JSON.stringify(vmsOf(pillar, enabled), null, 1)}\n`);
    return 0;
  }
  const done = provision({
    pillar, vm: values.vm as string, root: values.root as string, owners: values['no-owner'] !== true, enabled,
    ...(values.dist === undefined ? {} : { dist: values.dist }), ...(values.tree === undefined ? {} : { tree: values.tree }),
  });
  if (values.json === true) {
    const { vm, changed, removed, waiting } = done;
    process.stdout.write(`${JSON.stringify({ vm, changed, removed, waiting })}\n`);
    return 0;
  }
  for (const line of done.waiting) process.stdout.write(`waiting: ${line}\n`);
  process.stdout.write(`changed: ${done.changed.length}\n`);
  if (done.removed.length > 0) process.stdout.write(`removed: ${done.removed.length}\n`);
  return 0;
}
