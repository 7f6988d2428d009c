// SPDX-License-Identifier: GPL-2.0-or-later
// What of the pillar reaches one VM: what its templates use, and nothing else. Salt gives every VM the same slice
// (salt/pillar/build-infra/farm_slices.py), so a template that reaches further fails under both.
import type { Pillar } from './pillar.js';
import type { Value } from './template-expression.js';
import type { Vm } from './vms.js';

type Mapping = { [name: string]: Value };

const ofOurVms = ['template', 'private-gib', 'memory', 'maxmem', 'vcpus', 'netvm'];

function without(mapping: object, names: readonly string[]): Mapping {
  return Object.fromEntries(Object.entries(mapping as Mapping).filter(([name]) => !names.includes(name)));
}

function only(mapping: object, names: readonly string[]): Mapping {
  return Object.fromEntries(Object.entries(mapping as Mapping).filter(([name]) => names.includes(name)));
}

function each<T extends object>(mapping: Record<string, T>, take: (content: T, name: string) => Mapping): Mapping {
  return Object.fromEntries(Object.entries(mapping).map(([name, content]) => [name, take(content, name)]));
}

/** Whose tags or commands count in an environment. */
export function keysOfPeople(settings: Pillar['build-envs'][string]): string[] {
  return [...new Set([...Object.values(settings.maintainers), ...Object.values(settings.commands?.people ?? {}).map(({ key }) => key)])].sort();
}

/** @param vm undefined: dom0, which sees the whole farm */
export function pillarFor(pillar: Pillar, vm: Vm | undefined): Mapping {
  if (vm === undefined) return pillar as unknown as Mapping;
  const { env } = vm;
  switch (vm.role) {
    case 'build': {
      const settings = pillar['build-envs'][env as string] as Pillar['build-envs'][string];
      return {
        'build-envs': { [env as string]: without(settings, ['build', 'keys', 'netvm']) },
        components: only(pillar.components, Object.keys(settings.components)),
        'ssh-hosts': pillar['ssh-hosts'],
        'logs-vms': { [settings.logs]: only(pillar['logs-vms'][settings.logs] as Pillar['logs-vms'][string], ['key']) },
        'public-keys': only(pillar['public-keys'], [...keysOfPeople(settings), settings.key ?? '', pillar['logs-vms'][settings.logs]?.key ?? '']),
      };
    }
    case 'keys': {
      const settings = pillar['build-envs'][env as string] as Pillar['build-envs'][string];
      const { key, remotes } = pillar['logs-vms'][settings.logs] as Pillar['logs-vms'][string];
      return {
        'build-envs': { [env as string]: only(settings, ['logs', 'key', 'anchor', 'journal-key', 'grant-seconds', 'payload-bytes']) },
        'logs-vms': { [settings.logs]: { key, remotes: each(remotes, (remote) => only(remote, ['required'])) } },
        'public-keys': only(pillar['public-keys'], [key ?? '']),
      };
    }
    case 'build-logs': {
      const settings = pillar['logs-vms'][vm.name] as Pillar['logs-vms'][string];
      const senders = Object.entries(pillar['build-envs']).filter(([, { logs }]) => logs === vm.name);
      return {
        'build-envs': each(Object.fromEntries(senders), (sender) => only(sender, ['logs', 'key', 'journal-key', 'payload-bytes'])),
        'logs-vms': { [vm.name]: without(settings, ofOurVms) },
        'ssh-hosts': pillar['ssh-hosts'],
        'public-keys': only(pillar['public-keys'], [settings.key ?? '']),
      };
    }
    case 'sys-net':
      return {
        ...(vm.enabled.includes('webhooks') ? {
          'build-envs': each(pillar['build-envs'], ({ commands }): Mapping => (commands === undefined ? {} : { commands: true })),
          components: each(pillar.components, (component) => only(component, ['full-name', 'tag'])),
          webhook: without(pillar.webhook, [...ofOurVms, 'vm']),
        } : {}),
        ...(vm.enabled.includes('ssh-proxy') ? { 'ssh-hosts': each(pillar['ssh-hosts'], (host) => only(host, ['address', 'port'])) } : {}),
      };
  }
}
