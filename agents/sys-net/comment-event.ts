// SPDX-License-Identifier: GPL-2.0-or-later
// A comment on an issue, as far as we care: one clear-signed block is cut out of it and handed on, unread.
// Pure. Anybody on earth may write comments; who signed the block, and whether it means anything, the build
// VM finds out.
import { readDocument, type Check } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';
import type { WebhookConfig } from './config.js';
import type { IgnoredCode } from './refusals.js';

interface CommentPayload {
  action: string;
  comment: { body: string };
  repository: { full_name: string };
}

/** Only what is used. Who wrote the comment, and where it stands, counts for nothing. */
const checkComment: Check<CommentPayload> = checkWith({
  type: 'object',
  required: ['action', 'comment', 'repository'],
  properties: {
    action: { type: 'string', maxLength: 50 },
    comment: {
      type: 'object',
      required: ['body'],
      properties: { body: { type: 'string', maxLength: 262_144 } },
    },
    repository: {
      type: 'object',
      required: ['full_name'],
      properties: { full_name: { type: 'string', maxLength: 200 } },
    },
  },
});

export interface SignedComment {
  repository: string;
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
  const found = signedBlock(payload.comment.body);
  return 'block' in found
    ? { kind: 'command', comment: { repository, block: found.block } }
    : { kind: 'ignored', ...found };
}
