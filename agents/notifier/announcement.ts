// SPDX-License-Identifier: GPL-2.0-or-later
// Says one notification. Every step may be repeated: a kill between any two of them, and the same document once more, changes nothing.
//   1. the status issue is there     2. its comment     3. its labels     4. its commands     5. the issues that its commits close
import { Refusal } from '../shared/refusal.js';
import type { Notification } from '../shared/formats/notification.js';
import type { Reporter } from '../shared/socket-service.js';
import type { NotifyConfig } from './config.js';
import type { Comment, Issue } from './github/answers.js';
import type { GitHub } from './github/client.js';
import { GitHubTrouble } from './github/trouble.js';
import { announcedAs, labelChange } from './labels.js';
import { bodyLimit, markerOf } from './markdown.js';
import { sameAccount, statusIssue } from './status-issue.js';
import { subjectOf, type Subject } from './subject.js';
import { once, type SubjectState, type SubjectStates } from './subject-state.js';
import { fill, messageNames, type Templates } from './templates.js';
import { referencesOf, valuesOf, type Reference } from './texts.js';

export interface AnnouncementOptions {
  github: GitHub;
  config: NotifyConfig;
  templates: Templates;
  states: SubjectStates;
  now(): Date;
  report: Reporter;
  /** whether the ledger knows a document as said */
  isDone(key: string): boolean;
}

const commentPagesLimit = 30;

class Announcement {
  readonly #subject: Subject;
  readonly #state: SubjectState;

  constructor(readonly notification: Notification, readonly options: AnnouncementOptions) {
    this.#subject = subjectOf(notification, options.config);
    this.#state = options.states.read(this.#subject.id, this.#subject.title);
  }

  async say(): Promise<void> {
    const { notification, options } = this;
    // Only now, when the ledger has it on disk, are the marks of a document of no more use.
    this.#state.said = this.#state.said.filter((mark) => mark === 'issue' || !options.isDone(mark.split(' ')[0] as string));
    this.#noteLabels();
    const issue = await statusIssue(this.#subject, this.#state, { ...options, save: () => this.#save() }, () => this.#newBody());
    await this.#comment('status', { repository: options.config.repository, number: issue.number }, this.#reportText());
    await this.#syncLabels(issue);
    await this.#syncCommands(issue);
    if (notification.event === 'uploaded') for (const reference of referencesOf(notification, options.config)) await this.#tellReference(reference);
  }

  #save(): void {
    this.options.states.write(this.#subject.id, this.#state);
  }

  /** What shall be, before anything is asked: the same however often it is computed. */
  #noteLabels(): void {
    const { labels } = this.#state;
    const { event, kind, repository } = this.notification;
    // A template or an image has the release's labels, whatever it is made for.
    const prefixes = kind === 'component' ? this.#subject.dists.map((dist) => dist.prefix) : [this.#subject.release];
    for (const prefix of prefixes) {
      const { add, remove } = labelChange(event, kind, prefix, this.#subject.release, repository);
      labels.known = [...new Set([...labels.known, ...add, ...remove])];
      labels.wanted = [...new Set([...labels.wanted.filter((label) => !remove.includes(label)), ...add])];
    }
    this.#save();
  }

  #reportText(): string | undefined {
    const { event, kind } = this.notification;
    if (event === 'building') return undefined;
    const template = this.options.templates.find([`message-build-${event}-${kind}`, `message-build-${event}`]);
    return template === undefined ? undefined : fill(template, valuesOf(this.notification, this.#subject, this.options.config));
  }

  #newBody(): string {
    const { kind } = this.notification;
    const template = this.options.templates.find(kind === 'component' ? ['message-status-issue'] : [`message-status-issue-${kind}`, 'message-status-issue']) ?? '';
    return `${fill(template, valuesOf(this.notification, this.#subject, this.options.config))}\n\n${this.#commands()}`;
  }

  /** This environment's part of the body: another VM's notifier keeps its own beside it. */
  #commands(): string {
    const [begin, end] = this.#fences();
    const values = valuesOf(this.notification, this.#subject, this.options.config);
    const template = values.COMMANDS === '' ? undefined : this.options.templates.find(['message-status-commands']);
    return `${begin}\n${template === undefined ? '' : fill(template, values)}\n${end}`;
  }

  #fences(): [string, string] {
    return [markerOf(`commands of ${this.notification.env}`), markerOf(`end of commands of ${this.notification.env}`)];
  }

