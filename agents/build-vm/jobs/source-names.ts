// SPDX-License-Identifier: GPL-2.0-or-later
// What a component's trees call themselves, for each kind of packaging by itself: a farm may build of it for
// another kind than before.
import { packageKinds, type PackageKind } from '../../engines/contract.js';

/** As `highest/<component>.json` has them in `sources`. */
export type SourceNames = Partial<Record<PackageKind, string>>;

/** A name that is another one than it was; compared is what both sides have. */
export function changedName(
  remembered: SourceNames,
  now: SourceNames,
): { was: string; is: string } | undefined {
  for (const kind of packageKinds) {
    const [was, is] = [remembered[kind], now[kind]];
    if (was !== undefined && is !== undefined && was !== is) return { was, is };
  }
  return undefined;
}

/**
 * One name of each kind: of several specs' the one that is remembered, as long as the tree still has it, else
 * the first.
 */
export function nameBy(
  remembered: SourceNames,
  found: Partial<Record<PackageKind, readonly string[]>>,
): SourceNames {
  return Object.fromEntries(
    Object.entries(found).map(([kind, all]) => [
      kind,
      all.find((name) => name === remembered[kind as PackageKind]) ?? all[0],
    ]),
  );
}
