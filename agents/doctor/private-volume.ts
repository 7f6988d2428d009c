// SPDX-License-Identifier: GPL-2.0-or-later
// Does what the agent remembers survive a restart of the VM, and is there room for it? And does the clock
// make sense?
import type { Role } from '../shared/formats/manifest.js';
import type { Report } from './finding.js';
import { look, readText, type Machine } from './machine.js';
import { applyHere, restartHere, stateFolder, type VmFacts } from './vm-facts.js';

const MiB = 1024 * 1024;
/**
 * Less than this is said before an agent runs into it: a build's chroot and packages; a log's largest size
 * and its publication; a journal.
 */
const wantedBytes: Record<Role, number> = {
  build: 2048 * MiB,
  'build-logs': 512 * MiB,
  keys: 64 * MiB,
  'sys-net': 64 * MiB,
};

/**
 * custom-persist switches off bind-dirs, /home and /usr/local of the private volume: nothing of ours would
 * survive.
 */
export function checkPersistence(machine: Machine, report: Report): boolean {
  return report.check(
    look(machine, '/run/qubes-service/custom-persist') === undefined,
    'CUSTOM_PERSIST',
    'the service custom-persist is on, so state and services are lost at each restart',
    `in dom0: qvm-features --unset ${machine.name} service.custom-persist; ${restartHere(machine).replace('in dom0: ', '')}`,
  );
}

interface Mount {
  device: string;
  point: string;
}

/** proc(5), /proc/PID/mountinfo: id, parent, major:minor, root, mount point, … */
function mounts(machine: Machine): Mount[] {
  return (readText(machine, '/proc/self/mountinfo') ?? '')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const fields = line.split(' ');
      return {
        device: fields[2] ?? '',
        point: (fields[4] ?? '').replace(/\\([0-7]{3})/g, (_, octal: string) =>
          String.fromCharCode(Number.parseInt(octal, 8)),
        ),
      };
    });
}

/** The last one mounted there counts. */
export function checkStateFolder(machine: Machine, report: Report): void {
  const all = mounts(machine);
  const on = (point: string): Mount | undefined => all.findLast((mount) => mount.point === point);
  const volume = on('/rw');
  if (!report.check(volume !== undefined, 'NO_PRIVATE_VOLUME', '/rw is not mounted', restartHere(machine)))
    return;
  const state = on(stateFolder);
  report.check(
    state !== undefined && state.device === volume?.device,
    'STATE_NOT_KEPT',
    `${stateFolder} is not on the private volume, so the agent would forget everything at a restart`,
    `${applyHere(machine)}, then restart ${machine.name}`,
  );
}

export function checkSpace(machine: Machine, facts: VmFacts, report: Report): void {
  const { free, size } = machine.space('/rw');
  const wanted = Math.min(wantedBytes[facts.role], size / 4);
  report.check(
    free >= wanted,
    'LITTLE_SPACE',
    `${Math.floor(free / MiB)} MiB of ${Math.floor(size / MiB)} MiB are free on /rw, and ${Math.floor(wanted / MiB)} MiB are wanted`,
    `in dom0: qvm-volume extend ${machine.name}:private SIZE (and raise private-size in farm.yaml)`,
  );
}

/**
 * dom0 sets the clock. A wrong year makes keys and certificates invalid; one that went back behind the
 * journal says that something was set back.
 */
export function checkClock(machine: Machine, facts: VmFacts, report: Report): void {
  const now = machine.now();
  const next = 'in dom0: qvm-sync-clock, and see that dom0 itself has the right time (its ClockVM)';
  if (
    !report.check(
      now.getUTCFullYear() >= 2026 && now.getUTCFullYear() < 2100,
      'WRONG_CLOCK',
      `the clock says ${now.toISOString().slice(0, 19)}Z`,
      next,
    )
  )
    return;
  if (facts.role !== 'keys') return;
  const last = lastJournalTime(machine);
  if (last !== undefined)
    report.check(
      now.getTime() > last - 60_000,
      'CLOCK_BEHIND_JOURNAL',
      `the clock says ${now.toISOString().slice(0, 19)}Z, and the journal ends at ${new Date(last).toISOString().slice(0, 19)}Z`,
      next,
    );
}

function lastJournalTime(machine: Machine): number | undefined {
  const journal = readText(machine, `${stateFolder}/journal.jsonl`);
  const time = journal
    ?.trimEnd()
    .split('\n')
    .at(-1)
    ?.match(/"time":"([^"]+)"/)?.[1];
  const at = time === undefined ? Number.NaN : Date.parse(time);
  return Number.isFinite(at) ? at : undefined;
}
