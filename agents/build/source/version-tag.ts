// SPDX-License-Identifier: GPL-2.0-or-later
// Versions inside tag names, and their order. docs/decisions/040-versions-in-tag-names.md
import { Refusal } from '../../shared/refusal.js';
import { matches, versionPattern } from '../../shared/formats/names.js';

/** @throws Refusal BAD_CONFIG where `{version}` does not stand there exactly once */
export function splitTagPattern(pattern: string): { before: string; after: string } {
  const parts = pattern.split('{version}');
  if (parts.length !== 2) throw new Refusal('BAD_CONFIG', 'a tag pattern holds {version} exactly once', 'tag');
  return { before: parts[0] as string, after: parts[1] as string };
}

/**
 * A version as git can carry it in a ref name, as DEP-14 mangles: `:` becomes `%`, `~` becomes `_`, and `#` goes
 * between a dot and what git forbids after it (a dot, the end, `lock` at the end).
 */
export function versionToTag(pattern: string, version: string): string {
  const { before, after } = splitTagPattern(pattern);
  const mangled = version.replaceAll(':', '%').replaceAll('~', '_').replace(/\.(?=\.|$|lock$)/g, '.#');
  return `${before}${mangled}${after}`;
}

/** The version in a tag name, or undefined where the name is not exactly what versionToTag makes of a version. */
export function versionOfTag(pattern: string, untrustedTag: string): string | undefined {
  const { before, after } = splitTagPattern(pattern);
  if (untrustedTag.length > 300 || untrustedTag.length < before.length + after.length) return undefined;
  if (!untrustedTag.startsWith(before) || !untrustedTag.endsWith(after)) return undefined;
  const mangled = untrustedTag.slice(before.length, untrustedTag.length - after.length);
  const untrustedVersion = mangled.replaceAll('%', ':').replaceAll('_', '~').replaceAll('#', '');
  if (!matches(versionPattern, untrustedVersion)) return undefined;
  return versionToTag(pattern, untrustedVersion) === untrustedTag ? untrustedVersion : undefined;
}

function split(version: string): { epoch: bigint; upstream: string; revision: string } {
  const colon = version.indexOf(':');
  const epoch = colon < 0 ? '0' : version.slice(0, colon);
  const rest = version.slice(colon + 1);
  const dash = rest.lastIndexOf('-');
  return {
    epoch: /^[0-9]+$/.test(epoch) ? BigInt(epoch) : 0n,
    upstream: dash < 0 ? rest : rest.slice(0, dash),
    revision: dash < 0 ? '' : rest.slice(dash + 1),
  };
}

// deb-version(7): `~` before the end of a part, the end before letters, letters before everything else.
function weight(character: string | undefined): number {
  if (character === '~') return -1;
  if (character === undefined || /[0-9]/.test(character)) return 0;
  return /[A-Za-z]/.test(character) ? character.charCodeAt(0) : character.charCodeAt(0) + 256;
}

function compareParts(a: string, b: string): number {
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    while ((i < a.length && !/[0-9]/.test(a[i] as string)) || (j < b.length && !/[0-9]/.test(b[j] as string))) {
      const difference = weight(a[i]) - weight(b[j]);
      if (difference !== 0) return difference;
      i++;
      j++;
    }
    const digitsA = /^[0-9]*/.exec(a.slice(i))?.[0] ?? '';
    const digitsB = /^[0-9]*/.exec(b.slice(j))?.[0] ?? '';
    const numberA = BigInt(digitsA || '0');
    const numberB = BigInt(digitsB || '0');
    if (numberA !== numberB) return numberA < numberB ? -1 : 1;
    i += digitsA.length;
    j += digitsB.length;
  }
  return 0;
}

/** deb-version(7): negative, 0 or positive as `a` is lower than, equal to or higher than `b`. A test compares it with dpkg. */
export function compareVersions(a: string, b: string): number {
  const x = split(a);
  const y = split(b);
  if (x.epoch !== y.epoch) return x.epoch < y.epoch ? -1 : 1;
  return compareParts(x.upstream, y.upstream) || compareParts(x.revision, y.revision);
}
