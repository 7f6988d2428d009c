// SPDX-License-Identifier: GPL-2.0-or-later
// Which engines of ours build packages anew from a source that is published. Decision 171
import type { PackageKind } from './contract.js';

interface Built {
  /** of the distribution */
  name: string;
  engine: string;
  packages: PackageKind;
  options?: Record<string, unknown>;
}

const rebuilding = new Map<string, { packages: PackageKind; needs?: string }>([
  ['debian', { packages: 'deb' }],
  ['rpm', { packages: 'rpm', needs: 'distTag' }],
]);

/** Of an engine that does not, or does for another kind of packages. */
export const noRebuild = ({ name, engine }: Pick<Built, 'name' | 'engine'>): string =>
  `${name} is built by ${engine}, which builds nothing anew without a new source: tag a version with a higher release`;

/** @returns undefined where it does */
export function reasonNoRebuild(built: Built): string | undefined {
  const found = rebuilding.get(built.engine);
  if (found?.packages !== built.packages) return noRebuild(built);
  if (found.needs !== undefined && built.options?.[found.needs] === undefined)
    return `packages of ${built.name} have no suffix behind which a rebuild could raise the release: give it a ${found.needs}`;
  return undefined;
}
