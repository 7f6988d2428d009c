// SPDX-License-Identifier: GPL-2.0-or-later
// --online: is every host reached, and does it know our key? The one part of the doctor that uses the
// network, as the agent would, and only on request.
import { matches, objectIdPattern } from '../shared/formats/names.js';
import type { Report } from './finding.js';
import { at, look, type Machine, type Ran } from './machine.js';
import { agentAccount, configFolder, stateFolder, type VmFacts } from './vm-facts.js';

const timeoutMs = 90_000;
const lastLine = (ran: Ran): string =>
  ran.stderr
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .at(-1) ?? `ended with ${ran.status}`;

/**
 * A logs repository is written by this VM alone: its head must be a commit of the history here, or somebody
 * else's hand was there.
 */
async function checkSameHistory(
  machine: Machine,
  name: string,
  untrustedListing: string,
  account: 'root' | 'user',
  report: Report,
): Promise<void> {
  const head = /^([0-9a-f]+)\trefs\/heads\/main$/m.exec(untrustedListing)?.[1];
  const repository = `${stateFolder}/repository.git`;
  if (!matches(objectIdPattern, head) || look(machine, `${repository}/HEAD`) === undefined) return;
  const { status } = await machine.run(
    ['git', `--git-dir=${at(machine, repository)}`, 'merge-base', '--is-ancestor', head, 'main'],
    { account, env: { GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null' } },
  );
  report.check(
    status === 0,
    'REMOTE_FORKED',
    `remote ${name} shows commit ${head}, which is not in the history of this VM`,
    'nothing is granted as long as that is so: docs/deploy.md, "When the gate stops"',
  );
}

export async function checkOnline(machine: Machine, facts: VmFacts, report: Report): Promise<void> {
  const { config, role } = facts;
  if (role !== 'build' && role !== 'build-logs') return;
  const account = agentAccount(role);
  // A connection of its own: it neither uses nor leaves behind the agent's shared one.
  const ssh = [
    'ssh',
    '-F',
    at(machine, `${configFolder}/ssh_config`),
    '-o',
    'BatchMode=yes',
    '-o',
    'ControlMaster=no',
    '-o',
    'ControlPath=none',
  ];
  const env = {
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_GLOBAL: '/dev/null',
    GIT_TERMINAL_PROMPT: '0',
    GIT_ALLOW_PROTOCOL: 'ssh:https:git',
    GIT_SSH_COMMAND: ssh.join(' '),
    GIT_SSH_VARIANT: 'ssh',
  };
  const lsRemote = (url: string): Promise<Ran> =>
    machine.run(['git', 'ls-remote', '--', url], { account, env, timeoutMs });
  const reached = (what: string, url: string, ran: Ran): boolean =>
    report.check(
      ran.status === 0,
      'UNREACHABLE',
      `${what} (${url}): ${lastLine(ran)}`,
      "see that the host is up, that policy lets this VM out to it, and that the forge knows this VM's ssh key",
    );
  for (const { name, url } of config?.remotes ?? []) {
    const ran = await lsRemote(url);
    if (reached(`remote ${name}`, url, ran))
      await checkSameHistory(machine, name, ran.stdout, account, report);
  }
  for (const { name, url } of config?.components ?? [])
    reached(`component ${name}`, url, await lsRemote(url));
  if (config?.publication)
    reached('publication', config.publication.url, await lsRemote(config.publication.url));
  if (config?.apt === undefined) return;
  const { username, hostname } = new URL(config.apt.upload);
  const ran = await machine.run([...ssh, username === '' ? hostname : `${username}@${hostname}`, 'true'], {
    account,
    timeoutMs,
  });
  report.check(
    ran.status === 0,
    'UNREACHABLE',
    `the upload (${config.apt.upload}): ${lastLine(ran)}`,
    "see that the host is up, and that this VM's ssh key may log in there",
  );
}
