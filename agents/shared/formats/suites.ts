// SPDX-License-Identifier: GPL-2.0-or-later
// The suites of a distribution's repository. docs/formats.md, "APT repository".

/** Where a package comes first, where it goes when it has been tried, and where a security fix comes first. */
export const suites = ['current-testing', 'current', 'security-testing'] as const;
export type Suite = (typeof suites)[number];

/** As it stands under dists/ and in the signed Release: a server cannot show one distribution's metadata as another's. */
export const codenameOf = (dist: string, suite: Suite): string => `${dist}-${suite}`;
