// SPDX-License-Identifier: GPL-2.0-or-later
// A chroot of two layers: the clean one, unpacked once and only read, and what this job writes. To unpack and
// to remove the whole of it for every job took longer than most builds. Where the kernel does not allow it (a
// farm in a container), the chroot is unpacked as before.
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { runLogged, type LineSink } from '../../shared/programs/logged-program.js';
import { commandSucceeds, runProgram } from '../../shared/programs/program.js';

/** Longer than any build that may still read one. */
const unusedDays = 15;
const unpackMs = 600_000;

/** @returns whether it was unpacked */
export async function unpackTar(tar: string, folder: string, log: LineSink): Promise<boolean> {
  // Devices come from the jail; making them takes more than the root of a user namespace may.
  const argv = [
    'tar',
    '--extract',
    '--anchored',
    '--exclude=./dev/*',
    '--file',
    tar,
    '--directory',
    folder,
    '--numeric-owner',
    '--same-permissions',
  ];
  return (await runLogged(argv, log, { timeoutMs: unpackMs, label: `unpack ${tar}` })) === 0;
}

/** The tar as a tree that nobody writes to, for as long as the tar is the same. */
async function treeOf(tar: string, log: LineSink): Promise<string | undefined> {
  const stem = join(dirname(tar), basename(tar, '.tar'));
  const tree = `${stem}.${Math.round(statSync(tar).mtimeMs)}.tree`;
  if (existsSync(tree)) return tree;
  for (const name of readdirSync(dirname(tar))) {
    const path = join(dirname(tar), name);
    const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.ctimeMs ?? Date.now());
    if (
      /\.tree(?:\.part)?$/.test(name) &&
      age > (name.endsWith('.part') ? unpackMs : unusedDays * 86_400_000)
    )
      rmSync(path, { recursive: true, force: true });
  }
  const part = `${stem}.${randomBytes(6).toString('hex')}.tree.part`;
  makeFolder(part);
  if (!(await unpackTar(tar, part, log))) {
    rmSync(part, { recursive: true, force: true });
    return undefined;
  }
  // Too many files for one by one, and made once for each tar.
  await runProgram(['sync', '--file-system', part], { timeoutMs: unpackMs });
  try {
    renameSync(part, tree);
  } catch {
    // Another engine was faster.
    rmSync(part, { recursive: true, force: true });
  }
  return existsSync(tree) ? tree : undefined;
}

/** @param chroot an empty folder; what is written goes beside it @returns whether the chroot is there now */
export async function layerChroot(tar: string, chroot: string, log: LineSink): Promise<boolean> {
  const [written, work] = [`${chroot}.written`, `${chroot}.overlay`];
  for (const folder of [written, work]) makeFolder(folder);
  // It becomes the chroot's own root, which the build's user enters.
  chmodSync(written, 0o755);
  const mount = (options: string): string[] => ['mount', '-t', 'overlay', 'overlay', '-o', options, chroot];
  // Looked at first, with a layer of nothing: a tree that cannot be used need not be made.
  const probe = `lowerdir=${written},upperdir=${written}.probe,workdir=${work}.probe`;
  for (const folder of [`${written}.probe`, `${work}.probe`]) makeFolder(folder);
  const own =
    existsSync('/proc/self/uid_map') &&
    !/^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'utf8'))
      ? ',userxattr'
      : '';
  if (!(await commandSucceeds(mount(probe + own))) || !(await commandSucceeds(['umount', chroot])))
    return false;
  const tree = await treeOf(tar, log);
  if (
    tree === undefined ||
    !(await commandSucceeds(mount(`lowerdir=${tree},upperdir=${written},workdir=${work}${own}`)))
  )
    return false;
  log.say(`clean chroot: ${tree}, written to beside it`);
  return true;
}

/** Before a work folder is removed: nothing is mounted in it then. */
export async function removeLayers(work: string): Promise<void> {
  const mounted = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${work}/`));
  for (const path of mounted.reverse()) await commandSucceeds(['umount', '--lazy', path]);
}
