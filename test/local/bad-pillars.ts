// SPDX-License-Identifier: GPL-2.0-or-later
// Farms with one thing wrong, all else valid, and the code, the field and the words of the one line about it:
// all of them in provision-pillar.test.ts, one of each code through Salt in test/salt/pillar-refused.test.ts.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BuildEnv, Commander, LogsVm, Pillar } from '../../agents/local/provision/pillar.js';

export const debian = (pillar: Pillar): BuildEnv => pillar['build-envs']['debian'] as BuildEnv;
export const logs = (pillar: Pillar): LogsVm => pillar['logs-vms']['build-logs'] as LogsVm;
const commands = (pillar: Pillar): NonNullable<BuildEnv['commands']> =>
  debian(pillar).commands as NonNullable<BuildEnv['commands']>;
export const alice = (pillar: Pillar): string => debian(pillar).maintainers['alice'] as string;
export const addEnv = (pillar: Pillar, name: string): void => {
  pillar['build-envs'][name] = { ...structuredClone(debian(pillar)), key: null };
};
/** One to which the example's environment agrees. */
const notified = (pillar: Pillar, change: Partial<NonNullable<BuildEnv['notify']>> = {}): void => {
  debian(pillar)['logs-url'] = 'https://forge.example/build-logs/{path}';
  debian(pillar).notify = {
    account: 'example-bot',
    repository: 'example/updates-status',
    release: 'r4.3',
    distributions: { bookworm: { set: 'vm', family: 'debian' } },
    ...change,
  };
};
const template: NonNullable<BuildEnv['templates']>[string] = {
  releases: ['r4.3'],
  engine: 'qubesbuilderv2',
  distribution: 'vm-trixie',
  repository: 'templates-itl',
};
export type Loose = Record<string, Record<string, unknown>>;

/** A key as gpg makes it, one more maintainer's. */
function nameKey(pillar: Pillar, algorithm: string, ...exported: string[]): void {
  const home = mkdtempSync(join(tmpdir(), 'bp-'));
  const gpg = (...args: string[]): string =>
    execFileSync(
      'gpg',
      ['--homedir', home, '--batch', '--quiet', '--pinentry-mode', 'loopback', '--passphrase', '', ...args],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    );
  gpg('--quick-gen-key', 'carol', algorithm, 'cert,sign', 'never');
  const fingerprint = /^fpr:+([0-9A-F]{40}):/m.exec(gpg('--with-colons', '--list-keys'))?.[1] as string;
  pillar['public-keys'][fingerprint] = gpg('--armor', ...exported, '--export', fingerprint);
  debian(pillar).maintainers['carol'] = fingerprint;
  execFileSync('gpgconf', ['--homedir', home, '--kill', 'all']);
  rmSync(home, { recursive: true, force: true });
}

