// SPDX-License-Identifier: GPL-2.0-or-later
// A job is done with the configuration that it was made for, or not at all: who may sign its tag, which key
// signs its packages, where they go. What concerns one distribution stops that distribution only.
import { createHash } from 'node:crypto';
import { Refusal } from '../refusals.js';
import type { ConfigurationDigests } from '../../shared/formats/job.js';
import { templatesDist } from '../../shared/formats/suites.js';
import type { Component, Config, Template } from '../configuration/config.js';

function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}

/** How long its Release is valid concerns no job that waits. */
export function placeOf({ apt }: Config): object | undefined {
  if (apt === undefined) return undefined;
  const { validDays: _, ...place } = apt;
  return place;
}

export function configurationDigests(config: Config, component: Component): ConfigurationDigests {
  return {
    common: digest([component, config.env, config.signingKey, placeOf(config), config.dnf]),
    dists: Object.fromEntries(
      config.distributions.map((distribution) => [distribution.name, digest(distribution)]),
    ),
  };
}

/** What a template's promotion needs as well, and what only its build does. */
export function templateDigests(config: Config, template: Template, release: string): ConfigurationDigests {
  const { releases: _, ...built } = template;
  return {
    common: digest([template.name, release, template.repository, config.env, config.signingKey, config.dnf]),
    dists: { [templatesDist(release)]: digest(built) },
  };
}

/**
 * @param template as it is configured now
 * @throws Refusal CONFIG_CHANGED
 */
export function refuseOtherTemplate(
  made: ConfigurationDigests,
  config: Config,
  template: Template,
  release: string,
): void {
  const now = templateDigests(config, template, release);
  const isSame =
    now.common === made.common &&
    Object.entries(now.dists).every(([dist, value]) => made.dists[dist] === value);
  if (!isSame)
    throw new Refusal(
      'CONFIG_CHANGED',
      `the configuration of the template ${template.name} has changed since the job was made`,
    );
}

/**
 * @param dist null for the fetch, which is for all of them
 * @throws Refusal CONFIG_CHANGED, DIST_RETIRED
 */
export function refuseOtherConfiguration(
  made: ConfigurationDigests,
  config: Config,
  component: Component | undefined,
  dists: readonly string[],
  dist: string | null,
): void {
  const now = component === undefined ? undefined : configurationDigests(config, component);
  if (now === undefined || now.common !== made.common)
    throw new Refusal(
      'CONFIG_CHANGED',
      'the configuration of this component has changed since the job was made',
    );
  const wanted = dist === null ? dists : [dist];
  const left = wanted.filter((name) => now.dists[name] !== undefined);
  // None is wanted by a tree that builds nothing for any of them.
  if (wanted.length > 0 && left.length === 0)
    throw new Refusal('DIST_RETIRED', `${wanted.join(' ')}: not a distribution of this VM any more`);
  if (dist !== null && now.dists[dist] !== made.dists[dist])
    throw new Refusal('CONFIG_CHANGED', `the configuration of ${dist} has changed since the job was made`);
}
