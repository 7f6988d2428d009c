// SPDX-License-Identifier: GPL-2.0-or-later
// The pillar of the local farm: the example's shape, with this machine's ports and the keys that were made
// inside the VMs.
import { stringify } from 'yaml';
import { writeDurably } from '../../shared/durable-files.js';
import type { MadeKey } from '../outside/made-key.js';
import { forgeHost, sshUrl, webFolder } from '../outside/forge.js';
import type { BuildEnv, LogsVm, Pillar } from '../provision/pillar.js';
import type { LocalEnv, LocalSettings, LocalState } from './local-state.js';

export interface MadeKeys {
  forgeHostKey: string;
  maintainer: MadeKey;
  /** may have packages built, and nothing else */
  packager?: MadeKey;
  /** null as long as the VM has not made it */
  logs: MadeKey | null;
  signing: Partial<Record<LocalEnv, MadeKey>>;
  /** what the keys VMs sign the ends of their journals with */
  journals: Partial<Record<LocalEnv, string>>;
  /** ssh keys that may upload packages */
  uploads: Partial<Record<LocalEnv, string>>;
}

/** keys.json; the first versions of the farm had one environment and wrote its key alone. */
export function readMadeKeys(bytes: Buffer): Pick<MadeKeys, 'logs' | 'signing' | 'journals' | 'uploads'> {
  const { logs, signing, journals, uploads } = JSON.parse(bytes.toString()) as {
    logs: MadeKey | null;
    signing: MadeKeys['signing'] | MadeKey | null;
    uploads?: MadeKeys['uploads'];
    journals?: MadeKeys['journals'];
  };
  return {
    logs,
    uploads: uploads ?? {},
    journals: journals ?? {},
    signing: signing !== null && 'fingerprint' in signing ? { debian: signing } : (signing ?? {}),
  };
}

/** APT repositories of the environment, as an outsider reaches them: one for each distribution below it. */
export const aptUrl = (settings: LocalSettings): string => `http://127.0.0.1:${settings.ports.http}/debian`;
export const aptUrls = (settings: LocalSettings): string[] =>
  settings.dists.map((dist) => `${aptUrl(settings)}/${dist}`);
/** where comments may hold signed commands */
export const statusRepository = 'example/updates-status';
/** who the notifier is on the local GitHub */
export const botAccount = 'build-bot';
export const release = 'r4.3';
/** where the forge shows the published logs to a browser */
export const logsUrl = (settings: LocalSettings): string =>
  `http://127.0.0.1:${settings.ports.http}/logs/{path}`;
export const statusPageUrl = (settings: LocalSettings): string =>
  `http://127.0.0.1:${settings.ports.http}/status`;
/** Upstream's word for a distribution, in labels and commands. */
export const distWord = (dist: string): string => `vm-${dist}`;

/**
 * What the RPM environment builds for: packages that rpmbuild makes in a chroot of this machine's own Debian
 * suite, because no mock is here. It is no Fedora.
 */
export const rpmDist = (settings: LocalSettings): string => `rpm-${settings.dists[0]}`;
export const dnfUrl = (settings: LocalSettings): string => `http://127.0.0.1:${settings.ports.http}/rpm`;
export const dnfUrls = (settings: LocalSettings): string[] =>
  settings.rpmComponents === undefined ? [] : [`${dnfUrl(settings)}/${rpmDist(settings)}`];
export const fullNameOf = (component: string): string => `example/${component}`;

/**
 * The maintainer may command everything but templates, which nobody builds here. Upstream's word for a
 * distribution means it too.
 */
function commandsFor(dists: readonly string[], keys: MadeKeys): BuildEnv['commands'] {
  return {
    releases: [release],
    'distribution-words': Object.fromEntries(dists.map((dist) => [distWord(dist), dist])),
    people: {
      alice: {
        key: keys.maintainer.fingerprint,
        verbs: ['Upload-component', 'Build-component', 'Rebuild-component', 'Retry'],
        components: 'all',
        distributions: 'all',
        repositories: ['current', 'security-testing'],
      },
      ...(keys.packager === undefined
        ? {}
        : {
            bob: {
              key: keys.packager.fingerprint,
              verbs: ['Build-component', 'Retry'],
              components: 'all' as const,
              distributions: 'all' as const,
            },
          }),
    },
  };
}

