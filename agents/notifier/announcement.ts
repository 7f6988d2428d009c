// SPDX-License-Identifier: GPL-2.0-or-later
// Says one notification. Every step may be repeated: a kill between any two of them, and the same document
// once more, changes nothing.
//   1. the status issue is there     2. its comment     3. its labels     4. its commands     5. the issues
//      that its commits close     6. issues of versions that it replaced
import { Refusal } from './refusals.js';
import type { Notification } from '../shared/formats/notification.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import { ClosedIssues } from './closed-issues.js';
import type { NotifyConfig } from './config.js';
import type { Issue } from './github/answers.js';
import type { GitHub } from './github/client.js';
import { isStillStable, labelChange } from './labels.js';
import { bodyLimit, markerOf } from './markdown.js';
import { OwnComments } from './own-comments.js';
import { distributionsMarker } from './places.js';
import { statusIssue } from './status-issue.js';
import { subjectOf, type Subject } from './subject.js';
import type { SubjectState, SubjectStates } from './subject-state.js';
import { Superseded } from './superseded.js';
import { fill, type Templates } from './templates.js';
import { valuesOf, type Reference } from './texts.js';

export interface AnnouncementOptions {
  github: GitHub;
  config: NotifyConfig;
  templates: Templates;
  states: SubjectStates;
  now: () => Date;
  report: Reporter;
  /** whether the ledger knows a document as said */
  isDone: (key: string) => boolean;
}

class Announcement {
  readonly #subject: Subject;
  readonly #state: SubjectState;
  readonly #comments: OwnComments;

