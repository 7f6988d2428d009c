// SPDX-License-Identifier: GPL-2.0-or-later
// The order of versions: which of two is the newer one, the same for the agent that builds and for the
// notifier that speaks of it.

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
    while (
      (i < a.length && !/[0-9]/.test(a[i] as string)) ||
      (j < b.length && !/[0-9]/.test(b[j] as string))
    ) {
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

/**
 * deb-version(7): negative, 0 or positive as `a` is lower than, equal to or higher than `b`. A test compares
 * it with dpkg.
 */
export function compareVersions(a: string, b: string): number {
  const x = split(a);
  const y = split(b);
  if (x.epoch !== y.epoch) return x.epoch < y.epoch ? -1 : 1;
  return compareParts(x.upstream, y.upstream) || compareParts(x.revision, y.revision);
}