/** `field` "public-keys" stands for any of them. */
export const badPillars: [
  what: string,
  spoil: (pillar: Pillar) => void,
  code: string,
  field: string,
  words: RegExp,
][] = [
  [
    'an unknown field at the top',
    (p) => {
      (p as unknown as Loose)['extra'] = {};
    },
    'UNKNOWN_FIELD',
    'extra',
    /not a known field/,
  ],
  [
    'an unknown field of an environment',
    (p) => {
      (debian(p) as unknown as Loose)['logz'] = {};
    },
    'UNKNOWN_FIELD',
    'build-envs.debian.logz',
    /not a known field/,
  ],
  [
    'a missing logs VM',
    (p) => {
      delete (debian(p) as Partial<BuildEnv>).logs;
    },
    'MISSING_FIELD',
    'build-envs.debian.logs',
    /missing/,
  ],
  [
    'an empty environment',
    (p) => {
      (p['build-envs'] as unknown as Loose)['fedora'] = null as unknown as Record<string, unknown>;
    },
    'BAD_VALUE',
    'build-envs.fedora',
    /a mapping/,
  ],
  [
    'a logs VM and no environment',
    (p) => {
      p['build-envs'] = {};
    },
    'UNUSED_LOGS_VM',
    'logs-vms.build-logs',
    /no build environment/,
  ],
  [
    'an environment with a capital letter',
    (p) => addEnv(p, 'Debian'),
    'BAD_VALUE',
    'build-envs.Debian',
    /lower-case letter/,
  ],
  [
    'a VM name with a blank',
    (p) => {
      p['net-vm'] = 'sys net';
    },
    'BAD_VALUE',
    'net-vm',
    /a VM name/,
  ],
  [
    'a net VM of 32 characters',
    (p) => {
      p['net-vm'] = `n${'e'.repeat(31)}`;
    },
    'BAD_VALUE',
    'net-vm',
    /a VM name/,
  ],
  [
    'two VMs of one name',
    (p) => {
      p['net-vm'] = 'build-debian';
    },
    'BAD_VM_NAME',
    'build-debian',
    /two VMs/,
  ],
  [
    'an environment that would take the name of the logs VM',
    (p) => addEnv(p, 'logs'),
    'BAD_VM_NAME',
    'build-logs',
    /two VMs/,
  ],
  [
    'two VMs equal in 21 characters',
    (p) => {
      addEnv(p, 'debian-bookworm-one');
      addEnv(p, 'debian-bookworm-one2');
    },
    'BAD_VM_NAME',
    'keys-debian-bookworm-one2',
    /first 21 characters/,
  ],
  [
    'a VM called like the folder of intents',
    (p) => {
      p['net-vm'] = 'intents';
    },
    'BAD_VM_NAME',
    'intents',
    /reserved/,
  ],
  [
    'a VM called like the folder of the journal',
    (p) => {
      p['net-vm'] = 'journal';
    },
    'BAD_VM_NAME',
    'journal',
    /reserved/,
  ],
  [
    'a VM called dom0',
    (p) => {
      p['net-vm'] = 'dom0';
    },
    'BAD_VM_NAME',
    'dom0',
    /reserved/,
  ],
  [
    'a VM called None',
    (p) => {
      p['net-vm'] = 'None';
    },
    'BAD_VM_NAME',
    'None',
    /reserved/,
  ],
  [
    'an unknown logs VM',
    (p) => {
      debian(p).logs = 'build-log';
    },
    'UNKNOWN_LOGS_VM',
    'build-envs.debian.logs',
    /build-log is not one of logs-vms/,
  ],
  [
    'a logs VM that nobody logs to',
    (p) => {
      p['logs-vms']['other-logs'] = { ...structuredClone(logs(p)), key: null };
    },
    'UNUSED_LOGS_VM',
    'logs-vms.other-logs',
    /no build environment/,
  ],
  [
    'logs without a required remote',
    (p) => {
      for (const remote of Object.values(logs(p).remotes)) remote.required = false;
    },
    'NO_REQUIRED_REMOTE',
    'logs-vms.build-logs.remotes',
    /nothing would ever be published/,
  ],
  [
    '"yes" for a boolean',
    (p) => {
      (logs(p).remotes as unknown as Loose)['origin'] = {
        url: 'ssh://git@forge.example/a.git',
        required: 'yes',
      };
    },
    'BAD_VALUE',
    'logs-vms.build-logs.remotes.origin.required',
    /true or false/,
  ],
  [
    'a remote that git would run as a program',
    (p) => {
      logs(p).remotes['origin'] = { url: 'ext::sh -c id', required: true };
    },
    'BAD_VALUE',
    'logs-vms.build-logs.remotes.origin.url',
    /ssh:\/\//,
  ],
  [
    'a remote whose host looks like an option',
    (p) => {
      logs(p).remotes['origin'] = { url: 'ssh://-oProxyCommand=id/x', required: true };
    },
    'BAD_VALUE',
    'logs-vms.build-logs.remotes.origin.url',
    /ssh:\/\//,
  ],
  [
    'a remote on a host that ssh may not reach',
    (p) => {
      logs(p).remotes['origin'] = { url: 'ssh://git@elsewhere.example/a.git', required: true };
    },
    'UNKNOWN_SSH_HOST',
    'logs-vms.build-logs.remotes.origin.url',
    /elsewhere.example/,
  ],
  [
    'a port in an ssh address',
    (p) => {
      logs(p).remotes['origin'] = { url: 'ssh://git@forge.example:22/a.git', required: true };
    },
    'BAD_VALUE',
    'logs-vms.build-logs.remotes.origin.url',
    /under ssh-hosts/,
  ],
  [
    'a password in an address',
    (p) => {
      logs(p).remotes['origin'] = { url: 'ssh://git:secret@forge.example/a.git', required: true };
    },
    'SECRET_IN_PILLAR',
    'logs-vms.build-logs.remotes.origin.url',
    /password/,
  ],
  [
    'a token in the address of a source',
    (p) => {
      (p.components['hello'] as { url: string }).url =
        'https://ghp_abcdefghijklmnopqrst@forge.example/example/hello.git';
    },
    'SECRET_IN_PILLAR',
    'components.hello.url',
    /password or token/,
  ],
  [
    'a name and a token in the address of a source',
    (p) => {
      (p.components['hello'] as { url: string }).url = 'https://bot:x-token@forge.example/example/hello.git';
    },
    'SECRET_IN_PILLAR',
    'components.hello.url',
    /password or token/,
  ],
  [
    'a name before the host of what is read back',
    (p) => {
      debian(p).publication = { url: 'git://somebody@forge.example/logs.git' };
    },
    'SECRET_IN_PILLAR',
    'build-envs.debian.publication.url',
    /password or token/,
  ],
  [
    'a password in the public address of a repository',
    (p) => {
      (debian(p).apt as { url: string }).url = 'http://user:word@forge.example/apt';
    },
    'SECRET_IN_PILLAR',
    'build-envs.debian.apt.url',
    /password or token/,
  ],
  [
    'a token in a path',
    (p) => {
      (debian(p).apt as { url: string }).url = 'https://forge.example/glpat-abcdefghijklmnopqrst/apt';
    },
    'SECRET_IN_PILLAR',
    'build-envs.debian.apt.url',
    /holds a token/,
  ],
  [
    'a token in the address of logs',
    (p) => {
      debian(p)['logs-url'] = 'https://forge.example/logs/{path}?private_token=abc';
    },
    'SECRET_IN_PILLAR',
    'build-envs.debian.logs-url',
    /holds a token/,
  ],
  [
    'a token as the account of a remote',
    (p) => {
      logs(p).remotes['origin'] = {
        url: 'ssh://ghs_abcdefghijklmnopqrst@forge.example/a.git',
        required: true,
      };
    },
    'SECRET_IN_PILLAR',
    'logs-vms.build-logs.remotes.origin.url',
    /holds a token/,
  ],
  [
    'a token in an option of an engine',
    (p) => {
      debian(p).distributions['bookworm'] = {
        engine: 'debian',
        options: { mirrors: ['https://forge.example/a', 'https://bot:token@forge.example/b'] },
      };
    },
    'SECRET_IN_PILLAR',
    'build-envs.debian.distributions.bookworm.options.mirrors.1',
    /password or token/,
  ],
  [
    'a build VM behind a keys VM',
    (p) => {
      debian(p).netvm = 'keys-debian';
    },
    'BAD_NETVM',
    'build-envs.debian.netvm',
    /keys-debian is a VM of the farm/,
  ],
  [
    'a build VM behind itself',
    (p) => {
      debian(p).netvm = 'build-debian';
    },
    'BAD_NETVM',
    'build-envs.debian.netvm',
    /is a VM of the farm/,
  ],
  [
    'a build VM behind dom0',
    (p) => {
      debian(p).netvm = 'dom0';
    },
    'BAD_NETVM',
    'build-envs.debian.netvm',
    /dom0 is no VM that gives network/,
  ],
  [
    'a logs VM behind None',
    (p) => {
      logs(p).netvm = 'None';
    },
    'BAD_NETVM',
    'logs-vms.build-logs.netvm',
    /None is no VM/,
  ],
  [
    'a logs VM behind itself',
    (p) => {
      logs(p).netvm = 'build-logs';
    },
    'BAD_NETVM',
    'logs-vms.build-logs.netvm',
    /is a VM of the farm/,
  ],
  [
    'a logs VM behind a template',
    (p) => {
      logs(p).netvm = 'debian-13-build-infra';
    },
    'BAD_NETVM',
    'logs-vms.build-logs.netvm',
    /is a VM of the farm/,
  ],
  [
    'a logs VM behind the VM for webhooks',
    (p) => {
      p.webhook.vm = 'sys-webhooks';
      logs(p).netvm = 'sys-webhooks';
    },
    'BAD_NETVM',
    'logs-vms.build-logs.netvm',
    /is a VM of the farm/,
  ],
  [
    'a net VM none behind which two of ours would be',
    (p) => {
      p.webhook.vm = 'sys-webhooks';
      p['ssh-proxy-vm'] = 'sys-ssh';
      p['net-vm'] = 'none';
    },
    'BAD_NETVM',
    'net-vm',
    /none is no VM/,
  ],
  [
    'one VM for ssh and for webhooks',
    (p) => {
      p.webhook.vm = 'sys-out';
      p['ssh-proxy-vm'] = 'sys-out';
    },
    'BAD_VM_NAME',
    'sys-out',
    /two VMs/,
  ],
  [
    'a short key id',
    (p) => {
      debian(p).key = '55FE5C7D';
    },
    'BAD_VALUE',
    'build-envs.debian.key',
    /full OpenPGP fingerprint/,
  ],
  [
    'a fingerprint in lower case',
    (p) => {
      debian(p).key = (debian(p).key as string).toLowerCase();
    },
    'BAD_VALUE',
    'build-envs.debian.key',
    /upper-case|full OpenPGP/,
  ],
  [
    'a signing key without its public half',
    (p) => {
      delete p['public-keys'][debian(p).key as string];
    },
    'NO_PUBLIC_KEY',
    'build-envs.debian.key',
    /not under public-keys/,
  ],
  [
    'a signing key without its journal key',
    (p) => {
      debian(p)['journal-key'] = null;
    },
    'MISSING_FIELD',
    'build-envs.debian.journal-key',
    /lost its memory would believe any history; make-keys keys prints it/,
  ],
  [
    'a signing key whose journal key and anchor are left out',
    (p) => {
      delete debian(p)['journal-key'];
      delete debian(p).anchor;
    },
    'MISSING_FIELD',
    'build-envs.debian.journal-key',
    /lost its memory/,
  ],
  [
    'a second environment whose signing key comes alone',
    (p) => {
      addEnv(p, 'fedora');
      Object.assign(p['build-envs']['fedora'] as BuildEnv, {
        key: debian(p).maintainers['bob'],
        'journal-key': null,
      });
    },
    'MISSING_FIELD',
    'build-envs.fedora.journal-key',
    /lost its memory/,
  ],
  [
    'a logs key without its public half',
    (p) => {
      delete p['public-keys'][logs(p).key as string];
    },
    'NO_PUBLIC_KEY',
    'logs-vms.build-logs.key',
    /not under public-keys/,
  ],
  [
    'a maintainer without public key',
    (p) => {
      delete p['public-keys'][alice(p)];
    },
    'NO_PUBLIC_KEY',
    'build-envs.debian.maintainers.alice',
    /not under public-keys/,
  ],
  [
    'two maintainers with one key',
    (p) => {
      debian(p).maintainers['bob'] = alice(p);
    },
    'SAME_KEY_TWICE',
    'build-envs.debian.maintainers',
    /count as one/,
  ],
  [
    'a signing key that is the logs key',
    (p) => {
      debian(p).key = logs(p).key;
    },
    'SAME_KEY_TWICE',
    'build-envs.debian.key',
    /logs-vms.build-logs.key/,
  ],
  [
    'a maintainer with the signing key',
    (p) => {
      debian(p).maintainers['bob'] = debian(p).key as string;
    },
    'SAME_KEY_TWICE',
    'build-envs.debian.maintainers.bob',
    /build-envs.debian.key/,
  ],
  [
    'a public key under another fingerprint',
    (p) => {
      p['public-keys'][alice(p)] = p['public-keys'][debian(p).maintainers['bob'] as string] as string;
    },
    'BAD_PUBLIC_KEY',
    'public-keys',
    /holds the key 7719638A/,
  ],
  [
    'a public key that is none',
    (p) => {
      p['public-keys'][alice(p)] =
        '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n';
    },
    'BAD_PUBLIC_KEY',
    'public-keys',
    /not one OpenPGP key as gpg --armor --export writes it/,
  ],
  [
    'a public key without user ID',
    (p) => nameKey(p, 'ed25519', '--export-filter', 'keep-uid=uid =~ nobody'),
    'KEY_NOT_USABLE',
    'public-keys',
    /holds a key that has no user ID/,
  ],
  [
    'a public key of a curve that is not taken',
    (p) => nameKey(p, 'brainpoolP256r1'),
    'KEY_NOT_USABLE',
    'public-keys',
    /nothing that it signs is good here/,
  ],
  [
    'a public key of another curve that is not taken',
    (p) => nameKey(p, 'secp256k1'),
    'KEY_NOT_USABLE',
    'public-keys',
    /nothing that it signs is good here/,
  ],
  [
    'a public key of RSA that is too short',
    (p) => nameKey(p, 'rsa1024'),
    'KEY_NOT_USABLE',
    'public-keys',
    /nothing that it signs is good here/,
  ],
  [
    'a public key of DSA',
    (p) => nameKey(p, 'dsa2048'),
    'KEY_NOT_USABLE',
    'public-keys',
    /nothing that it signs is good here/,
  ],
  [
    'text after a public key',
    (p) => {
      p['public-keys'][alice(p)] += 'more\n';
    },
    'BAD_VALUE',
    'public-keys',
    /nothing else/,
  ],
  [
    'a component that is not described',
    (p) => {
      debian(p).components['zlib'] = {};
    },
    'UNKNOWN_COMPONENT',
    'build-envs.debian.components.zlib',
    /not one of components/,
  ],
  [
    'an engine of no known packages',
    (p) => {
      debian(p).distributions['bookworm'] = { engine: 'mine' };
    },
    'MISSING_FIELD',
    'build-envs.debian.distributions.bookworm.packages',
    /deb or rpm/,
  ],
  [
    'deb packages without a repository',
    (p) => {
      delete debian(p).apt;
    },
    'MISSING_FIELD',
    'build-envs.debian.apt',
    /bookworm has deb packages/,
  ],
  [
    'rpm packages without a repository',
    (p) => {
      debian(p).distributions['fc41'] = { engine: 'rpm' };
    },
    'MISSING_FIELD',
    'build-envs.debian.dnf',
    /fc41 has rpm packages/,
  ],
  [
    'an upload of RPMs to a host that ssh may not reach',
    (p) => {
      debian(p).dnf = { upload: 'ssh://elsewhere.example/rpm', url: 'http://elsewhere.example/rpm' };
    },
    'UNKNOWN_SSH_HOST',
    'build-envs.debian.dnf.upload',
    /elsewhere.example/,
  ],
  [
    'a publication on a host that ssh may not reach',
    (p) => {
      debian(p).publication = { url: 'ssh://elsewhere.example/logs.git' };
    },
    'UNKNOWN_SSH_HOST',
    'build-envs.debian.publication.url',
    /elsewhere.example/,
  ],
  [
    'a publication that git would run as a program',
    (p) => {
      debian(p).publication = { url: 'ext::sh -c id' };
    },
    'BAD_VALUE',
    'build-envs.debian.publication',
    /required remote, or null/,
  ],
  [
    'a publication that is looked for on a remote which need not have it',
    (p) => {
      const { remotes } = p['logs-vms']['build-logs'] as LogsVm;
      remotes['extra'] = { url: 'ssh://git@forge.example/srv/git/extra.git', required: false };
      debian(p).publication = { url: 'ssh://git@forge.example/srv/git/extra.git' };
    },
    'BAD_VALUE',
    'build-envs.debian.publication.url',
    /remote extra, which is not required/,
  ],
  [
    'a Release that is over at once',
    (p) => {
      (debian(p).apt as { 'valid-days'?: number })['valid-days'] = 0;
    },
    'BAD_VALUE',
    'build-envs.debian.apt.valid-days',
    /a whole number from 1 to 365, or null/,
  ],
  [
    'promotions without published logs',
    (p) => {
      debian(p).publication = null;
      debian(p).promotion = {};
    },
    'MISSING_FIELD',
    'build-envs.debian.publication',
    /published logs/,
  ],
  [
    'a status page on a host that ssh may not reach',
    (p) => {
      debian(p)['status-page'] = {
        upload: 'ssh://elsewhere.example/status',
        url: 'http://elsewhere.example/status',
      };
    },
    'UNKNOWN_SSH_HOST',
    'build-envs.debian.status-page.upload',
    /elsewhere.example/,
  ],
  [
    'an address of logs without a place for their path',
    (p) => {
      debian(p)['logs-url'] = 'https://forge.example/build-logs/';
    },
    'BAD_VALUE',
    'build-envs.debian.logs-url',
    /\{path\} once/,
  ],
  [
    'a notifier that cannot link logs',
    (p) => {
      notified(p);
      delete debian(p)['logs-url'];
    },
    'MISSING_FIELD',
    'build-envs.debian.logs-url',
    /notify links logs/,
  ],
  [
    'a notifier that does not know a distribution',
    (p) => {
      notified(p);
      debian(p).distributions['trixie'] = { engine: 'debian' };
    },
    'MISSING_FIELD',
    'build-envs.debian.notify.distributions.trixie',
    /built in this environment/,
  ],
  [
    'a notifier of a distribution that is not built',
    (p) => {
      notified(p, {
        distributions: { bookworm: { set: 'vm', family: 'debian' }, trixie: { set: 'vm', family: 'debian' } },
      });
    },
    'UNKNOWN_DISTRIBUTION',
    'build-envs.debian.notify.distributions.trixie',
    /not built/,
  ],
  [
    'a notifier whose token would go out in clear',
    (p) => {
      notified(p, { 'base-url': 'http://api.example.org' });
    },
    'BAD_VALUE',
    'build-envs.debian.notify.base-url',
    /https:/,
  ],
  [
    'a token in the pillar',
    (p) => {
      notified(p, { token: 'ghp_000000000000000000000000000000000000' } as object);
    },
    'UNKNOWN_FIELD',
    'build-envs.debian.notify.token',
    /not a known field/,
  ],
  [
    'a notifier of no release',
    (p) => {
      notified(p);
      delete (debian(p).notify as { release?: string }).release;
    },
    'MISSING_FIELD',
    'build-envs.debian.notify.release',
    /missing/,
  ],
  [
    'a notifier of a release that nobody commands',
    (p) => {
      notified(p, { release: 'r4.2' });
    },
    'BAD_VALUE',
    'build-envs.debian.notify.release',
    /not one of commands\.releases/,
  ],
  [
    'a distribution whose label is no word of a command',
    (p) => {
      notified(p);
      delete commands(p)['distribution-words'];
    },
    'UNKNOWN_DISTRIBUTION',
    'build-envs.debian.notify.distributions.bookworm',
    /vm-bookworm has to be one of commands\.distribution-words/,
  ],
  [
    'a label that commands take for another distribution',
    (p) => {
      notified(p, {
        distributions: { bookworm: { set: 'vm', family: 'debian' }, trixie: { set: 'vm', family: 'debian' } },
      });
      debian(p).distributions['trixie'] = { engine: 'debian' };
      commands(p)['distribution-words'] = { 'vm-bookworm': 'trixie', 'vm-trixie': 'trixie' };
    },
    'UNKNOWN_DISTRIBUTION',
    'build-envs.debian.notify.distributions.bookworm',
    /mean bookworm/,
  ],
  [
    'one label for two distributions',
    (p) => {
      notified(p, {
        distributions: {
          bookworm: { set: 'vm', family: 'debian' },
          trixie: { set: 'vm', family: 'debian', name: 'bookworm' },
        },
      });
      debian(p).distributions['trixie'] = { engine: 'debian' };
    },
    'BAD_VALUE',
    'build-envs.debian.notify.distributions.trixie',
    /the label of bookworm too/,
  ],
  [
    'a label that GitHub would not take',
    (p) => {
      notified(p, { distributions: { bookworm: { set: 'vm', family: 'debian', name: 'b'.repeat(40) } } });
    },
    'BAD_VALUE',
    'build-envs.debian.notify.distributions.bookworm',
    /longer than the 50 characters/,
  ],
  [
    'status issues in a repository that is a path',
    (p) => {
      notified(p, { repository: 'example/..' });
    },
    'BAD_VALUE',
    'build-envs.debian.notify.repository',
    /owner.name/,
  ],
  [
    'an engine with a path',
    (p) => {
      debian(p).distributions['bookworm'] = { engine: '../sh' };
    },
    'BAD_VALUE',
    'build-envs.debian.distributions.bookworm.engine',
    /an engine/,
  ],
  [
    'a quote in an option',
    (p) => {
      debian(p).distributions['bookworm'] = { engine: 'debian', options: { suite: 'a"b' } };
    },
    'BAD_VALUE',
    'build-envs.debian.distributions.bookworm.options.suite',
    /plain text/,
  ],
  [
    'an option that is a mapping',
    (p) => {
      debian(p).distributions['bookworm'] = { engine: 'debian', options: { suite: {} as string } };
    },
    'BAD_VALUE',
    'build-envs.debian.distributions.bookworm.options.suite',
    /plain text/,
  ],
  [
    'a component for a stranger',
    (p) => {
      debian(p).components['hello'] = { maintainers: ['mallory'] };
    },
    'UNKNOWN_MAINTAINER',
    'build-envs.debian.components.hello.maintainers',
    /mallory/,
  ],
  [
    'commands and nobody who reads comments',
    (p) => {
      delete p.webhook.comments;
    },
    'MISSING_FIELD',
    'webhook.comments',
    /debian takes commands/,
  ],
  [
    'comments in no repository',
    (p) => {
      p.webhook.comments = [];
    },
    'BAD_VALUE',
    'webhook.comments',
    /at least one/,
  ],
  [
    'comments in a repository that is a path',
    (p) => {
      p.webhook.comments = ['../x'];
    },
    'BAD_VALUE',
    'webhook.comments.0',
    /owner.name/,
  ],
  [
    'a commander without public key',
    (p) => {
      commands(p).people['carol'] = { key: 'A'.repeat(40) };
    },
    'NO_PUBLIC_KEY',
    'build-envs.debian.commands.people.carol.key',
    /not under public-keys/,
  ],
  [
    'two commanders with one key',
    (p) => {
      commands(p).people['bob'] = { key: alice(p) };
    },
    'SAME_KEY_TWICE',
    'build-envs.debian.commands.people.bob.key',
    /of alice too/,
  ],
  [
    'a commander with the signing key',
    (p) => {
      commands(p).people['bob'] = { key: debian(p).key as string };
    },
    'SAME_KEY_TWICE',
    'build-envs.debian.commands.people.bob.key',
    /build-envs.debian.key/,
  ],
  [
    'a commander of a component that is not built',
    (p) => {
      commands(p).people['bob'] = { ...(commands(p).people['bob'] as Commander), components: ['zlib'] };
    },
    'UNKNOWN_COMPONENT',
    'build-envs.debian.commands.people.bob.components',
    /zlib/,
  ],
  [
    'a commander of a distribution that is not built',
    (p) => {
      commands(p).people['bob'] = { ...(commands(p).people['bob'] as Commander), distributions: ['fc41'] };
    },
    'UNKNOWN_DISTRIBUTION',
    'build-envs.debian.commands.people.bob.distributions',
    /fc41/,
  ],
  [
    'a word for a distribution that is not built',
    (p) => {
      commands(p)['distribution-words'] = { 'vm-trixie': 'trixie' };
    },
    'UNKNOWN_DISTRIBUTION',
    'build-envs.debian.commands.distribution-words.vm-trixie',
    /trixie/,
  ],
  [
    'a distribution that is a word for another',
    (p) => {
      debian(p).distributions['trixie'] = { engine: 'debian' };
      commands(p)['distribution-words'] = { trixie: 'bookworm' };
    },
    'BAD_VALUE',
    'build-envs.debian.commands.distribution-words.trixie',
    /itself/,
  ],
  [
    'a word that means all distributions already',
    (p) => {
      commands(p)['distribution-words'] = { all: 'bookworm' };
    },
    'BAD_VALUE',
    'build-envs.debian.commands.distribution-words.all',
    /other than all/,
  ],
  [
    'a template and no repository for its package',
    (p) => {
      debian(p).templates = { 'debian-13': template };
    },
    'MISSING_FIELD',
    'build-envs.debian.dnf',
    /debian-13 is an rpm package/,
  ],
  [
    'a template of a release that makes no version',
    (p) => {
      debian(p).templates = { 'debian-13': { ...template, releases: ['rdevel'] } };
    },
    'BAD_VALUE',
    'build-envs.debian.templates.debian-13.releases.0',
    /rX.Y/,
  ],
  [
    'a template of a release that nobody commands',
    (p) => {
      debian(p).dnf = { upload: 'ssh://git@forge.example/srv/rpm', url: 'http://forge.example/rpm' };
      debian(p).templates = { 'debian-13': { ...template, releases: ['r4.3', 'r4.2'] } };
    },
    'BAD_VALUE',
    'build-envs.debian.templates.debian-13.releases',
    /r4.2 is not one of commands.releases/,
  ],
  [
    'a template for a repository of components',
    (p) => {
      debian(p).templates = { 'debian-13': { ...template, repository: 'current' as 'templates-itl' } };
    },
    'BAD_VALUE',
    'build-envs.debian.templates.debian-13.repository',
    /templates-itl/,
  ],
  [
    'a template called with a slash',
    (p) => {
      debian(p).templates = { 'a/b': template };
    },
    'BAD_VALUE',
    'build-envs.debian.templates.a/b',
    /a template/,
  ],
  [
    'a distribution that is called as templates are',
    (p) => {
      debian(p).distributions['templates-r4.3'] = { engine: 'debian' };
    },
    'BAD_VALUE',
    'build-envs.debian.distributions.templates-r4.3',
    /templates lie/,
  ],
  [
    'a component that is called as a template',
    (p) => {
      debian(p).components['qubes-template-x'] = {};
      p.components['qubes-template-x'] = {
        ...(p.components['hello'] as Pillar['components'][string]),
        'full-name': 'example/x',
      };
    },
    'BAD_VALUE',
    'build-envs.debian.components.qubes-template-x',
    /name of a template/,
  ],
  [
    'a commander of a template that is not built',
    (p) => {
      commands(p).people['bob'] = { ...(commands(p).people['bob'] as Commander), templates: ['debian-13'] };
    },
    'UNKNOWN_TEMPLATE',
    'build-envs.debian.commands.people.bob.templates',
    /debian-13/,
  ],
  [
    'a verb that nobody knows',
    (p) => {
      commands(p).people['bob'] = {
        ...(commands(p).people['bob'] as Commander),
        verbs: ['Delete-component'],
      };
    },
    'BAD_VALUE',
    'build-envs.debian.commands.people.bob.verbs.0',
    /Upload-component/,
  ],
  [
    'everything but not as it is spelled',
    (p) => {
      commands(p).people['bob'] = { ...(commands(p).people['bob'] as Commander), components: '*' as 'all' };
    },
    'BAD_VALUE',
    'build-envs.debian.commands.people.bob.components',
    /all, or a list/,
  ],
  [
    'a right that is not known',
    (p) => {
      commands(p).people['bob'] = {
        ...(commands(p).people['bob'] as Commander),
        everything: true,
      } as Commander;
    },
    'UNKNOWN_FIELD',
    'build-envs.debian.commands.people.bob.everything',
    /not a known/,
  ],
  [
    'commands for no release',
    (p) => {
      commands(p).releases = [];
    },
    'BAD_VALUE',
    'build-envs.debian.commands.releases',
    /at least one/,
  ],
  [
    'a line for a distribution that is not built',
    (p) => {
      debian(p).components['hello'] = { lines: { main: { distributions: ['sid'] } } };
    },
    'UNKNOWN_DISTRIBUTION',
    'build-envs.debian.components.hello.lines.main.distributions',
    /sid is not built/,
  ],
  [
    'two lines for one distribution',
    (p) => {
      debian(p).components['hello'] = {
        lines: {
          '6.6': { versions: '6.6', distributions: ['bookworm'] },
          '6': { versions: '6', distributions: ['bookworm'] },
        },
      };
    },
    'BAD_VALUE',
    'build-envs.debian.components.hello.lines.6.6.distributions',
    /the line 6's/,
  ],
  [
    'two lines for the same suites',
    (p) => {
      debian(p).components['hello'] = {
        lines: {
          '6.6': { versions: '6.6', distributions: ['bookworm'], suites: 'lts' },
          '6': { versions: '6', distributions: ['bookworm'], suites: 'lts' },
        },
      };
    },
    'BAD_VALUE',
    'build-envs.debian.components.hello.lines.6.6.distributions',
    /bookworm lts is the line 6's/,
  ],
  [
    "suites that are another distribution's",
    (p) => {
      debian(p).distributions['bookworm-lts'] = { engine: 'debian' };
      debian(p).components['hello'] = {
        lines: { '6.6': { versions: '6.6', distributions: ['bookworm'], suites: 'lts' } },
      };
    },
    'BAD_VALUE',
    'build-envs.debian.components.hello.lines.6.6.suites',
    /have these names already/,
  ],
  [
    'suites of a line where an engine publishes',
    (p) => {
      Object.assign(debian(p).distributions['bookworm'] as object, { publisher: 'engine' });
      debian(p).components['hello'] = {
        lines: { '6.6': { versions: '6.6', distributions: ['bookworm'], suites: 'lts' } },
      };
    },
    'BAD_VALUE',
    'build-envs.debian.components.hello.lines.6.6.suites',
    /its engine/,
  ],
  [
    'suites that are no word',
    (p) => {
      debian(p).components['hello'] = {
        lines: { '6.6': { versions: '6.6', distributions: ['bookworm'], suites: 'lts-6' } },
      };
    },
    'BAD_VALUE',
    'build-envs.debian.components.hello.lines.6.6.suites',
    /a word/,
  ],
  [
    'suites that YAML reads as yes',
    (p) => {
      debian(p).components['hello'] = {
        lines: { '6.6': { versions: '6.6', distributions: ['bookworm'], suites: true as unknown as string } },
      };
    },
    'BAD_VALUE',
    'build-envs.debian.components.hello.lines.6.6.suites',
    /quoted/,
  ],
  [
    'two lines of the same tags',
    (p) => {
      debian(p).components['hello'] = {
        lines: {
          b: { distributions: ['bookworm'] },
          a: { tag: p.components['hello']?.tag, distributions: ['bookworm'] },
        },
      };
    },
    'BAD_VALUE',
    'build-envs.debian.components.hello.lines.b',
    /the same tags as a/,
  ],
  [
    'a line without distributions',
    (p) => {
      debian(p).components['hello'] = { lines: { main: {} as { distributions: string[] } } };
    },
    'MISSING_FIELD',
    'build-envs.debian.components.hello.lines.main.distributions',
    /./,
  ],
  [
    'a series with a star',
    (p) => {
      debian(p).components['hello'] = { lines: { main: { versions: '6.*', distributions: ['bookworm'] } } };
    },
    'BAD_VALUE',
    'build-envs.debian.components.hello.lines.main.versions',
    /series/,
  ],
  [
    'a series that YAML reads as a number',
    (p) => {
      debian(p).components['hello'] = {
        lines: { main: { versions: 6.6 as unknown as string, distributions: ['bookworm'] } },
      };
    },
    'BAD_VALUE',
    'build-envs.debian.components.hello.lines.main.versions',
    /quoted/,
  ],
  [
    'more signatures than people',
    (p) => {
      debian(p)['required-signatures'] = 3;
    },
    'TOO_FEW_MAINTAINERS',
    'build-envs.debian.components.hello',
    /asks for 3/,
  ],
  [
    'no signature at all',
    (p) => {
      debian(p)['required-signatures'] = 0;
    },
    'BAD_VALUE',
    'build-envs.debian.required-signatures',
    /from 1/,
  ],
  [
    'a tag without version',
    (p) => {
      (p.components['hello'] as { tag: string }).tag = 'latest';
    },
    'BAD_VALUE',
    'components.hello.tag',
    /\{version\}/,
  ],
  [
    'a tag with two versions',
    (p) => {
      (p.components['hello'] as { tag: string }).tag = '{version}-{version}';
    },
    'BAD_VALUE',
    'components.hello.tag',
    /once/,
  ],
  [
    'a quote in an address',
    (p) => {
      (p.components['hello'] as { url: string }).url = 'https://forge.example/"hello';
    },
    'BAD_VALUE',
    'components.hello.url',
    /plain characters/,
  ],
  [
    'one repository for two components',
    (p) => {
      p.components['hello2'] = {
        ...(p.components['hello'] as Pillar['components'][string]),
        'full-name': 'Example/Hello',
      };
    },
    'SAME_REPOSITORY_TWICE',
    'components.hello2.full-name',
    /of hello too/,
  ],
  [
    'a component called with a slash',
    (p) => {
      p.components['../x'] = p.components['hello'] as Pillar['components'][string];
    },
    'BAD_VALUE',
    'components.../x',
    /lower-case name/,
  ],
  [
    'a port as text',
    (p) => {
      (p.webhook as unknown as Record<string, unknown>)['port'] = '8080';
    },
    'BAD_VALUE',
    'webhook.port',
    /whole number from 1 to 65535/,
  ],
  [
    'an address that nginx would read further',
    (p) => {
      p.webhook.address = '127.0.0.1; include /etc/passwd';
    },
    'BAD_VALUE',
    'webhook.address',
    /IPv4/,
  ],
  [
    'a host key with a comment',
    (p) => {
      (p['ssh-hosts']['forge.example'] as { 'host-keys': string[] })['host-keys'][0] += ' me@here';
    },
    'BAD_VALUE',
    'ssh-hosts.forge.example.host-keys.0',
    /nothing after/,
  ],
  [
    'a host key of another type inside',
    (p) => {
      const keys = (p['ssh-hosts']['forge.example'] as { 'host-keys': string[] })['host-keys'];
      keys[0] = (keys[0] as string).replace('ssh-ed25519', 'ssh-rsa');
    },
    'BAD_VALUE',
    'ssh-hosts.forge.example.host-keys',
    /names itself "ssh-ed25519"/,
  ],
  [
    'a host without host key',
    (p) => {
      (p['ssh-hosts']['forge.example'] as { 'host-keys': string[] })['host-keys'] = [];
    },
    'BAD_VALUE',
    'ssh-hosts.forge.example.host-keys',
    /at least one/,
  ],
  [
    'the same host key twice',
    (p) => {
      const keys = (p['ssh-hosts']['forge.example'] as { 'host-keys': string[] })['host-keys'];
      keys.push(keys[0] as string);
    },
    'BAD_VALUE',
    'ssh-hosts.forge.example.host-keys',
    /twice/,
  ],
  [
    'an unknown family of templates',
    (p) => {
      (p.templates as unknown as Loose)['debian-13-build-infra'] = { source: 'debian-13', family: 'Arch' };
    },
    'BAD_VALUE',
    'templates.debian-13-build-infra.family',
    /Debian or RedHat/,
  ],
  [
    'a default template that is none of ours',
    (p) => {
      p.template = 'debian-13';
    },
    'UNKNOWN_TEMPLATE',
    'template',
    /debian-13 is not one of templates/,
  ],
  [
    'a keys VM on a template that is none of ours',
    (p) => {
      debian(p).keys = { template: 'debian-13' };
    },
    'UNKNOWN_TEMPLATE',
    'build-envs.debian.keys.template',
    /debian-13 is not one of templates/,
  ],
  [
    'a template cloned from another of ours',
    (p) => {
      p.templates['second'] = { source: 'debian-13-build-infra', family: 'Debian' };
    },
    'BAD_TEMPLATE',
    'templates.second.source',
    /clone a stock one/,
  ],
  [
    'a template with the name of a VM',
    (p) => {
      p.templates['build-logs'] = { source: 'debian-13', family: 'Debian' };
    },
    'BAD_VM_NAME',
    'build-logs',
    /two VMs/,
  ],
  [
    'a webhook VM with the name of another',
    (p) => {
      p.webhook.vm = 'sys-net';
    },
    'BAD_VM_NAME',
    'sys-net',
    /two VMs/,
  ],
  [
    'a volume of text',
    (p) => {
      (debian(p) as unknown as Loose)['build'] = { 'private-gib': '80G' };
    },
    'BAD_VALUE',
    'build-envs.debian.build.private-gib',
    /whole number/,
  ],
  [
    'a volume of nothing',
    (p) => {
      debian(p).build = { 'private-gib': 0 };
    },
    'BAD_VALUE',
    'build-envs.debian.build.private-gib',
    /from 1/,
  ],
];
