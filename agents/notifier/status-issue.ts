// SPDX-License-Identifier: GPL-2.0-or-later
// The one issue of a component's version: found by a marker in what our own account wrote, open or closed, or
// made. Others write in the same repository: an issue that somebody else opened is never ours, whatever
// stands in it.
import type { Issue } from './github/answers.js';
import type { GitHub } from './github/client.js';
import { bodyLimit, markerOf } from './markdown.js';
import type { Subject } from './subject.js';
import { once, type SubjectState } from './subject-state.js';
import type { NotifyConfig } from './config.js';
import type { Reporter } from '../shared/calls/socket-service.js';

export interface StatusIssueOptions {
  github: GitHub;
  config: NotifyConfig;
  now: () => Date;
  report: Reporter;
  save: () => void;
}

// 100 issues a page: what is not among the newest thousand is asked of GitHub's search.
const pagesLimit = 10;

export const sameAccount = (login: string, account: string): boolean =>
  login.toLowerCase() === account.toLowerCase();

export function isOurs(issue: Issue, subject: Pick<Subject, 'id'>, config: NotifyConfig): boolean {
  return (
    !issue.isPullRequest &&
    sameAccount(issue.author, config.account) &&
    issue.body.includes(markerOf(`status ${subject.id}`))
  );
}

/** The oldest of ours: all notifiers that look agree on it. */
const oldest = (issues: readonly Issue[]): Issue | undefined =>
  issues.reduce<Issue | undefined>(
    (first, issue) => (first === undefined || issue.number < first.number ? issue : first),
    undefined,
  );

async function find(subject: Subject, { github, config }: StatusIssueOptions): Promise<Issue | undefined> {
  const found: Issue[] = [];
  for (let page = 1; page <= pagesLimit; page++) {
    const { found: listed, more } = await github.issues(config.repository, page);
    found.push(...listed.filter((issue) => isOurs(issue, subject, config)));
    // Two notifiers may have made one each at the same time, never a page apart.
    if (found.length > 0 || !more) return oldest(found);
  }
  return oldest(
    (await github.searchTitle(config.repository, subject.title)).filter((issue) =>
      isOurs(issue, subject, config),
    ),
  );
}

/**
 * Another VM's notifier may have made the same issue in the same moment: both see both, and both keep the
 * older one.
 */
async function leaveIfSecond(
  issue: Issue,
  subject: Subject,
  state: SubjectState,
  options: StatusIssueOptions,
): Promise<Issue> {
  const { github, config } = options;
  const first = oldest(
    (await github.issues(config.repository, 1)).found.filter((one) => isOurs(one, subject, config)),
  );
  if (first === undefined || first.number >= issue.number) return issue;
  options.report(`${subject.title}: #${issue.number} is a second one beside #${first.number} and is closed`);
  await github.closeAsNotPlanned(config.repository, issue.number);
  state.issue = first.number;
  options.save();
  return first;
}

/** @param bodyOf the body of a new issue, without the marker @throws GitHubTrouble */
export async function statusIssue(
  subject: Subject,
  state: SubjectState,
  options: StatusIssueOptions,
  bodyOf: () => string,
): Promise<Issue> {
  const { github, config } = options;
  if (state.issue !== null) {
    const issue = await github.issue(config.repository, state.issue);
    // Deleted, moved to another repository, or the number is of another repository that was configured
    // before.
    if (issue !== undefined && isOurs(issue, subject, config)) {
      if (state.alone) return issue;
      const kept = await leaveIfSecond(issue, subject, state, options);
      state.alone = true;
      options.save();
      return kept;
    }
    options.report(`${subject.title}: #${state.issue} is no more ours`);
    Object.assign(state, { issue: null, alone: false, said: state.said.filter((mark) => mark !== 'issue') });
    options.save();
  }
  const issue = await find(subject, options);
  if (issue === undefined) {
    state.said = state.said.filter((mark) => mark !== 'issue');
    const made = await once<Issue>(state, 'issue', {
      now: options.now(),
      save: options.save,
      // It was looked for a moment ago; only the time has to pass.
      find: async () => undefined,
      make: async () => {
        const created = await github.createIssue(config.repository, {
          title: subject.title,
          body: `${bodyOf().slice(0, bodyLimit)}\n\n${markerOf(`status ${subject.id}`)}`,
          labels: state.labels.wanted,
        });
        state.issue = created.number;
        return created;
      },
    });
    if (made === undefined) throw new Error('an issue was made and is not known');
    return leaveIfSecond(made, subject, state, options);
  }
  Object.assign(state, { issue: issue.number, alone: true });
  if (!state.said.includes('issue')) state.said.push('issue');
  delete state.begun['issue'];
  options.save();
  return issue;
}
