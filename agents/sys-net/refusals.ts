// SPDX-License-Identifier: GPL-2.0-or-later
// Every code with which sys-net refuses. docs/deploy.md, section 15, says what to do.
import { OwnRefusal, type RefusalOf } from '../shared/refusal.js';
import type { SharedCode } from '../shared/refusals.js';

export type SysNetCode =
  | 'BAD_CONTENT_TYPE' | 'BAD_DELIVERY' | 'BAD_DOCUMENT' | 'BAD_EVENT' | 'BAD_METHOD' | 'BAD_SECRET' | 'BAD_SIGNATURE' | 'BUSY'
  | 'CANNOT_CONNECT' | 'NOT_SIGNED' | 'NO_LENGTH' | 'NO_SECRET' | 'SECRET_EXPOSED' | 'SPOOL_FULL' | 'TOO_LARGE' | 'TOO_SLOW'
  | 'UNKNOWN_HOST' | 'UNKNOWN_PATH';

export const Refusal: RefusalOf<SysNetCode, SysNetCode | SharedCode> = OwnRefusal;
export type Refusal = OwnRefusal<SysNetCode | SharedCode>;
