// SPDX-License-Identifier: GPL-2.0-or-later
// What a distribution's configuration may tell the RPM engine: the field `options` of the job document.
import { Refusal } from '../../shared/refusal.js';
import { checkWith } from '../../shared/json-schema.js';
import { plainNamePattern } from '../../shared/formats/names.js';
import type { CheckWish } from '../debian/engine-options.js';
import type { EngineJob } from '../contract.js';
import { wordPattern } from '../source-tree/build-file.js';

export interface RpmEngineOptions {
  /** name of a mock configuration, such as fedora-41-x86_64; used where this VM has mock */
  mock?: string;
  /** suite of the clean Debian chroot where there is no mock; bookworm unless told */
  suite?: string;
  /** Debian packages that builds in that chroot need: BuildRequires name no Debian packages, and are not resolved there */
  packages?: string[];
  /** what %{?dist} stands for, such as .fc41; nothing unless told, and needed with mock */
  distTag?: string;
  /** in the words of Qubes' builder, vm-fc41: what a tree's .qubesbuilder lists for it is built */
  distribution?: string;
  /** rpmlint over what was built; not with mock */
  lint?: CheckWish;
}

/** With mock %{?dist} is always told, so that what is planned here and what mock makes have one name. */
export type MockOptions = RpmEngineOptions & Required<Pick<RpmEngineOptions, 'mock' | 'distTag'>>;

const check = checkWith<RpmEngineOptions>({
  type: 'object',
  additionalProperties: false,
  required: [],
  properties: {
    mock: { type: 'string', pattern: '^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$' },
    suite: { type: 'string', pattern: plainNamePattern },
    packages: { type: 'array', maxItems: 200, items: { type: 'string', pattern: '^[a-z0-9][a-z0-9+.-]{1,99}$' } },
    distTag: { type: 'string', pattern: '^\\.[A-Za-z0-9_]{1,20}$' },
    distribution: { type: 'string', pattern: wordPattern },
    lint: { enum: ['log', 'stop'] },
  },
});

/** @throws Refusal BAD_DOCUMENT */
export function readEngineOptions(job: EngineJob): RpmEngineOptions {
  const options = check(job.options ?? {});
  if (options.mock !== undefined && options.distTag === undefined) throw new Refusal('BAD_DOCUMENT', 'mock needs distTag as well, such as .fc41: packages are named before they are built', 'options');
  if (options.mock !== undefined && options.lint !== undefined) throw new Refusal('BAD_DOCUMENT', 'rpmlint runs in a Debian chroot, and mock makes none', 'options');
  return options;
}
