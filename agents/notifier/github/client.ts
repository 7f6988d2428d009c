// SPDX-License-Identifier: GPL-2.0-or-later
// The few calls of GitHub's API that the notifier makes, spelled by GitHub's own package (@octokit/endpoint),
// spoken by exchange.ts.
import { endpoint } from '@octokit/endpoint';
import { Refusal } from '../refusals.js';
import {
  readComment,
  readComments,
  readFoundIssues,
  readIssue,
  readIssues,
  readPlacedComments,
  type Comment,
  type Issue,
  type PlacedComment,
} from './answers.js';
import { exchange, type Answer, type Exchanged, type ExchangeLimits } from './exchange.js';
import type { Clock } from '../../shared/clock.js';
import type { Pace } from './pace.js';
import { GitHubTrouble, troubleOf } from './trouble.js';

export const pageSize = 100;

/** All @throws GitHubTrouble. A repository is `owner/name`. */
export interface GitHub {
  /** undefined: there is none (any more), or none that we may see */
  issue: (repository: string, number: number) => Promise<Issue | undefined>;
  /** newest first; page counts from 1 */
  issues: (
    repository: string,
    page: number,
    state?: 'all' | 'open',
  ) => Promise<{ found: Issue[]; more: boolean }>;
  /** open and closed ones whose title holds these words; GitHub's index may lag */
  searchTitle: (repository: string, words: string) => Promise<Issue[]>;
  createIssue: (
    repository: string,
    issue: { title: string; body: string; labels: string[] },
  ) => Promise<Issue>;
  replaceBody: (repository: string, number: number, body: string) => Promise<void>;
  closeAsNotPlanned: (repository: string, number: number) => Promise<void>;
  /** oldest first */
  comments: (
    repository: string,
    number: number,
    page: number,
  ) => Promise<{ found: Comment[]; more: boolean }>;
  /** of all issues, oldest first; none where we may not see the repository */
  commentsSince: (
    repository: string,
    since: Date,
    page: number,
  ) => Promise<{ found: PlacedComment[]; more: boolean }>;
  createComment: (repository: string, number: number, body: string) => Promise<Comment>;
  /** labels that the repository does not have are made */
  addLabels: (repository: string, number: number, labels: string[]) => Promise<void>;
  /** also when it is not there */
  removeLabel: (repository: string, number: number, label: string) => Promise<void>;
}

export interface ClientOptions {
  baseUrl: string;
  /** asked for at each request: a person may replace the file */
  token: () => string;
  limits: ExchangeLimits;
  pace: Pace;
  clock: Clock;
}

const apart = (repository: string): { owner: string; repo: string } => {
  const [owner, repo] = repository.split('/') as [string, string];
  return { owner, repo };
};

interface Made {
  method: string;
  url: string;
  headers: Record<string, string | number | undefined>;
  body?: unknown;
}

