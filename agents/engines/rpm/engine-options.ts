// SPDX-License-Identifier: GPL-2.0-or-later
// What a distribution's configuration may tell the RPM engine: the field `options` of the job document.
import { Refusal } from '../refusals.js';
import type { Check } from '../../shared/json-document.js';
import { checkWith } from '../../shared/json-schema.js';
import { suiteOf, suites, type Suite } from '../../shared/formats/suites.js';
import { plainNamePattern } from '../../shared/formats/names.js';
import type { CheckWish } from '../debian/engine-options.js';
import type { EngineJob } from '../contract.js';
import { wordPattern } from '../source-tree/build-file.js';

export interface RpmEngineOptions {
  /** name of a mock configuration, such as fedora-41-x86_64; used where this VM has mock */
  mock?: string;
  /** suite of the clean Debian chroot where there is no mock; bookworm unless told */
  suite?: string;
  /**
   * Debian packages that builds in that chroot need: BuildRequires name no Debian packages, and are not
   * resolved there
   */
  packages?: string[];
  /** what %{?dist} stands for, such as .fc41; nothing unless told, and needed with mock */
  distTag?: string;
  /** in the words of Qubes' builder, vm-fc41: what a tree's .qubesbuilder lists for it is built */
  distribution?: string;
  /** rpmlint over what was built; not with mock */
  lint?: CheckWish;
  /** suite of this distribution's own repository whose packages are build dependencies too; with mock */
  ownPackages?: Suite;
  /** further ones: `https://host/path /path/of/key`; with mock */
  repositories?: string[];
}

export interface ExtraRepository {
  url: string;
  /** of this VM */
  key: string;
  /** before what is newer elsewhere: a line is built of its own */
  preferred?: true;
}

const repositoryPattern = '^https?://[A-Za-z0-9][A-Za-z0-9:._~/+-]{0,200} /[A-Za-z0-9_./+-]{1,150}$';

/** With mock %{?dist} is always told, so that what is planned here and what mock makes have one name. */
export type MockOptions = RpmEngineOptions & Required<Pick<RpmEngineOptions, 'mock' | 'distTag'>>;

const check: Check<RpmEngineOptions> = checkWith({
  type: 'object',
  additionalProperties: false,
  required: [],
  properties: {
    mock: { type: 'string', pattern: '^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$' },
    suite: { type: 'string', pattern: plainNamePattern },
    packages: {
      type: 'array',
      maxItems: 200,
      items: { type: 'string', pattern: '^[a-z0-9][a-z0-9+.-]{1,99}$' },
    },
    distTag: { type: 'string', pattern: '^\\.[A-Za-z0-9_]{1,20}$' },
    distribution: { type: 'string', pattern: wordPattern },
    lint: { enum: ['log', 'stop'] },
    ownPackages: { enum: suites },
    repositories: { type: 'array', maxItems: 10, items: { type: 'string', pattern: repositoryPattern } },
  },
});

/** @throws Refusal BAD_DOCUMENT */
export function readEngineOptions(job: EngineJob): RpmEngineOptions {
  const options = check(job.options ?? {});
  if (options.mock !== undefined && options.distTag === undefined)
    throw new Refusal(
      'BAD_DOCUMENT',
      'mock needs distTag as well, such as .fc41: packages are named before they are built',
      'options',
    );
  if (options.mock !== undefined && options.lint !== undefined)
    throw new Refusal('BAD_DOCUMENT', 'rpmlint runs in a Debian chroot, and mock makes none', 'options');
  const more =
    options.ownPackages === undefined
      ? options.repositories === undefined
        ? undefined
        : 'repositories'
      : 'ownPackages';
  if (options.mock === undefined && more !== undefined)
    throw new Refusal(
      'BAD_DOCUMENT',
      `${more} needs mock: in a Debian chroot no BuildRequires are installed`,
      'options',
    );
  return options;
}

/** The distribution's own repository first, as far as something was published to it. */
export function extraRepositories(job: EngineJob): ExtraRepository[] {
  const { ownPackages, repositories = [] } = readEngineOptions(job);
  const { published } = job;
  const own =
    ownPackages === undefined || published === undefined
      ? []
      : [
          ...(published.suites === undefined ? [] : [suiteOf(published.suites, ownPackages)]),
          ownPackages,
        ].map((suite): ExtraRepository => ({
          url: `${published.url}/${suite}`,
          key: published.publicKey,
          ...(published.suites !== undefined && suite !== ownPackages ? { preferred: true } : {}),
        }));
  return [
    ...own,
    ...repositories.map((line): ExtraRepository => {
      const [url, key] = line.split(' ') as [string, string];
      return { url, key };
    }),
  ];
}
