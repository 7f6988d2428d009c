// SPDX-License-Identifier: GPL-2.0-or-later
// The GitHub of the local farm, as a program of the forge. What it holds is in memory: it forgets when the forge is stopped.
import { createServer } from 'node:http';
import { GitHubServer } from './server.js';

export interface GitHubServing {
  port: number;
  /** of what is no part of GitHub's API: GET /violations, the requests that were not as GitHub describes them, as JSON */
  shownPort: number;
  token: string;
  /** whose token it is */
  account: string;
  repositories: readonly string[];
}

/** Serves until the process ends; says `ready <url>`. */
export async function serveGitHub({ port, shownPort, token, account, repositories }: GitHubServing): Promise<void> {
  const server = await GitHubServer.start({ token, account, port });
  for (const name of repositories) server.repository(name);
  const shown = createServer((request, response) => {
    response.writeHead(request.url === '/violations' ? 200 : 404, { 'content-type': 'application/json' });
    response.end(`${JSON.stringify(request.url === '/violations' ? server.violations : null)}\n`);
  });
  await new Promise<void>((listening) => shown.listen(shownPort, '127.0.0.1', listening));
  process.stdout.write(`ready ${server.url}\n`);
}
