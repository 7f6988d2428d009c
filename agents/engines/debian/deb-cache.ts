// SPDX-License-Identifier: GPL-2.0-or-later
// Downloaded packages, shared by all jobs for a suite. apt gives a file the mirror's time; from its first use
// on its time says when it was used last, and what nobody used for a month goes. apt checks size and hash of
// what it takes from here, so a wrong guess costs a download at most.
import { existsSync, lstatSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { readPlainFile } from '../../shared/files/frozen-files.js';

export const unusedDays = 30;
const statusLimitBytes = 256 * 1024 * 1024;

/** The names under which apt keeps what is installed in a chroot. */
function installedDebs(chroot: string): string[] {
  const names: string[] = [];
  for (const paragraph of readPlainFile(join(chroot, 'var/lib/dpkg'), 'status', statusLimitBytes)
    .toString('latin1')
    .split('\n\n')) {
    const field = (name: string): string => new RegExp(`^${name}: (.*)$`, 'm').exec(paragraph)?.[1] ?? '';
    // No name with a slash leads anywhere: these are compared with names in the cache.
    names.push(`${field('Package')}_${field('Version').replaceAll(':', '%3a')}_${field('Architecture')}.deb`);
  }
  return names;
}

/**
 * Marks what `chroot` has installed as used at `now` (ms) and removes what was not used for a month, half
 * downloads too.
 * @param debs apt's archive folder, with `partial/`
 * @returns the removed files
 */
export function pruneDebs(debs: string, chroot: string, now = Date.now()): string[] {
  const used = new Set(installedDebs(chroot));
  const removed: string[] = [];
  for (const folder of [debs, join(debs, 'partial')]) {
    for (const name of existsSync(folder) ? readdirSync(folder) : []) {
      const path = join(folder, name);
      if (name === 'lock' || !lstatSync(path).isFile()) continue;
      if (folder === debs && used.has(name)) utimesSync(path, now / 1000, now / 1000);
      else if (now - lstatSync(path).mtimeMs > unusedDays * 86_400_000) {
        rmSync(path);
        removed.push(name);
      }
    }
  }
  return removed;
}
