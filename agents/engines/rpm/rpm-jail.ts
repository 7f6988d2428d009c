// SPDX-License-Identifier: GPL-2.0-or-later
// Reading a hostile spec or package with rpm's own programs: they see programs and rpm's macros, one folder,
// no network, no other process, and can write to none of it. Where there is no chroot the programs are this
// VM's; its keys, its jobs and its people's files are not there.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { builderId } from '../chroot/jail.js';
import { runProgram } from '../../shared/programs/program.js';

const queryMs = 60_000;
const queryLimitBytes = 1024 * 1024;
/** A macro's output is held in memory. */
const memoryBytes = 256 * 1024 * 1024;

const shown = ['usr', 'bin', 'sbin', 'lib', 'lib64', 'etc/rpm', 'etc/ld.so.cache', 'etc/alternatives'];

/**
 * @param root '/' or a chroot with rpm @param folder appears as /mnt, read-only @param spec likewise, as
 * /spec
 */
export function rpmJail(root: string, folder: string, argv: readonly string[], spec?: string): string[] {
  const binds = shown
    .filter((path) => existsSync(join(root, path)))
    .flatMap((path) => ['--ro-bind', join(root, path), `/${path}`]);
  return [
    'bwrap',
    '--die-with-parent',
    '--new-session',
    '--unshare-pid',
    '--unshare-ipc',
    '--unshare-uts',
    '--unshare-net',
    '--unshare-cgroup-try',
    '--hostname',
    'build',
    '--clearenv',
    '--cap-drop',
    'ALL',
    '--cap-add',
    'CAP_SETUID',
    '--cap-add',
    'CAP_SETGID',
    '--cap-add',
    'CAP_SETPCAP',
    '--setenv',
    'PATH',
    '/usr/sbin:/usr/bin:/sbin:/bin',
    '--setenv',
    'LC_ALL',
    'C.UTF-8',
    '--setenv',
    'HOME',
    '/nonexistent',
    ...binds,
    '--proc',
    '/proc',
    '--dev',
    '/dev',
    '--perms',
    '1777',
    '--tmpfs',
    '/tmp',
    '--perms',
    '1777',
    '--tmpfs',
    '/var/tmp',
    '--ro-bind',
    folder,
    '/mnt',
    ...(spec === undefined ? [] : ['--ro-bind', spec, '/spec']),
    '--remount-ro',
    '/',
    '--chdir',
    '/mnt',
    '--',
    'setpriv',
    '--reuid',
    String(builderId),
    '--regid',
    String(builderId),
    '--clear-groups',
    '--no-new-privs',
    '--inh-caps=-all',
    '--bounding-set=-all',
    '--',
    'prlimit',
    `--as=${memoryBytes}`,
    '--core=0',
    '--',
    ...argv,
  ];
}

/**
 * What a program of rpm prints about something in `folder`. @throws Refusal TIMED_OUT, OUTPUT_LIMIT;
 * ProgramFailed
 */
export async function askRpm(
  root: string,
  folder: string,
  argv: readonly string[],
  spec?: string,
): Promise<string> {
  return (
    await runProgram(rpmJail(root, folder, argv, spec), { timeoutMs: queryMs, limitBytes: queryLimitBytes })
  ).toString('utf8');
}