  constructor(
    readonly notification: Notification,
    readonly options: AnnouncementOptions,
  ) {
    this.#subject = subjectOf(notification, options.config);
    this.#state = options.states.read(this.#subject.id, this.#subject.title);
    if (this.#state.anew === true && this.#state.issue === null)
      options.report(
        `${this.#subject.title}: what was noted of it is damaged; it begins anew, from what GitHub shows`,
      );
    this.#comments = new OwnComments({
      github: options.github,
      config: options.config,
      state: this.#state,
      now: options.now,
      save: () => this.#save(),
    });
  }

  async say(): Promise<void> {
    const { notification, options } = this;
    // Only now, when the ledger has it on disk, are the marks of a document of no more use.
    this.#state.said = this.#state.said.filter(
      (mark) => mark === 'issue' || !options.isDone(mark.split(' ')[0] as string),
    );
    this.#noteLabels();
    const issue = await statusIssue(
      this.#subject,
      this.#state,
      { ...options, save: () => this.#save() },
      () => this.#newBody(),
    );
    await this.#comment(
      'status',
      { repository: options.config.repository, number: issue.number },
      this.#reportText(),
    );
    await this.#syncLabels(issue);
    await this.#syncCommands(issue);
    if (notification.event === 'uploaded' || notification.event === 'withdrawn')
      await new ClosedIssues(notification, this.#subject, { ...options, comments: this.#comments }).tell();
    if (notification.event === 'uploaded' || notification.event === 'failed') await this.#closeSuperseded();
  }

  #save(): void {
    this.options.states.write(this.#subject.id, this.#state);
  }

  /** What shall be, before anything is asked: the same however often it is computed. */
  #noteLabels(): void {
    const { labels } = this.#state;
    const { event, kind, repository } = this.notification;
    // A template or an image has the release's labels, whatever it is made for.
    const prefixes =
      kind === 'component' ? this.#subject.dists.map((dist) => dist.prefix) : [this.#subject.release];
    for (const prefix of prefixes) {
      const { add, remove } = labelChange(event, kind, prefix, this.#subject.release, repository);
      labels.known = [...new Set([...labels.known, ...add, ...remove])];
      labels.wanted = [...new Set([...labels.wanted.filter((label) => !remove.includes(label)), ...add])];
    }
    if (
      event === 'withdrawn' &&
      kind === 'component' &&
      !isStillStable(labels.wanted, this.#subject.release)
    ) {
      labels.wanted = labels.wanted.filter((label) => label !== this.#stable);
      labels.known = [...new Set([...labels.known, this.#stable])];
    }
    this.#save();
  }

  get #stable(): string {
    return `${this.#subject.release}-stable`;
  }

  #reportText(): string | undefined {
    const { event, kind } = this.notification;
    if (event === 'building') return undefined;
    const template = this.options.templates.find([
      `message-build-${event}-${kind}`,
      `message-build-${event}`,
    ]);
    return template === undefined
      ? undefined
      : fill(template, valuesOf(this.notification, this.#subject, this.options.config));
  }

  #newBody(): string {
    const { kind } = this.notification;
    const template =
      this.options.templates.find(
        kind === 'component'
          ? ['message-status-issue']
          : [`message-status-issue-${kind}`, 'message-status-issue'],
      ) ?? '';
    return `${fill(template, valuesOf(this.notification, this.#subject, this.options.config))}\n\n${this.#commands()}`;
  }

  /** This environment's part of the body: another VM's notifier keeps its own beside it. */
  #commands(): string {
    const [begin, end] = this.#fences();
    const values = valuesOf(this.notification, this.#subject, this.options.config);
    const template =
      values.COMMANDS === '' ? undefined : this.options.templates.find(['message-status-commands']);
    const lines = [
      begin,
      distributionsMarker(
        this.notification.kind === 'component' ? this.#subject.all.map((dist) => dist.place) : [],
      ),
      template === undefined ? '' : fill(template, values),
      end,
    ];
    return lines.filter((line, index) => line !== '' || index === 2).join('\n');
  }

  #fences(): [string, string] {
    return [
      markerOf(`commands of ${this.notification.env}`),
      markerOf(`end of commands of ${this.notification.env}`),
    ];
  }

  async #syncLabels(issue: Issue): Promise<void> {
    const { github, config } = this.options;
    const { wanted, known } = this.#state.labels;
    const missing = wanted.filter((label) => !issue.labels.includes(label));
    if (missing.length > 0) await github.addLabels(config.repository, issue.number, missing);
    const over = issue.labels.filter((one) => known.includes(one) && !wanted.includes(one));
    // Another environment's distributions may be stable still.
    const kept = isStillStable(
      issue.labels.filter((one) => !over.includes(one)),
      this.#subject.release,
    )
      ? over.filter((one) => one !== this.#stable)
      : over;
    for (const label of kept) await github.removeLabel(config.repository, issue.number, label);
  }

  /**
   * What others wrote into the body stays; ours is replaced whole. GitHub cannot replace a part, nor only
   * what was read: so it is read immediately before, and once more after, since another notifier may have
   * done the same in this moment.
   */
  async #syncCommands(issue: Issue): Promise<void> {
    const {
      github,
      config: { repository },
    } = this.options;
    // A job that failed before its source was verified has nothing to sign, and takes nothing away.
    if (this.notification.commit === null || this.#bodyFor(issue) === undefined) return;
    for (let times = 0; times < 2; times++) {
      const found = await github.issue(repository, issue.number);
      const wanted = found === undefined ? undefined : this.#bodyFor(found);
      if (wanted === undefined) return;
      await github.replaceBody(repository, issue.number, wanted);
    }
  }

  /** With our commands in it; undefined where there is nothing to change, or no room. */
  #bodyFor(issue: Issue): string | undefined {
    const [begin, end] = this.#fences();
    const body = issue.body.replace(/\r\n/g, '\n');
    const from = body.indexOf(begin);
    const to = body.indexOf(end, from);
    const commands = this.#commands();
    const wanted =
      from === -1 || to === -1
        ? `${body}\n\n${commands}`
        : `${body.slice(0, from)}${commands}${body.slice(to + end.length)}`;
    return wanted === body || wanted.length > bodyLimit ? undefined : wanted;
  }

  async #comment(what: string, target: Reference, text: string | undefined): Promise<void> {
    if (text !== undefined)
      await this.#comments.say(`${this.notification.key} ${what}`, this.notification.key, target, text);
  }

  async #closeSuperseded(): Promise<void> {
    const { notification, options } = this;
    if (notification.kind === 'iso') return;
    const template = options.templates.find(['message-status-superseded']);
    const textOf = (newer: { version: string; issue: number }): string | undefined =>
      template === undefined
        ? undefined
        : fill(template, {
            ...valuesOf(notification, this.#subject, options.config),
            NEWER: `\`${newer.version}\` (#${newer.issue})`,
          });
    await new Superseded(notification, this.#subject, {
      ...options,
      state: this.#state,
      comments: this.#comments,
      save: () => this.#save(),
      textOf,
    }).close();
  }
}

/** @throws GitHubTrouble; Refusal UNKNOWN_DISTRIBUTION */
export async function announce(notification: Notification, options: AnnouncementOptions): Promise<void> {
  if (notification.event === 'uploaded' && notification.repository === null)
    throw new Refusal('BAD_DOCUMENT', 'an upload names no repository', 'repository');
  await new Announcement(notification, options).say();
}
