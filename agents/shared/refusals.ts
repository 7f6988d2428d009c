// SPDX-License-Identifier: GPL-2.0-or-later
import { OwnRefusal, type RefusalOf } from './refusal.js';

/** Every code with which what all agents share refuses. docs/deploy.md, section 15, says what to do. */
export type SharedCode =
  | 'AMBIGUOUS_JSON'
  | 'ANSWER_TOO_LARGE'
  | 'BAD_ARGUMENT'
  | 'BAD_ARTIFACT'
  | 'BAD_CHARACTER'
  | 'BAD_COMMAND'
  | 'BAD_COMMIT'
  | 'BAD_CONTROL_FILE'
  | 'BAD_DESCRIPTOR'
  | 'BAD_DOCUMENT'
  | 'BAD_FRAME'
  | 'BAD_OPTION'
  | 'BAD_PREAMBLE'
  | 'BAD_PUBLICATION'
  | 'CALL_REFUSED'
  | 'CALL_TIMED_OUT'
  | 'CANCELLED'
  | 'COMMAND_TOO_LONG'
  | 'DISK_FULL'
  | 'KEY_EXPIRED'
  | 'KEY_NOT_USABLE'
  | 'KEY_REVOKED'
  | 'LOG_FAILED'
  | 'NOT_A_PACKAGE'
  | 'NOT_JSON'
  | 'NOT_SIGNED'
  | 'NOT_UTF8'
  | 'NO_SUCH_SERVICE'
  | 'OUTPUT_LIMIT'
  | 'TIMED_OUT'
  | 'TOO_LARGE'
  | 'TOO_MANY_CALLS'
  | 'TOO_SLOW'
  | 'UNKNOWN_OPTION'
  | 'WRONG_SERVICE';

export const Refusal: RefusalOf<SharedCode, SharedCode> = OwnRefusal;
export type Refusal = OwnRefusal<SharedCode>;
