// SPDX-License-Identifier: GPL-2.0-or-later
// Are the units up, and the sockets there as the qrexec agent needs them? Where systemd is the first process,
// it is asked; elsewhere (the local stand-in) the sockets, and whether somebody listens on them, are all
// there is to see, and the closing line says so.
import { ids, list, look, readText, type Machine } from './machine.js';
import type { Account } from '../shared/formats/manifest.js';
import type { Report } from './finding.js';
import { isWanted } from './laid-files.js';
import { readUnitFile, type UnitFile } from './unit-file.js';
import { restartHere, type VmFacts } from './vm-facts.js';

const unitFolder = '/usr/lib/systemd/system/';

/**
 * Those of the manifest that are there and whose conditions hold; the others are explained by what their
 * condition lacks.
 */
export function unitsToRun(machine: Machine, facts: VmFacts): UnitFile[] {
  return facts.manifest.template.files
    .filter((file) => isWanted(file, facts) && file.path.startsWith(unitFolder))
    .flatMap(({ path }) => {
      const text = readText(machine, path);
      if (text === undefined) return [];
      const unit = readUnitFile(path.slice(unitFolder.length), text);
      return unit.conditions.every(
        (condition) =>
          (look(machine, condition.replace(/^!/, '')) !== undefined) !== condition.startsWith('!'),
      )
        ? [unit]
        : [];
    });
}

export function systemdIsFirst(machine: Machine): boolean {
  return readText(machine, '/proc/1/comm')?.trim() === 'systemd';
}

function checkSocket(machine: Machine, unit: UnitFile, path: string, report: Report): void {
  const next = restartHere(machine);
  const found = look(machine, path);
  if (!report.check(found !== undefined, 'NO_SOCKET', `${path} is missing`, next) || found === undefined)
    return;
  if (!report.check(found.isSocket(), 'NOT_A_SOCKET', `${path} is no socket`, next)) return;
  const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
  const good =
    found.uid === ids[unit.socketUser as Account] &&
    found.gid === ids[unit.socketGroup as Account] &&
    mode === unit.socketMode.padStart(4, '0');
  report.check(
    good,
    'WRONG_SOCKET',
    `${path} is ${found.uid}:${found.gid} ${mode} instead of ${unit.socketUser}:${unit.socketGroup} ${unit.socketMode}`,
    next,
  );
}

/** /proc/net/unix lists sockets of this network namespace; flag 00010000 is one that listens. */
function listening(machine: Machine): Set<string> {
  const rows = (readText(machine, '/proc/net/unix') ?? '')
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  return new Set(rows.filter((row) => row[3] === '00010000').map((row) => row[7] ?? ''));
}

export async function checkUnits(machine: Machine, facts: VmFacts, report: Report): Promise<void> {
  const units = unitsToRun(machine, facts);
  for (const unit of units) for (const path of unit.sockets) checkSocket(machine, unit, path, report);
  if (!systemdIsFirst(machine)) {
    const open = listening(machine);
    for (const path of units.flatMap((unit) => unit.sockets)) {
      if (look(machine, path)?.isSocket() === true)
        report.check(open.has(path), 'NOT_LISTENING', `nobody listens on ${path}`, restartHere(machine));
    }
    report.remarks.push('systemd is not the first process here: sockets were looked at instead of units');
    return;
  }
  if (units.length === 0) return;
  const { status, stdout, stderr } = await machine.run(
    [
      'systemctl',
      'show',
      '--property=Id,LoadState,ActiveState,SubState,Result,NRestarts',
      '--',
      ...units.map(({ name }) => name),
    ],
    { account: machine.uid === 0 ? 'root' : 'user' },
  );
  if (
    !report.check(
      status === 0,
      'SYSTEMD_SILENT',
      `systemctl show ended with ${status}: ${stderr.trim()}`,
      'systemctl status',
    )
  )
    return;
  const shown = new Map(
    stdout
      .trim()
      .split(/\n\n+/)
      .map((block) => {
        const fields = new Map(
          block
            .split('\n')
            .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const),
        );
        return [fields.get('Id') ?? '', fields] as const;
      }),
  );
  for (const { name } of units) {
    const state = shown.get(name);
    const active = state?.get('ActiveState') ?? 'unknown';
    report.check(
      active === 'active',
      'UNIT_NOT_ACTIVE',
      `${name} is ${active} (${state?.get('SubState') ?? '?'}, ${state?.get('Result') ?? '?'}, started again ${state?.get('NRestarts') ?? '0'} times)`,
      `journalctl -b -u ${name}; after mending: ${restartHere(machine)}`,
    );
  }
}

/**
 * The agent reads its configuration at its start: one that is older than the configuration works with
 * another. Seen by /proc, for want of a promise of systemd's.
 */
export function checkNotStale(machine: Machine, facts: VmFacts, report: Report): void {
  checkProgramNotStale(machine, `${facts.role}-agent.mjs`, `${facts.role}.json`, report, 'agent');
  checkProgramNotStale(machine, 'build-infra-notifier.mjs', 'notify.json', report, 'notifier');
}

function checkProgramNotStale(
  machine: Machine,
  program: string,
  configuration: string,
  report: Report,
  who: string,
): void {
  const config = look(machine, `/rw/config/build-infra/${configuration}`);
  if (config === undefined) return;
  for (const pid of list(machine, '/proc').filter((name) => /^[0-9]+$/.test(name))) {
    const command = (readText(machine, `/proc/${pid}/cmdline`) ?? '').split('\0');
    if (
      !command[0]?.endsWith('node') ||
      !command.includes(`/usr/lib/build-infra/${program}`) ||
      command.includes('engine')
    )
      continue;
    const started = look(machine, `/proc/${pid}/stat`) === undefined ? undefined : startOf(machine, pid);
    if (started !== undefined)
      report.check(
        config.mtimeMs <= started + 2000,
        'OLD_CONFIGURATION',
        `the ${who} runs since ${new Date(started).toISOString().slice(0, 19)}Z with an older configuration`,
        restartHere(machine),
      );
  }
}

/**
 * Milliseconds since 1970. Field 22 of /proc/PID/stat counts hundredths of a second from the boot of the
 * machine (proc(5)).
 */
function startOf(machine: Machine, pid: string): number | undefined {
  const ticks = Number((readText(machine, `/proc/${pid}/stat`) ?? '').replace(/^.*\) /s, '').split(' ')[19]);
  const boot = Number(/^btime ([0-9]+)$/m.exec(readText(machine, '/proc/stat') ?? '')?.[1]);
  return Number.isFinite(ticks) && Number.isFinite(boot) ? boot * 1000 + ticks * 10 : undefined;
}
