// SPDX-License-Identifier: GPL-2.0-or-later
// A VM of a farm. Which there are follows from the pillar (salt/pillar/build-infra/farm_vms.py); the stand-in
// adds what a VM of each role does.
import type { Condition, Option, Role } from '../../shared/formats/manifest.js';
import type { Family } from './pillar.js';

/** What a farm may do without; all are on unless said otherwise. */
export const allOptions: readonly Option[] = ['ssh-proxy', 'webhooks'];

interface Common {
  name: string;
  role: Role;
  /** the options that are on and concern this VM; and `notifier` in a build VM that has one */
  enabled: Condition[];
  /** false: a VM that the machine has anyway; only features and tags of it are ours */
  managed: boolean;
  class: 'AppVM';
  template: string;
  family: Family;
  label: 'red' | 'orange' | 'green' | 'black';
  autostart: boolean;
  /** MiB and a count; absent: as Qubes has it */
  memory?: number;
  maxmem?: number;
  vcpus?: number;
  /** Qubes features; `service.X` becomes /run/qubes-service/X */
  features: string[];
  tags: string[];
}

/** As dom0's Python tells it: '' for what there is none of. */
export interface ToldVm extends Common {
  env: string;
  netvm: string;
  'private-size': number;
}

export interface Vm extends Common {
  /** the environment of a build or keys VM */
  env: string | null;
  /** what Qubes calls netvm; null for keys VMs, which have none, and for the net VM, which has its own */
  netvm: string | null;
  /** false: no network at all */
  network: boolean;
  /** account of the agent, and of make-keys: root where the engine makes chroots */
  agentUser: 'root' | 'user';
  /** bytes */
  privateSize: number;
  /** qrexec services that it answers */
  services: string[];
}

const servicesOf: Record<Role, readonly string[]> = {
  build: ['qubesbuilder.TriggerBuild', 'qubesbuilder.ProcessGithubCommand'],
  keys: ['qubes.Gpg', 'qubesbuilder.LogReceived'],
  'build-logs': ['qubesbuilder.BuildLog'],
  'sys-net': ['local.ConnectSSH'],
};

export const buildVmOf = (env: string): string => `build-${env}`;
export const keysVmOf = (env: string): string => `keys-${env}`;

export function toldVm({ env, netvm, 'private-size': privateSize, ...told }: ToldVm): Vm {
  const { role, enabled } = told;
  return {
    ...told,
    env: env === '' ? null : env,
    netvm: netvm === '' ? null : netvm,
    network: role !== 'keys',
    agentUser: role === 'build' ? 'root' : 'user',
    privateSize,
    services: role === 'sys-net' && !enabled.includes('ssh-proxy') ? [] : [...servicesOf[role]],
  };
}
