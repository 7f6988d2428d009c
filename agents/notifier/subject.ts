// SPDX-License-Identifier: GPL-2.0-or-later
// What one notification is about, in the words of labels, titles and commands.
import { createHash } from 'node:crypto';
import { matches, versionPattern } from '../shared/formats/names.js';
import type { Notification, PackageSet } from '../shared/formats/notification.js';
import { isRefusedCommand, type OutboxDocument } from '../shared/formats/refused-command.js';
import { Refusal } from './refusals.js';
import type { NotifyConfig } from './config.js';

export interface NotifiedDist {
  dist: string;
  /** as labels and commands say it: vm-bookworm */
  label: string;
  packageSet: PackageSet;
  family: string;
  /**
   * vm-bookworm, and of a line with suites of its own vm-bookworm-maint: what goes another way is another
   * place
   */
  place: string;
  /** <rel>-<place>; of templates and images the release alone */
  prefix: string;
}

export interface Subject {
  id: string;
  title: string;
  release: string;
  /** those that the event is about */
  dists: NotifiedDist[];
  /** all of the job */
  all: NotifiedDist[];
}

function distOf(
  dist: string,
  release: string,
  notification: Notification,
  config: NotifyConfig,
): NotifiedDist {
  // Where templates and images of a release lie is no distribution of anybody's.
  if (notification.kind !== 'component')
    return {
      dist,
      label: dist,
      place: dist,
      packageSet: notification.packageSet ?? 'vm',
      family: '',
      prefix: release,
    };
  const known = Object.hasOwn(config.distributions, dist) ? config.distributions[dist] : undefined;
  if (known === undefined)
    throw new Refusal('UNKNOWN_DISTRIBUTION', `notify.json has no distribution ${dist}`, 'dist');
  const packageSet =
    dist === notification.dist ? (notification.packageSet ?? known.packageSet) : known.packageSet;
  const label = `${packageSet}-${known.name ?? dist}`;
  const place = notification.suites === undefined ? label : `${label}-${notification.suites}`;
  return { dist, label, place, packageSet, family: known.family, prefix: `${release}-${place}` };
}

/** Titles are upstream's: people and tools search for them. */
function titleOf(
  { kind, component, version }: Pick<Notification, 'kind' | 'component' | 'version'>,
  release: string,
): string {
  switch (kind) {
    case 'component':
      return `${component} ${version} (${release})`;
    case 'template':
      return `qubes-template-${component} ${version} (${release})`;
    case 'iso':
      return `iso ${version} (${release})`;
  }
}

/** Of the issue of another version of the same; undefined: it is of something else. */
export function versionOfTitle(
  title: string,
  notification: Notification,
  release: string,
): string | undefined {
  const version = / (\S+) \(\S+\)$/.exec(title)?.[1];
  return matches(versionPattern, version) && titleOf({ ...notification, version }, release) === title
    ? version
    : undefined;
}

/** The same in every VM that speaks of it. */
export const subjectId = (repository: string, title: string): string =>
  createHash('sha256')
    .update(JSON.stringify([repository.toLowerCase(), title]))
    .digest('hex')
    .slice(0, 32);

/** @throws Refusal UNKNOWN_DISTRIBUTION */
export function subjectOf(notification: Notification, config: NotifyConfig): Subject {
  const release = notification.release ?? config.release;
  const all = notification.dists.map((dist) => distOf(dist, release, notification, config));
  const dists = notification.dist === null ? all : [distOf(notification.dist, release, notification, config)];
  const title = titleOf(notification, release);
  return { id: subjectId(config.repository, title), title, release, dists, all };
}

/** Which documents must be told in order: known before anything of the configuration is looked up. */
export const orderOf = (notification: OutboxDocument): string =>
  isRefusedCommand(notification)
    ? notification.key
    : JSON.stringify([notification.kind, notification.component, notification.version, notification.release]);
