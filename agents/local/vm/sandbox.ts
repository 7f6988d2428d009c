// SPDX-License-Identifier: GPL-2.0-or-later
// The command that becomes a VM: an overlay of the VM's files over the host's /usr, then bubblewrap around
// the VM's first process. Nothing of the host is named here but /usr and what etc-folder.ts shows: no home,
// no checkout, no other VM.
import { existsSync, lstatSync, mkdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { EtcFolder } from './etc-folder.js';
import type { VmSpec } from './vm-spec.js';

export interface SandboxFolders {
  /** the qubes programs over /usr (host-folders.ts) */
  qubesLayer: string;
  etc: EtcFolder;
  /** on disk, emptied at every start */
  tmp: string;
  /**
   * the sockets of this VM: dom0 calls come in at `call.sock`, the agent reports at `agent.sock`, `vchan/` is
   * where calls meet, `boot_id` names this start of the VM
   */
  sockets: string;
}

/**
 * Enough to run as others and to look after files; not to mount, trace, or make devices. (bubblewrap 0.8
 * takes CAP_SYS_RESOURCE for all of them.)
 */
const capabilitiesWithoutMount = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_NET_BIND_SERVICE',
  'CAP_IPC_LOCK',
];

/** What the VM writes and finds again after a restart: inside → under its root. */
const persistent: readonly (readonly [string, string])[] = [
  ['/rw', 'rw'],
  ['/home', 'home'],
  ['/usr/local', 'usr/local'],
  ['/var/lib/build-infra', 'var/lib/build-infra'],
];

/** argv of the VM's sandbox. The caller starts it in the root namespace (root-namespace.ts). */
export function sandboxCommand(spec: VmSpec, folders: SandboxFolders): string[] {
  const script = 'set -e; mount -t overlay overlay -o "ro,lowerdir=$1" /usr; shift; exec "$@"';
  return [
    'unshare',
    '--mount',
    '--propagation',
    'private',
    '--',
    'sh',
    '-c',
    script,
    'sh',
    overlayLayers(spec, folders),
    'bwrap',
    ...bwrapOptions(spec, folders),
    '--',
    '/usr/bin/python3',
    '-IE',
    '/usr/lib/qubes/vm-init',
    JSON.stringify({ features: spec.features ?? [] }),
  ];
}

function overlayLayers(spec: VmSpec, folders: SandboxFolders): string {
  const own = join(spec.root, 'usr');
  return [...(existsSync(own) ? [own] : []), folders.qubesLayer, '/usr']
    .map((path) => path.replace(/[\\:,]/g, '\\$&'))
    .join(':');
}

function bwrapOptions(spec: VmSpec, folders: SandboxFolders): string[] {
  const options = [
    '--die-with-parent',
    '--as-pid-1',
    '--unshare-pid',
    '--unshare-ipc',
    '--unshare-uts',
    '--unshare-cgroup-try',
    '--hostname',
    spec.name,
    '--new-session',
  ];
  if (spec.netvm === null) options.push('--unshare-net');
  const mayMount = spec.mayMount ?? spec.netvm !== null;
  options.push(
    ...(mayMount
      ? ['--cap-add', 'ALL']
      : ['--cap-drop', 'ALL', ...capabilitiesWithoutMount.flatMap((name) => ['--cap-add', name])]),
  );
  options.push(
    '--clearenv',
    '--setenv',
    'PATH',
    '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    '--setenv',
    'LANG',
    'C.UTF-8',
  );
  options.push('--ro-bind', '/usr', '/usr', ...topLinks());
  if (existsSync(join(folders.qubesLayer, 'bin/node')))
    options.push('--ro-bind', process.execPath, '/usr/bin/node');
  options.push('--bind', folders.etc.folder, '/etc');
  for (const name of folders.etc.shown) options.push('--ro-bind', `/etc/${name}`, `/etc/${name}`);
  options.push(
    '--proc',
    '/proc',
    '--ro-bind',
    join(folders.sockets, 'boot_id'),
    '/proc/sys/kernel/random/boot_id',
    '--dev',
    '/dev',
    ...(mayMount ? ['--ro-bind', '/sys', '/sys'] : []),
  );
  options.push(
    '--dev-bind',
    folders.tmp,
    '/tmp',
    '--tmpfs',
    '/run',
    '--chmod',
    '0755',
    '/run',
    '--dir',
    '/run/lock',
    '--dir',
    '/run/qubes',
  );
  options.push(
    '--dir',
    '/var/cache/apt/archives/partial',
    '--dir',
    '/var/lib/apt/lists/partial',
    '--dir',
    '/var/log',
    '--dir',
    '/var/spool',
    '--symlink',
    '/run',
    '/var/run',
    '--symlink',
    '/run/lock',
    '/var/lock',
    '--symlink',
    '/tmp',
    '/var/tmp',
  );
  options.push(
    '--dir',
    '/var/lib/dpkg',
    '--ro-bind-try',
    '/var/lib/dpkg',
    '/var/lib/dpkg',
    '--tmpfs',
    '/root',
    '--chmod',
    '0700',
    '/root',
    '--dir',
    '/mnt',
    '--dir',
    '/srv',
    '--dir',
    '/opt',
  );
  for (const [inside, name] of persistent) {
    const outside = join(spec.root, name);
    mkdirSync(outside, { recursive: true });
    options.push('--dev-bind', outside, inside);
  }
  options.push(
    '--bind',
    join(folders.sockets, 'call.sock'),
    '/run/qubes/qrexec-agent',
    '--bind',
    join(folders.sockets, 'agent.sock'),
    '/run/qubes/dom0',
    '--bind',
    join(folders.sockets, 'vchan'),
    '/run/qubes/vchan',
    '--chdir',
    '/',
  );
  return options;
}

/** /bin, /sbin, /lib* as the host has them: links into /usr, or folders of their own. */
export function topLinks(): string[] {
  return ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32'].flatMap((name) => {
    const found = lstatSync(`/${name}`, { throwIfNoEntry: false });
    if (found === undefined) return [];
    return found.isSymbolicLink()
      ? ['--symlink', readlinkSync(`/${name}`), `/${name}`]
      : ['--ro-bind', `/${name}`, `/${name}`];
  });
}
