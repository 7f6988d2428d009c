// SPDX-License-Identifier: GPL-2.0-or-later
// Clean chroots are costly to make: one for each suite serves all tests on this machine, and the engine itself makes it anew when it is old. A farm of its
// own may be given those that are there before its first build; most get none, as a newcomer's.
import { copyFileSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** What the build VMs of single tests use as their cache. */
export const chrootCache = join('/var/tmp', `build-infra-test-cache-${process.env['BUILD_INFRA_TEST_UID'] ?? process.getuid?.() ?? 0}`);

/** @param root of a build VM that was not started yet */
export function giveChroots(root: string): void {
  const shared = join(chrootCache, 'chroots');
  const own = join(root, 'var/lib/build-infra/cache/chroots');
  mkdirSync(own, { recursive: true });
  // Finished ones only: what is being made has another name.
  const tars = existsSync(shared) ? readdirSync(shared).filter((name) => /^[a-z]+-[0-9a-f]+\.tar$/.test(name)) : [];
  for (const name of tars) copyFileSync(join(shared, name), join(own, name));
}
