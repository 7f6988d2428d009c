// SPDX-License-Identifier: GPL-2.0-or-later
// Versions inside tag names, and their order. Decision 040
import { Refusal } from '../refusals.js';
import { matches, versionPattern } from '../../shared/formats/names.js';
import { withCandidate } from '../../engines/source-tree/package-version.js';

export { compareVersions } from '../../shared/formats/version-order.js';

export const tagPattern = '^[A-Za-z0-9._/-]*\\{version\\}[A-Za-z0-9._-]*$';

/** @throws Refusal BAD_CONFIG where `{version}` does not stand there exactly once */
export function splitTagPattern(pattern: string): { before: string; after: string } {
  const parts = pattern.split('{version}');
  if (parts.length !== 2)
    throw new Refusal('BAD_CONFIG', 'a tag pattern holds {version} exactly once', 'tag');
  return { before: parts[0] as string, after: parts[1] as string };
}

/**
 * A version as git can carry it in a ref name, as DEP-14 mangles: `:` becomes `%`, `~` becomes `_`, and `#`
 * goes between a dot and what git forbids after it (a dot, the end, `lock` at the end).
 */
export function versionToTag(pattern: string, version: string): string {
  const { before, after } = splitTagPattern(pattern);
  const mangled = version
    .replaceAll(':', '%')
    .replaceAll('~', '_')
    .replace(/\.(?=\.|$|lock$)/g, '.#');
  return `${before}${mangled}${after}`;
}

/**
 * The version in a tag name, or undefined where the name is not exactly what versionToTag makes of a version.
 * `-rc3` is read as `~rc3`: of two spellings the first is built.
 */
export function versionOfTag(pattern: string, untrustedTag: string): string | undefined {
  const { before, after } = splitTagPattern(pattern);
  if (untrustedTag.length > 300 || untrustedTag.length < before.length + after.length) return undefined;
  if (!untrustedTag.startsWith(before) || !untrustedTag.endsWith(after)) return undefined;
  const mangled = untrustedTag.slice(before.length, untrustedTag.length - after.length);
  const untrustedVersion = mangled.replaceAll('%', ':').replaceAll('_', '~').replaceAll('#', '');
  if (!matches(versionPattern, untrustedVersion)) return undefined;
  return versionToTag(pattern, untrustedVersion) === untrustedTag
    ? withCandidate(untrustedVersion)
    : undefined;
}
