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

/** What Qubes' own builder puts behind a Debian distribution's name. */
const buildersWords = new Map([['testing', 'current-testing'], ['securitytesting', 'security-testing'], ['unstable', 'unstable']]);

export interface Upload {
  dist: string;
  /** as it is called where it was published */
  suite: string;
  /** what an engine that published calls it in our words; counts before the suite's name */
  repository?: string;
}

/** Which of our suites an upload lies in. What is called otherwise is none of them, and keeps its name: nobody may take it for a stable one. */
export function repositoryOf({ dist, suite, repository }: Upload): string {
  const ours = suitesOf(dist).find((one) => suite === one || suite === codenameOf(dist, one));
  return repository ?? ours ?? (suite.startsWith(`${dist}-`) ? buildersWords.get(suite.slice(dist.length + 1)) : undefined) ?? suite;
}
