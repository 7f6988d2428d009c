// SPDX-License-Identifier: GPL-2.0-or-later
// Every VM of a farm, derived from the pillar: no name is written twice. Salt derives the same list (salt/pillar/build-infra/farm_vms.py).
import type { Condition, Option, Role } from '../../shared/formats/manifest.js';
import type { Family, Pillar, VmSettings } from './pillar.js';

export const roles: readonly Role[] = ['build', 'keys', 'build-logs', 'sys-net'];

/**
 * What a farm may do without. ssh-proxy: ssh leaves through the net VM (local.ConnectSSH) instead of each VM's own network.
 * webhooks: the forge tells us of a push, instead of waiting for the next poll.
 */
export const allOptions: readonly Option[] = ['ssh-proxy', 'webhooks'];
/** What a manifest may ask for: an option, or that the environment has a notifier, which its pillar alone says. */
export const allConditions: readonly Condition[] = [...allOptions, 'notifier'];

export interface Vm {
  name: string;
  role: Role;
  /** the environment of a build or keys VM */
  env: string | null;
  /** the options that are on and concern this VM; and `notifier` in a build VM that has one */
  enabled: Condition[];
  /** what Qubes calls netvm; null for keys VMs, which have none, and for the net VM, which has its own */
  netvm: string | null;
  /** false: no network at all */
  network: boolean;
  /** false: a VM that the machine has anyway; only features and tags of it are ours */
  managed: boolean;
  class: 'AppVM';
  template: string;
  family: Family;
  label: 'red' | 'orange' | 'green' | 'black';
  /** account of the agent, and of make-keys: root where the engine makes chroots */
  agentUser: 'root' | 'user';
  autostart: boolean;
  /** bytes */
  privateSize: number;
  /** MiB and a count; absent: as Qubes has it */
  memory?: number;
  maxmem?: number;
  vcpus?: number;
  /** Qubes features; `service.X` becomes /run/qubes-service/X */
  features: string[];
  tags: string[];
  /** qrexec services that it answers */
  services: string[];
}

const servicesOf: Record<Role, readonly string[]> = {
  build: ['qubesbuilder.TriggerBuild', 'qubesbuilder.ProcessGithubCommand'],
  keys: ['qubes.Gpg', 'qubesbuilder.LogReceived'],
  'build-logs': ['qubesbuilder.BuildLog'],
  'sys-net': ['local.ConnectSSH'],
};
const labelOf = { build: 'red', keys: 'black', 'build-logs': 'orange', 'sys-net': 'red' } as const;
/** GiB: chroots, sources and packages; a key ring and a journal; the logs repository and what waits for it; a spool. */
const privateGibOf: Record<Role, number> = { build: 64, keys: 2, 'build-logs': 32, 'sys-net': 2 };
const gib = 1024 ** 3;

export const buildVmOf = (env: string): string => `build-${env}`;
export const keysVmOf = (env: string): string => `keys-${env}`;

/** In the order of starting: who is called before who calls. Without an environment there is nobody to serve. @param options the farm's */
export function vmsOf(pillar: Pillar, options: readonly Option[] = allOptions): Vm[] {
  const envs = Object.entries(pillar['build-envs']).sort(([a], [b]) => (a < b ? -1 : 1));
  const enabled = envs.length === 0 ? [] : options;
  const make = (name: string, role: Role, own: VmSettings, rest: { env?: string; netvm?: string; enabled: readonly Condition[]; managed?: boolean }): Vm => {
    const template = own.template ?? pillar.template;
    const on = allConditions.filter((option) => rest.enabled.includes(option));
    return {
      name, role, env: rest.env ?? null, enabled: on, netvm: rest.netvm ?? null, network: role !== 'keys', managed: rest.managed ?? true, class: 'AppVM',
      template, family: pillar.templates[template]?.family ?? 'Debian', label: labelOf[role],
      agentUser: role === 'build' ? 'root' : 'user',
      autostart: role !== 'keys',
      privateSize: (own['private-gib'] ?? privateGibOf[role]) * gib,
      ...(own.memory === undefined ? {} : { memory: own.memory }),
      ...(own.maxmem === undefined ? {} : { maxmem: own.maxmem }),
      ...(own.vcpus === undefined ? {} : { vcpus: own.vcpus }),
      features: [`service.build-infra-${role}`, ...(role === 'sys-net' ? on.map((option) => `service.build-infra-${option}`) : [])],
      tags: ['build-infra', `build-infra-${role}`],
      services: role === 'sys-net' && !on.includes('ssh-proxy') ? [] : [...servicesOf[role]],
    };
  };
  const { webhook } = pillar;
  const netVm = pillar['net-vm'];
  const ownVms: [option: Option, name: string | undefined, own: VmSettings][] = [['ssh-proxy', pillar['ssh-proxy-vm'], {}], ['webhooks', webhook.vm, webhook]];
  const proxy = enabled.filter((option) => option === 'ssh-proxy');
  const byNetVm = ownVms.filter(([option, name]) => enabled.includes(option) && name === undefined).map(([option]) => option);
  return [
    ...(byNetVm.length === 0 ? [] : [make(netVm, 'sys-net', {}, { enabled: byNetVm, managed: false })]),
    ...ownVms.flatMap(([option, name, own]) => (name === undefined || !enabled.includes(option) ? [] : [make(name, 'sys-net', own, { enabled: [option], netvm: netVm })])),
    ...Object.entries(pillar['logs-vms']).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, own]) => make(name, 'build-logs', own, { netvm: own.netvm, enabled: proxy })),
    ...envs.map(([env, { keys }]) => make(keysVmOf(env), 'keys', keys ?? {}, { env, enabled: [] })),
    ...envs.map(([env, { build, netvm, notify }]) => make(buildVmOf(env), 'build', build ?? {}, { env, netvm, enabled: notify === undefined ? proxy : [...proxy, 'notifier'] })),
  ];
}

/** What dom0 knows about these VMs, in the form of `build-infra policy --qubes FILE`. */
export function qubesDocument(pillar: Pillar): { vms: { name: string; type: 'AppVM'; tags: string[]; running: boolean }[] } {
  return { vms: vmsOf(pillar).map(({ name, class: type, tags }) => ({ name, type, tags, running: true })) };
}
