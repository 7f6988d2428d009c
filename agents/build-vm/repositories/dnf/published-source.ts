// SPDX-License-Identifier: GPL-2.0-or-later
// Name and version of source packages, by the files that were published of it.
import { Refusal } from '../../refusals.js';

/**
 * The source packages may be several: version and release, which their specs have in common. @throws Refusal
 * NOT_IN_SUITE, NO_REBUILD
 */
export function sourceOfPackages(names: readonly string[]): { source: string; version: string } {
  const found = names.flatMap((name) => {
    const [, source, version] = /^(.+)-([^-]+-[^-]+)\.src\.rpm$/.exec(name) ?? [];
    return source === undefined || version === undefined ? [] : [{ source, version }];
  });
  const [first] = found;
  if (first === undefined) throw new Refusal('NOT_IN_SUITE', 'no source package was published');
  const other = found.find(({ version }) => version !== first.version);
  if (other !== undefined)
    throw new Refusal(
      'NO_REBUILD',
      `its source packages are ${first.version} and ${other.version}, and a rebuild is of one version`,
    );
  return first;
}
