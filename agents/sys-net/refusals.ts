// SPDX-License-Identifier: GPL-2.0-or-later
import { OwnRefusal, type RefusalOf } from '../shared/refusal.js';
import type { SharedCode } from '../shared/refusals.js';

/** Every code with which sys-net refuses. docs/deploy.md, section 15, says what to do. */
export type SysNetCode =
  | 'BAD_CONTENT_TYPE'
  | 'BAD_DELIVERY'
  | 'BAD_DOCUMENT'
  | 'BAD_EVENT'
  | 'BAD_METHOD'
  | 'BAD_SECRET'
  | 'BAD_SIGNATURE'
  | 'BUSY'
  | 'CANNOT_CONNECT'
  | 'CUT_OFF'
  | 'DISK_FULL'
  | 'NOT_SIGNED'
  | 'NO_LENGTH'
  | 'NO_SECRET'
  | 'SECRET_EXPOSED'
  | 'SPOOL_FULL'
  | 'TOO_LARGE'
  | 'TOO_MANY_CALLS'
  | 'TOO_SLOW'
  | 'UNKNOWN_HOST'
  | 'UNKNOWN_PATH';

/**
 * A delivery that is correctly signed, and that asks for nothing: `202 ignored CODE why`. README.md,
 * "Answers".
 */
export type IgnoredCode =
  | 'OTHER_EVENT'
  | 'UNKNOWN_REPOSITORY'
  | 'NOT_A_TAG'
  | 'NOT_A_VERSION'
  | 'DELETED'
  | 'NOT_CREATED'
  | 'NO_COMMAND'
  | 'NOT_ONE_BLOCK'
  | 'BLOCK_TOO_LARGE'
  | 'NOT_ASCII';

export const Refusal: RefusalOf<SysNetCode, SysNetCode | SharedCode> = OwnRefusal;
export type Refusal = OwnRefusal<SysNetCode | SharedCode>;
