// SPDX-License-Identifier: GPL-2.0-or-later
// What a signed Rebuild-component means here: a job that builds a published source once more. Decision 171
import { createHash } from 'node:crypto';
import { jobIdPattern, matches } from '../../shared/formats/names.js';
import { Refusal } from '../refusals.js';
import { rpmSourceOf, sourceOf } from '../repositories/apt/published-source.js';
import type { Component, Config } from '../configuration/config.js';
import type { Promotion } from '../github-command/promotions.js';
import { newJob, type Job, type RebuildOrder } from '../jobs/job-document.js';
import type { JobQueue } from '../jobs/job-queue.js';
import { rebuiltRelease, rebuiltVersion } from '../../engines/source-tree/package-version.js';

/** @throws Refusal NO_REBUILD, by name */
function refuseOtherEngine(dist: string, config: Config): void {
  const distribution = config.distributions.find(({ name }) => name === dist);
  const { engine, packages, publisher, options } = distribution ?? {};
  if (engine === 'rpm' && packages === 'rpm' && options?.['distTag'] === undefined) throw new Refusal('NO_REBUILD', `packages of ${dist} have no suffix behind which a rebuild could raise the release: give it a distTag`);
  if (publisher !== 'engine' && ((engine === 'debian' && packages === 'deb') || (engine === 'rpm' && packages === 'rpm'))) return;
  throw new Refusal('NO_REBUILD', `${dist} is built by ${distribution?.engine ?? 'nothing here'}, which builds nothing anew without a new source: tag a version with a higher release`);
}

/**
 * The job, new or, where this very command was obeyed before a kill, the one that is there.
 * @throws Refusal NO_REBUILD, ROLLBACK, ALREADY_BUILT
 */
export function rebuildToMake(order: Extract<Promotion, { verb: 'Rebuild-component' }>, config: Config, queue: JobQueue, now: Date): Job {
  const { job: built, dists, number, command: sha256, line, signer, signed } = order;
  const rebuilds = queue.all().filter((job) => job.kind === 'build' && job.rebuild !== undefined && job.component === built.component && job.version === built.version);
  const mine = rebuilds.find((job) => job.rebuild?.command.sha256 === sha256);
  if (mine !== undefined) return mine;
  const component = config.components.find(({ name }) => name === built.component) as Component;
  for (const dist of dists) refuseOtherEngine(dist, config);
  const highest = queue.highestOf(component, built.line);
  if (highest !== undefined && highest.tagObject !== built.tagObject) throw new Refusal('ROLLBACK', `${highest.version} was verified meanwhile: rebuild that`);
  // A number is one set of packages, for ever, and never goes back: also where that build failed, which is for Retry or for the next number.
  const later = rebuilds.find((job) => (job.rebuild?.number ?? 0) >= number && job.dists.some((dist) => dists.includes(dist)));
  if (later !== undefined) throw new Refusal('ALREADY_BUILT', `number ${later.rebuild?.number} of it was commanded already, which is no lower: ${later.job} is ${later.state}`);
  const namesFor = (dist: string): string[] => built.uploaded.filter((upload) => upload.dist === dist).flatMap(({ files }) => files.map(({ name }) => name));
  const sources = Object.fromEntries(dists.map((dist) => {
    const isDeb = config.distributions.find(({ name }) => name === dist)?.packages === 'deb';
    const published = isDeb ? sourceOf(namesFor(dist), built.version) : rpmSourceOf(namesFor(dist));
    return [dist, { ...published, packages: (isDeb ? rebuiltVersion : rebuiltRelease)(published.version, number) }];
  }));
  return newRebuildJob(config, component, built, { of: built.job, number, sources, command: { sha256, line, signer, signed } }, dists, queue.nextNumber(), now);
}

/** With today's configuration: what changed since is why somebody rebuilds. */
function newRebuildJob(config: Config, component: Component, built: Job, rebuild: RebuildOrder, dists: readonly string[], number: number, now: Date): Job {
  const { tag, tagObject, version, line } = built;
  const { suites: _, ...plain } = newJob(config, component, { tag, tagObject, version, line }, number, now);
  const digest = createHash('sha256').update(JSON.stringify(['rebuild', plain.job, rebuild.number, dists, rebuild.command.sha256])).digest('hex').slice(0, 12);
  const job = `${component.name}-${version.replaceAll(':', '_')}+b${rebuild.number}-${digest}`;
  if (!matches(jobIdPattern, job)) throw new Refusal('BAD_VERSION', 'component and version make no job name');
  // Beside its source, whatever suites the line has by now.
  return { ...plain, ...(built.suites === undefined ? {} : { suites: built.suites }), job, rebuild, dists: [...dists] };
}
