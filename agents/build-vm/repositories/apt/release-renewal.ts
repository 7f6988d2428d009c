// SPDX-License-Identifier: GPL-2.0-or-later
// When a suite's Release has to be made anew, by what it says itself: nobody has to remember when that was
// done. Decision 129
import { join } from 'node:path';
import { readIfThere } from '../../../shared/durable-files.js';
import { validityOf } from '../../../shared/formats/apt-release.js';
import { clockToleranceMs } from '../../signatures/one-signature.js';

const dayMs = 86_400_000;

/**
 * With a third of its time left, or of that which it would get today; at once where it has an end and shall
 * have none, or the other way round.
 * @param release InRelease @param validDays as configured; undefined: no end
 */
export function isReleaseDue(release: string, validDays: number | undefined, now: number): boolean {
  const { date, validUntil } = validityOf(release);
  if (validUntil === undefined || validDays === undefined)
    return (validUntil === undefined) !== (validDays === undefined);
  // By a clock that was ahead it is not valid yet for anybody.
  return (
    date > now + clockToleranceMs || now >= date + (Math.min(validUntil - date, validDays * dayMs) * 2) / 3
  );
}

/** Of a repository's folder: the suites, by their codenames, whose Release is due, or not there. */
export function dueSuites(
  folder: string,
  codenames: readonly string[],
  validDays: number | undefined,
  now: number,
): string[] {
  return codenames.filter((codename) => {
    const release = readIfThere(join(folder, 'dists', codename, 'InRelease'))?.toString('latin1');
    return release === undefined || isReleaseDue(release, validDays, now);
  });
}
