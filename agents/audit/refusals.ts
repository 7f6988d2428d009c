// SPDX-License-Identifier: GPL-2.0-or-later
import { OwnRefusal, type RefusalOf } from '../shared/refusal.js';
import type { SharedCode } from '../shared/refusals.js';

/** Every code with which the audit refuses. */
export type AuditCode = 'BAD_ENTRY' | 'BAD_HEAD';

export const Refusal: RefusalOf<AuditCode, AuditCode | SharedCode> = OwnRefusal;
export type Refusal = OwnRefusal<AuditCode | SharedCode>;
