// SPDX-License-Identifier: GPL-2.0-or-later
// What a trigger may start. The caller names a component and nothing else; what the forge lists is a hint
// that the fetch stage verifies.
import { matches, plainNamePattern } from '../../shared/formats/names.js';
import { AnyRefusal } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { Component, Config } from '../configuration/config.js';
import type { RemoteTag } from '../source/git.js';
import { isOver, jobIdentity, newJob, publicUploads, type Job } from '../jobs/job-document.js';
import type { JobQueue } from '../jobs/job-queue.js';
import type { NewestTags, VersionTag } from './newest-tags.js';
import { meaningOfTag } from '../configuration/release-lines.js';
import { compareVersions } from '../configuration/version-tag.js';

export type TriggerAnswer = { kind: 'queued'; job: string } | { kind: 'known'; job: string };

export function triggerLine(answer: TriggerAnswer): string {
  return `${answer.kind} ${answer.job}\n`;
}

/** The version tags of a listing, highest first. */
export function versionTags(component: Component, untrustedTags: readonly RemoteTag[]): VersionTag[] {
  const found: VersionTag[] = [];
  for (const { name, object, annotated } of untrustedTags) {
    const meaning = meaningOfTag(component, name);
    if (meaning !== undefined)
      found.push({
        tag: name,
        tagObject: object,
        annotated,
        version: meaning.version,
        ...(meaning.line === undefined ? {} : { line: meaning.line }),
      });
  }
  return found.sort((a, b) => compareVersions(b.version, a.version));
}

/**
 * What to do about a component, or one of its release lines, from a listing and from what is known already.
 * Order: a tag that was refused before stands in nobody's way; then the highest; then never back.
 * @throws Refusal NO_VERSION_TAG, NOT_ANNOTATED, ROLLBACK
 */
export function decide(
  config: Config,
  component: Component,
  untrustedTags: readonly RemoteTag[],
  queue: JobQueue,
  line?: string,
): { known: Job } | { fresh: VersionTag } {
  const tags = versionTags(component, untrustedTags).filter((tag) => tag.line === line);
  if (tags.length === 0)
    throw new Refusal(
      'NO_VERSION_TAG',
      `${component.name} has no version tag${line === undefined ? '' : ` of the line ${line}`}`,
    );
  // A job that is not over stays the job of its tag, whatever the configuration says by now: each of its
  // steps looks whether it may go on.
  const open = queue
    .all()
    .filter(
      (job) =>
        !isOver(job) &&
        job.component === component.name &&
        job.env === config.env &&
        job.url === component.url,
    );
  const knownJob = (tag: VersionTag): Job | undefined =>
    queue.get(jobIdentity(config, component, tag.tag, tag.tagObject, tag.version)) ??
    open.find((job) => job.tag === tag.tag && job.tagObject === tag.tagObject);
  const highest = queue.highestOf(component, line);
  let refusedBefore: Job | undefined;
  let lightweight: VersionTag | undefined;
  for (const tag of tags) {
    const known = knownJob(tag);
    if (known !== undefined && known.state !== 'refused') return { known };
    if (known !== undefined) {
      refusedBefore ??= known;
      continue;
    }
    if (!tag.annotated) {
      lightweight ??= tag;
      continue;
    }
    // The same tag again after the configuration changed: as long as nothing of it was published, for any
    // distribution.
    const before = highest === undefined ? undefined : queue.get(highest.job);
    const again =
      highest?.tagObject === tag.tagObject &&
      highest.version === tag.version &&
      before !== undefined &&
      isOver(before) &&
      before.state !== 'done' &&
      publicUploads(before).length === 0;
    if (again) return { fresh: tag };
    const order = highest === undefined ? 1 : compareVersions(tag.version, highest.version);
    if (order > 0) return { fresh: tag };
    if (refusedBefore !== undefined) return { known: refusedBefore };
    if (lightweight !== undefined) break;
    if (order === 0)
      throw new Refusal(
        'ROLLBACK',
        `${component.name} ${tag.version} was built already; a version is used once`,
      );
    throw new Refusal(
      'ROLLBACK',
      `${component.name}: the highest tag is ${tag.version}, but ${highest?.version} was built`,
    );
  }
  if (refusedBefore !== undefined) return { known: refusedBefore };
  throw new Refusal('NOT_ANNOTATED', `${component.name}: ${lightweight?.tag} is not an annotated tag`);
}

/** So many versions that nobody was told of are made good at once: a forge may show any number of tags. */
const missedLimit = 10;

/**
 * Version tags between what was verified last and what is built now: their webhooks were lost, or they came
 * with one push. Lowest first. Of a component of which nothing was verified yet, the newest version is
 * enough.
 */
