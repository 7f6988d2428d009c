// SPDX-License-Identifier: GPL-2.0-or-later
// A keys VM has no network, no way to another VM's, and wants no easy root. All three are dom0's to give;
// this tells whether they are.
import type { Report } from './finding.js';
import { look, readText, type Machine } from './machine.js';
import { restartHere } from './vm-facts.js';

const rows = (machine: Machine, path: string): string[][] =>
  (readText(machine, path) ?? '')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => line.trim().split(/\s+/));

export function checkNoNetwork(machine: Machine, report: Report): void {
  const next = `in dom0: qvm-prefs ${machine.name} netvm ''; ${restartHere(machine).replace('in dom0: ', '')}`;
  const devices = rows(machine, '/proc/net/dev')
    .map(([name]) => name as string)
    .filter((name) => name.endsWith(':') && name !== 'lo:')
    .map((name) => name.slice(0, -1));
  report.check(
    devices.length === 0,
    'NETWORK_DEVICE',
    `a keys VM has no network, and this one has ${devices.join(', ')}`,
    next,
  );
  const routes = [
    ...rows(machine, '/proc/net/route')
      .slice(1)
      .map(([device]) => device as string),
    ...rows(machine, '/proc/net/ipv6_route').map((row) => row.at(-1) as string),
  ].filter((device) => device !== 'lo' && !devices.includes(device));
  report.check(
    routes.length === 0,
    'NETWORK_ROUTE',
    `a keys VM has no route, and this one has one over ${[...new Set(routes)].join(', ')}`,
    next,
  );
}

/**
 * Through a disposable it would have the machine's network, whatever its own netvm is. Asked of the policy
 * itself; an allowed shell would read nothing and end.
 */
export async function checkNoWayOut(machine: Machine, report: Report): Promise<void> {
  const { status, stderr } = await machine.run(['qrexec-client-vm', '@dispvm', 'qubes.VMShell'], {
    account: 'user',
    timeoutMs: 60_000,
  });
  // 126: refused. 1: no call leaves this VM at all; without the program neither.
  report.check(
    status === 126 || status === 1 || stderr.includes('ENOENT'),
    'WAY_OUT',
    'a keys VM calls nobody, and this one may run a shell in a disposable with network',
    'in dom0: sudo qubesctl state.apply build-infra.check says what is not as farm.yaml has it, and sudo qubesctl state.highstate puts it right',
  );
}

/**
 * Root could connect to the service sockets and speak in another VM's name (docs/threat-model.md). Nothing
 * untrusted runs here, so it is a note.
 */
export async function noteEasyRoot(machine: Machine, report: Report): Promise<void> {
  if (look(machine, '/usr/bin/sudo') === undefined) return;
  const { status } = await machine.run(['sudo', '-n', 'true'], { account: 'user' });
  if (status === 0)
    report.note(
      'PASSWORDLESS_ROOT',
      'user becomes root here without a password',
      'base this VM on a minimal template without qubes-core-agent-passwordless-root',
    );
}
