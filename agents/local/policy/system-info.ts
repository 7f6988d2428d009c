// SPDX-License-Identifier: GPL-2.0-or-later
// What dom0 knows about its VMs when it evaluates a call (the policy never asks a VM anything).
import { readFileSync } from 'node:fs';

export type VmType = 'AdminVM' | 'AppVM' | 'TemplateVM' | 'StandaloneVM' | 'DispVM' | 'RemoteVM';

export interface SystemVm {
  name: string;
  type: VmType;
  tags: readonly string[];
  /** lower case, without `uuid:` */
  uuid: string;
  defaultDispvm: string | null;
  templateForDispvms: boolean;
  internal: boolean;
  guivm: string | null;
  running: boolean;
}

export const adminUuid = '00000000-0000-0000-0000-000000000000';

/** Every VM by name, dom0 among them. */
export class SystemInfo {
  readonly vms: ReadonlyMap<string, SystemVm>;
  readonly #byUuid = new Map<string, string>();

  constructor(vms: Iterable<SystemVm>) {
    const all = new Map<string, SystemVm>([['dom0', dom0]]);
    for (const vm of vms) all.set(vm.name, vm);
    this.vms = all;
    for (const vm of all.values()) if (vm.uuid !== '') this.#byUuid.set(vm.uuid, vm.name);
  }

  /** The VM of that name or `uuid:...`; undefined where there is none. */
  find(nameOrUuid: string): SystemVm | undefined {
    if (!nameOrUuid.startsWith('uuid:')) return this.vms.get(nameOrUuid);
    const name = this.#byUuid.get(nameOrUuid.slice('uuid:'.length));
    return name === undefined ? undefined : this.vms.get(name);
  }
}

const dom0: SystemVm = {
  name: 'dom0',
  type: 'AdminVM',
  tags: [],
  uuid: adminUuid,
  defaultDispvm: null,
  templateForDispvms: false,
  internal: false,
  guivm: null,
  running: true,
};

/** A VM with everything that is not given at its plainest. */
export function systemVm(given: Partial<SystemVm> & { name: string }): SystemVm {
  return {
    type: 'AppVM',
    tags: [],
    uuid: '',
    defaultDispvm: null,
    templateForDispvms: false,
    internal: false,
    guivm: 'dom0',
    running: false,
    ...given,
  };
}

const types = new Set<string>(['AdminVM', 'AppVM', 'TemplateVM', 'StandaloneVM', 'DispVM', 'RemoteVM']);

type Field = readonly [
  kind: string,
  check: (value: unknown) => boolean,
  set: (vm: Record<string, unknown>, value: unknown) => void,
];
const isText = (value: unknown): boolean => typeof value === 'string';
const isTextOrNull = (value: unknown): boolean => value === null || typeof value === 'string';
const isYesNo = (value: unknown): boolean => typeof value === 'boolean';
const fields: Readonly<Record<string, Field>> = {
  name: [
    'a name',
    isText,
    (vm, value) => {
      vm['name'] = value;
    },
  ],
  type: [
    'a VM type',
    (value) => typeof value === 'string' && types.has(value),
    (vm, value) => {
      vm['type'] = value;
    },
  ],
  tags: [
    'a list of tags',
    (value) => Array.isArray(value) && value.every(isText),
    (vm, value) => {
      vm['tags'] = value;
    },
  ],
  uuid: [
    'a uuid',
    isText,
    (vm, value) => {
      vm['uuid'] = String(value).toLowerCase();
    },
  ],
  default_dispvm: [
    'a name or null',
    isTextOrNull,
    (vm, value) => {
      vm['defaultDispvm'] = value;
    },
  ],
  template_for_dispvms: [
    'true or false',
    isYesNo,
    (vm, value) => {
      vm['templateForDispvms'] = value;
    },
  ],
  internal: [
    'true or false',
    isYesNo,
    (vm, value) => {
      vm['internal'] = value;
    },
  ],
  guivm: [
    'a name or null',
    isTextOrNull,
    (vm, value) => {
      vm['guivm'] = value;
    },
  ],
  running: [
    'true or false',
    isYesNo,
    (vm, value) => {
      vm['running'] = value;
    },
  ],
};

/**
 * Reads `{"vms": [{"name": …, "type": …, "tags": […], …}]}`. @throws Error with one line that says what is
 * wrong.
 */
export function readSystemInfo(path: string): SystemInfo {
  const document = JSON.parse(readFileSync(path, 'utf8')) as { vms?: unknown };
  if (!Array.isArray(document.vms)) throw new Error(`${path}: "vms" must be a list`);
  return new SystemInfo(
    document.vms.map((entry: unknown, index) => {
      const vm: Record<string, unknown> = {};
      for (const [key, value] of Object.entries(entry as Record<string, unknown>)) {
        const field = fields[key];
        if (field === undefined) throw new Error(`${path}: vms[${index}]: unknown field "${key}"`);
        if (!field[1](value)) throw new Error(`${path}: vms[${index}].${key} must be ${field[0]}`);
        field[2](vm, value);
      }
      if (typeof vm['name'] !== 'string') throw new Error(`${path}: vms[${index}] has no name`);
      return systemVm(vm as unknown as SystemVm);
    }),
  );
}
