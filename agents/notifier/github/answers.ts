// SPDX-License-Identifier: GPL-2.0-or-later
// What is used of GitHub's answers, and its spelling. Their many other fields are let through unread: GitHub
// adds some every month.
import type { Check } from '../../shared/json-document.js';
import { checkWith, orNull } from '../../shared/json-schema.js';

export interface Issue {
  number: number;
  title: string;
  body: string;
  state: 'open' | 'closed';
  /** login of who wrote it; empty for an account that is gone */
  author: string;
  labels: string[];
  isPullRequest: boolean;
}

export interface Comment {
  id: number;
  body: string;
  author: string;
}

/** A comment of any issue of a repository. */
export interface PlacedComment extends Comment {
  issue: number;
  /** as GitHub says it, ISO 8601 in UTC */
  at: string;
}

interface UntrustedIssue {
  number: number;
  title: string;
  body?: string | null;
  state: 'open' | 'closed';
  user: { login: string } | null;
  labels: (string | { name?: string | null })[];
  pull_request?: unknown;
}

interface UntrustedComment {
  id: number;
  body?: string;
  user: { login: string } | null;
}

interface UntrustedPlacedComment extends UntrustedComment {
  issue_url: string;
  created_at: string;
}

const some = <const R extends string, const P extends object>(required: readonly R[], properties: P) =>
  ({ type: 'object', required, properties }) as const;
const number = { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER } as const;
const text = { type: 'string', maxLength: 300_000 } as const;
const user = orNull(some(['login'], { login: { type: 'string', maxLength: 100 } }));
const issue = some(['number', 'title', 'state', 'user', 'labels'], {
  number,
  title: text,
  body: { type: ['string', 'null'], maxLength: 300_000 },
  state: { enum: ['open', 'closed'] },
  user,
  labels: {
    type: 'array',
    maxItems: 200,
    items: { anyOf: [{ type: 'string' }, some([], { name: { type: ['string', 'null'] } })] },
  },
});
const comment = some(['id', 'user'], { id: number, body: text, user });

const checkIssue: Check<UntrustedIssue> = checkWith(issue);
const checkIssues: Check<UntrustedIssue[]> = checkWith({ type: 'array', maxItems: 100, items: issue });
const checkFound: Check<{ items: UntrustedIssue[] }> = checkWith(
  some(['items'], { items: { type: 'array', maxItems: 100, items: issue } }),
);
const checkComment: Check<UntrustedComment> = checkWith(comment);
const checkComments: Check<UntrustedComment[]> = checkWith({ type: 'array', maxItems: 100, items: comment });
const placed = some(['id', 'user', 'issue_url', 'created_at'], {
  id: number,
  body: text,
  user,
  issue_url: { type: 'string', maxLength: 2000, pattern: '/issues/[1-9][0-9]{0,8}$' },
  created_at: { type: 'string', pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,12}Z$' },
});
const checkPlacedComments: Check<UntrustedPlacedComment[]> = checkWith({
  type: 'array',
  maxItems: 100,
  items: placed,
});

function issueOf(untrusted: UntrustedIssue): Issue {
  return {
    number: untrusted.number,
    title: untrusted.title,
    body: untrusted.body ?? '',
    state: untrusted.state,
    author: untrusted.user?.login ?? '',
    labels: untrusted.labels.flatMap((label) => (typeof label === 'string' ? label : (label.name ?? []))),
    isPullRequest: untrusted.pull_request !== undefined && untrusted.pull_request !== null,
  };
}
const commentOf = (untrusted: UntrustedComment): Comment => ({
  id: untrusted.id,
  body: untrusted.body ?? '',
  author: untrusted.user?.login ?? '',
});

/** Each @throws Refusal BAD_DOCUMENT */
export const readIssue = (untrusted: unknown): Issue => issueOf(checkIssue(untrusted));
export const readIssues = (untrusted: unknown): Issue[] => checkIssues(untrusted).map(issueOf);
export const readFoundIssues = (untrusted: unknown): Issue[] => checkFound(untrusted).items.map(issueOf);
export const readComment = (untrusted: unknown): Comment => commentOf(checkComment(untrusted));
export const readComments = (untrusted: unknown): Comment[] => checkComments(untrusted).map(commentOf);
export const readPlacedComments = (untrusted: unknown): PlacedComment[] =>
  checkPlacedComments(untrusted).map((one) => ({
    ...commentOf(one),
    issue: Number(one.issue_url.slice(one.issue_url.lastIndexOf('/') + 1)),
    at: one.created_at,
  }));
