// SPDX-License-Identifier: GPL-2.0-or-later
// A comment on an issue, as far as we care: one clear-signed block is cut out of it and handed on, unread.
// Pure. Anybody on earth may write comments; who signed the block, and whether it means anything, the build
// VM finds out.
import { readDocument, type Check } from '../shared/json-document.js';
import { checkWith, orNull, text } from '../shared/json-schema.js';
import { Refusal } from './refusals.js';
import type { WebhookConfig } from './config.js';
import type { IgnoredCode } from './refusals.js';

interface Comment {
  id: number;
  body: string;
  user: { login: string } | null;
}

interface CommentPayload {
  action: string;
  comment: Comment;
  repository: { full_name: string };
}

/**
 * Only what is used. Who wrote the comment counts for nothing but a share of the spool, where it stands not
 * even for that.
 */
const comment = {
  type: 'object',
  required: ['id', 'body', 'user'],
  properties: {
    id: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
    body: { type: 'string', maxLength: 262_144 },
    user: orNull({
      type: 'object',
      required: ['login'],
      properties: { login: { type: 'string', maxLength: 100 } },
    }),
  },
} as const;

const checkComment: Check<CommentPayload> = checkWith({
  type: 'object',
  required: ['action', 'comment', 'repository'],
  properties: {
    action: { type: 'string', maxLength: 50 },
    comment,
    repository: {
      type: 'object',
      required: ['full_name'],
      properties: { full_name: { type: 'string', maxLength: 200 } },
    },
  },
});

export interface SignedComment {
  repository: string;
  /** its number on the forge, which webhook and API have in common */
  id: number;
  /** the login of its writer, as the forge says; "ghost" of an account that is gone */
  author: string;
  /** from the first dash to the last, with the line ends that it came with */
  block: string;
}

export type CommentDecision =
  { kind: 'command'; comment: SignedComment } | { kind: 'ignored'; code: IgnoredCode; detail: string };

/** What qubesbuilder.ProcessGithubCommand reads at most, in bytes. */
export const blockLimitBytes = 8192;
/** A block: printable ASCII and line ends. Bytes and characters are the same then. */
export const blockPattern =
  '^-----BEGIN PGP SIGNED MESSAGE-----[\\x20-\\x7e\\r\\n]{1,8131}-----END PGP SIGNATURE-----$';
const begin = '-----BEGIN PGP SIGNED MESSAGE-----';
const end = '-----END PGP SIGNATURE-----';

/**
 * The one block of a comment. What stands around it, as a fence of Markdown, is not signed and goes no
 * further.
 */
export function signedBlock(
  untrustedBody: string,
): { block: string } | { code: IgnoredCode; detail: string } {
  if (!untrustedBody.includes('BEGIN PGP SIGNED MESSAGE'))
    return { code: 'NO_COMMAND', detail: 'no clear-signed message in the comment' };
  const lines = untrustedBody.split('\n');
  const places = (wanted: string): number[] =>
    lines.flatMap((line, i) => (line.replace(/[ \r]+$/, '') === wanted ? [i] : []));
  const [first, ...moreBegins] = places(begin);
  const [last, ...moreEnds] = places(end);
  // Also one that is quoted or spelled oddly counts: a reader must not take another message for the command
  // than we do.
  const mentioned = untrustedBody.split(/PGP SIGNED MESSAGE/i).length - 1;
  if (
    first === undefined ||
    last === undefined ||
    last < first ||
    moreBegins.length > 0 ||
    moreEnds.length > 0 ||
    mentioned !== 1
  ) {
    return { code: 'NOT_ONE_BLOCK', detail: 'not exactly one clear-signed message in the comment' };
  }
  const block = [...lines.slice(first, last), end].join('\n');
  if (block.length > blockLimitBytes)
    return {
      code: 'BLOCK_TOO_LARGE',
      detail: `the clear-signed message is larger than ${blockLimitBytes} bytes`,
    };
  if (!new RegExp(blockPattern).test(block))
    return { code: 'NOT_ASCII', detail: 'the clear-signed message is not printable ASCII' };
  return { block };
}

/**
 * @param untrustedBody the raw bytes, whose signature has been checked
 * @throws Refusal TOO_LARGE, NOT_UTF8, NOT_JSON, BAD_DOCUMENT
 */
export function decideComment(untrustedBody: Uint8Array, config: WebhookConfig): CommentDecision {
  const payload = readDocument(untrustedBody, config.webhook.bodyBytes, checkComment);
  const repository = payload.repository.full_name;
  if (config.commands?.repositories.includes(repository) !== true)
    return {
      kind: 'ignored',
      code: 'UNKNOWN_REPOSITORY',
      detail: 'commands are not read from that repository',
    };
  // An edited comment is not what its writer first said, and may be edited by others.
  if (payload.action !== 'created')
    return { kind: 'ignored', code: 'NOT_CREATED', detail: 'only a new comment is read' };
  return read(repository, payload.comment);
}

function read(repository: string, { id, body, user }: Comment): CommentDecision {
  const found = signedBlock(body);
  if (!('block' in found)) return { kind: 'ignored', ...found };
  return { kind: 'command', comment: { repository, id, author: user?.login ?? 'ghost', block: found.block } };
}

/** Under which a comment is known, whichever way it came. */
export const commentKey = (comment: SignedComment): string => `comment-${comment.id}`;

interface Listed {
  created_at: string;
  updated_at: string;
}

const time = text('^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.][0-9]{1,9})?Z$');
const checkList: Check<Listed[]> = checkWith({
  type: 'array',
  maxItems: 100,
  items: {
    type: 'object',
    required: ['created_at', 'updated_at'],
    properties: { created_at: time, updated_at: time },
  },
});
const checkListed: Check<Comment> = checkWith(comment);

/**
 * One page of the forge's list of comments: how many there are, when the last one was changed, and what may
 * be commands.
 */
export interface CommentPage {
  size: number;
  newest: string | undefined;
  found: SignedComment[];
}

function readListed(untrusted: Listed, repository: string): SignedComment[] {
  // A reaction does not count as a change; whoever edits a comment has to post a new one, as with a webhook.
  if (untrusted.updated_at !== untrusted.created_at) return [];
  try {
    const decision = read(repository, checkListed(untrusted));
    return decision.kind === 'command' ? [decision.comment] : [];
  } catch (error) {
    // One that is odd is in nobody's way.
    if (error instanceof Refusal) return [];
    throw error;
  }
}

/**
 * @param untrustedBody of GET /repos/{owner}/{repo}/issues/comments, in the order of their last change
 * @throws Refusal TOO_LARGE, NOT_UTF8, NOT_JSON, BAD_DOCUMENT
 */
export function readCommentPage(
  untrustedBody: Uint8Array,
  limitBytes: number,
  repository: string,
): CommentPage {
  const list = readDocument(untrustedBody, limitBytes, checkList);
  return {
    size: list.length,
    newest: list.at(-1)?.updated_at,
    found: list.flatMap((one) => readListed(one, repository)),
  };
}
