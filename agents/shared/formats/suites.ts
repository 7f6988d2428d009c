// SPDX-License-Identifier: GPL-2.0-or-later
// The suites of a distribution's repository. docs/formats.md, "APT repository".

/**
 * Where a package comes first, where it goes when it has been tried, and where a security fix comes first.
 */
export const suites = ['current-testing', 'current', 'security-testing'] as const;
export type Suite = (typeof suites)[number];

/** The repositories of templates, by upstream's names: each is tried in its `-testing` before it goes on. */
export const templateSuites = [
  'templates-itl-testing',
  'templates-itl',
  'templates-community-testing',
  'templates-community',
] as const;
export type TemplateSuite = (typeof templateSuites)[number];
/** Of a release line that has suites of its own: maint-current. Decision 174 */
export type LineSuite = `${string}-${Suite}`;
export type AnySuite = Suite | TemplateSuite | LineSuite;
/** The word before each of a line's suites: without a hyphen, so that nothing can be read in two ways. */
export const lineWordPattern = '^[a-z][a-z0-9]{0,15}$';

/**
 * Where the templates of one release lie: in place of a distribution's name, so no distribution's begins so.
 */
const templatesPrefix = 'templates-';
export const templatesDist = (release: string): string => `${templatesPrefix}${release}`;
export const isTemplatesDist = (dist: string): boolean => dist.startsWith(templatesPrefix);
/** @param words of lines that have suites of their own */
export const suitesOf = (dist: string, words: readonly string[] = []): readonly AnySuite[] =>
  isTemplatesDist(dist)
    ? templateSuites
    : [...suites, ...words.flatMap((word) => suites.map((suite) => suiteOf(word, suite)))];

/** @param word of the line; undefined: it has no suites of its own */
export const suiteOf = (word: string | undefined, suite: Suite): AnySuite =>
  word === undefined ? suite : `${word}-${suite}`;

const suitePattern = new RegExp(`^(?:(${lineWordPattern.slice(1, -1)})-)?(${suites.join('|')})$`);

/** Where something has to be before it goes to `suite`. */
export function triedIn(suite: AnySuite): AnySuite {
  switch (suite) {
    case 'templates-itl':
      return 'templates-itl-testing';
    case 'templates-community':
      return 'templates-community-testing';
    default:
      return suiteOf(partsOf(suite)?.word, 'current-testing');
  }
}

/** @returns undefined for what is no suite of packages */
export function partsOf(suite: string): { word: string | undefined; suite: Suite } | undefined {
  const [, word, own] = suitePattern.exec(suite) ?? [];
  return own === undefined ? undefined : { word, suite: own as Suite };
}

/** Words of the lines whose suites are among these names. */
export function wordsIn(names: readonly string[]): string[] {
  return [...new Set(names.map((name) => partsOf(name)?.word).filter((word) => word !== undefined))].sort();
}

/**
 * As it stands under dists/ and in the signed Release: a server cannot show one distribution's metadata as
 * another's.
 */
export const codenameOf = (dist: string, suite: AnySuite): string => `${dist}-${suite}`;

/** What Qubes' own builder puts behind a Debian distribution's name. */
const buildersWords = new Map([
  ['testing', 'current-testing'],
  ['securitytesting', 'security-testing'],
  ['unstable', 'unstable'],
]);

export interface Upload {
  dist: string;
  /** as it is called where it was published */
  suite: string;
  /** what an engine that published calls it in our words; counts before the suite's name */
  repository?: string;
}

/**
 * Which of our suites an upload lies in. What is called otherwise is none of them, and keeps its name: nobody
 * may take it for a stable one.
 */
export function repositoryOf({ dist, suite, repository }: Upload): string {
  const own = suite.startsWith(`${dist}-`) ? suite.slice(dist.length + 1) : '';
  const ours = suitesOf(dist, wordsIn([own])).find((one) => suite === one || own === one);
  return (
    repository ??
    ours ??
    (suite.startsWith(`${dist}-`) ? buildersWords.get(suite.slice(dist.length + 1)) : undefined) ??
    suite
  );
}
