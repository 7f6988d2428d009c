// SPDX-License-Identifier: GPL-2.0-or-later
// Issues as somebody sees them who looks at the local GitHub: read through its API, as a browser's page would
// be made from it.

export interface SeenIssue {
  number: number;
  title: string;
  state: string;
  labels: string[];
  body: string;
  comments: { author: string; body: string }[];
}

export class GitHubIssues {
  readonly #at: { port: number; shownPort: number; token: string };

  constructor(at: { port: number; shownPort: number; token: string }) {
    this.#at = at;
  }

  /** The issue whose title begins so, with its comments; undefined where there is none. */
  async titled(repository: string, start: string): Promise<SeenIssue | undefined> {
    const issues = (await this.#get(`/repos/${repository}/issues?state=all&per_page=100`)) as {
      number: number;
      title: string;
      state: string;
      body: string;
      labels: { name: string }[];
    }[];
    const issue = issues.find(({ title }) => title.startsWith(start));
    if (issue === undefined) return undefined;
    const comments = (await this.#get(
      `/repos/${repository}/issues/${issue.number}/comments?per_page=100`,
    )) as { body: string; user: { login: string } }[];
    return {
      number: issue.number,
      title: issue.title,
      state: issue.state,
      body: issue.body,
      labels: issue.labels.map(({ name }) => name).sort(),
      comments: comments.map(({ body, user }) => ({ author: user.login, body })),
    };
  }

  /** Requests so far that were not as GitHub describes them. */
  async violations(): Promise<string[]> {
    return (await (await fetch(`http://127.0.0.1:${this.#at.shownPort}/violations`)).json()) as string[];
  }

  async #get(path: string): Promise<unknown> {
    const answer = await fetch(`http://127.0.0.1:${this.#at.port}${path}`, {
      headers: {
        accept: 'application/vnd.github+json',
        authorization: `Bearer ${this.#at.token}`,
        'user-agent': 'build-infra-local',
      },
    });
    if (!answer.ok) throw new Error(`the local GitHub answered ${answer.status} to ${path}`);
    return await answer.json();
  }
}
