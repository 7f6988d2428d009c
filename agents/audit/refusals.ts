// SPDX-License-Identifier: GPL-2.0-or-later
// Every code with which the audit refuses. docs/deploy.md, section 15, says what to do.
import { OwnRefusal, type RefusalOf } from '../shared/refusal.js';
import type { SharedCode } from '../shared/refusals.js';

export type AuditCode =
  | 'BAD_ENTRY' | 'BAD_HEAD';

export const Refusal: RefusalOf<AuditCode, AuditCode | SharedCode> = OwnRefusal;
export type Refusal = OwnRefusal<AuditCode | SharedCode>;
