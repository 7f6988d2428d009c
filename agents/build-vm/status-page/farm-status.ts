// SPDX-License-Identifier: GPL-2.0-or-later
// What the page shows, as data: made from jobs, configuration and listings of tags, without an effect, and
// written out as status.json. docs/formats.md, "Status page".
import { suites, templatesDist } from '../../shared/formats/suites.js';
import type { PackageKind } from '../../engines/contract.js';
import { repositoryNames, type Component, type Config } from '../configuration/config.js';
import {
  isChainDone,
  isOver,
  makesPackages,
  shownVersion,
  suitesWordOf,
  templateOf,
  type Job,
} from '../jobs/job-document.js';
import type { HighestVersion } from '../jobs/job-queue.js';
import type { Listing } from '../triggers/newest-tags.js';
import { attentionOf, kindOf, newestOf, type Attention } from './attention.js';
import { chainStatus, logOf, type ChainStatus, type LoggedStep, type Why } from './chain-status.js';
import { reasonNotBuilt, type NewestTag } from './newest-tag.js';
import { endingKeys, type EndingKey, type NeededKey } from './needed-keys.js';
import { publishedIn, type Published } from './published.js';
import { toSeconds } from './times.js';

export const statusPageFormat = 'build-infra/status-page@1';
/** The page is made at least so often: one that is much older comes from a farm that does not work. */
export const refreshSeconds = 3600;

export interface DistStatus {
  dist: string;
  /** of release lines that have suites of their own there: the word before them */
  suites?: string;
  /** the configuration has it no more */
  retired: boolean;
  /** of the newest version of which there is a job; null where there is none */
  newest: ({ version: string; job: string } & ChainStatus) | null;
  /** what each repository has now, as this VM knows it; repositories without it are left out */
  published: Published[];
}

export interface ComponentStatus {
  name: string;
  /** null for a component that is configured no more */
  url: string | null;
  newestTag: NewestTag | null;
  /** why the forge's tags could not be listed, since when */
  unlisted: Why | null;
  /** of its jobs of every kind, what wants a person: a withdrawal first, what only waits last */
  attention: Attention[];
  dists: DistStatus[];
  /** number of jobs there ever were */
  jobs: number;
}

export interface RunningStep {
  job: string;
  kind: Job['kind'];
  /** where a promotion goes */
  suite: string | null;
  component: string;
  version: string;
  stage: string;
  dist: string | null;
  started: string;
  log: LoggedStep | null;
}

export interface QueuedJob {
  job: string;
  kind: Job['kind'];
  /** where a promotion goes */
  suite: string | null;
  component: string;
  version: string;
  priority: number;
  created: string;
  waiting: (Why & { dist: string | null })[];
}

export interface FarmStatus {
  format: typeof statusPageFormat;
  made: string;
  refreshSeconds: number;
  vm: string;
  env: string;
  /** where logs are read; `{path}` and `{commit}` stand for those of a log */
  logsUrl: string | null;
  distributions: { name: string; repository: string | null }[];
  keys: EndingKey[];
  /** renewals of what is signed in a repository that failed or wait for very long */
  renewals: Attention[];
  running: RunningStep[];
  queue: QueuedJob[];
  components: ComponentStatus[];
}

export interface FarmState {
  config: Config;
  /** those about packages */
  jobs: readonly Job[];
  renewals: readonly Job[];
  keys: readonly NeededKey[];
  listing: (component: string) => Listing | undefined;
  highest: (component: string) => HighestVersion | undefined;
  made: Date;
}

/** What goes different ways is told of by itself. */
function waysOf(
  dist: string,
  component: Component | undefined,
  jobs: readonly Job[],
  retired: boolean,
): DistStatus[] {
  const lines = component?.lines
    ?.filter(({ distributions }) => distributions.includes(dist))
    .map((line) => line.suites) ?? [undefined];
  const words = new Set(
    [...lines, ...jobs.filter((job) => job.dists.includes(dist)).map(suitesWordOf)].map((word) => word ?? ''),
  );
  const ways = words.size === 0 ? [''] : [...words].sort();
  return ways.map((word) => ({
    ...(word === '' ? {} : { suites: word }),
    ...distStatus(
      dist,
      jobs.filter((job) => (suitesWordOf(job) ?? '') === word),
      retired,
    ),
  }));
}

