// SPDX-License-Identifier: GPL-2.0-or-later
import { OwnRefusal, type RefusalOf } from '../shared/refusal.js';
import type { SharedCode } from '../shared/refusals.js';

/**
 * Every code with which the program that writes signed commands refuses. docs/deploy.md, section 15, says
 * what to do.
 */
export type CommandCode = 'BAD_COMMAND';

export const Refusal: RefusalOf<CommandCode, CommandCode | SharedCode> = OwnRefusal;
export type Refusal = OwnRefusal<CommandCode | SharedCode>;