export function missedTags(
  config: Config,
  component: Component,
  untrustedTags: readonly RemoteTag[],
  queue: JobQueue,
  below: string,
  line?: string,
): VersionTag[] {
  const highest = queue.highestOf(component, line);
  if (highest === undefined) return [];
  const known = new Set(
    queue
      .all()
      .filter((job) => job.component === component.name && job.env === config.env)
      .map((job) => `${job.tag} ${job.tagObject}`),
  );
  const between = versionTags(component, untrustedTags).filter(
    ({ tag, tagObject, version, annotated, line: its }) =>
      annotated &&
      its === line &&
      !known.has(`${tag} ${tagObject}`) &&
      compareVersions(version, highest.version) > 0 &&
      compareVersions(version, below) < 0,
  );
  return between.slice(0, missedLimit).reverse();
}

/**
 * So many tags of a component may wait to be verified, or have been refused, in a day: each is a job that is
 * kept and a log that is published, and whoever may push to the forge can make tags without end. People who
 * mistake a tag do not come near it.
 */
export const refusedLimit = 30;
const dayMs = 86_400_000;

/** How many more may be tried now. */
export function tagsLeft(component: Component, queue: JobQueue, now: Date): number {
  const since = new Date(now.getTime() - dayMs).toISOString();
  return (
    refusedLimit -
    queue
      .all()
      .filter(
        (job) =>
          job.kind === 'build' &&
          job.component === component.name &&
          job.evidence === null &&
          job.created > since,
      ).length
  );
}

export interface TriggerOptions {
  config: Config;
  queue: JobQueue;
  listTags: (url: string) => Promise<RemoteTag[]>;
  /** told of every listing, for people to see; it decides nothing */
  newestTags?: Pick<NewestTags, 'listed' | 'failed'>;
  now?: () => Date;
}

export class Trigger {
  readonly #options: TriggerOptions;
  /**
   * one listing at a time for a component, so that two callers do not race; and one that has not begun, which
   * is everybody's who comes meanwhile
   */
  readonly #running = new Map<string, Promise<TriggerAnswer>>();
  readonly #next = new Map<string, Promise<TriggerAnswer>>();

  constructor(options: TriggerOptions) {
    this.#options = options;
  }

  /** @throws Refusal UNKNOWN_COMPONENT, FORGE_UNREACHABLE, TOO_MANY_TAGS, and those of decide() */
  async trigger(untrustedComponent: string): Promise<TriggerAnswer> {
    const component = matches(plainNamePattern, untrustedComponent)
      ? this.#options.config.components.find((c) => c.name === untrustedComponent)
      : undefined;
    if (component === undefined)
      throw new Refusal('UNKNOWN_COMPONENT', 'no such component is configured here');
    return await this.#inTurn(component);
  }

  #inTurn(component: Component): Promise<TriggerAnswer> {
    const running = this.#running.get(component.name);
    if (running === undefined) {
      const mine = this.#run(component).finally(() => this.#running.delete(component.name));
      this.#running.set(component.name, mine);
      return mine;
    }
    const next =
      this.#next.get(component.name) ??
      running
        .then(
          () => undefined,
          () => undefined,
        )
        .then(() => {
          this.#next.delete(component.name);
          return this.#inTurn(component);
        });
    this.#next.set(component.name, next);
    return next;
  }

  async #run(component: Component): Promise<TriggerAnswer> {
    const { newestTags } = this.#options;
    const untrustedTags = await this.#options.listTags(component.url).catch((error: unknown) => {
      newestTags?.failed(component.name, error);
      throw error;
    });
    newestTags?.listed(component.name, versionTags(component, untrustedTags)[0]);
    const answers: TriggerAnswer[] = [];
    const refusals: unknown[] = [];
    // A line of which nothing is to be done is in no other one's way.
    for (const line of component.lines?.map(({ name }) => name) ?? [undefined]) {
      try {
        answers.push(this.#advance(component, untrustedTags, line));
      } catch (error) {
        if (!(error instanceof AnyRefusal)) throw error;
        refusals.push(error);
      }
    }
    const answer = answers.find(({ kind }) => kind === 'queued') ?? answers[0];
    if (answer === undefined) throw refusals[0];
    return answer;
  }

  /** One release line, or the whole component. */
  #advance(
    component: Component,
    untrustedTags: readonly RemoteTag[],
    line: string | undefined,
  ): TriggerAnswer {
    const { config, queue } = this.#options;
    const decision = decide(config, component, untrustedTags, queue, line);
    const add = (tag: VersionTag): string => {
      const job = newJob(config, component, tag, queue.nextNumber(), this.#options.now?.() ?? new Date());
      queue.add(job);
      return job.job;
    };
    const left = tagsLeft(component, queue, this.#options.now?.() ?? new Date());
    const missed = missedTags(
      config,
      component,
      untrustedTags,
      queue,
      'known' in decision ? decision.known.version : decision.fresh.version,
      line,
    );
    for (const tag of missed.slice(0, Math.max(0, 'known' in decision ? left : left - 1))) add(tag);
    if ('fresh' in decision && left <= 0)
      throw new Refusal(
        'TOO_MANY_TAGS',
        `${component.name}: ${refusedLimit} tags of the last day were refused, or are not verified yet`,
      );
    return 'known' in decision
      ? { kind: 'known', job: decision.known.job }
      : { kind: 'queued', job: add(decision.fresh) };
  }
}
