// SPDX-License-Identifier: GPL-2.0-or-later
// Issues, labels and comments as GitHub keeps and shows them.
export interface StoredComment {
  id: number;
  author: string;
  body: string;
  at: string;
  /** when its text was changed last */
  edited?: string;
  /** the request after which it shows up in lists */
  visibleFrom: number;
}

export interface StoredIssue {
  number: number;
  title: string;
  body: string;
  author: string;
  state: 'open' | 'closed';
  stateReason: string | null;
  labels: string[];
  comments: StoredComment[];
  at: string;
  locked: boolean;
  pullRequest: boolean;
  visibleFrom: number;
}

export interface StoredRepository {
  name: string;
  /** what our account may do there */
  access: 'write' | 'comment' | 'read';
  issues: StoredIssue[];
  /** numbers that were deleted */
  gone: Set<number>;
  /** numbers of issues that were transferred to another repository */
  moved: Set<number>;
}

export class Store {
  readonly repositories = new Map<string, StoredRepository>();
  #ids = 1000;

  add(name: string, access: StoredRepository['access'] = 'write'): StoredRepository {
    const made: StoredRepository = { name, access, issues: [], gone: new Set(), moved: new Set() };
    this.repositories.set(name.toLowerCase(), made);
    return made;
  }

  addIssue(
    repository: StoredRepository,
    issue: {
      title: string;
      body?: string;
      author: string;
      labels?: string[];
      pullRequest?: boolean;
      visibleFrom?: number;
      at?: string;
    },
  ): StoredIssue {
    const made: StoredIssue = {
      number: repository.issues.length + repository.gone.size + repository.moved.size + 1,
      title: issue.title,
      body: issue.body ?? '',
      author: issue.author,
      state: 'open',
      stateReason: null,
      labels: [...new Set(issue.labels ?? [])],
      comments: [],
      at: issue.at ?? new Date().toISOString(),
      locked: false,
      pullRequest: issue.pullRequest ?? false,
      visibleFrom: issue.visibleFrom ?? 0,
    };
    repository.issues.push(made);
    return made;
  }

  addComment(
    issue: StoredIssue,
    comment: { author: string; body: string; visibleFrom?: number; at?: string },
  ): StoredComment {
    const made = {
      id: ++this.#ids,
      author: comment.author,
      body: comment.body,
      at: comment.at ?? new Date().toISOString(),
      visibleFrom: comment.visibleFrom ?? 0,
    };
    issue.comments.push(made);
    return made;
  }
}

function userOf(login: string, web: string, api: string): object {
  const at = `${api}/users/${login}`;
  return {
    login,
    id: 1 + [...login].reduce((sum, letter) => sum + letter.charCodeAt(0), 0),
    node_id: 'U_1',
    avatar_url: `${web}/${login}.png`,
    gravatar_id: '',
    url: at,
    html_url: `${web}/${login}`,
    followers_url: `${at}/followers`,
    following_url: `${at}/following{/other_user}`,
    gists_url: `${at}/gists{/gist_id}`,
    starred_url: `${at}/starred{/owner}{/repo}`,
    subscriptions_url: `${at}/subscriptions`,
    organizations_url: `${at}/orgs`,
    repos_url: `${at}/repos`,
    events_url: `${at}/events{/privacy}`,
    received_events_url: `${at}/received_events`,
    type: 'User',
    site_admin: false,
  };
}

export const labelOf = (repository: StoredRepository, name: string, api: string): object => ({
  id: 7,
  node_id: 'LA_7',
  url: `${api}/repos/${repository.name}/labels/${encodeURIComponent(name)}`,
  name,
  color: 'ededed',
  default: false,
  description: null,
});

export function issueAnswer(
  repository: StoredRepository,
  issue: StoredIssue,
  web: string,
  api: string,
): object {
  const at = `${api}/repos/${repository.name}/issues/${issue.number}`;
  return {
    url: at,
    repository_url: `${api}/repos/${repository.name}`,
    labels_url: `${at}/labels{/name}`,
    comments_url: `${at}/comments`,
    events_url: `${at}/events`,
    html_url: `${web}/${repository.name}/issues/${issue.number}`,
    id: 100_000 + issue.number,
    node_id: 'I_1',
    number: issue.number,
    title: issue.title,
    user: userOf(issue.author, web, api),
    labels: issue.labels.map((name) => labelOf(repository, name, api)),
    state: issue.state,
    locked: issue.locked,
    assignee: null,
    assignees: [],
    milestone: null,
    comments: issue.comments.length,
    created_at: issue.at,
    updated_at: issue.at,
    closed_at: issue.state === 'closed' ? issue.at : null,
    author_association: 'MEMBER',
    body: issue.body,
    state_reason: issue.stateReason,
    performed_via_github_app: null,
    ...(issue.pullRequest
      ? {
          pull_request: {
            url: `${api}/repos/${repository.name}/pulls/${issue.number}`,
            html_url: `${web}/${repository.name}/pull/${issue.number}`,
            diff_url: `${web}/x.diff`,
            patch_url: `${web}/x.patch`,
          },
        }
      : {}),
  };
}

export function commentAnswer(
  repository: StoredRepository,
  issue: StoredIssue,
  comment: StoredComment,
  web: string,
  api: string,
): object {
  return {
    id: comment.id,
    node_id: 'IC_1',
    url: `${api}/repos/${repository.name}/issues/comments/${comment.id}`,
    html_url: `${web}/${repository.name}/issues/${issue.number}#issuecomment-${comment.id}`,
    issue_url: `${api}/repos/${repository.name}/issues/${issue.number}`,
    body: comment.body,
    user: userOf(comment.author, web, api),
    created_at: comment.at,
    updated_at: comment.edited ?? comment.at,
    author_association: 'MEMBER',
    performed_via_github_app: null,
  };
}
