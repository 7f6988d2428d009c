// SPDX-License-Identifier: GPL-2.0-or-later
// Clean chroots are costly to make: one for each suite serves all tests on this machine, and the engine
// itself makes it anew when it is old. So are the roots from which visitors install. A farm of its own may be
// given those that are there before its first build; one gets none, as a newcomer's, and shares what it made.
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { join } from 'node:path';

/** What the build VMs of single tests use as their cache. */
export const chrootCache = join(
  '/var/tmp',
  `build-infra-test-cache-${process.env['BUILD_INFRA_TEST_UID'] ?? process.getuid?.() ?? 0}`,
);

/** Of a whole farm: its LocalState. */
interface FarmFolders {
  rootOf: (machine: string) => string;
}

/** Finished ones only: what is being made has another name. */
const kinds = [
  ...['build-debian', 'build-rpm'].map((vm) => ({
    pattern: /^[a-z]+-[0-9a-f]+\.tar$/,
    shared: join(chrootCache, 'chroots'),
    own: (state: FarmFolders) => join(state.rootOf(vm), 'var/lib/build-infra/cache/chroots'),
  })),
  {
    pattern: /^base-[a-z]+\.tar$/,
    shared: join(chrootCache, 'visitors'),
    own: (state: FarmFolders) => join(state.rootOf('visitor'), 'var/lib/build-infra'),
  },
];

/**
 * A file more of the same bytes: nobody writes to what is finished, who makes it anew puts another in its
 * place. Half a gigabyte each is not copied for every farm.
 */
function another(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    const { mtime } = statSync(from);
    copyFileSync(from, to);
    utimesSync(to, mtime, mtime);
  }
}

/** They keep their age: who uses one makes it anew when it is old. */
function copyMissing(pattern: RegExp, from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const name of existsSync(from) ? readdirSync(from).filter((one) => pattern.test(one)) : []) {
    const { mtime } = statSync(join(from, name));
    if ((statSync(join(to, name), { throwIfNoEntry: false })?.mtime ?? 0) >= mtime) continue;
    const part = join(to, `${name}.${process.pid}.part`);
    try {
      another(join(from, name), part);
      renameSync(part, join(to, name));
    } finally {
      rmSync(part, { force: true });
    }
  }
}

/** @param state of a farm whose VMs were not started yet */
export function giveChroots(state: FarmFolders): void {
  for (const { pattern, shared, own } of kinds) copyMissing(pattern, shared, own(state));
}

/** What a farm made, for the others. */
export function shareChroots(state: FarmFolders): void {
  for (const { pattern, shared, own } of kinds) copyMissing(pattern, own(state), shared);
}
