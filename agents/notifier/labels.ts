// SPDX-License-Identifier: GPL-2.0-or-later
// Which event adds and removes which labels. The names are those that release teams and their tools know.
import type { NotificationEvent, SubjectKind } from '../shared/formats/notification.js';
import { partsOf } from '../shared/formats/suites.js';

export interface LabelChange {
  add: string[];
  remove: string[];
}

/**
 * @param prefix `<rel>-host-<dist>` or `<rel>-vm-<dist>`, with a line's word behind it where it has suites of
 * its own; for templates and images the release alone
 * @param repository where it was uploaded to; null for the other events
 */
export function labelChange(
  event: NotificationEvent,
  kind: SubjectKind,
  prefix: string,
  release: string,
  repository: string | null,
): LabelChange {
  const own = (...names: string[]): string[] => names.map((name) => `${prefix}-${name}`);
  switch (event) {
    case 'building':
      return { add: own('building'), remove: own('failed') };
    case 'built':
      return { add: [], remove: own('failed', 'building') };
    case 'failed':
      return { add: own('failed'), remove: own('building') };
    // What lies where it lay before has the labels that it had.
    case 'upload-failed':
    case 'refused':
    case 'withdraw-failed':
      return { add: [], remove: [] };
    case 'withdrawn':
      return {
        add: [],
        remove: kind === 'component' ? own('cur-test', 'sec-test', 'stable') : own('testing', 'stable'),
      };
    case 'uploaded':
      return uploaded(kind, own, release, repository ?? '');
  }
}

/**
 * `<rel>-stable` says that something of it is stable: true as long as a distribution says so, of whichever
 * environment.
 */
export function isStillStable(labels: readonly string[], release: string): boolean {
  return labels.some(
    (label) =>
      label.startsWith(`${release}-`) &&
      label.endsWith('-stable') &&
      label.length > `${release}-stable`.length,
  );
}

/** Nothing else is: whatever an engine calls a repository, only what was promoted may be called so. */
const stable = new Set(['templates-itl', 'templates-community']);

function uploaded(
  kind: SubjectKind,
  own: (...names: string[]) => string[],
  release: string,
  repository: string,
): LabelChange {
  const over = own('failed', 'building');
  if (kind !== 'component') {
    if (repository.endsWith('-testing')) return { add: [`${release}-testing`], remove: over };
    return stable.has(repository) || repository === 'iso'
      ? { add: [`${release}-stable`], remove: [...over, `${release}-testing`] }
      : { add: [], remove: over };
  }
  switch (partsOf(repository)?.suite) {
    case 'current-testing':
      return { add: own('cur-test'), remove: over };
    case 'security-testing':
      return { add: own('sec-test'), remove: over };
    case 'current':
      return {
        add: [...own('stable'), `${release}-stable`],
        remove: [...over, ...own('cur-test', 'sec-test')],
      };
    default:
      return { add: [], remove: over };
  }
}

/** How message templates call a repository, or undefined where nothing is announced. */
export function announcedAs(repository: string): 'current-testing' | 'stable' | undefined {
  if (repository.endsWith('-testing')) return 'current-testing';
  return stable.has(repository) || partsOf(repository)?.suite === 'current' ? 'stable' : undefined;
}