export function githubClient(options: ClientOptions): GitHub {
  const make = endpoint.defaults({
    baseUrl: options.baseUrl,
    headers: {
      accept: 'application/vnd.github+json',
      'user-agent': 'build-infra-notifier',
      'x-github-api-version': '2022-11-28',
    },
  });

  async function ask(made: Made): Promise<Answer> {
    if (!made.url.startsWith(`${options.baseUrl}/`)) throw new Error('a request would leave the API');
    await options.pace.turn(made.method);
    const headers = Object.fromEntries(
      Object.entries(made.headers).flatMap(([name, value]) =>
        value === undefined ? [] : [[name, String(value)]],
      ),
    );
    const body = made.body === undefined ? undefined : JSON.stringify(made.body);
    let token: string;
    try {
      token = options.token();
    } catch (error) {
      throw error instanceof Refusal ? new GitHubTrouble('token', error.code, error.detail) : error;
    }
    const request: Exchanged = {
      method: made.method,
      url: made.url,
      headers: {
        ...headers,
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json; charset=utf-8' }),
      },
      ...(body === undefined ? {} : { body }),
    };
    let answer: Answer;
    try {
      answer = await exchange(request, options.limits);
    } catch (error) {
      if (error instanceof Refusal) throw new GitHubTrouble('later', error.code, error.detail);
      throw error;
    }
    let trouble = troubleOf(answer, new Date(options.clock.wall()));
    // An answer may hold anything, also what was sent.
    if (
      trouble !== undefined &&
      [trouble.message, answer.body.toString('latin1')].some((said) => said.includes(token.slice(0, 20)))
    )
      trouble = new GitHubTrouble(
        trouble.kind,
        trouble.code,
        `GitHub answered ${trouble.status} and repeats the token`,
        trouble.status,
        trouble.waitMs,
      );
    options.pace.heard(answer, trouble);
    if (trouble !== undefined) throw trouble;
    return answer;
  }

  /**
   * A success whose content is not what GitHub answers is a stranger's, or a fault of theirs: nothing is
   * believed, all is tried again.
   */
  function content<T>(answer: Answer, read: (untrusted: unknown) => T): T {
    if (!/^application\/json\b/.test(answer.headers.get('content-type') ?? ''))
      throw new GitHubTrouble('later', 'BAD_ANSWER', 'the answer is not JSON', answer.status);
    try {
      return read(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(answer.body)));
    } catch (error) {
      throw new GitHubTrouble(
        'later',
        'BAD_ANSWER',
        error instanceof Refusal
          ? `the answer does not fit this API: ${error.field ?? ''} ${error.detail}`
          : 'the answer is not JSON',
        answer.status,
      );
    }
  }

  const absentAsUndefined = async <T>(asked: Promise<T>, absent: T, statuses = [404, 410]): Promise<T> => {
    try {
      return await asked;
    } catch (error) {
      if (error instanceof GitHubTrouble && statuses.includes(error.status)) return absent;
      throw error;
    }
  };
  const page = <T>(answer: Answer, read: (untrusted: unknown) => T[]): { found: T[]; more: boolean } => ({
    found: content(answer, read),
    more: /;\s*rel="next"/.test(answer.headers.get('link') ?? ''),
  });

  return {
    issue: (repository, number) =>
      absentAsUndefined(
        ask(
          make('GET /repos/{owner}/{repo}/issues/{issue_number}', {
            ...apart(repository),
            issue_number: number,
          }),
        ).then((answer) => content<Issue | undefined>(answer, readIssue)),
        undefined,
        // It was transferred to another repository, and is no more where it was. Of a repository with a new
        // name the lists say the same, and that is heard there.
        [301, 404, 410],
      ),
    issues: async (repository, number, state = 'all') =>
      page(
        await ask(
          make('GET /repos/{owner}/{repo}/issues', {
            ...apart(repository),
            state,
            sort: 'created',
            direction: 'desc',
            per_page: pageSize,
            page: number,
          }),
        ),
        readIssues,
      ),
    searchTitle: async (repository, words) =>
      content(
        await ask(
          make('GET /search/issues', {
            q: `repo:${repository} is:issue in:title "${words.replaceAll('"', '')}"`,
            per_page: pageSize,
          }),
        ),
        readFoundIssues,
      ),
    createIssue: async (repository, issue) =>
      content(
        await ask(make('POST /repos/{owner}/{repo}/issues', { ...apart(repository), ...issue })),
        readIssue,
      ),
    replaceBody: async (repository, number, body) => {
      await ask(
        make('PATCH /repos/{owner}/{repo}/issues/{issue_number}', {
          ...apart(repository),
          issue_number: number,
          body,
        }),
      );
    },
    closeAsNotPlanned: async (repository, number) => {
      await ask(
        make('PATCH /repos/{owner}/{repo}/issues/{issue_number}', {
          ...apart(repository),
          issue_number: number,
          state: 'closed',
          state_reason: 'not_planned',
        }),
      );
    },
    comments: async (repository, number, which) =>
      page(
        await ask(
          make('GET /repos/{owner}/{repo}/issues/{issue_number}/comments', {
            ...apart(repository),
            issue_number: number,
            per_page: pageSize,
            page: which,
          }),
        ),
        readComments,
      ),
    commentsSince: (repository, since, which) =>
      absentAsUndefined(
        ask(
          make('GET /repos/{owner}/{repo}/issues/comments', {
            ...apart(repository),
            sort: 'created',
            direction: 'asc',
            since: since.toISOString().replace(/\.[0-9]+Z$/, 'Z'),
            per_page: pageSize,
            page: which,
          }),
        ).then((answer) => page(answer, readPlacedComments)),
        { found: [], more: false },
      ),
    createComment: async (repository, number, body) =>
      content(
        await ask(
          make('POST /repos/{owner}/{repo}/issues/{issue_number}/comments', {
            ...apart(repository),
            issue_number: number,
            body,
          }),
        ),
        readComment,
      ),
    addLabels: async (repository, number, labels) => {
      await ask(
        make('POST /repos/{owner}/{repo}/issues/{issue_number}/labels', {
          ...apart(repository),
          issue_number: number,
          labels,
        }),
      );
    },
    removeLabel: (repository, number, label) =>
      absentAsUndefined(
        ask(
          make('DELETE /repos/{owner}/{repo}/issues/{issue_number}/labels/{name}', {
            ...apart(repository),
            issue_number: number,
            name: label,
          }),
        ).then(() => undefined),
        undefined,
      ),
  };
}
