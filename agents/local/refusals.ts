// SPDX-License-Identifier: GPL-2.0-or-later
import { OwnRefusal, type RefusalOf } from '../shared/refusal.js';
import type { AuditCode } from '../audit/refusals.js';
import type { CommandCode } from '../command/refusals.js';
import type { SharedCode } from '../shared/refusals.js';

/** Every code with which the stand-in and its provisioning refuse. */
export type LocalCode =
  | 'BAD_DOCUMENT' | 'BAD_NETVM' | 'BAD_PATH' | 'BAD_PUBLIC_KEY' | 'BAD_TEMPLATE' | 'BAD_VALUE' | 'BAD_VM_NAME' | 'EXAMPLE_KEY'
  | 'IS_A_FOLDER' | 'MISSING_FIELD' | 'NOT_A_FOLDER' | 'NOT_ROOT' | 'NOT_YAML' | 'NO_PILLAR' | 'NO_PUBLIC_KEY' | 'NO_REQUIRED_REMOTE'
  | 'NO_SOURCE' | 'OWNER_NOT_MAPPED' | 'SAME_KEY_TWICE' | 'SAME_REPOSITORY_TWICE' | 'SECRET_IN_PILLAR' | 'TOO_FEW_MAINTAINERS'
  | 'UNKNOWN_COMPONENT' | 'UNKNOWN_DISTRIBUTION' | 'UNKNOWN_FIELD' | 'UNKNOWN_LOGS_VM' | 'UNKNOWN_MAINTAINER' | 'UNKNOWN_OPTION'
  | 'UNKNOWN_SSH_HOST' | 'UNKNOWN_TEMPLATE' | 'UNKNOWN_VM' | 'UNUSED_LOGS_VM' | 'WITHDRAWN_HOST_KEY';

export const Refusal: RefusalOf<LocalCode, LocalCode | AuditCode | CommandCode | SharedCode> = OwnRefusal;
export type Refusal = OwnRefusal<LocalCode | AuditCode | CommandCode | SharedCode>;
