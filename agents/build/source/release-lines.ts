// SPDX-License-Identifier: GPL-2.0-or-later
// Release lines of a component: maintenance branches whose versions go up side by side, each for distributions of its own. docs/decisions/161
import type { Component } from '../config.js';
import { versionOfTag } from './version-tag.js';

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

/** The line that says most of the version has it; one that names no series has the rest. @returns undefined for what is no version tag of this component, or of none of its lines */
export function meaningOfTag(component: Pick<Component, 'tag' | 'lines'>, untrustedTag: string): TagMeaning | undefined {
  if (component.lines === undefined) {
    const version = versionOfTag(component.tag, untrustedTag);
    return version === undefined ? undefined : { version, line: undefined };
  }
  let found: TagMeaning | undefined;
  let said = -1;
  for (const { name, tag = component.tag, versions = '' } of component.lines) {
    const version = versionOfTag(tag, untrustedTag);
    if (version === undefined || versions.length <= said || (versions !== '' && !isInSeries(version, versions))) continue;
    found = { version, line: name };
    said = versions.length;
  }
  return found;
}

/** Distributions for which a line is built. */
export function distsOf(component: Pick<Component, 'lines'>, line: string | undefined, all: readonly string[]): string[] {
  const own = component.lines?.find(({ name }) => name === line)?.distributions;
  return own === undefined ? [...all] : all.filter((name) => own.includes(name));
}
