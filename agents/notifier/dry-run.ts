// SPDX-License-Identifier: GPL-2.0-or-later
// Says what would be said. For a new configuration: nothing leaves the VM, and the outbox is not used up (the
// state is of this run only).
import { printable } from '../shared/refusal.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import type { Issue } from './github/answers.js';
import type { GitHub } from './github/client.js';

export function dryRun(account: string, report: Reporter): GitHub {
  const made = new Map<number, Issue>();
  const would = (what: string, text = ''): void => {
    report(`dry run: would ${what}`);
    for (const line of text.split('\n')) if (line !== '') report(`dry run: | ${printable(line)}`);
  };
  return {
    issue: async (_repository, number) => made.get(number),
    issues: async () => ({ found: [], more: false }),
    searchTitle: async () => [],
    createIssue: async (repository, { title, body, labels }) => {
      would(`open an issue in ${repository}: ${title} [${labels.join(', ')}]`, body);
      const issue: Issue = {
        number: made.size + 1,
        title,
        body,
        labels: [...labels],
        state: 'open',
        author: account,
        isPullRequest: false,
      };
      made.set(issue.number, issue);
      return issue;
    },
    replaceBody: async (repository, number, body) => {
      const issue = made.get(number);
      if (issue !== undefined) issue.body = body;
      would(`change the text of ${repository}#${number}`, body);
    },
    closeAsNotPlanned: async (repository, number) => would(`close ${repository}#${number}`),
    comments: async () => ({ found: [], more: false }),
    commentsSince: async () => ({ found: [], more: false }),
    createComment: async (repository, number, body) => {
      would(`comment on ${repository}#${number}`, body);
      return { id: 1, body, author: account };
    },
    addLabels: async (repository, number, labels) => {
      made.get(number)?.labels.push(...labels);
      would(`label ${repository}#${number} ${labels.join(', ')}`);
    },
    removeLabel: async (repository, number, label) => {
      const issue = made.get(number);
      if (issue !== undefined) issue.labels = issue.labels.filter((one) => one !== label);
      would(`take the label ${label} from ${repository}#${number}`);
    },
  };
}
