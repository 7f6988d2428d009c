// SPDX-License-Identifier: GPL-2.0-or-later
// A VM's /etc: made anew at every start from a few of the host's files. Never the host's accounts, keys or
// root's own settings.
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

/** Copied: single files that programs look up. */
const copied = [
  'nsswitch.conf',
  'ld.so.cache',
  'ld.so.conf',
  'localtime',
  'timezone',
  'debian_version',
  'os-release',
  'lsb-release',
  'protocols',
  'services',
  'mime.types',
  'magic',
  'login.defs',
  'shells',
  'profile',
  'bash.bashrc',
  'inputrc',
  'locale.alias',
  'default/locale',
  'ssh/ssh_config',
  'ssh/moduli',
  'ca-certificates.conf',
  'host.conf',
  'gai.conf',
  'dpkg/dpkg.cfg',
  'debconf.conf',
  'devscripts.conf',
  'wgetrc',
  'gitconfig',
  'nanorc',
  'environment',
];

/** Shown read only, whole: nothing secret lies there. */
const shown = [
  'ssl',
  'alternatives',
  'ld.so.conf.d',
  'dpkg',
  'perl',
  'python3',
  'python3.9',
  'python3.10',
  'python3.11',
  'python3.12',
  'python3.13',
  'gnupg',
  'ca-certificates',
  'pki',
  'ssh/ssh_config.d',
  'java',
  'profile.d',
  'nginx',
];

/** For those with a network: where packages come from, with what the host's apt needs to get at them. */
const shownWithNetwork = ['apt'];

const nologin = '/usr/sbin/nologin';
const account = (name: string, uid: number, gid: number, home: string, shell: string): string =>
  `${name}:x:${uid}:${gid}::${home}:${shell}`;
const accounts = [
  account('root', 0, 0, '/root', '/bin/bash'),
  account('daemon', 1, 1, '/usr/sbin', nologin),
  account('man', 6, 12, '/var/cache/man', nologin),
  account('www-data', 33, 33, '/var/www', nologin),
  account('_apt', 42, 65534, '/nonexistent', nologin),
  account('sshd', 105, 65534, '/run/sshd', nologin),
  account('user', 1000, 1000, '/home/user', '/bin/bash'),
  account('nobody', 65534, 65534, '/nonexistent', nologin),
];

export interface EtcFolder {
  folder: string;
  /** folders of the host to bind read only at the same place */
  shown: string[];
}

export function makeEtcFolder(
  folder: string,
  vm: { name: string; network: boolean; overlay: string },
): EtcFolder {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const write = (name: string, text: string | Uint8Array, mode = 0o644): void => {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text, { mode });
  };
  for (const name of copied)
    if (isReadable(join('/etc', name))) write(name, readFileSync(join('/etc', name)));
  const found = [...shown, ...(vm.network ? shownWithNetwork : [])].filter(
    (name) => existsSync(join('/etc', name)) && statSync(join('/etc', name)).isDirectory(),
  );
  for (const name of found) {
    // Copied instead where the VM has files of its own in there.
    if (existsSync(join(vm.overlay, name)))
      cpSync(join('/etc', name), join(folder, name), { recursive: true, verbatimSymlinks: true });
    else mkdirSync(join(folder, name), { recursive: true });
  }
  write('passwd', `${accounts.join('\n')}\n`);
  write(
    'group',
    'root:x:0:\ndaemon:x:1:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nman:x:12:\nmail:x:8:\nwww-data:x:33:\nshadow:x:42:\nutmp:x:43:\nstaff:x:50:\nqubes:x:98:user\nuser:x:1000:\nnogroup:x:65534:\n',
  );
  write('shadow', 'root:*:::::::\nuser:*:::::::\nnobody:*:::::::\n_apt:*:::::::\n', 0o600);
  write('hostname', `${vm.name}\n`);
  write(
    'hosts',
    vm.network && isReadable('/etc/hosts')
      ? `127.0.0.1 localhost ${vm.name}\n${readFileSync('/etc/hosts', 'utf8')}`
      : `127.0.0.1 localhost ${vm.name}\n::1 localhost\n`,
  );
  write(
    'resolv.conf',
    vm.network && isReadable('/etc/resolv.conf') ? readFileSync('/etc/resolv.conf', 'utf8') : '',
  );
  write('machine-id', '');
  write('subuid', 'user:100000:65536\n');
  write('subgid', 'user:100000:65536\n');
  symlinkSync('../proc/self/mounts', join(folder, 'mtab'));
  for (const name of ['qubes', 'qubes-rpc']) mkdirSync(join(folder, name), { recursive: true });
  if (existsSync(vm.overlay)) cpSync(vm.overlay, folder, { recursive: true, verbatimSymlinks: true });
  return { folder, shown: found.filter((name) => !existsSync(join(vm.overlay, name))) };
}

function isReadable(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}
