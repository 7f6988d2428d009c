// SPDX-License-Identifier: GPL-2.0-or-later
// The push and comment webhooks as GitHub sends them: its headers, HMAC-SHA256 over the raw body, a payload
// of its shape. https://docs.github.com/en/webhooks/webhook-events-and-payloads#push and #issue_comment
import { createHmac, randomUUID } from 'node:crypto';
import { request } from 'node:http';

export interface Push {
  /** owner/name */
  fullName: string;
  tag: string;
  tagObject: string;
  commit: string;
  pusher: { name: string; email: string };
}

export function githubPushPayload(push: Push): object {
  const [owner, name] = push.fullName.split('/') as [string, string];
  const at = new Date().toISOString();
  const url = `https://forge.example/${push.fullName}`;
  const person = { ...push.pusher, username: push.pusher.name };
  const commit = {
    id: push.commit,
    tree_id: push.commit,
    distinct: true,
    message: `${name} ${push.tag}`,
    timestamp: at,
    url: `${url}/commit/${push.commit}`,
    author: person,
    committer: person,
    added: [],
    removed: [],
    modified: [],
  };
  return {
    ref: `refs/tags/${push.tag}`,
    before: '0'.repeat(40),
    after: push.tagObject,
    base_ref: null,
    repository: {
      id: 1,
      node_id: 'R_1',
      name,
      full_name: push.fullName,
      private: false,
      owner: { name: owner, login: owner, id: 1, type: 'Organization', site_admin: false },
      html_url: url,
      description: null,
      fork: false,
      url,
      clone_url: `${url}.git`,
      ssh_url: `git@forge.example:${push.fullName}.git`,
      default_branch: 'main',
      master_branch: 'main',
    },
    pusher: push.pusher,
    sender: { login: push.pusher.name, id: 2, type: 'User', site_admin: false },
    created: true,
    deleted: false,
    forced: false,
    compare: `${url}/compare/${push.tag}`,
    commits: [],
    head_commit: commit,
  };
}

/** A new comment on an issue of `fullName`, by whoever. */
export function githubCommentPayload({
  fullName,
  body,
  author,
  issue = 1,
}: {
  fullName: string;
  body: string;
  author: string;
  issue?: number;
}): object {
  const [owner, name] = fullName.split('/') as [string, string];
  const at = new Date().toISOString();
  const url = `https://forge.example/${fullName}/issues/${issue}`;
  const person = { login: author, id: 2, type: 'User', site_admin: false };
  return {
    action: 'created',
    issue: {
      id: issue,
      number: issue,
      url,
      html_url: url,
      title: '',
      user: person,
      labels: [],
      state: 'open',
      locked: false,
      comments: 1,
      created_at: at,
      updated_at: at,
      body: null,
    },
    comment: {
      id: Number(process.hrtime.bigint() % 1_000_000_000n),
      url,
      html_url: url,
      user: person,
      created_at: at,
      updated_at: at,
      author_association: 'NONE',
      body,
    },
    repository: {
      id: 3,
      node_id: 'R_3',
      name,
      full_name: fullName,
      private: false,
      owner: { name: owner, login: owner, id: 1, type: 'Organization', site_admin: false },
    },
    sender: person,
  };
}

/** Posts it to nginx in front of sys-net. Resolves to the status and the body of the answer. */
export function sendWebhook(
  port: number,
  secret: string,
  payload: object,
  delivery: string = randomUUID(),
  event = 'push',
): Promise<{ status: number; body: string }> {
  const body = Buffer.from(JSON.stringify(payload));
  const headers = {
    'Content-Type': 'application/json',
    'Content-Length': body.length,
    'User-Agent': 'GitHub-Hookshot/local',
    'X-GitHub-Event': event,
    'X-GitHub-Delivery': delivery,
    'X-GitHub-Hook-ID': '1',
    'X-GitHub-Hook-Installation-Target-Type': 'repository',
    'X-Hub-Signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`,
  };
  return new Promise((resolve, reject) => {
    const call = request(
      { host: '127.0.0.1', port, path: '/github', method: 'POST', headers, timeout: 10_000 },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
        );
      },
    );
    call.on('timeout', () => call.destroy(new Error('the webhook was not answered within 10 s')));
    call.on('error', reject);
    call.end(body);
  });
}
