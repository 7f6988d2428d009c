// SPDX-License-Identifier: GPL-2.0-or-later
// Issues that a job's commits close: told when its package is uploaded, and when it is withdrawn. A courtesy
// to whoever follows them: where we are not let in, that is said in our journal and the rest goes on.
import { compareVersions } from '../shared/formats/version-order.js';
import type { Notification } from '../shared/formats/notification.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import type { NotifyConfig } from './config.js';
import type { GitHub } from './github/client.js';
import { GitHubTrouble } from './github/trouble.js';
import { announcedAs, isStillStable, labelChange } from './labels.js';
import type { OwnComments } from './own-comments.js';
import { versionOfTitle, type NotifiedDist, type Subject } from './subject.js';
import type { SubjectStates } from './subject-state.js';
import { fill, messageNames, type Templates } from './templates.js';
import { referencesLimit, referencesOf, valuesOf, type Reference } from './texts.js';

export interface ClosedIssuesOptions {
  github: GitHub;
  config: NotifyConfig;
  templates: Templates;
  states: SubjectStates;
  comments: OwnComments;
  report: Reporter;
}

export class ClosedIssues {
  readonly #notification: Notification;
  readonly #subject: Subject;
  readonly #options: ClosedIssuesOptions;

  constructor(notification: Notification, subject: Subject, options: ClosedIssuesOptions) {
    this.#notification = notification;
    this.#subject = subject;
    this.#options = options;
  }

  /** @throws GitHubTrouble, but for an answer "no" */
  async tell(): Promise<void> {
    const { event, repository } = this.#notification;
    const announced = event === 'withdrawn' ? 'withdrawn' : announcedAs(repository ?? '');
    // What a higher version still brings is not taken back.
    const dists = this.#subject.dists.filter(
      (dist) => event !== 'withdrawn' || !this.#hasHigherVersion(dist.prefix),
    );
    if (announced === undefined) return;
    const references = referencesOf(this.#notification, this.#options.config);
    for (const reference of references.slice(0, referencesLimit))
      await this.#tellOne(reference, announced, dists);
    if (references.length > referencesLimit)
      this.#options.report(
        `${this.#subject.title}: its commits close ${references.length} issues, ${referencesLimit} of them were told`,
      );
  }

  async #tellOne(
    reference: Reference,
    announced: 'current-testing' | 'stable' | 'withdrawn',
    dists: readonly NotifiedDist[],
  ): Promise<void> {
    const { github } = this.#options;
    const { event, kind, repository } = this.#notification;
    for (const dist of dists) {
      if (!(await this.#courteously(reference, () => this.#comment(reference, announced, dist)))) return;
      const { add, remove } = labelChange(event, kind, dist.prefix, this.#subject.release, repository);
      if (
        add.length > 0 &&
        !(await this.#courteously(reference, () =>
          github.addLabels(reference.repository, reference.number, add),
        ))
      )
        return;
      // Building and failed stand on status issues only.
      for (const label of event === 'withdrawn'
        ? remove
        : remove.filter((one) => /-(?:cur-test|sec-test|testing)$/.test(one))) {
        await this.#courteously(reference, () =>
          github.removeLabel(reference.repository, reference.number, label),
        );
      }
    }
    if (event === 'withdrawn' && dists.length > 0)
      await this.#courteously(reference, () => this.#unlessStable(reference));
  }

  async #comment(
    reference: Reference,
    announced: 'current-testing' | 'stable' | 'withdrawn',
    dist: NotifiedDist,
  ): Promise<void> {
    const { templates, config, comments } = this.#options;
    const { kind, key } = this.#notification;
    const template =
      kind === 'component'
        ? templates.find(
            messageNames(
              announced,
              dist.packageSet,
              dist.label.slice(dist.packageSet.length + 1),
              dist.family,
            ),
          )
        : undefined;
    if (template === undefined) return;
    const text = fill(template, valuesOf(this.#notification, { ...this.#subject, dists: [dist] }, config));
    await comments.say(
      `${key} ${reference.repository}#${reference.number} ${dist.prefix}`,
      key,
      reference,
      text,
    );
  }

  /** The label of the release stands as long as that of any distribution does. */
  async #unlessStable({ repository, number }: Reference): Promise<void> {
    const { github } = this.#options;
    const labels = (await github.issue(repository, number))?.labels ?? [];
    const stable = `${this.#subject.release}-stable`;
    if (labels.includes(stable) && !isStillStable(labels, this.#subject.release))
      await github.removeLabel(repository, number, stable);
  }

  #hasHigherVersion(prefix: string): boolean {
    return this.#options.states.all().some(({ title, labels }) => {
      const version = versionOfTitle(title, this.#notification, this.#subject.release);
      return (
        version !== undefined &&
        compareVersions(version, this.#notification.version) > 0 &&
        ['cur-test', 'sec-test', 'testing', 'stable'].some((word) =>
          labels.wanted.includes(`${prefix}-${word}`),
        )
      );
    });
  }

  async #courteously(reference: Reference, step: () => Promise<void>): Promise<boolean> {
    try {
      await step();
      return true;
    } catch (error) {
      if (!(error instanceof GitHubTrouble) || error.kind !== 'no') throw error;
      this.#options.report(
        `${this.#subject.title}: nothing said on ${reference.repository}#${reference.number}: ${error.message}`,
      );
      return false;
    }
  }
}
