// SPDX-License-Identifier: GPL-2.0-or-later
// Reading a hostile spec or package with rpm's own programs: they see a root they cannot write to, one folder, no network, no other process.
import { builderId } from '../debian-engine/jail.js';
import { runProgram } from '../program.js';

const queryMs = 60_000;
const queryLimitBytes = 1024 * 1024;
/** A macro's output is held in memory. */
const memoryBytes = 512 * 1024 * 1024;

/** @param root '/' or a chroot with rpm @param folder appears as /mnt, read-only */
export function rpmJail(root: string, folder: string, argv: readonly string[]): string[] {
  return ['bwrap', '--die-with-parent', '--new-session', '--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-net', '--unshare-cgroup-try', '--hostname', 'build', '--clearenv', '--cap-drop', 'ALL',
    '--cap-add', 'CAP_SETUID', '--cap-add', 'CAP_SETGID', '--cap-add', 'CAP_SETPCAP', '--setenv', 'PATH', '/usr/sbin:/usr/bin:/sbin:/bin', '--setenv', 'LC_ALL', 'C.UTF-8', '--setenv', 'HOME', '/nonexistent',
    '--ro-bind', root, '/', '--proc', '/proc', '--dev', '/dev', '--perms', '1777', '--tmpfs', '/tmp', '--perms', '1777', '--tmpfs', '/var/tmp', '--tmpfs', '/run', '--ro-bind', folder, '/mnt', '--chdir', '/mnt', '--',
    'setpriv', '--reuid', String(builderId), '--regid', String(builderId), '--clear-groups', '--no-new-privs', '--inh-caps=-all', '--bounding-set=-all', '--', 'prlimit', `--as=${memoryBytes}`, '--core=0', '--', ...argv];
}

/** What a program of rpm prints about something in `folder`. @throws Refusal TIMED_OUT, OUTPUT_LIMIT; ProgramFailed */
export async function askRpm(root: string, folder: string, argv: readonly string[]): Promise<string> {
  return (await runProgram(rpmJail(root, folder, argv), { timeoutMs: queryMs, limitBytes: queryLimitBytes })).toString('utf8');
}
