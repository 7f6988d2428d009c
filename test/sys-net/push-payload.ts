// SPDX-License-Identifier: GPL-2.0-or-later
// A push payload with the fields that GitHub sends for an annotated tag, and the headers it sends them with.
// https://docs.github.com/en/webhooks/webhook-events-and-payloads#push
import { createHmac, randomUUID } from 'node:crypto';

export interface PushOptions {
  fullName?: string;
  ref?: string;
  deleted?: boolean;
  pushedAt?: number;
}

export function pushPayload(options: PushOptions = {}): Record<string, unknown> {
  const fullName = options.fullName ?? 'example/hello';
  const [owner, name] = fullName.split('/') as [string, string];
  const api = `https://api.github.com/repos/${fullName}`;
  const html = `https://github.com/${fullName}`;
  const person = (login: string, id: number, type: string): object => ({
    login,
    id,
    node_id: `U_${id}`,
    avatar_url: `https://avatars.githubusercontent.com/u/${id}?v=4`,
    gravatar_id: '',
    url: `https://api.github.com/users/${login}`,
    html_url: `https://github.com/${login}`,
    type,
    user_view_type: 'public',
    site_admin: false,
  });
  const author = {
    name: 'Alice Example',
    email: 'alice@example.org',
    date: '2026-11-21T21:30:00Z',
    username: 'alice',
  };
  return {
    ref: options.ref ?? 'refs/tags/v2.10-3',
    before: '0000000000000000000000000000000000000000',
    after: 'd6fde92930d4715a2b49857d24b940956b26d2d3',
    repository: {
      id: 186853002,
      node_id: 'R_kgDOCyMPig',
      name,
      full_name: fullName,
      private: false,
      owner: { ...person(owner, 21031067, 'Organization'), name: owner, email: null },
      html_url: html,
      description: 'a “hello” for Debian',
      fork: false,
      url: html,
      forks_url: `${api}/forks`,
      keys_url: `${api}/keys{/key_id}`,
      hooks_url: `${api}/hooks`,
      tags_url: `${api}/tags`,
      git_refs_url: `${api}/git/refs{/sha}`,
      statuses_url: `${api}/statuses/{sha}`,
      created_at: 1557933565,
      updated_at: '2026-11-20T15:20:42Z',
      pushed_at: options.pushedAt ?? 1795296600,
      git_url: `git://github.com/${fullName}.git`,
      ssh_url: `git@github.com:${fullName}.git`,
      clone_url: `${html}.git`,
      svn_url: html,
      homepage: null,
      size: 1,
      stargazers_count: 0,
      watchers_count: 0,
      language: 'C',
      has_issues: true,
      has_projects: false,
      has_downloads: true,
      has_wiki: false,
      has_pages: false,
      has_discussions: false,
      forks_count: 0,
      mirror_url: null,
      archived: false,
      disabled: false,
      open_issues_count: 2,
      license: null,
      allow_forking: true,
      is_template: false,
      web_commit_signoff_required: false,
      topics: [],
      visibility: 'public',
      forks: 0,
      open_issues: 2,
      watchers: 0,
      default_branch: 'main',
      stargazers: 0,
      master_branch: 'main',
      organization: owner,
      custom_properties: {},
    },
    pusher: { name: 'alice', email: 'alice@example.org' },
    organization: {
      login: owner,
      id: 21031067,
      node_id: 'O_1',
      url: `https://api.github.com/orgs/${owner}`,
      description: '',
    },
    sender: person('alice', 1001, 'User'),
    created: true,
    deleted: options.deleted ?? false,
    forced: false,
    base_ref: 'refs/heads/main',
    compare: `${html}/compare/v2.10-3`,
    commits: [],
    head_commit: {
      id: '6113728f27ae82c7b1a177c8d03f9e96e0adf246',
      tree_id: '4b825dc642cb6eb9a060e54bf8d69288fbee4904',
      distinct: true,
      message: 'hello 2.10-3',
      timestamp: '2026-11-21T22:30:00+01:00',
      url: `${html}/commit/6113728f27ae82c7b1a177c8d03f9e96e0adf246`,
      author,
      committer: { ...author, name: 'GitHub', email: 'noreply@github.com' },
      added: [],
      removed: [],
      modified: ['debian/changelog'],
    },
  };
}

export const secret = 'It-is-a-Secret-to-Everybody-0123456789';

export function sign(body: Buffer, key = secret): string {
  return `sha256=${createHmac('sha256', key).update(body).digest('hex')}`;
}

/** GitHub's headers for this body; undefined in `changes` leaves one out. */
export function githubHeaders(
  body: Buffer,
  changes: Record<string, string | undefined> = {},
): Record<string, string> {
  const headers: Record<string, string | undefined> = {
    'User-Agent': 'GitHub-Hookshot/044aadd',
    Accept: '*/*',
    'Content-Type': 'application/json',
    'Content-Length': String(body.length),
    'X-GitHub-Event': 'push',
    'X-GitHub-Delivery': randomUUID(),
    'X-GitHub-Hook-ID': '292430182',
    'X-GitHub-Hook-Installation-Target-ID': '79929171',
    'X-GitHub-Hook-Installation-Target-Type': 'repository',
    'X-Hub-Signature': 'sha1=7d38cdd689735b008b3c702edd92eea23791c5f6',
    'X-Hub-Signature-256': sign(body),
    ...changes,
  };
  return Object.fromEntries(
    Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