  async #syncLabels(issue: Issue): Promise<void> {
    const { github, config } = this.options;
    const { wanted, known } = this.#state.labels;
    const missing = wanted.filter((label) => !issue.labels.includes(label));
    if (missing.length > 0) await github.addLabels(config.repository, issue.number, missing);
    for (const label of issue.labels.filter((one) => known.includes(one) && !wanted.includes(one))) await github.removeLabel(config.repository, issue.number, label);
  }

  /** What people wrote into the body stays; ours is replaced whole. */
  async #syncCommands(issue: Issue): Promise<void> {
    // A job that failed before its source was verified has nothing to sign, and takes nothing away.
    if (this.notification.commit === null) return;
    const [begin, end] = this.#fences();
    const body = issue.body.replace(/\r\n/g, '\n');
    const from = body.indexOf(begin);
    const to = body.indexOf(end, from);
    const commands = this.#commands();
    const wanted = from === -1 || to === -1 ? `${body}\n\n${commands}` : `${body.slice(0, from)}${commands}${body.slice(to + end.length)}`;
    if (wanted === body || wanted.length > bodyLimit) return;
    await this.options.github.replaceBody(this.options.config.repository, issue.number, wanted);
  }

  async #comment(what: string, target: Reference, text: string | undefined): Promise<void> {
    if (text === undefined) return;
    const { github, now } = this.options;
    const marker = markerOf(this.notification.key);
    await once<Comment>(this.#state, `${this.notification.key} ${what}`, {
      now: now(), save: () => this.#save(),
      find: () => this.#findComment(target, marker),
      make: () => github.createComment(target.repository, target.number, `${text.slice(0, bodyLimit)}\n\n${marker}`),
    });
  }

  /** All of them: whose clock is right, theirs or ours, must not decide. */
  async #findComment(target: Reference, marker: string): Promise<Comment | undefined> {
    const { github, config } = this.options;
    for (let page = 1; page <= commentPagesLimit; page++) {
      const { found, more } = await github.comments(target.repository, target.number, page);
      const ours = found.find((comment) => sameAccount(comment.author, config.account) && comment.body.includes(marker));
      if (ours !== undefined || !more) return ours;
    }
    return undefined;
  }

  /** A courtesy to whoever follows that issue: where we are not let in, that is said in our journal and the rest goes on. */
  async #tellReference(reference: Reference): Promise<void> {
    const { github, templates, config, report } = this.options;
    const where = `${reference.repository}#${reference.number}`;
    const announced = announcedAs(this.notification.repository ?? '');
    if (announced === undefined) return;
    const courteously = async (step: () => Promise<void>): Promise<boolean> => {
      try {
        await step();
        return true;
      } catch (error) {
        if (!(error instanceof GitHubTrouble) || error.kind !== 'no') throw error;
        report(`${this.#subject.title}: nothing said on ${where}: ${error.message}`);
        return false;
      }
    };
    for (const dist of this.#subject.dists) {
      const template = this.notification.kind === 'component' ? templates.find(messageNames(announced, dist.packageSet, dist.label.slice(dist.packageSet.length + 1), dist.family)) : undefined;
      const text = template === undefined ? undefined : fill(template, valuesOf(this.notification, { ...this.#subject, dists: [dist] }, config));
      if (!await courteously(() => this.#comment(`${where} ${dist.prefix}`, reference, text))) return;
      const { add, remove } = labelChange('uploaded', this.notification.kind, dist.prefix, this.#subject.release, this.notification.repository);
      if (add.length > 0 && !await courteously(() => github.addLabels(reference.repository, reference.number, add))) return;
      // Building and failed stand on status issues only.
      for (const label of remove.filter((one) => /-(?:cur-test|sec-test|testing)$/.test(one))) await courteously(() => github.removeLabel(reference.repository, reference.number, label));
    }
  }
}

/** @throws GitHubTrouble; Refusal UNKNOWN_DISTRIBUTION */
export async function announce(notification: Notification, options: AnnouncementOptions): Promise<void> {
  if (notification.event === 'uploaded' && notification.repository === null) throw new Refusal('BAD_DOCUMENT', 'an upload names no repository', 'repository');
  await new Announcement(notification, options).say();
}
