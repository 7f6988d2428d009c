// SPDX-License-Identifier: GPL-2.0-or-later
// The pillar of the local farm: the example's shape, with this machine's ports and the keys that were made inside the VMs.
import { stringify } from 'yaml';
import { writeDurably } from '../../shared/durable-files.js';
import { forgeHost, sshUrl, webFolder } from '../outside/forge.js';
import { checkPillar, type LogsVm, type Pillar } from '../provision/pillar.js';
import type { LocalSettings, LocalState } from './local-state.js';

export interface MadeKeys {
  forgeHostKey: string;
  maintainer: { fingerprint: string; publicKey: string };
  /** null as long as the VM has not made it */
  logs: { fingerprint: string; publicKey: string } | null;
  signing: { fingerprint: string; publicKey: string } | null;
}

/** APT repositories of the environment, as an outsider reaches them: one for each distribution below it. */
export const aptUrl = (settings: LocalSettings): string => `http://127.0.0.1:${settings.ports.http}/debian`;
export const aptUrls = (settings: LocalSettings): string[] => settings.dists.map((dist) => `${aptUrl(settings)}/${dist}`);
/** where comments may hold signed commands */
export const statusRepository = 'example/updates-status';
export const fullNameOf = (component: string): string => `example/${component}`;

/** @param logsVm settings of the logs VM beyond the example's */
export async function localPillar(settings: LocalSettings, keys: MadeKeys, logsVm: Partial<LogsVm> = {}): Promise<Pillar> {
  const publicKeys = [keys.maintainer, keys.logs, keys.signing].filter((key) => key !== null);
  return await checkPillar({
    'net-vm': 'sys-net',
    templates: { local: { source: 'host', family: 'Debian' } },
    template: 'local',
    webhook: { address: '127.0.0.1', port: settings.ports.webhook, tls: false, comments: [statusRepository] },
    'ssh-hosts': { [forgeHost]: { address: '127.0.0.1', port: settings.ports.ssh, 'host-keys': [keys.forgeHostKey] } },
    components: Object.fromEntries(settings.components.map((name) => [name, { url: sshUrl(name), 'full-name': fullNameOf(name), tag: 'v{version}' }])),
    'logs-vms': {
      'build-logs': {
        netvm: 'sys-net', key: keys.logs?.fingerprint ?? null,
        remotes: { origin: { url: sshUrl('build-logs'), required: true }, mirror: { url: sshUrl('build-logs-mirror'), required: true } },
        ...logsVm,
      },
    },
    'build-envs': {
      debian: {
        logs: 'build-logs', netvm: 'sys-whonix', key: keys.signing?.fingerprint ?? null,
        distributions: Object.fromEntries(settings.dists.map((dist) => [dist, { engine: 'debian' as const }])),
        apt: { upload: `ssh://user@${forgeHost}${webFolder}/debian`, url: aptUrl(settings) },
        maintainers: { alice: keys.maintainer.fingerprint }, 'required-signatures': 1,
        components: Object.fromEntries(settings.components.map((name) => [name, {}])),
        commands: {
          releases: ['r4.3'], 'distribution-words': Object.fromEntries(settings.dists.map((dist) => [`vm-${dist}`, dist])),
          people: {
            alice: { key: keys.maintainer.fingerprint, verbs: ['Upload-component', 'Build-component', 'Retry'], components: 'all', distributions: 'all', repositories: ['current', 'security-testing'] },
          },
        },
      },
    },
    'public-keys': Object.fromEntries(publicKeys.map((key) => [key.fingerprint, key.publicKey])),
  });
}

export function savePillar(state: LocalState, pillar: Pillar): void {
  writeDurably(state.pillarFile, stringify({ 'build-infra': pillar }, { lineWidth: 0, aliasDuplicateObjects: false }));
}

