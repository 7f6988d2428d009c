// SPDX-License-Identifier: GPL-2.0-or-later
// What runs inside a chroot runs in a jail: own processes, own ipc, and for the build no network and no
// privilege. It dies with the engine. Around it is the VM, which is what the system really relies on.

/** the build's user in the chroot */
export const builderId = 1234;

const base = [
  'bwrap',
  '--die-with-parent',
  '--new-session',
  '--unshare-pid',
  '--unshare-ipc',
  '--unshare-uts',
  '--unshare-cgroup-try',
  '--hostname',
  'build',
  '--clearenv',
];
const packageInstallers = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETFCAP',
  'SYS_CHROOT',
  'MKNOD',
  'AUDIT_WRITE',
];

function environment(env: Record<string, string>): string[] {
  return Object.entries({
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    LANG: 'C.UTF-8',
    LC_ALL: 'C.UTF-8',
    ...env,
  }).flatMap(([name, value]) => ['--setenv', name, value]);
}

/** As root with the VM's network: only apt and dpkg run here, with packages of the mirror. */
export function installJail(
  chroot: string,
  binds: readonly [from: string, to: string][],
  env: Record<string, string>,
  argv: readonly string[],
): string[] {
  return [
    ...base,
    '--cap-drop',
    'ALL',
    ...packageInstallers.flatMap((name) => ['--cap-add', `CAP_${name}`]),
    ...environment({ HOME: '/root', DEBIAN_FRONTEND: 'noninteractive', ...env }),
    '--bind',
    chroot,
    '/',
    '--proc',
    '/proc',
    '--dev',
    '/dev',
    '--tmpfs',
    '/tmp',
    '--tmpfs',
    '/run',
    ...binds.flatMap(([from, to]) => ['--bind', from, to]),
    '--chdir',
    '/',
    '--',
    ...argv,
  ];
}

/** Without network and privilege; all but /build and temporary folders is read-only. */
export function buildJail(
  chroot: string,
  cwd: string,
  env: Record<string, string>,
  argv: readonly string[],
): string[] {
  const drop = [
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
  ];
  return [
    ...base,
    '--unshare-net',
    '--cap-drop',
    'ALL',
    '--cap-add',
    'CAP_SETUID',
    '--cap-add',
    'CAP_SETGID',
    '--cap-add',
    'CAP_SETPCAP',
    ...environment({ HOME: '/nonexistent', USER: 'builder', LOGNAME: 'builder', ...env }),
    '--ro-bind',
    chroot,
    '/',
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
    '--tmpfs',
    '/run',
    '--bind',
    `${chroot}/build`,
    '/build',
    '--chdir',
    cwd,
    '--',
    ...drop,
    ...argv,
  ];
}
