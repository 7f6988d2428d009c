// SPDX-License-Identifier: GPL-2.0-or-later
// What a distribution's configuration may tell the Debian engine: the field `options` of the job document.
import { checkWith } from '../../shared/json-schema.js';
import type { EngineJob } from '../engines/engine-contract.js';
import { wordPattern } from '../qubes-tree/build-file.js';

export interface DebianEngineOptions {
  /** comes to the version of every package, so that each release's is newer than that of the release before: +deb12u1 */
  suffix?: string;
  /** in the words of Qubes' builder, vm-trixie: what a tree's .qubesbuilder lists for it is built; vm- and the distribution's name unless told */
  distribution?: string;
}

/** A word and a number: what the agent takes for a distribution's part of a version (source/package-version.ts). */
export const suffixPattern = '^\\+[a-z]{1,20}[0-9][0-9a-z.]{0,20}$';

const check = checkWith<DebianEngineOptions>({
  type: 'object',
  additionalProperties: false,
  required: [],
  properties: { suffix: { type: 'string', pattern: suffixPattern }, distribution: { type: 'string', pattern: wordPattern } },
});

/** @throws Refusal BAD_DOCUMENT */
export function readEngineOptions(job: EngineJob): DebianEngineOptions {
  return check(job.options ?? {});
}
