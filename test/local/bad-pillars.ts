// SPDX-License-Identifier: GPL-2.0-or-later
// Farms with one thing wrong, all else valid, and the code, the field and the words of the one line about it: the same from
// `build-infra provision` (provision-pillar.test.ts) and from Salt (test/salt/pillar-refused.test.ts).
import type { BuildEnv, LogsVm, Pillar } from '../../agents/local/provision/pillar.js';

export const debian = (pillar: Pillar): BuildEnv => pillar['build-envs']['debian'] as BuildEnv;
export const logs = (pillar: Pillar): LogsVm => pillar['logs-vms']['build-logs'] as LogsVm;
export const alice = (pillar: Pillar): string => debian(pillar).maintainers['alice'] as string;
export const addEnv = (pillar: Pillar, name: string): void => { pillar['build-envs'][name] = { ...structuredClone(debian(pillar)), key: null }; };
export type Loose = Record<string, Record<string, unknown>>;

/** `field` "public-keys" stands for any of them. */
export const badPillars: [what: string, spoil: (pillar: Pillar) => void, code: string, field: string, words: RegExp][] = [
  ['an unknown field at the top', (p) => { (p as unknown as Loose)['extra'] = {}; }, 'UNKNOWN_FIELD', 'extra', /not a known field/],
  ['an unknown field of an environment', (p) => { (debian(p) as unknown as Loose)['logz'] = {}; }, 'UNKNOWN_FIELD', 'build-envs.debian.logz', /not a known field/],
  ['a missing logs VM', (p) => { delete (debian(p) as Partial<BuildEnv>).logs; }, 'MISSING_FIELD', 'build-envs.debian.logs', /missing/],
  ['an empty environment', (p) => { (p['build-envs'] as unknown as Loose)['fedora'] = null as unknown as Record<string, unknown>; }, 'BAD_VALUE', 'build-envs.fedora', /a mapping/],
  ['a logs VM and no environment', (p) => { p['build-envs'] = {}; }, 'UNUSED_LOGS_VM', 'logs-vms.build-logs', /no build environment/],
  ['an environment with a capital letter', (p) => addEnv(p, 'Debian'), 'BAD_VALUE', 'build-envs.Debian', /lower-case letter/],
  ['a VM name with a blank', (p) => { p['net-vm'] = 'sys net'; }, 'BAD_VALUE', 'net-vm', /a VM name/],
  ['a net VM of 32 characters', (p) => { p['net-vm'] = `n${'e'.repeat(31)}`; }, 'BAD_VALUE', 'net-vm', /a VM name/],
  ['two VMs of one name', (p) => { p['net-vm'] = 'build-debian'; }, 'BAD_VM_NAME', 'build-debian', /two VMs/],
  ['an environment that would take the name of the logs VM', (p) => addEnv(p, 'logs'), 'BAD_VM_NAME', 'build-logs', /two VMs/],
  ['two VMs equal in 21 characters', (p) => { addEnv(p, 'debian-bookworm-one'); addEnv(p, 'debian-bookworm-one2'); }, 'BAD_VM_NAME', 'keys-debian-bookworm-one2', /first 21 characters/],
  ['a VM called like the folder of intents', (p) => { p['net-vm'] = 'intents'; }, 'BAD_VM_NAME', 'intents', /reserved/],
  ['a VM called like the folder of the journal', (p) => { p['net-vm'] = 'journal'; }, 'BAD_VM_NAME', 'journal', /reserved/],
  ['a VM called dom0', (p) => { p['net-vm'] = 'dom0'; }, 'BAD_VM_NAME', 'dom0', /reserved/],
  ['a VM called None', (p) => { p['net-vm'] = 'None'; }, 'BAD_VM_NAME', 'None', /reserved/],
  ['an unknown logs VM', (p) => { debian(p).logs = 'build-log'; }, 'UNKNOWN_LOGS_VM', 'build-envs.debian.logs', /build-log is not one of logs-vms/],
  ['a logs VM that nobody logs to', (p) => { p['logs-vms']['other-logs'] = { ...structuredClone(logs(p)), key: null }; }, 'UNUSED_LOGS_VM', 'logs-vms.other-logs', /no build environment/],
  ['logs without a required remote', (p) => { for (const remote of Object.values(logs(p).remotes)) remote.required = false; }, 'NO_REQUIRED_REMOTE', 'logs-vms.build-logs.remotes', /nothing would ever be published/],
  ['"yes" for a boolean', (p) => { (logs(p).remotes as unknown as Loose)['origin'] = { url: 'ssh://git@forge.example/a.git', required: 'yes' }; }, 'BAD_VALUE', 'logs-vms.build-logs.remotes.origin.required', /true or false/],
  ['a remote that git would run as a program', (p) => { logs(p).remotes['origin'] = { url: 'ext::sh -c id', required: true }; }, 'BAD_VALUE', 'logs-vms.build-logs.remotes.origin.url', /ssh:\/\//],
  ['a remote whose host looks like an option', (p) => { logs(p).remotes['origin'] = { url: 'ssh://-oProxyCommand=id/x', required: true }; }, 'BAD_VALUE', 'logs-vms.build-logs.remotes.origin.url', /ssh:\/\//],
  ['a remote on a host that ssh may not reach', (p) => { logs(p).remotes['origin'] = { url: 'ssh://git@elsewhere.example/a.git', required: true }; }, 'UNKNOWN_SSH_HOST', 'logs-vms.build-logs.remotes.origin.url', /elsewhere.example/],
  ['a port in an ssh address', (p) => { logs(p).remotes['origin'] = { url: 'ssh://git@forge.example:22/a.git', required: true }; }, 'BAD_VALUE', 'logs-vms.build-logs.remotes.origin.url', /under ssh-hosts/],
  ['a password in an address', (p) => { logs(p).remotes['origin'] = { url: 'ssh://git:secret@forge.example/a.git', required: true }; }, 'SECRET_IN_PILLAR', 'logs-vms.build-logs.remotes.origin.url', /password/],
  ['a short key id', (p) => { debian(p).key = '55FE5C7D'; }, 'BAD_VALUE', 'build-envs.debian.key', /full OpenPGP fingerprint/],
  ['a fingerprint in lower case', (p) => { debian(p).key = (debian(p).key as string).toLowerCase(); }, 'BAD_VALUE', 'build-envs.debian.key', /upper-case|full OpenPGP/],
  ['a signing key without its public half', (p) => { delete p['public-keys'][debian(p).key as string]; }, 'NO_PUBLIC_KEY', 'build-envs.debian.key', /not under public-keys/],
  ['a logs key without its public half', (p) => { delete p['public-keys'][logs(p).key as string]; }, 'NO_PUBLIC_KEY', 'logs-vms.build-logs.key', /not under public-keys/],
  ['a maintainer without public key', (p) => { delete p['public-keys'][alice(p)]; }, 'NO_PUBLIC_KEY', 'build-envs.debian.maintainers.alice', /not under public-keys/],
  ['two maintainers with one key', (p) => { debian(p).maintainers['bob'] = alice(p); }, 'SAME_KEY_TWICE', 'build-envs.debian.maintainers', /count as one/],
  ['a signing key that is the logs key', (p) => { debian(p).key = logs(p).key; }, 'SAME_KEY_TWICE', 'build-envs.debian.key', /logs-vms.build-logs.key/],
  ['a maintainer with the signing key', (p) => { debian(p).maintainers['bob'] = debian(p).key as string; }, 'SAME_KEY_TWICE', 'build-envs.debian.maintainers.bob', /build-envs.debian.key/],
  ['a public key under another fingerprint', (p) => { p['public-keys'][alice(p)] = p['public-keys'][debian(p).maintainers['bob'] as string] as string; }, 'BAD_PUBLIC_KEY', 'public-keys', /holds the key 7719638A/],
  ['a public key that is none', (p) => { p['public-keys'][alice(p)] = '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n'; }, 'BAD_PUBLIC_KEY', 'public-keys', /not one readable/],
  ['text after a public key', (p) => { p['public-keys'][alice(p)] += 'more\n'; }, 'BAD_VALUE', 'public-keys', /nothing else/],
  ['a component that is not described', (p) => { debian(p).components['zlib'] = {}; }, 'UNKNOWN_COMPONENT', 'build-envs.debian.components.zlib', /not one of components/],
  ['a component for a stranger', (p) => { debian(p).components['hello'] = { maintainers: ['mallory'] }; }, 'UNKNOWN_MAINTAINER', 'build-envs.debian.components.hello.maintainers', /mallory/],
  ['more signatures than people', (p) => { debian(p)['required-signatures'] = 3; }, 'TOO_FEW_MAINTAINERS', 'build-envs.debian.components.hello', /asks for 3/],
  ['no signature at all', (p) => { debian(p)['required-signatures'] = 0; }, 'BAD_VALUE', 'build-envs.debian.required-signatures', /from 1/],
  ['a tag without version', (p) => { (p.components['hello'] as { tag: string }).tag = 'latest'; }, 'BAD_VALUE', 'components.hello.tag', /\{version\}/],
  ['a tag with two versions', (p) => { (p.components['hello'] as { tag: string }).tag = '{version}-{version}'; }, 'BAD_VALUE', 'components.hello.tag', /once/],
  ['a quote in an address', (p) => { (p.components['hello'] as { url: string }).url = 'https://forge.example/"hello'; }, 'BAD_VALUE', 'components.hello.url', /plain characters/],
  ['one repository for two components', (p) => { p.components['hello2'] = { ...p.components['hello'] as Pillar['components'][string], 'full-name': 'Example/Hello' }; }, 'SAME_REPOSITORY_TWICE', 'components.hello2.full-name', /of hello too/],
  ['a component called with a slash', (p) => { p.components['../x'] = p.components['hello'] as Pillar['components'][string]; }, 'BAD_VALUE', 'components.../x', /lower-case name/],
  ['a port as text', (p) => { (p.webhook as unknown as Record<string, unknown>)['port'] = '8080'; }, 'BAD_VALUE', 'webhook.port', /whole number from 1 to 65535/],
  ['an address that nginx would read further', (p) => { p.webhook.address = '127.0.0.1; include /etc/passwd'; }, 'BAD_VALUE', 'webhook.address', /IPv4/],
  ['a host key with a comment', (p) => { (p['ssh-hosts']['forge.example'] as { 'host-keys': string[] })['host-keys'][0] += ' me@here'; }, 'BAD_VALUE', 'ssh-hosts.forge.example.host-keys.0', /nothing after/],
  ['a host key of another type inside', (p) => { const keys = (p['ssh-hosts']['forge.example'] as { 'host-keys': string[] })['host-keys']; keys[0] = (keys[0] as string).replace('ssh-ed25519', 'ssh-rsa'); }, 'BAD_VALUE', 'ssh-hosts.forge.example.host-keys', /names itself "ssh-ed25519"/],
  ['a host without host key', (p) => { (p['ssh-hosts']['forge.example'] as { 'host-keys': string[] })['host-keys'] = []; }, 'BAD_VALUE', 'ssh-hosts.forge.example.host-keys', /at least one/],
  ['the same host key twice', (p) => { const keys = (p['ssh-hosts']['forge.example'] as { 'host-keys': string[] })['host-keys']; keys.push(keys[0] as string); }, 'BAD_VALUE', 'ssh-hosts.forge.example.host-keys', /twice/],
  ['an unknown family of templates', (p) => { (p.templates as unknown as Loose)['debian-13-build-infra'] = { source: 'debian-13', family: 'Arch' }; }, 'BAD_VALUE', 'templates.debian-13-build-infra.family', /Debian or RedHat/],
  ['a default template that is none of ours', (p) => { p.template = 'debian-13'; }, 'UNKNOWN_TEMPLATE', 'template', /debian-13 is not one of templates/],
  ['a keys VM on a template that is none of ours', (p) => { debian(p).keys = { template: 'debian-13' }; }, 'UNKNOWN_TEMPLATE', 'build-envs.debian.keys.template', /debian-13 is not one of templates/],
  ['a template cloned from another of ours', (p) => { p.templates['second'] = { source: 'debian-13-build-infra', family: 'Debian' }; }, 'BAD_TEMPLATE', 'templates.second.source', /clone a stock one/],
  ['a template with the name of a VM', (p) => { p.templates['build-logs'] = { source: 'debian-13', family: 'Debian' }; }, 'BAD_VM_NAME', 'build-logs', /two VMs/],
  ['a webhook VM with the name of another', (p) => { p.webhook.vm = 'sys-net'; }, 'BAD_VM_NAME', 'sys-net', /two VMs/],
  ['a volume of text', (p) => { (debian(p) as unknown as Loose)['build'] = { 'private-gib': '80G' }; }, 'BAD_VALUE', 'build-envs.debian.build.private-gib', /whole number/],
  ['a volume of nothing', (p) => { debian(p).build = { 'private-gib': 0 }; }, 'BAD_VALUE', 'build-envs.debian.build.private-gib', /from 1/],
];
