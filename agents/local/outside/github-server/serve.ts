// SPDX-License-Identifier: GPL-2.0-or-later
// The GitHub of the local farm, as a program of the forge. What it holds is in memory: it forgets when the
// forge is stopped.
import { createServer } from 'node:http';
import { GitHubServer } from './server.js';

export interface GitHubServing {
  port: number;
  /**
   * of what is no part of GitHub's API: GET / shows every issue as plain text, GET /violations the requests
   * that were not as GitHub describes them, as JSON
   */
  shownPort: number;
  token: string;
  /** whose token it is */
  account: string;
  repositories: readonly string[];
}

/** Plain text: whatever somebody wrote there means nothing to a browser. */
function asText(server: GitHubServer): string {
  return [...server.store.repositories.values()]
    .flatMap(({ name, issues }) =>
      issues.map((issue) =>
        [
          `${name}#${issue.number} ${issue.title} (${issue.state})`,
          `labels: ${issue.labels.toSorted().join(' ')}`,
          '',
          issue.body,
          ...issue.comments.map(({ author, at, body }) => `-- ${author}, ${at}\n${body}`),
        ].join('\n'),
      ),
    )
    .join('\n\n========\n\n');
}

/** Serves until the process ends; says `ready <url>`. */
export async function serveGitHub({
  port,
  shownPort,
  token,
  account,
  repositories,
}: GitHubServing): Promise<void> {
  const server = await GitHubServer.start({ token, account, port });
  for (const name of repositories) server.repository(name);
  const shown = createServer((request, response) => {
    const [type, text] =
      request.url === '/violations'
        ? ['application/json', JSON.stringify(server.violations)]
        : ['text/plain; charset=utf-8', asText(server)];
    response.writeHead(200, { 'content-type': type, 'x-content-type-options': 'nosniff' });
    response.end(`${text}\n`);
  });
  await new Promise<void>((listening) => shown.listen(shownPort, '127.0.0.1', listening));
  process.stdout.write(`ready ${server.url}\n`);
}
