// SPDX-License-Identifier: GPL-2.0-or-later
// Name and version of source packages, by the files that were published of it.
import { Refusal } from '../../refusals.js';

/** The source package as the repository has it. Its version is not the tag's, where a revision or a distribution's suffix came to it; the epoch, which no file name holds, is. */
export function sourceOf(names: readonly string[], tagVersion: string): { source: string; version: string } {
  const [, source, plain] = /^([a-z0-9][a-z0-9+.-]+)_([^_]+)\.dsc$/.exec(names.find((name) => name.endsWith('.dsc')) ?? '') ?? [];
  if (source === undefined || plain === undefined) throw new Refusal('NOT_IN_SUITE', 'no source package was published');
  return { source, version: `${/^[0-9]+:/.exec(tagVersion)?.[0] ?? ''}${plain}` };
}

/** The same of an rpm upload, whose source packages may be several: version and release, which its specs have in common. @throws Refusal NOT_IN_SUITE, NO_REBUILD */
export function rpmSourceOf(names: readonly string[]): { source: string; version: string } {
  const found = names.flatMap((name) => {
    const [, source, version] = /^(.+)-([^-]+-[^-]+)\.src\.rpm$/.exec(name) ?? [];
    return source === undefined || version === undefined ? [] : [{ source, version }];
  });
  const [first] = found;
  if (first === undefined) throw new Refusal('NOT_IN_SUITE', 'no source package was published');
  const other = found.find(({ version }) => version !== first.version);
  if (other !== undefined) throw new Refusal('NO_REBUILD', `its source packages are ${first.version} and ${other.version}, and a rebuild is of one version`);
  return first;
}
