// SPDX-License-Identifier: GPL-2.0-or-later
// The matrix: farms, options, and every id that there is to ask for.
import type { Option } from '../../agents/shared/formats/manifest.js';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { planFarm } from '../../agents/local/provision/planned-farm.js';
import { allOptions, type Vm } from '../../agents/local/provision/vms.js';
import { example, threeEnvironments } from '../local/provision-farm.js';

export interface Case {
  what: string;
  farm: Pillar;
  enable: Option[];
}

/**
 * Ids that are none of ours, each in another way: by name, by template, by what the farm is cloned from, and
 * one that begins like one of ours.
 */
export const unrelated = [
  'personal',
  'default-mgmt-dvm',
  'debian-13-minimal',
  'build-debian2',
  'sys-firewall',
];

/** Three environments on templates of both families. */
export function twoFamilies(): Pillar {
  const farm = threeEnvironments();
  farm.templates['fedora-43-build-infra'] = { source: 'fedora-43-minimal', family: 'RedHat' };
  const fedora = farm['build-envs']['fedora'] as Pillar['build-envs'][string];
  fedora.build = {
    template: 'fedora-43-build-infra',
    'private-gib': 100,
    memory: 800,
    maxmem: 8000,
    vcpus: 4,
  };
  fedora.keys = { template: 'fedora-43-build-infra' };
  Object.assign(farm['logs-vms']['zz-logs'] as object, { template: 'fedora-43-build-infra' });
  return farm;
}

/** The receiver of webhooks behind the net VM. */
export function ownWebhookVm(): Pillar {
  const farm = example();
  farm.webhook.vm = 'sys-webhooks';
  return farm;
}

/** Names that YAML 1.1 reads as something else. */
export function namesLikeWords(): Pillar {
  const farm = example();
  farm['net-vm'] = 'Yes';
  farm.templates = { No: { source: 'Off', family: 'Debian' } };
  farm.template = 'No';
  farm.webhook = { ...farm.webhook, vm: 'On' };
  farm['ssh-proxy-vm'] = 'True';
  farm['logs-vms'] = {
    Null: { ...(farm['logs-vms']['build-logs'] as Pillar['logs-vms'][string]), netvm: 'Yes' },
  };
  Object.assign(farm['build-envs']['debian'] as object, { logs: 'Null', netvm: 'Yes' });
  return farm;
}

/** Before the first environment, or after the last. */
export function noEnvironment(): Pillar {
  const farm = example();
  Object.assign(farm, {
    'build-envs': {},
    'logs-vms': {},
    components: {},
    'ssh-hosts': {},
    'public-keys': {},
  });
  return farm;
}

/** As on the first day: no VM has made its key. */
export function noKeys(): Pillar {
  const farm = example();
  for (const env of Object.values(farm['build-envs'])) Object.assign(env, { key: null, 'journal-key': null });
  for (const logs of Object.values(farm['logs-vms'])) logs.key = null;
  return farm;
}

const combinations: Option[][] = [[], ['ssh-proxy'], ['webhooks'], [...allOptions]];

export const oneEnvironment: Case[] = combinations.map((enable) => ({
  what: `one environment, ${enable.join(' and ') || 'no option'}`,
  farm: example(),
  enable,
}));
export const manyEnvironments: Case[] = [[], [...allOptions]].map((enable) => ({
  what: `three environments, ${enable.join(' and ') || 'no option'}`,
  farm: twoFamilies(),
  enable,
}));
export const special: Case[] = [
  ...combinations
    .slice(1)
    .map((enable) => ({
      what: `webhooks in a VM of their own, ${enable.join(' and ')}`,
      farm: ownWebhookVm(),
      enable,
    })),
  { what: 'VMs called like words of YAML', farm: namesLikeWords(), enable: [...allOptions] },
  { what: 'no environment', farm: noEnvironment(), enable: [...allOptions] },
  { what: 'no key made yet', farm: noKeys(), enable: [...allOptions] },
];

export function idsOf({ farm, enable }: Case): {
  vms: Vm[];
  templates: string[];
  unrelated: string[];
  all: string[];
} {
  const { vms } = planFarm({ pillar: farm, enabled: enable });
  const templates = Object.keys(farm.templates).sort();
  // Switched off, the net VM and the VM for webhooks are none of ours.
  const off = [farm['net-vm'], 'sys-webhooks'].filter((name) => !vms.some((vm) => vm.name === name));
  const others = [...unrelated.slice(0, enable.length > 0 ? 1 : undefined), ...off];
  return {
    vms,
    templates,
    unrelated: others,
    all: ['dom0', ...vms.map(({ name }) => name), ...templates, ...others],
  };
}
