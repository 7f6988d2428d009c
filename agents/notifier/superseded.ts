// SPDX-License-Identifier: GPL-2.0-or-later
// Closes the status issues of versions that a newer one has replaced wherever they were. What lies on GitHub
// decides, not what this notifier remembers: several environments speak in one issue, and whoever comes last
// sees all of it.
import { compareVersions } from '../shared/formats/version-order.js';
import type { Notification } from '../shared/formats/notification.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import type { NotifyConfig } from './config.js';
import type { Issue } from './github/answers.js';
import type { GitHub } from './github/client.js';
import { GitHubTrouble } from './github/trouble.js';
import type { OwnComments } from './own-comments.js';
import { placesOf, supersedes, type Places } from './places.js';
import { isOurs } from './status-issue.js';
import { subjectId, versionOfTitle, type Subject } from './subject.js';
import type { SubjectState, SubjectStates } from './subject-state.js';

export interface SupersededOptions {
  github: GitHub;
  config: NotifyConfig;
  states: SubjectStates;
  state: SubjectState;
  comments: OwnComments;
  report: Reporter;
  save: () => void;
  /** what is said on the older one's issue; undefined: nothing */
  textOf: (newer: { version: string; issue: number }) => string | undefined;
}

/** One version's issue. */
interface Told {
  id: string;
  version: string;
  issue: Issue;
  /** with what is missing there */
  speaksOf: Places;
  /** where it lies */
  liesIn: Places;
}

// 100 issues a page: who leaves more than a thousand open closes the older ones by hand.
const pagesLimit = 10;

export class Superseded {
  readonly #notification: Notification;
  readonly #subject: Subject;
  readonly #options: SupersededOptions;

  constructor(notification: Notification, subject: Subject, options: SupersededOptions) {
    this.#notification = notification;
    this.#subject = subject;
    this.#options = options;
  }

  /**
   * After an upload or a failure was said. Repeated, it changes nothing. @throws GitHubTrouble, but for an
   * answer "no": an issue that stays open does no harm
   */
  async close(): Promise<void> {
    const told = await this.#told();
    for (const older of told.filter(({ issue }) => issue.state === 'open')) {
      const newer = told.findLast(
        (one) =>
          compareVersions(one.version, older.version) > 0 &&
          supersedes(this.#notification.kind, one.liesIn, older.speaksOf),
      );
      if (newer !== undefined) await this.#closeOne(older, newer);
    }
  }

  /** All open ones of this component and release, and the one that was spoken of now; by version. */
  async #told(): Promise<Told[]> {
    const { github, config, state } = this.#options;
    const found = new Map<string, Told>();
    for (let page = 1; page <= pagesLimit; page++) {
      const { found: listed, more } = await github.issues(config.repository, page, 'open');
      for (const issue of listed) {
        const one = this.#read(issue);
        if (one !== undefined) found.set(one.id, one);
      }
      if (!more) break;
    }
    // Alone, or nothing older or newer: most of the time. Else once more, since another environment may have
    // labelled it in this moment.
    if ([...found.keys()].every((id) => id === this.#subject.id)) return [];
    const issue = state.issue === null ? undefined : await github.issue(config.repository, state.issue);
    const own = issue === undefined ? undefined : this.#read(issue);
    if (own === undefined) return [];
    found.set(own.id, own);
    return [...found.values()].sort((a, b) => compareVersions(a.version, b.version));
  }

  #read(issue: Issue): Told | undefined {
    const { config, states } = this.#options;
    const { kind } = this.#notification;
    const version = versionOfTitle(issue.title, this.#notification, this.#subject.release);
    if (version === undefined) return undefined;
    const id = subjectId(config.repository, issue.title);
    if (!isOurs(issue, { id }, config)) return undefined;
    const { wanted, known } = id === this.#subject.id ? this.#options.state.labels : states.labelsOf(id);
    const labels = [...new Set([...issue.labels.filter((label) => !known.includes(label)), ...wanted])];
    const liesIn = placesOf(kind, this.#subject.release, labels);
    const speaksOf = new Map(
      [...placesOf(kind, this.#subject.release, known, issue.body).keys()].map(
        (prefix): [string, ReadonlySet<string>] => [prefix, new Set()],
      ),
    );
    return { id, version, issue, liesIn, speaksOf: new Map([...speaksOf, ...liesIn]) };
  }

  async #closeOne(older: Told, newer: Told): Promise<void> {
    const { github, config, state, comments, report, save, textOf } = this.#options;
    const { number } = older.issue;
    const target = { repository: config.repository, number };
    const what = `superseded ${older.id} by ${newer.id}`;
    const closed = `closed ${older.id} by ${newer.id}`;
    if (state.said.includes(closed)) return;
    try {
      // Said and open, and not by us just now: another environment is about to close it, or a person opened
      // it again.
      const isOurTurn =
        state.said.includes(what) ||
        Object.hasOwn(state.begun, what) ||
        (await comments.find(what, target)) === undefined;
      if (isOurTurn) {
        const text = textOf({ version: newer.version, issue: newer.issue.number });
        if (text !== undefined) await comments.say(what, what, target, text);
        await github.closeAsNotPlanned(config.repository, number);
        report(`${older.issue.title}: #${number} is closed, superseded by #${newer.issue.number}`);
      }
      state.said.push(closed);
      save();
    } catch (error) {
      if (!(error instanceof GitHubTrouble) || error.kind !== 'no') throw error;
      report(`${older.issue.title}: #${number} stays open: ${error.message}`);
    }
  }
}
