// SPDX-License-Identifier: GPL-2.0-or-later
// The clean chroot: made once a week for a suite and kept as a tar; unpacked anew for every job.
import { createHash, randomBytes } from 'node:crypto';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { makeFolder, readIfThere } from '../../shared/durable-files.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { becomeDurably } from '../../shared/files/durable-folder.js';
import { runLogged, type LineSink } from '../../shared/programs/logged-program.js';
import { proxyEnvironment } from '../../shared/programs/program.js';
import { layerChroot, unpackTar } from './layered-chroot.js';
import { sourceLines, type AptSource } from './apt-sources.js';
import { builderId } from './jail.js';

export interface ExtraRepository {
  url: string;
  suite: string;
  components: string;
  /** of this VM */
  keyring: string;
  /** before what is newer elsewhere: a line is built of its own */
  preferred?: true;
}

export const refreshDays = 7;
/** A chroot of other sources or of a suite that is gone. */
const forgottenDays = 30;
const makeMs = 1800_000;
// Not in the buildd variant, and dpkg-buildpackage wants it for packages that ask for root.
const extraPackages = ['fakeroot'];
// The chroot is thrown away after a job: dpkg need not wait for the disk, and nobody reads an index of manual
// pages there.
const settings = [
  '--dpkgopt=force-unsafe-io',
  '--customize-hook=echo "man-db man-db/auto-update boolean false" | chroot "$1" debconf-set-selections',
];

/**
 * The tar of a suite's clean chroot, made if it is missing or old. @param more packages that are in it beside
 * the buildd variant's @throws Refusal NO_CHROOT
 */
export async function baseTar(
  cache: string,
  suite: string,
  sources: readonly AptSource[],
  proxies: string,
  log: LineSink,
  more: readonly string[] = [],
): Promise<string> {
  const include = [...extraPackages, ...more];
  const folder = join(cache, 'chroots');
  makeFolder(folder);
  const lines = sourceLines(sources);
  const kind = createHash('sha256')
    .update(JSON.stringify([lines, include, settings]))
    .digest('hex')
    .slice(0, 12);
  const tar = join(folder, `${suite}-${kind}.tar`);
  if (existsSync(tar) && Date.now() - statSync(tar).mtimeMs < refreshDays * 86_400_000) {
    log.say(`clean chroot of ${suite}: ${tar}`);
    return tar;
  }
  for (const name of readdirSync(folder)) {
    const age = Date.now() - (statSync(join(folder, name), { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    // Another engine may be making one just now: what is older than that may take was left by a kill.
    const left = (name.includes('.part.') || name.startsWith('mmdebstrap.')) && age > makeMs;
    const forgotten = name.endsWith('.tar') && age > forgottenDays * 86_400_000;
    try {
      if (left || forgotten) rmSync(join(folder, name), { recursive: true, force: true });
    } catch (error) {
      // A kill may have left something mounted there: no reason not to build.
      log.say(`${name} is old and cannot be removed: ${printable(String((error as Error).message))}`);
    }
  }
  // Not this process' number: engines have processes of their own, and so the same numbers.
  const mine = randomBytes(6).toString('hex');
  const part = join(folder, `${suite}-${kind}.${mine}.part.tar`);
  const list = join(folder, `${suite}-${kind}.${mine}.part.list`);
  writeFileSync(list, lines);
  const options = proxies
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => `--aptopt=${line}`);
  const status = await runLogged(
    [
      'mmdebstrap',
      '--variant=buildd',
      `--include=${include.join(',')}`,
      ...settings,
      ...options,
      suite,
      part,
      list,
    ],
    log,
    { timeoutMs: makeMs, env: { TMPDIR: folder, ...proxyEnvironment() }, label: `mmdebstrap ${suite}` },
  );
  rmSync(list);
  if (status !== 0) throw new Refusal('NO_CHROOT', `mmdebstrap ended with ${status}`);
  // An empty tar would be an empty chroot, for every build until it is made anew.
  await becomeDurably(part, tar);
  return tar;
}

/**
 * Repositories beside the mirror, each with the one key that may have signed it. Which they are is in the
 * log; which of their packages were used, in the .buildinfo.
 * @throws Refusal NO_BUILD_DEPENDENCIES where a key is not there
 */
export function addRepositories(
  chroot: string,
  repositories: readonly ExtraRepository[],
  log: LineSink,
): void {
  for (const [index, { url, suite, components, keyring, preferred }] of repositories.entries()) {
    const bytes = readIfThere(keyring);
    if (bytes === undefined)
      throw new Refusal('NO_BUILD_DEPENDENCIES', `the key of ${url}, ${keyring}, is not in this VM`);
    const name = `build-infra-${index}`;
    const key = `/etc/apt/keyrings/${name}${keyring.slice(-4)}`;
    makeFolder(join(chroot, 'etc/apt/keyrings'));
    writeFileSync(join(chroot, key), bytes, { mode: 0o644 });
    writeFileSync(
      join(chroot, 'etc/apt/sources.list.d', `${name}.list`),
      `deb [signed-by=${key}] ${url} ${suite} ${components}\n`,
    );
    if (preferred === true) {
      makeFolder(join(chroot, 'etc/apt/preferences.d'));
      writeFileSync(
        join(chroot, 'etc/apt/preferences.d', name),
        `Package: *\nPin: release n=${suite}\nPin-Priority: 990\n`,
      );
    }
    log.say(
      `build dependencies from ${url} ${suite} ${components} ${preferred === true ? 'first' : 'too'}, signed by a key with sha256:${createHash('sha256').update(bytes).digest('hex')}`,
    );
  }
}

/**
 * Unpacks the tar into `chroot` and gives it what a build needs: a user, name resolution, the mirror's
 * keyrings.
 */
export async function unpackChroot(
  tar: string,
  chroot: string,
  sources: readonly AptSource[],
  proxies: string,
  log: LineSink,
): Promise<void> {
  if (existsSync(chroot)) rmSync(chroot, { recursive: true });
  makeFolder(chroot);
  if (!(await layerChroot(tar, chroot, log)) && !(await unpackTar(tar, chroot, log)))
    throw new Refusal('NO_CHROOT', 'the chroot cannot be unpacked');
  appendFileSync(join(chroot, 'etc/passwd'), `builder:x:${builderId}:${builderId}::/nonexistent:/bin/sh\n`);
  appendFileSync(join(chroot, 'etc/group'), `builder:x:${builderId}:\n`);
  for (const file of ['etc/resolv.conf', 'etc/hosts']) {
    rmSync(join(chroot, file), { force: true });
    if (existsSync(`/${file}`)) copyFileSync(`/${file}`, join(chroot, file));
  }
  rmSync(join(chroot, 'etc/apt/sources.list.d'), { recursive: true, force: true });
  makeFolder(join(chroot, 'etc/apt/sources.list.d'));
  writeFileSync(join(chroot, 'etc/apt/sources.list'), sourceLines(sources));
  writeFileSync(
    join(chroot, 'etc/apt/apt.conf.d/90build-infra'),
    `${proxies}Acquire::Languages "none";\nAPT::Install-Recommends "false";\n`,
  );
  for (const { signedBy } of sources) {
    if (signedBy === undefined || existsSync(join(chroot, signedBy)) || !existsSync(signedBy)) continue;
    makeFolder(dirname(join(chroot, signedBy)));
    copyFileSync(signedBy, join(chroot, signedBy));
  }
}
