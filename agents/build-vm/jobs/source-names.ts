// SPDX-License-Identifier: GPL-2.0-or-later
// What a component's trees call themselves, for each kind of packaging by itself: a farm may build of it for another kind than before.

export type PackageKind = 'deb' | 'rpm';
export type SourceNames = Partial<Record<PackageKind, string>>;

/** As `highest/<component>.json` has it. */
export interface RememberedNames {
  sources?: SourceNames;
  /** of earlier releases: the names that were used, Debian's first, with a space between */
  source?: string;
}

/** By kind, as far as it is known; else the one name that is, of an unknown kind. */
export function namesOf(remembered: RememberedNames | undefined): { names: SourceNames; ofSomeKind: string | undefined } {
  const { sources, source } = remembered ?? {};
  if (sources !== undefined || source === undefined) return { names: sources ?? {}, ofSomeKind: undefined };
  const [first, second] = source.split(' ') as [string, string?];
  return second === undefined ? { names: {}, ofSomeKind: first } : { names: { deb: first, rpm: second }, ofSomeKind: undefined };
}

/** A name that is another one than it was; compared is what both sides have. */
export function changedName(remembered: RememberedNames | undefined, now: SourceNames): { was: string; is: string } | undefined {
  const { names, ofSomeKind } = namesOf(remembered);
  for (const kind of ['deb', 'rpm'] as const) {
    const [was, is] = [names[kind], now[kind]];
    if (was !== undefined && is !== undefined && was !== is) return { was, is };
  }
  const all = Object.values(now);
  return ofSomeKind !== undefined && all.length > 0 && !all.includes(ofSomeKind) ? { was: ofSomeKind, is: all.join(' ') } : undefined;
}

/** One name of each kind: of several specs' the one that is remembered, as long as the tree still has it, else the first. */
export function nameBy(remembered: RememberedNames | undefined, found: Partial<Record<PackageKind, readonly string[]>>): SourceNames {
  const { names, ofSomeKind } = namesOf(remembered);
  return Object.fromEntries(Object.entries(found).map(([kind, all]) => [kind, all.find((name) => name === names[kind as PackageKind] || name === ofSomeKind) ?? all[0]]));
}

/** Whether this name of this kind is remembered. */
export function isNamed(remembered: RememberedNames, kind: PackageKind, name: string): boolean {
  const { names, ofSomeKind } = namesOf(remembered);
  return names[kind] === name || ofSomeKind === name;
}
