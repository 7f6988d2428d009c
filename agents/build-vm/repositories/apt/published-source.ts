// SPDX-License-Identifier: GPL-2.0-or-later
// Name and version of source packages, by the files that were published of it.
import { Refusal } from '../../refusals.js';

/**
 * The source package as the repository has it. Its version is not the tag's, where a revision or a
 * distribution's suffix came to it; the epoch, which no file name holds, is.
 */
export function sourceOf(names: readonly string[], tagVersion: string): { source: string; version: string } {
  const [, source, plain] =
    /^([a-z0-9][a-z0-9+.-]+)_([^_]+)\.dsc$/.exec(names.find((name) => name.endsWith('.dsc')) ?? '') ?? [];
  if (source === undefined || plain === undefined)
    throw new Refusal('NOT_IN_SUITE', 'no source package was published');
  return { source, version: `${/^[0-9]+:/.exec(tagVersion)?.[0] ?? ''}${plain}` };
}
