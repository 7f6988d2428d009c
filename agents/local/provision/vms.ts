// SPDX-License-Identifier: GPL-2.0-or-later
// Every VM of a farm, derived from the pillar: no name is written twice. Salt derives the same list (salt/build-infra).
import type { Pillar } from './pillar.js';

export type Role = 'build' | 'keys' | 'build-logs' | 'sys-net';
export const roles: readonly Role[] = ['build', 'keys', 'build-logs', 'sys-net'];

export interface Vm {
  name: string;
  role: Role;
  /** the environment of a build or keys VM */
  env: string | null;
  /** what Qubes calls netvm; null for keys VMs, which have none, and for the net VM, which has its own */
  netvm: string | null;
  /** false: no network at all */
  network: boolean;
  class: 'AppVM';
  template: string;
  family: 'Debian' | 'RedHat';
  label: 'red' | 'orange' | 'green' | 'black';
  /** account of the agent, and of make-keys: root where the engine makes chroots */
  agentUser: 'root' | 'user';
  autostart: boolean;
  /** Qubes features; `service.X` becomes /run/qubes-service/X */
  features: string[];
  tags: string[];
  /** qrexec services that it answers */
  services: string[];
}

const servicesOf: Record<Role, string[]> = {
  build: ['qubesbuilder.TriggerBuild'],
  keys: ['qubes.Gpg', 'qubesbuilder.LogReceived'],
  'build-logs': ['qubesbuilder.BuildLog'],
  'sys-net': ['local.ConnectSSH'],
};
const labelOf = { build: 'red', keys: 'black', 'build-logs': 'orange', 'sys-net': 'red' } as const;

export const buildVmOf = (env: string): string => `build-${env}`;
export const keysVmOf = (env: string): string => `keys-${env}`;

/** In the order of starting: who is called before who calls. */
export function vmsOf(pillar: Pillar): Vm[] {
  const make = (name: string, role: Role, env: string | null, netvm: string | null): Vm => ({
    name, role, env, netvm, network: role !== 'keys', class: 'AppVM', template: pillar.template.name, family: pillar.template.family,
    label: labelOf[role],
    agentUser: role === 'build' ? 'root' : 'user',
    autostart: role !== 'keys',
    features: [`service.build-infra-${role}`],
    tags: ['build-infra', `build-infra-${role}`],
    services: servicesOf[role],
  });
  const envs = Object.keys(pillar['build-envs']).sort();
  return [
    make(pillar['net-vm'], 'sys-net', null, null),
    ...Object.keys(pillar['logs-vms']).sort().map((name) => make(name, 'build-logs', null, pillar['logs-vms'][name]?.netvm ?? null)),
    ...envs.map((env) => make(keysVmOf(env), 'keys', env, null)),
    ...envs.map((env) => make(buildVmOf(env), 'build', env, pillar['build-envs'][env]?.netvm ?? null)),
  ];
}

/** What dom0 knows about these VMs, in the form of `build-infra policy --qubes FILE`. */
export function qubesDocument(pillar: Pillar): { vms: { name: string; type: 'AppVM'; tags: string[]; running: boolean }[] } {
  return { vms: vmsOf(pillar).map(({ name, class: type, tags }) => ({ name, type, tags, running: true })) };
}
