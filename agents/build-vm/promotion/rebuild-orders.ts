// SPDX-License-Identifier: GPL-2.0-or-later
// What a signed Rebuild-component means here: a job that builds a published source once more. Decision 171
import { createHash } from 'node:crypto';
import { jobIdPattern, matches } from '../../shared/formats/names.js';
import { Refusal } from '../refusals.js';
import { packageRepositories } from '../repositories/package-repositories.js';
import type { Component, Config, Distribution } from '../configuration/config.js';
import type { Promotion } from '../github-command/promotions.js';
import { newJob, type BuildJob, type RebuildOrder } from '../jobs/job-document.js';
import type { JobQueue } from '../jobs/job-queue.js';
import { noRebuild, reasonNoRebuild } from '../../engines/rebuilds.js';

/** @throws Refusal NO_REBUILD */
function distributionOf(dist: string, config: Config): Distribution {
  const distribution = config.distributions.find(({ name }) => name === dist);
  const reason =
    distribution === undefined
      ? `${dist} is not built here`
      : distribution.publisher === 'engine'
        ? noRebuild(distribution)
        : reasonNoRebuild(distribution);
  if (distribution === undefined || reason !== undefined) throw new Refusal('NO_REBUILD', reason ?? '');
  return distribution;
}

/**
 * The job, new or, where this very command was obeyed before a kill, the one that is there.
 * @throws Refusal NO_REBUILD, ROLLBACK, ALREADY_BUILT
 */
export function rebuildToMake(
  order: Extract<Promotion, { verb: 'Rebuild-component' }>,
  config: Config,
  queue: JobQueue,
  now: Date,
): BuildJob {
  const { job: built, dists, number, command: sha256, line, signer, signed } = order;
  const rebuilds = queue
    .all()
    .flatMap((job) =>
      job.kind === 'build' &&
      job.rebuild !== undefined &&
      job.component === built.component &&
      job.version === built.version
        ? [{ job, order: job.rebuild }]
        : [],
    );
  const mine = rebuilds.find((one) => one.order.command.sha256 === sha256);
  if (mine !== undefined) return mine.job;
  const component = config.components.find(({ name }) => name === built.component) as Component;
  for (const dist of dists) distributionOf(dist, config);
  const highest = queue.highestOf(component, built.line);
  if (highest !== undefined && highest.tagObject !== built.tagObject)
    throw new Refusal('ROLLBACK', `${highest.version} was verified meanwhile: rebuild that`);
  // A number is one set of packages, for ever, and never goes back: also where that build failed, which is
  // for Retry or for the next number.
  const later = rebuilds.find(
    ({ job, order: before }) => before.number >= number && job.dists.some((dist) => dists.includes(dist)),
  );
  if (later !== undefined)
    throw new Refusal(
      'ALREADY_BUILT',
      `number ${later.order.number} of it was commanded already, which is no lower: ${later.job.job} is ${later.job.state}`,
    );
  const namesFor = (dist: string): string[] =>
    built.uploaded
      .filter((upload) => upload.dist === dist)
      .flatMap(({ files }) => files.map(({ name }) => name));
  const sources = Object.fromEntries(
    dists.map((dist) => {
      const { packages } = distributionOf(dist, config);
      return [dist, packageRepositories[packages].rebuilt(namesFor(dist), built.version, number)];
    }),
  );
  return newRebuildJob(
    config,
    component,
    built,
    { of: built.job, number, sources, command: { sha256, line, signer, signed } },
    dists,
    queue.nextNumber(),
    now,
  );
}

/** With today's configuration: what changed since is why somebody rebuilds. */
function newRebuildJob(
  config: Config,
  component: Component,
  built: BuildJob,
  rebuild: RebuildOrder,
  dists: readonly string[],
  number: number,
  now: Date,
): BuildJob {
  const { tag, tagObject, version, line } = built;
  const { suites: _, ...plain } = newJob(config, component, { tag, tagObject, version, line }, number, now);
  const digest = createHash('sha256')
    .update(JSON.stringify(['rebuild', plain.job, rebuild.number, dists, rebuild.command.sha256]))
    .digest('hex')
    .slice(0, 12);
  const job = `${component.name}-${version.replaceAll(':', '_')}+b${rebuild.number}-${digest}`;
  if (!matches(jobIdPattern, job)) throw new Refusal('BAD_VERSION', 'component and version make no job name');
  // Beside its source, whatever suites the line has by now.
  return {
    ...plain,
    ...(built.suites === undefined ? {} : { suites: built.suites }),
    job,
    rebuild,
    dists: [...dists],
  };
}
