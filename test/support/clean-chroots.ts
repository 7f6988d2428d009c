// SPDX-License-Identifier: GPL-2.0-or-later
// Clean chroots are costly to make: one for each suite serves all tests on this machine, and the engine itself makes it anew when it is old. A farm of its
// own may be given those that are there before its first build; most get none, as a newcomer's.
import { copyFileSync, linkSync, mkdirSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';

/** What the build VMs of single tests use as their cache. */
export const chrootCache = join('/var/tmp', `build-infra-test-cache-${process.env['BUILD_INFRA_TEST_UID'] ?? process.getuid?.() ?? 0}`);

function link(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  const there = new Set(readdirSync(to));
  for (const name of readdirSync(from).filter((name) => /^[a-z]+-[0-9a-f]+\.tar$/.test(name) && !there.has(name))) {
    const part = join(to, `.${name}.${process.pid}`);
    try {
      linkSync(join(from, name), part);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
      copyFileSync(join(from, name), part);
    }
    renameSync(part, join(to, name));
  }
}

const shared = join(chrootCache, 'chroots');
const ofVm = (root: string): string => join(root, 'var/lib/build-infra/cache/chroots');

/** @param root of a build VM that was not started yet */
export function giveChroots(root: string): void {
  mkdirSync(shared, { recursive: true });
  link(shared, ofVm(root));
}
