// SPDX-License-Identifier: GPL-2.0-or-later
// Release lines of a component: maintenance branches whose versions go up side by side, each for
// distributions of its own. Decision 161
import { plainNamePattern } from '../../shared/formats/names.js';
import { lineWordPattern } from '../../shared/formats/suites.js';
import { Refusal } from '../refusals.js';
import { splitTagPattern, tagPattern, versionOfTag } from './version-tag.js';

/** Versions that never go back among themselves. Decision 161 */
export interface ReleaseLine {
  name: string;
  /** the component's unless told */
  tag?: string;
  /** the series of its versions, 6.6; absent: what is of no other line */
  versions?: string;
  /** for which it is built, and no other line of the component that has the same suites */
  distributions: string[];
  /**
   * word before its suites, maint: its packages go to maint-current-testing, and so on; absent: to those of
   * the distribution. Decision 174
   */
  suites?: string;
}

/** What of a component its lines are about. */
interface Lined {
  tag: string;
  lines?: ReleaseLine[];
}

/** What of a distribution its suites are about. */
interface Distributed {
  name: string;
  publisher?: 'agent' | 'engine';
}

/** The beginning of versions, up to where a part of them ends. */
const seriesPattern = '^(?:[0-9]{1,9}:)?[0-9]{1,9}(?:\\.[0-9]{1,9}){0,7}$';

export const linesSchema = {
  type: 'array',
  minItems: 1,
  maxItems: 20,
  items: {
    type: 'object',
    additionalProperties: false,
    required: ['name', 'distributions'],
    properties: {
      name: { type: 'string', pattern: plainNamePattern },
      tag: { type: 'string', pattern: tagPattern },
      versions: { type: 'string', pattern: seriesPattern },
      suites: { type: 'string', pattern: lineWordPattern },
      distributions: {
        type: 'array',
        minItems: 1,
        maxItems: 20,
        uniqueItems: true,
        items: { type: 'string', pattern: plainNamePattern },
      },
    },
  },
} as const;

/** What the schema cannot say. @throws Refusal BAD_CONFIG where a tag or a repository could be two lines' */
export function checkLines(
  { name: component, tag, lines = [] }: Lined & { name: string },
  distributions: readonly Distributed[],
): void {
  const bad = (why: string): Refusal => new Refusal('BAD_CONFIG', `${component}: ${why}`, 'components');
  for (const [index, line] of lines.entries()) {
    splitTagPattern(line.tag ?? tag);
    const strange = line.distributions.find((dist) => distributions.every(({ name }) => name !== dist));
    if (strange !== undefined)
      throw bad(`the line ${line.name} is for ${strange}, which is no distribution here`);
    if (line.suites !== undefined) {
      const double = line.distributions.find((dist) =>
        distributions.some(({ name }) => name === `${dist}-${line.suites}`),
      );
      if (double !== undefined)
        throw bad(
          `the suites ${line.suites} of the line ${line.name} would have the names of those of ${double}-${line.suites}`,
        );
      const foreign = distributions.find(
        ({ name, publisher }) => publisher === 'engine' && line.distributions.includes(name),
      );
      if (foreign !== undefined)
        throw bad(
          `the line ${line.name} has suites of its own, but the engine of ${foreign.name} decides its suites`,
        );
    }
    for (const other of lines.slice(0, index)) {
      if (other.name === line.name) throw bad(`two lines are called ${line.name}`);
      if ((other.tag ?? tag) === (line.tag ?? tag) && other.versions === line.versions)
        throw bad(`the lines ${other.name} and ${line.name} have the same tags`);
      const shared =
        line.suites === other.suites
          ? line.distributions.find((dist) => other.distributions.includes(dist))
          : undefined;
      if (shared !== undefined)
        throw bad(
          `the lines ${other.name} and ${line.name} are both for ${shared}${line.suites === undefined ? '' : ` ${line.suites}`}, whose suites would hold only the packages of the higher one`,
        );
    }
  }
}

/** What a tag is to a component. */
export interface TagMeaning {
  version: string;
  /** undefined: the component has no lines */
  line: string | undefined;
}

/** Of `6.6` are 6.6, 6.6.54-1 and 6.6~rc1, and 6.60 is not. */
export function isInSeries(version: string, series: string): boolean {
  return version === series || (version.startsWith(series) && /^[.~+-]/.test(version.slice(series.length)));
}

/**
 * The line that says most of the version has it; one that names no series has the rest. @returns undefined
 * for what is no version tag of this component, or of none of its lines
 */
export function meaningOfTag(component: Lined, untrustedTag: string): TagMeaning | undefined {
  if (component.lines === undefined) {
    const version = versionOfTag(component.tag, untrustedTag);
    return version === undefined ? undefined : { version, line: undefined };
  }
  let found: TagMeaning | undefined;
  let said = -1;
  for (const { name, tag = component.tag, versions = '' } of component.lines) {
    const version = versionOfTag(tag, untrustedTag);
    if (
      version === undefined ||
      versions.length <= said ||
      (versions !== '' && !isInSeries(version, versions))
    )
      continue;
    found = { version, line: name };
    said = versions.length;
  }
  return found;
}

/** The word before a line's suites; undefined: they are the distribution's. */
export const suitesOfLine = (component: Pick<Lined, 'lines'>, line: string | undefined): string | undefined =>
  component.lines?.find(({ name }) => name === line)?.suites;

/** Distributions for which a line is built. */
export function distsOf(
  component: Pick<Lined, 'lines'>,
  line: string | undefined,
  all: readonly string[],
): string[] {
  const own = component.lines?.find(({ name }) => name === line)?.distributions;
  return own === undefined ? [...all] : all.filter((name) => own.includes(name));
}
