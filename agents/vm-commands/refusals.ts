// SPDX-License-Identifier: GPL-2.0-or-later
import { OwnRefusal, type RefusalOf } from '../shared/refusal.js';
import type { SharedCode } from '../shared/refusals.js';

/** Every code with which `build-infra` inside a VM refuses. docs/deploy.md, section 15, says what to do. */
export type VmCommandsCode =
  | 'BAD_DOCUMENT'
  | 'BAD_COMMAND'
  | 'NOT_A_BUILD_VM'
  | 'NOT_ROOT'
  | 'NO_AGENT'
  | 'NO_ANSWER'
  | 'NO_STATUS'
  | 'UNKNOWN_JOB';

export const Refusal: RefusalOf<VmCommandsCode, VmCommandsCode | SharedCode> = OwnRefusal;
export type Refusal = OwnRefusal<VmCommandsCode | SharedCode>;
