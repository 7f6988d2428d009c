// SPDX-License-Identifier: GPL-2.0-or-later
// From when until when a Release is taken, as its Date and Valid-Until say. docs/formats.md, "APT
// repository".

export interface Validity {
  /** ms since 1970 */
  date: number;
  /** ms since 1970; undefined where it has no end */
  validUntil: number | undefined;
}

/** @param release as this farm makes it, signed in clear or not @throws Error where it holds no such times */
export function validityOf(release: string): Validity {
  const time = (name: string): number | undefined => {
    const value = new RegExp(`^${name}: (.*)$`, 'm').exec(release)?.[1];
    return value === undefined ? undefined : Date.parse(value);
  };
  const date = time('Date');
  const validUntil = time('Valid-Until');
  if (date === undefined || Number.isNaN(date) || Number.isNaN(validUntil))
    throw new Error('a Release does not say of when it is');
  return { date, validUntil };
}
