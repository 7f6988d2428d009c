// SPDX-License-Identifier: GPL-2.0-or-later
// What the tests of provisioning share: the example pillar, a larger one, and stand-ins for the bundles.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import type { Pillar } from '../../agents/local/provision/pillar.js';
import { planFarm, type PlannedFarm } from '../../agents/local/provision/planned-farm.js';
import { withKeysOfTests } from '../support/farm-keys.js';

export const top = join(dirname(fileURLToPath(import.meta.url)), '../../..');
export const examplePath = join(top, 'salt/pillar.example.yaml');
/** The example, with keys that are not refused. */
export const exampleText = withKeysOfTests(readFileSync(examplePath, 'utf8'));
/** Debian's own interpreter, whatever else is first in PATH. */
export const python = '/usr/bin/python3';

/** A fresh copy each time, so that a test may spoil it. */
export function example(): Pillar {
  return (parse(exampleText) as { 'build-infra': Pillar })['build-infra'];
}

let plannedExample: PlannedFarm | undefined;
/** What follows from the example, asked once. */
export const exampleFarm = (): PlannedFarm => (plannedExample ??= planFarm({ pillar: example() }));

/** Made at the first use and kept for the run: public halves only. */
let spareKeys: { fingerprint: string; armored: string }[] | undefined;
function spares(): { fingerprint: string; armored: string }[] {
  if (spareKeys !== undefined) return spareKeys;
  const home = mkdtempSync(join(tmpdir(), 'bi-'));
  chmodSync(home, 0o700);
  const gpg = (...args: string[]): string =>
    execFileSync('gpg', ['--homedir', home, '--batch', '--quiet', ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  try {
    spareKeys = ['one', 'two', 'three', 'four'].map((name) => {
      gpg('--passphrase', '', '--quick-generate-key', name, 'ed25519', 'sign', 'never');
      const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(
        gpg('--with-colons', '--list-keys', `=${name}`),
      )?.[1] as string;
      return { fingerprint, armored: gpg('--armor', '--export', fingerprint) };
    });
  } finally {
    execFileSync('gpgconf', ['--homedir', home, '--kill', 'all']);
    rmSync(home, { recursive: true, force: true });
  }
  return spareKeys;
}

/** Three environments, two logs VMs, two hosts, every optional setting somewhere, one key not made yet. */
export function threeEnvironments(): Pillar {
  const pillar = example();
  const keys = spares();
  for (const { fingerprint, armored } of keys) pillar['public-keys'][fingerprint] = armored;
  const [ubuntuKey, logsKey, carol] = keys.map(({ fingerprint }) => fingerprint) as [string, string, string];
  const debian = pillar['build-envs']['debian'] as Pillar['build-envs'][string];
  pillar['ssh-hosts']['code.example.org'] = {
    address: '192.0.2.7',
    port: 22,
    'host-keys': [
      ...(pillar['ssh-hosts']['forge.example']?.['host-keys'] ?? []),
      `ssh-rsa ${Buffer.from([0, 0, 0, 7, ...Buffer.from('ssh-rsa'), ...Buffer.alloc(60, 7)]).toString('base64')}`,
    ],
  };
  pillar.components['zlib'] = {
    url: 'ssh://git@code.example.org/zlib.git',
    'full-name': 'Other-Org/zlib.deb',
    tag: 'zlib-{version}',
  };
  pillar['logs-vms']['zz-logs'] = {
    netvm: 'sys-firewall',
    key: logsKey,
    remotes: {
      origin: { url: 'ssh://git@code.example.org/logs.git', required: true },
      spare: { url: 'ssh://git@forge.example/spare.git', required: false },
    },
    'publish-seconds': 30,
    'intent-seconds': 100,
    'reopen-seconds': 20,
    'log-bytes': 1_048_576,
    'open-logs': 8,
    'intents-per-day': 500,
    'intent-bytes-per-day': 2_097_152,
  };
  pillar['build-envs']['ubuntu'] = {
    ...structuredClone(debian),
    key: ubuntuKey,
    logs: 'zz-logs',
    anchor: 'ab'.repeat(20),
    netvm: 'sys-firewall',
    'required-signatures': 2,
    distributions: { noble: { engine: 'debian' }, jammy: { engine: 'debian' } },
    apt: {
      upload: 'ssh://code.example.org/srv/apt',
      url: 'https://code.example.org/apt',
      origin: 'Other Org',
      label: 'ubuntu+',
      'valid-days': 14,
    },
    maintainers: { ...debian.maintainers, carol },
    components: { zlib: { maintainers: ['carol'], 'required-signatures': 1 }, hello: {} },
    commands: {
      releases: ['r4.2', 'r4.1', 'rdevel'],
      'window-seconds': 3600,
      'distribution-words': { 'vm-noble': 'noble', 'vm-jammy-2': 'jammy' },
      people: {
        carol: { key: carol, verbs: ['Build-template'], templates: ['debian-13', 'debian-13-minimal'] },
        eve: { key: debian.maintainers['alice'] as string },
      },
    },
    dnf: { upload: 'ssh://code.example.org/srv/rpm', url: 'https://code.example.org/rpm' },
    templates: {
      'debian-13': {
        releases: ['r4.2', 'r4.1'],
        engine: 'qubesbuilderv2',
        distribution: 'vm-trixie',
        repository: 'templates-itl',
        'build-seconds': 21_600,
        options: { builder: '/home/user/qubes-builderv2', conf: '/home/user/builder.yml' },
      },
      'debian-13-minimal': {
        releases: ['r4.2'],
        engine: 'mine',
        distribution: 'vm-trixie',
        repository: 'templates-community',
      },
    },
    'status-page': {
      upload: 'ssh://code.example.org/srv/www/status',
      url: 'https://code.example.org/status',
    },
    'logs-url': 'https://code.example.org/logs/blob/{commit}/{path}?plain=1',
    'poll-seconds': 60,
    'build-seconds': 7200,
    'grant-seconds': 60,
    'payload-bytes': 1024,
  };
  pillar['build-envs']['ubuntu'].publication = { url: 'https://code.example.org/logs.git' };
  pillar['build-envs']['ubuntu'].promotion = { 'min-age-days': 7 };
  pillar['build-envs']['ubuntu'].notify = {
    account: 'other-bot[bot]',
    repository: 'Other-Org/status',
    release: 'r4.2',
    distributions: {
      noble: { set: 'vm', family: 'ubuntu' },
      jammy: { set: 'vm', family: 'ubuntu', name: 'jammy-2' },
    },
    'issues-repository': 'Other-Org/issues',
    'comment-in': ['Other-Org/*', 'example/hello'],
    'base-url': 'https://code.example.org/api/v3',
    'web-url': 'https://code.example.org',
    templates: '/rw/config/build-infra/messages',
    'dry-run': true,
  };
  (debian.apt as { 'valid-days'?: number | null })['valid-days'] = null;
  pillar['build-envs']['fedora'] = {
    ...structuredClone(debian),
    key: null,
    dnf: { upload: 'ssh://git@forge.example/srv/rpm', url: 'http://forge.example/rpm' },
    distributions: {
      fc41: { engine: 'rpm', options: { suite: 'bookworm', packages: ['gcc', 'make'], distTag: '.fc41' } },
      fc42: { engine: 'mine', packages: 'rpm', publisher: 'engine', options: { deep: true, level: 3 } },
    },
  };
  pillar['build-envs']['fedora'].components = {
    hello: {
      lines: {
        '1.2': { versions: '1.2', distributions: ['fc41'], suites: 'lts' },
        latest: { tag: 'release/{version}', distributions: ['fc41', 'fc42'] },
      },
    },
  };
  delete pillar['build-envs']['fedora'].apt;
  delete pillar['build-envs']['fedora'].commands;
  pillar['build-envs']['fedora'].notify = {
    account: 'example-bot',
    repository: 'example/updates-status',
    release: 'r4.3',
    distributions: { fc41: { set: 'host', family: 'fedora' }, fc42: { set: 'vm', family: 'fedora' } },
  };
  pillar['build-envs']['fedora']['logs-url'] = 'https://forge.example/logs/{path}';
  pillar.webhook = {
    port: 443,
    address: '[::]',
    tls: true,
    'body-bytes': 1_000_000,
    comments: ['Other-Org/status', 'example/updates-status'],
  };
  return pillar;
}

/** A folder that is removed when the test ends; inside it dist/ with a line for every bundle. */
export function workshop(t: { teardown: (fn: () => void) => void }): { folder: string; dist: string } {
  const folder = mkdtempSync(join(tmpdir(), 'build-infra-provision-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const dist = join(folder, 'dist');
  mkdirSync(dist);
  for (const name of [
    'build-agent.mjs',
    'gpg-client.mjs',
    'build-infra-notifier.mjs',
    'keys-agent.mjs',
    'build-logs-agent.mjs',
    'sys-net-agent.mjs',
    'build-infra-vm.mjs',
    'build-infra-vm.8',
    'build-infra-vm.bash',
    'NOTICES.txt',
  ])
    writeFileSync(join(dist, name), `// ${name}\n`);
  return { folder, dist };
}

/**
 * One line for each entry below a folder: type, mode, owner and group (where asked for), path, a link's
 * target.
 */
export function listing(root: string, owners: boolean, below = ''): string[] {
  return readdirSync(join(root, below))
    .sort()
    .flatMap((name) => {
      const path = join(below, name);
      const found = lstatSync(join(root, path));
      const who = owners ? ` ${found.uid}:${found.gid}` : '';
      if (found.isSymbolicLink()) return [`link${who} /${path} -> ${readlinkSync(join(root, path))}`];
      const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
      if (found.isDirectory()) return [`folder ${mode}${who} /${path}`, ...listing(root, owners, path)];
      return [`file ${mode}${who} /${path}`];
    });
}

export const isRoot = process.getuid?.() === 0;
