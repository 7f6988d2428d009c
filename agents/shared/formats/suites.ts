// SPDX-License-Identifier: GPL-2.0-or-later
// The suites of a distribution's repository. docs/formats.md, "APT repository".

/** Where a package comes first, where it goes when it has been tried, and where a security fix comes first. */
export const suites = ['current-testing', 'current', 'security-testing'] as const;
export type Suite = (typeof suites)[number];

/** The repositories of templates, by upstream's names: each is tried in its `-testing` before it goes on. */
export const templateSuites = ['templates-itl-testing', 'templates-itl', 'templates-community-testing', 'templates-community'] as const;
export type TemplateSuite = (typeof templateSuites)[number];
export type AnySuite = Suite | TemplateSuite;

/** Where the templates of one release lie: in place of a distribution's name, so no distribution's begins so. */
const templatesPrefix = 'templates-';
export const templatesDist = (release: string): string => `${templatesPrefix}${release}`;
export const isTemplatesDist = (dist: string): boolean => dist.startsWith(templatesPrefix);
export const suitesOf = (dist: string): readonly AnySuite[] => (isTemplatesDist(dist) ? templateSuites : suites);

/** As it stands under dists/ and in the signed Release: a server cannot show one distribution's metadata as another's. */
export const codenameOf = (dist: string, suite: AnySuite): string => `${dist}-${suite}`;
