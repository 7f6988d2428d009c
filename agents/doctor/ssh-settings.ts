// SPDX-License-Identifier: GPL-2.0-or-later
// ssh of a build or logs VM: the key that was made here, and the host keys of every host that the
// configuration names. OpenSSH itself is asked what its configuration means; no connection is made.
import type { Report } from './finding.js';
import { accountOf, at, ids, look, type Machine } from './machine.js';
import { agentAccount, applyHere, configFolder, type VmFacts } from './vm-facts.js';

const keyPath = `${configFolder}/ssh_key`;
const configPath = `${configFolder}/ssh_config`;
const knownHostsPath = `${configFolder}/ssh_known_hosts`;

/** Addresses that this VM reaches by ssh, with what for. */
export function sshAddresses({ config }: VmFacts): { url: string; what: string }[] {
  return [
    ...(config?.remotes ?? []).map(({ name, url }) => ({ url, what: `remote ${name}` })),
    ...(config?.apt === undefined
      ? []
      : [{ url: config.apt.upload, what: 'the upload of the APT repository' }]),
    ...(config?.components ?? []).map(({ name, url }) => ({ url, what: `component ${name}` })),
  ].filter(({ url }) => url.startsWith('ssh://'));
}

async function checkKey(machine: Machine, facts: VmFacts, report: Report): Promise<void> {
  const account = agentAccount(facts.role);
  const make = `as ${account} here: /usr/lib/build-infra/make-keys ${facts.role}, and put the ssh-key line that it prints onto the forge (${facts.role === 'build' ? 'with the right to upload' : 'with the right to push to the logs repositories'})`;
  const found = look(machine, keyPath);
  if (!report.check(found !== undefined, 'NO_SSH_KEY', `${keyPath} is missing`, make) || found === undefined)
    return;
  const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
  const good = found.isFile() && found.uid === ids[account] && (found.mode & 0o7077) === 0;
  if (
    !report.check(
      good,
      'OPEN_SSH_KEY',
      `${keyPath} belongs to ${accountOf(found.uid)} with mode ${mode} instead of ${account} with 0600`,
      `as root here: chown ${account}: ${keyPath}; chmod 0600 ${keyPath}`,
    )
  )
    return;
  const { status } = await machine.run(['ssh-keygen', '-y', '-P', '', '-f', at(machine, keyPath)], {
    account,
  });
  report.check(
    status === 0,
    'BAD_SSH_KEY',
    `${keyPath} is no private key without passphrase`,
    `remove it, and ${make}`,
  );
}

/**
 * The name under which OpenSSH looks for a host's key (ssh_config(5), HostKeyAlias; sshd(8),
 * SSH_KNOWN_HOSTS).
 */
async function keyName(machine: Machine, facts: VmFacts, host: string): Promise<string | undefined> {
  const { status, stdout } = await machine.run(['ssh', '-G', '-F', at(machine, configPath), '--', host], {
    account: agentAccount(facts.role),
  });
  if (status !== 0) return undefined;
  const value = (key: string): string | undefined => new RegExp(`^${key} (.+)$`, 'm').exec(stdout)?.[1];
  const port = value('port') ?? '22';
  return value('hostkeyalias') ?? (port === '22' ? value('hostname') : `[${value('hostname')}]:${port}`);
}

export async function checkSsh(machine: Machine, facts: VmFacts, report: Report): Promise<void> {
  if (facts.role !== 'build' && facts.role !== 'build-logs') return;
  await checkKey(machine, facts, report);
  if (look(machine, configPath) === undefined || look(machine, knownHostsPath) === undefined) return;
  for (const host of new Set(sshAddresses(facts).map(({ url }) => new URL(url).hostname))) {
    const name = await keyName(machine, facts, host);
    if (
      !report.check(
        name !== undefined,
        'BAD_SSH_CONFIG',
        `ssh does not understand ${configPath}`,
        applyHere(machine),
      ) ||
      name === undefined
    )
      return;
    const { status } = await machine.run(['ssh-keygen', '-F', name, '-f', at(machine, knownHostsPath)], {
      account: agentAccount(facts.role),
    });
    report.check(
      status === 0,
      'NO_HOST_KEY',
      `${knownHostsPath} holds no key of ${name}`,
      `put it into farm.yaml (ssh-hosts: ${host}: host-keys); ${applyHere(machine)}`,
    );
  }
}
