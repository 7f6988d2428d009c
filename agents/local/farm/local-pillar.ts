// SPDX-License-Identifier: GPL-2.0-or-later
// The pillar of the local farm: the example's shape, with this machine's ports and the keys that were made inside the VMs.
import { stringify } from 'yaml';
import { writeDurably } from '../../shared/durable-files.js';
import { forgeHost, sshUrl, webFolder } from '../outside/forge.js';
import { checkPillar, type LogsVm, type Pillar } from '../provision/pillar.js';
import type { LocalEnv, LocalSettings, LocalState } from './local-state.js';

export interface MadeKey {
  fingerprint: string;
  publicKey: string;
}

export interface MadeKeys {
  forgeHostKey: string;
  maintainer: MadeKey;
  /** null as long as the VM has not made it */
  logs: MadeKey | null;
  signing: Partial<Record<LocalEnv, MadeKey>>;
  /** ssh keys that may upload packages */
  uploads: Partial<Record<LocalEnv, string>>;
}

/** keys.json; the first versions of the farm had one environment and wrote its key alone. */
export function readMadeKeys(bytes: Buffer): Pick<MadeKeys, 'logs' | 'signing' | 'uploads'> {
  const { logs, signing, uploads } = JSON.parse(bytes.toString()) as { logs: MadeKey | null; signing: MadeKeys['signing'] | MadeKey | null; uploads?: MadeKeys['uploads'] };
  return { logs, uploads: uploads ?? {}, signing: signing !== null && 'fingerprint' in signing ? { debian: signing } : signing ?? {} };
}

/** APT repositories of the environment, as an outsider reaches them: one for each distribution below it. */
export const aptUrl = (settings: LocalSettings): string => `http://127.0.0.1:${settings.ports.http}/debian`;
export const aptUrls = (settings: LocalSettings): string[] => settings.dists.map((dist) => `${aptUrl(settings)}/${dist}`);

/** What the RPM environment builds for: packages that rpmbuild makes in a chroot of this machine's own Debian suite, because no mock is here. It is no Fedora. */
export const rpmDist = (settings: LocalSettings): string => `rpm-${settings.dists[0]}`;
export const dnfUrl = (settings: LocalSettings): string => `http://127.0.0.1:${settings.ports.http}/rpm`;
export const dnfUrls = (settings: LocalSettings): string[] => (settings.rpmComponents === undefined ? [] : [`${dnfUrl(settings)}/${rpmDist(settings)}`]);
export const fullNameOf = (component: string): string => `example/${component}`;

/** @param logsVm settings of the logs VM beyond the example's */
export async function localPillar(settings: LocalSettings, keys: MadeKeys, logsVm: Partial<LogsVm> = {}): Promise<Pillar> {
  const publicKeys = [keys.maintainer, keys.logs, keys.signing.debian, keys.signing.rpm].filter((key) => key !== null && key !== undefined);
  const rpmComponents = settings.rpmComponents ?? [];
  const each = { logs: 'build-logs', netvm: 'sys-whonix', maintainers: { alice: keys.maintainer.fingerprint }, 'required-signatures': 1 };
  return await checkPillar({
    'net-vm': 'sys-net',
    templates: { local: { source: 'host', family: 'Debian' } },
    template: 'local',
    webhook: { address: '127.0.0.1', port: settings.ports.webhook, tls: false },
    'ssh-hosts': { [forgeHost]: { address: '127.0.0.1', port: settings.ports.ssh, 'host-keys': [keys.forgeHostKey] } },
    components: Object.fromEntries([...settings.components, ...rpmComponents].map((name) => [name, { url: sshUrl(name), 'full-name': fullNameOf(name), tag: 'v{version}' }])),
    'logs-vms': {
      'build-logs': {
        netvm: 'sys-net', key: keys.logs?.fingerprint ?? null,
        remotes: { origin: { url: sshUrl('build-logs'), required: true }, mirror: { url: sshUrl('build-logs-mirror'), required: true } },
        ...logsVm,
      },
    },
    'build-envs': {
      debian: {
        ...each, key: keys.signing.debian?.fingerprint ?? null,
        distributions: Object.fromEntries(settings.dists.map((dist) => [dist, { engine: 'debian' as const }])),
        apt: { upload: `ssh://user@${forgeHost}${webFolder}/debian`, url: aptUrl(settings) },
        components: Object.fromEntries(settings.components.map((name) => [name, {}])),
      },
      ...(rpmComponents.length === 0 ? {} : {
        rpm: {
          ...each, key: keys.signing.rpm?.fingerprint ?? null,
          distributions: { [rpmDist(settings)]: { engine: 'rpm', options: { suite: settings.dists[0] as string, packages: ['bc'], distTag: `.${settings.dists[0]}` } } },
          dnf: { upload: `ssh://user@${forgeHost}${webFolder}/rpm`, url: dnfUrl(settings) },
          components: Object.fromEntries(rpmComponents.map((name) => [name, {}])),
        },
      }),
    },
    'public-keys': Object.fromEntries(publicKeys.map((key) => [key.fingerprint, key.publicKey])),
  });
}

export function savePillar(state: LocalState, pillar: Pillar): void {
  writeDurably(state.pillarFile, stringify({ 'build-infra': pillar }, { lineWidth: 0, aliasDuplicateObjects: false }));
}

