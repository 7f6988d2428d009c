// SPDX-License-Identifier: GPL-2.0-or-later
import { OwnRefusal, type RefusalOf } from '../shared/refusal.js';
import type { SharedCode } from '../shared/refusals.js';

/** Every code with which the logs VM refuses. docs/deploy.md, section 15, says what to do. */
export type BuildLogsCode =
  | 'BAD_DOCUMENT'
  | 'BAD_HEADER'
  | 'CALL_REFUSED'
  | 'DAY_SHARE_USED'
  | 'DISK_FULL'
  | 'FAULT'
  | 'FOREIGN_HISTORY'
  | 'HISTORY_DIVERGED'
  | 'INTENT_KNOWN'
  | 'JOURNAL_BROKEN'
  | 'KEYS_VM_ALARM'
  | 'KEYS_VM_UNREACHABLE'
  | 'KEY_NOT_ALLOWED'
  | 'LINES_LOST'
  | 'LOG_DIFFERS'
  | 'LOG_ENDED'
  | 'LOG_TAKEN_OVER'
  | 'LOG_TOO_LARGE'
  | 'LOG_UNKNOWN'
  | 'NOT_GRANTED'
  | 'NOT_PUBLISHED'
  | 'NO_CALLER'
  | 'NO_END'
  | 'PAYLOAD_DIFFERS'
  | 'PAYLOAD_MISSING'
  | 'PUBLICATION_FAILED'
  | 'STORAGE_FAILED'
  | 'TOO_LARGE'
  | 'TOO_MANY_INTENTS'
  | 'TOO_MANY_LOGS'
  | 'TOO_SLOW'
  | 'UNKNOWN_SOURCE';

export const Refusal: RefusalOf<BuildLogsCode, BuildLogsCode | SharedCode> = OwnRefusal;
export type Refusal = OwnRefusal<BuildLogsCode | SharedCode>;
