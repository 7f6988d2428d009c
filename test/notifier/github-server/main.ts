// SPDX-License-Identifier: GPL-2.0-or-later
// The test server as a program, for a farm that shows itself: `node out/test/notifier/github-server/main.js PORT TOKEN ACCOUNT OWNER/NAME...`.
// Says `ready <url>`; GET /violations and GET /shown/OWNER/NAME answer what it holds, as JSON.
import { createServer } from 'node:http';
import { GitHubServer } from './server.js';

const [port, token, account, ...repositories] = process.argv.slice(2);
if (port === undefined || token === undefined || account === undefined || repositories.length === 0) {
  process.stderr.write('usage: github-server PORT TOKEN ACCOUNT OWNER/NAME...\n');
  process.exit(2);
}
const server = await GitHubServer.start({ token, account, port: Number(port) });
for (const name of repositories) server.repository(name);
/** On the port after: what a person looks at is no part of GitHub's API. */
createServer((request, response) => {
  const shown = /^\/shown\/([^/]+\/[^/]+)$/.exec(request.url ?? '')?.[1];
  const answer = request.url === '/violations' ? server.violations : shown === undefined ? undefined : server.store.repositories.get(shown.toLowerCase())?.issues;
  response.writeHead(answer === undefined ? 404 : 200, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify(answer ?? null, null, 1)}\n`);
}).listen(Number(port) === 0 ? 0 : Number(port) + 1, '127.0.0.1', () => process.stdout.write(`ready ${server.url}\n`));
