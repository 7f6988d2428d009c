// SPDX-License-Identifier: GPL-2.0-or-later
// --online: is every host reached, and does it know our key? The one part of the doctor that uses the network, as the agent would, and only on request.
import type { Report } from './finding.js';
import { at, type Machine, type Ran } from './machine.js';
import { agentAccount, configFolder, type VmFacts } from './vm-facts.js';

const timeoutMs = 90_000;
const lastLine = (ran: Ran): string => ran.stderr.trim().split('\n').filter((line) => line !== '').at(-1) ?? `ended with ${ran.status}`;

export async function checkOnline(machine: Machine, facts: VmFacts, report: Report): Promise<void> {
  const { config, role } = facts;
  if (role !== 'build' && role !== 'build-logs') return;
  const account = agentAccount(role);
  // A connection of its own: it neither uses nor leaves behind the agent's shared one.
  const ssh = ['ssh', '-F', at(machine, `${configFolder}/ssh_config`), '-o', 'BatchMode=yes', '-o', 'ControlMaster=no', '-o', 'ControlPath=none'];
  const env = { GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null', GIT_TERMINAL_PROMPT: '0', GIT_ALLOW_PROTOCOL: 'ssh:https:git', GIT_SSH_COMMAND: ssh.join(' '), GIT_SSH_VARIANT: 'ssh' };
  const repositories = [...(config?.remotes ?? []).map(({ name, url }) => ({ what: `remote ${name}`, url })), ...(config?.components ?? []).map(({ name, url }) => ({ what: `component ${name}`, url }))];
  for (const { what, url } of repositories) {
    const ran = await machine.run(['git', 'ls-remote', '--', url], { account, env, timeoutMs });
    report.check(ran.status === 0, 'UNREACHABLE', `${what} (${url}): ${lastLine(ran)}`, 'see that the host is up, that policy lets this VM out to it, and that the forge knows this VM\'s ssh key');
  }
  if (config?.apt === undefined) return;
  const { username, hostname } = new URL(config.apt.upload);
  const ran = await machine.run([...ssh, username === '' ? hostname : `${username}@${hostname}`, 'true'], { account, timeoutMs });
  report.check(ran.status === 0, 'UNREACHABLE', `the upload (${config.apt.upload}): ${lastLine(ran)}`, 'see that the host is up, and that this VM\'s ssh key may log in there');
}
