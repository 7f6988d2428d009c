// SPDX-License-Identifier: GPL-2.0-or-later
import { OwnRefusal, type RefusalOf } from '../shared/refusal.js';
import type { SharedCode } from '../shared/refusals.js';

/** Every code with which the keys VM refuses. docs/deploy.md, section 15, says what to do. */
export type KeysCode =
  | 'ALREADY_GRANTED' | 'ALREADY_RECEIVED' | 'BAD_DOCUMENT' | 'BAD_FRAME' | 'BAD_SEQ' | 'BAD_SIGNATURE' | 'BUSY' | 'DISK_FULL'
  | 'EMPTY_PROOF' | 'FILE_NAME' | 'FORBIDDEN_COMMENT' | 'FORBIDDEN_DECRYPT' | 'FORBIDDEN_ENCRYPT' | 'FORBIDDEN_NOTATION' | 'FORBIDDEN_OPTION' | 'FORBIDDEN_OWNERTRUST' | 'FORBIDDEN_SECRET_KEY' | 'FORBIDDEN_SENDER' | 'FORBIDDEN_SESSION_KEY' | 'FORBIDDEN_STORE' | 'FORBIDDEN_SYMMETRIC' | 'FORBIDDEN_VERIFY_LOCALLY' | 'FOREIGN_KEY' | 'FORK' | 'GAP' | 'GRANT_EXPIRED' | 'GRANT_USED' | 'INLINE_SIGN'
  | 'INTENT_NOT_PUBLISHED' | 'JOURNAL_ALTERED' | 'JOURNAL_BEHIND' | 'JOURNAL_FORK' | 'JOURNAL_FULL' | 'NEEDS_COLONS' | 'NEEDS_KEY'
  | 'NOT_A_CHAIN' | 'NOT_CANONICAL' | 'NOT_FROM_ANCHOR' | 'NOT_FROM_ROOT' | 'NOT_IN_INTENT' | 'NOT_LOGS_VM' | 'NOT_ONE_PARENT'
  | 'NO_COMMAND' | 'NO_GRANT' | 'NO_SUCH_KEY' | 'OLD_RECEIPT' | 'OTHER_KEY_OR_MODE' | 'PAYLOAD_NOT_PUBLISHED' | 'REMOTE_MISSING'
  | 'SIGNING_FAILED' | 'SPOOL_FULL' | 'STARTS_EARLY' | 'STATE_LOST' | 'TOO_LARGE' | 'TOO_SLOW' | 'TWO_COMMANDS' | 'TWO_KEYS' | 'WEAK_DIGEST'
  | 'WRONG_COMMIT' | 'WRONG_SIGNATURE' | 'WRONG_SOURCE';

export const Refusal: RefusalOf<KeysCode, KeysCode | SharedCode> = OwnRefusal;
export type Refusal = OwnRefusal<KeysCode | SharedCode>;
