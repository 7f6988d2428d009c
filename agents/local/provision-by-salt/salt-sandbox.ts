// SPDX-License-Identifier: GPL-2.0-or-later
// Where Salt runs for one machine of the farm: a sandbox with this machine's programs and the accounts of a
// VM. /rw, /home and /usr/local are the VM's own; /usr and /etc are overlays whose upper layers are the VM's
// tree. Everything else is gone with the sandbox.
import { chmodSync, existsSync, mkdirSync, rmSync, rmdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { makeEtcFolder } from '../vm/etc-folder.js';
import { topLinks } from '../vm/sandbox.js';

export interface SaltSandbox {
  name: string;
  /** the machine's tree */
  root: string;
  /** emptied: what the sandbox needs besides */
  work: string;
  /** the folders of /usr and /etc that files of ours go to: salt-package.ts */
  folders: readonly string[];
  /** shown read only: outside → inside */
  shown: readonly (readonly [string, string])[];
}

const volumes = ['rw', 'home', 'usr/local'] as const;
const environment = {
  PATH: '/run/stand-ins/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LANG: 'C.UTF-8',
  HOME: '/root',
  PYTHONDONTWRITEBYTECODE: '1',
  PYTHONWARNINGS: 'ignore',
};
/** Enough to lay files for any account. */
const capabilities = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_KILL',
];

/**
 * Makes a folder and those above it as a package would: root's, 0755, whatever the umask. @returns the
 * topmost that was missing
 */
function makePlainFolder(path: string): string | undefined {
  if (existsSync(path)) return undefined;
  const above = makePlainFolder(dirname(path));
  mkdirSync(path);
  chmodSync(path, 0o755);
  return above ?? path;
}

function removeEmpty(path: string, until: string): void {
  for (let folder = path; folder.startsWith(`${until}/`); folder = dirname(folder)) {
    try {
      rmdirSync(folder);
    } catch (error) {
      if (['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '')) return;
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

/**
 * The upper layers are on a tmpfs and copied from and to the VM's tree, because not every file system can
 * hold upper layers. All folders that something is put into are there before: in a user namespace, the kernel
 * cannot copy up one that the machine's own root owns.
 */
const script = `set -e
umask 022
usr=$1 etc=$2 upper=$3 root=$4
shift 4
mount -t tmpfs -o mode=0755 tmpfs "$upper"
for name in usr etc; do
    mkdir "$upper/$name" "$upper/$name.work"
    rsync -a --exclude=/local "$root/$name/" "$upper/$name/"
done
mount -t overlay overlay -o "lowerdir=$usr,upperdir=$upper/usr,workdir=$upper/usr.work" /usr
mkdir "$upper/etc.whole"
mount -t overlay overlay -o "lowerdir=$etc,upperdir=$upper/etc,workdir=$upper/etc.work" "$upper/etc.whole"
status=0
"$@" || status=$?
for name in usr etc; do rsync -a --no-devices --no-specials --checksum --delete --exclude=/local "$upper/$name/" "$root/$name/"; done
exit "$status"
`;
const asLayer = (path: string): string => path.replace(/[\\:,]/g, '\\$&');

/** Lays out what the sandbox starts from; call `forget` after the last command in it. */
export function prepareSandbox(machine: SaltSandbox): {
  command: (argv: readonly string[]) => string[];
  forget: () => void;
} {
  rmSync(machine.work, { recursive: true, force: true });
  const upper = join(machine.work, 'upper');
  makePlainFolder(upper);
  for (const name of ['etc', ...volumes, ...machine.folders]) makePlainFolder(join(machine.root, name));
  const etc = makeEtcFolder(join(machine.work, 'etc'), {
    name: machine.name,
    network: false,
    overlay: join(machine.work, 'nothing'),
  });
  const options = [
    '--die-with-parent',
    '--as-pid-1',
    '--unshare-pid',
    '--unshare-ipc',
    '--unshare-uts',
    '--unshare-net',
    '--unshare-cgroup-try',
    '--hostname',
    machine.name,
    '--new-session',
  ];
  options.push('--cap-drop', 'ALL', ...capabilities.flatMap((name) => ['--cap-add', name]));
  options.push(
    '--clearenv',
    ...Object.entries(environment).flatMap(([name, value]) => ['--setenv', name, value]),
  );
  options.push(
    '--bind',
    '/usr',
    '/usr',
    ...topLinks(),
    '--bind',
    join(upper, 'etc.whole'),
    '/etc',
    ...etc.shown.flatMap((name) => ['--ro-bind', `/etc/${name}`, `/etc/${name}`]),
  );
  options.push(
    '--proc',
    '/proc',
    '--dev',
    '/dev',
    '--tmpfs',
    '/tmp',
    '--tmpfs',
    '/run',
    '--chmod',
    '0755',
    '/run',
    '--dir',
    '/run/qubes-service',
    '--tmpfs',
    '/var',
    '--dir',
    '/var/log',
    '--tmpfs',
    '/root',
  );
  for (const name of volumes) options.push('--bind', join(machine.root, name), `/${name}`);
  for (const [outside, inside] of machine.shown) options.push('--ro-bind', outside, inside);
  options.push('--chdir', '/');
  return {
    command: (argv) => [
      'unshare',
      '--mount',
      '--propagation',
      'private',
      '--',
      'sh',
      '-c',
      script,
      'sh',
      '/usr',
      asLayer(etc.folder),
      upper,
      machine.root,
      'bwrap',
      ...options,
      '--',
      ...argv,
    ],
    forget: () => {
      for (const path of ['/etc', ...volumes, ...[...machine.folders].reverse()])
        removeEmpty(join(machine.root, path), machine.root);
      rmSync(machine.work, { recursive: true, force: true });
    },
  };
}