/** From when on a release team is there: packages wait in testing, and a page says where they are. */
function releaseTeamOf(settings: LocalSettings): Partial<BuildEnv> {
  const { releaseTeam } = settings;
  if (releaseTeam === undefined) return {};
  const web = `http://127.0.0.1:${releaseTeam.github.port}`;
  return {
    notify: {
      account: botAccount,
      repository: statusRepository,
      release,
      'base-url': web,
      'web-url': web,
      distributions: Object.fromEntries(
        settings.dists.map((dist) => [dist, { set: 'vm' as const, family: 'debian' }]),
      ),
    },
    promotion: { 'min-age-days': releaseTeam.minAgeDays },
    'status-page': { upload: `ssh://user@${forgeHost}${webFolder}/status`, url: statusPageUrl(settings) },
    'logs-url': logsUrl(settings),
  };
}

/** @param logsVm settings of the logs VM beyond the example's */
export function localPillar(settings: LocalSettings, keys: MadeKeys, logsVm: Partial<LogsVm> = {}): Pillar {
  const rpmComponents = settings.rpmComponents ?? [];
  const each = {
    logs: 'build-logs',
    publication: { url: sshUrl('build-logs-mirror') },
    netvm: 'sys-whonix',
    maintainers: { alice: keys.maintainer.fingerprint },
    'required-signatures': 1,
  };
  // One person for each key, whatever components they maintain.
  const nameOf = ({ fingerprint }: MadeKey): string =>
    fingerprint === keys.maintainer.fingerprint
      ? 'alice'
      : `maintainer-${fingerprint.slice(-16).toLowerCase()}`;
  const foreign = Object.values(settings.foreign ?? {}).flat();
  const maintainersOf = (component: string): { maintainers?: string[] } => {
    const theirs = settings.foreign?.[component];
    return theirs !== undefined
      ? { maintainers: theirs.map(nameOf) }
      : foreign.length > 0
        ? { maintainers: ['alice'] }
        : {};
  };
  const publicKeys = [
    keys.maintainer,
    keys.packager,
    keys.logs,
    keys.signing.debian,
    keys.signing.rpm,
    ...foreign,
  ].filter((key) => key !== null && key !== undefined);
  return {
    'net-vm': 'sys-net',
    templates: { local: { source: 'host', family: 'Debian' } },
    template: 'local',
    webhook: {
      address: '127.0.0.1',
      port: settings.ports.webhook,
      tls: false,
      comments: [statusRepository],
      'forge-addresses': ['127.0.0.1'],
      api: null,
    },
    'ssh-hosts': {
      [forgeHost]: { address: '127.0.0.1', port: settings.ports.ssh, 'host-keys': [keys.forgeHostKey] },
    },
    components: Object.fromEntries(
      [...settings.components, ...rpmComponents].map((name) => [
        name,
        { url: sshUrl(name), 'full-name': fullNameOf(name), tag: 'v{version}' },
      ]),
    ),
    'logs-vms': {
      'build-logs': {
        netvm: 'sys-net',
        key: keys.logs?.fingerprint ?? null,
        remotes: {
          origin: { url: sshUrl('build-logs'), required: true },
          mirror: { url: sshUrl('build-logs-mirror'), required: true },
        },
        ...logsVm,
      },
    },
    'build-envs': {
      debian: {
        ...each,
        key: keys.signing.debian?.fingerprint ?? null,
        'journal-key': keys.journals.debian ?? null,
        distributions: Object.fromEntries(
          settings.dists.map((dist) => [dist, { engine: 'debian' as const }]),
        ),
        apt: { upload: `ssh://user@${forgeHost}${webFolder}/debian`, url: aptUrl(settings) },
        maintainers: {
          ...each.maintainers,
          ...Object.fromEntries(foreign.map((key) => [nameOf(key), key.fingerprint])),
        },
        components: Object.fromEntries(settings.components.map((name) => [name, maintainersOf(name)])),
        commands: commandsFor(settings.dists, keys),
        ...releaseTeamOf(settings),
      },
      ...(rpmComponents.length === 0
        ? {}
        : {
            rpm: {
              ...each,
              key: keys.signing.rpm?.fingerprint ?? null,
              'journal-key': keys.journals.rpm ?? null,
              distributions: {
                [rpmDist(settings)]: {
                  engine: 'rpm',
                  options: {
                    suite: settings.dists[0] as string,
                    packages: ['bc'],
                    distTag: `.${settings.dists[0]}`,
                  },
                },
              },
              dnf: { upload: `ssh://user@${forgeHost}${webFolder}/rpm`, url: dnfUrl(settings) },
              components: Object.fromEntries(rpmComponents.map((name) => [name, {}])),
              commands: commandsFor([rpmDist(settings)], keys),
            },
          }),
    },
    'public-keys': Object.fromEntries(publicKeys.map((key) => [key.fingerprint, key.publicKey])),
  };
}

export function savePillar(state: LocalState, pillar: Pillar): void {
  writeDurably(
    state.pillarFile,
    stringify({ 'build-infra': pillar }, { lineWidth: 0, aliasDuplicateObjects: false }),
  );
}
