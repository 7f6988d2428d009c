// SPDX-License-Identifier: GPL-2.0-or-later
// Comments of our own account, each with a marker by which it is found again: said once, over kills, lost
// answers and repetitions.
import type { NotifyConfig } from './config.js';
import type { Comment } from './github/answers.js';
import type { GitHub } from './github/client.js';
import { bodyLimit, markerOf } from './markdown.js';
import { sameAccount } from './status-issue.js';
import { once, type SubjectState } from './subject-state.js';
import type { Reference } from './texts.js';

export interface OwnCommentsOptions {
  github: GitHub;
  config: NotifyConfig;
  state: SubjectState;
  now: () => Date;
  save: () => void;
}

const pagesLimit = 30;

export class OwnComments {
  readonly #options: OwnCommentsOptions;

  constructor(options: OwnCommentsOptions) {
    this.#options = options;
  }

  /** @param mark under which it is remembered @param what that the marker says @throws GitHubTrouble */
  async say(mark: string, what: string, target: Reference, text: string): Promise<void> {
    const { github, state, now, save } = this.#options;
    await once<Comment>(state, mark, {
      now: now(),
      save,
      find: () => this.find(what, target),
      make: () =>
        github.createComment(
          target.repository,
          target.number,
          `${text.slice(0, bodyLimit)}\n\n${markerOf(what)}`,
        ),
    });
  }

  /** Among all of them: whose clock is right, theirs or ours, must not decide. */
  async find(what: string, target: Reference): Promise<Comment | undefined> {
    const { github, config } = this.#options;
    for (let page = 1; page <= pagesLimit; page++) {
      const { found, more } = await github.comments(target.repository, target.number, page);
      const ours = found.find(
        (comment) => sameAccount(comment.author, config.account) && comment.body.includes(markerOf(what)),
      );
      if (ours !== undefined || !more) return ours;
    }
    return undefined;
  }
}
