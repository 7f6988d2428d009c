// SPDX-License-Identifier: GPL-2.0-or-later
import { OwnRefusal, type RefusalOf } from '../shared/refusal.js';
import type { SharedCode } from '../shared/refusals.js';

/** Every code with which the notifier refuses. docs/deploy.md, section 15, says what to do. */
export type NotifierCode =
  | 'ALREADY_RUNNING'
  | 'ANSWER_TOO_LARGE'
  | 'BAD_ANSWER'
  | 'BAD_CREDENTIALS'
  | 'BAD_DOCUMENT'
  | 'BAD_TEMPLATE'
  | 'BAD_TOKEN'
  | 'GITHUB_FAILED'
  | 'GITHUB_REFUSED'
  | 'GITHUB_UNREACHABLE'
  | 'MOVED'
  | 'NO_CONFIG'
  | 'NO_TEMPLATES'
  | 'NO_TOKEN'
  | 'PLAIN_HTTP'
  | 'RATE_LIMITED'
  | 'TOKEN_EXPOSED'
  | 'TOO_LARGE'
  | 'UNKNOWN_DISTRIBUTION'
  | 'UNSETTLED';

export const Refusal: RefusalOf<NotifierCode, NotifierCode | SharedCode> = OwnRefusal;
export type Refusal = OwnRefusal<NotifierCode | SharedCode>;