function distStatus(dist: string, jobs: readonly Job[], retired: boolean): DistStatus {
  // How far the newest build is; a promotion that has to wait says nothing of that.
  const job = newestOf(
    jobs.filter((candidate) => makesPackages(candidate) && candidate.dists.includes(dist)),
  );
  if (job === undefined) return { dist, retired, published: publishedIn(dist, jobs), newest: null };
  const chain = chainStatus(job, dist);
  const isGone =
    chain.state === 'published' &&
    jobs.some((one) => one.kind === 'withdrawal' && one.version === job.version && isChainDone(one, dist));
  return {
    dist,
    retired,
    published: publishedIn(dist, jobs),
    newest: {
      version: shownVersion(job, dist),
      job: job.job,
      ...chain,
      ...(isGone ? { state: 'withdrawn' } : {}),
    },
  };
}

function componentStatus(name: string, jobs: readonly Job[], state: FarmState): ComponentStatus {
  const component = state.config.components.find((candidate) => candidate.name === name);
  const listing = component === undefined ? undefined : state.listing(name);
  const template = jobs.map(templateOf).find((order) => order !== undefined)?.name;
  const configured =
    template === undefined
      ? state.config.distributions.map((distribution) => distribution.name)
      : (state.config.templates?.find((one) => one.name === template)?.releases.map(templatesDist) ?? []);
  const retired = [...new Set(jobs.flatMap((job) => job.dists))]
    .filter((dist) => !configured.includes(dist))
    .sort();
  const dists = [
    ...configured.flatMap((dist) => waysOf(dist, component, jobs, false)),
    ...retired
      .flatMap((dist) => waysOf(dist, component, jobs, true))
      .filter((dist) => dist.published.length > 0),
  ];
  const failed = listing?.failed ?? null;
  return {
    name,
    url: component?.url ?? null,
    attention: attentionOf(jobs, (dist) => configured.includes(dist), state.made),
    dists,
    jobs: jobs.length,
    newestTag: listing?.newest
      ? { ...listing.newest, ...reasonNotBuilt(listing.newest, jobs, state.highest(name)) }
      : null,
    unlisted:
      failed === null ? null : { code: failed.code, detail: failed.detail, since: toSeconds(failed.since) },
  };
}

/** Everything that the page shows. Two calls with equal states give equal documents. */
export function farmStatus(state: FarmState): FarmStatus {
  const { config, jobs } = state;
  const byComponent = new Map<string, Job[]>(config.components.map((component) => [component.name, []]));
  for (const job of jobs) {
    const its = byComponent.get(job.component);
    if (its === undefined) byComponent.set(job.component, [job]);
    else its.push(job);
  }
  const open = jobs
    .filter((job) => !isOver(job))
    .sort((a, b) => b.priority - a.priority || a.number - b.number);
  return {
    format: statusPageFormat,
    made: toSeconds(state.made.toISOString()),
    refreshSeconds,
    vm: config.vm,
    env: config.env,
    logsUrl: config.logsUrl ?? null,
    distributions: config.distributions.map(({ name, packages }) => ({
      name,
      repository: repositoryUrl(config, name, packages),
    })),
    keys: endingKeys(state.keys, state.made),
    renewals: attentionOf(
      state.renewals,
      (dist) => config.distributions.some(({ name }) => name === dist),
      state.made,
    ),
    running: open.flatMap((job) =>
      job.running.map((step) => ({
        job: job.job,
        ...kindOf(job),
        component: job.component,
        version: shownVersion(job, step.dist),
        stage: step.stage,
        dist: step.dist,
        started: toSeconds(step.started),
        log: logOf(job, step),
      })),
    ),
    queue: open
      .filter((job) => job.running.length === 0 || job.waiting.length > 0)
      .map((job) => ({
        job: job.job,
        ...kindOf(job),
        component: job.component,
        version: shownVersion(job, null),
        priority: job.priority,
        created: toSeconds(job.created),
        waiting: job.waiting.map(({ dist, code, detail, since }) => ({
          dist,
          code,
          detail,
          since: toSeconds(since),
        })),
      })),
    components: [...byComponent]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, its]) => componentStatus(name, its, state)),
  };
}

function repositoryUrl(config: Config, dist: string, packages: PackageKind): string | null {
  const base = config[repositoryNames[packages]]?.url;
  return base === undefined || base === '' ? null : `${base.replace(/\/+$/, '')}/${dist}`;
}

/** The repositories that have a column of their own, in the order in which a package goes through them. */
export const columns: readonly string[] = suites;
