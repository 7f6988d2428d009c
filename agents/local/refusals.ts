// SPDX-License-Identifier: GPL-2.0-or-later
import { OwnRefusal, type RefusalOf } from '../shared/refusal.js';
import type { AuditCode } from '../audit/refusals.js';
import type { CommandCode } from '../command/refusals.js';
import type { SharedCode } from '../shared/refusals.js';

/** Every code with which the stand-in and its provisioning refuse. */
export type LocalCode =
  | 'BAD_PATH'
  | 'IS_A_FOLDER'
  | 'NOT_A_FOLDER'
  | 'NOT_ROOT'
  | 'NOT_YAML'
  | 'NO_PILLAR'
  | 'NO_SOURCE'
  | 'OWNER_NOT_MAPPED'
  | 'UNKNOWN_OPTION'
  | 'UNKNOWN_VM';

export const Refusal: RefusalOf<LocalCode, LocalCode | AuditCode | CommandCode | SharedCode> = OwnRefusal;
export type Refusal = OwnRefusal<LocalCode | AuditCode | CommandCode | SharedCode>;
