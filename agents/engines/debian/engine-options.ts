// SPDX-License-Identifier: GPL-2.0-or-later
// What a distribution's configuration may tell the Debian engine: the field `options` of the job document.
import type { ExtraRepository } from '../chroot/base-chroot.js';
import type { Check } from '../../shared/json-document.js';
import { checkWith } from '../../shared/json-schema.js';
import { codenameOf, suiteOf, suites, type Suite } from '../../shared/formats/suites.js';
import type { EngineJob } from '../contract.js';
import { wordPattern } from '../source-tree/build-file.js';
import { suffixPattern } from '../source-tree/package-version.js';

/** Words in the log alone, or the end of what has errors. */
export type CheckWish = 'log' | 'stop';

export interface DebianEngineOptions {
  /**
   * comes to the version of every package, so that each release's is newer than that of the release before:
   * +deb12u1
   */
  suffix?: string;
  /**
   * in the words of Qubes' builder, vm-trixie: what a tree's .qubesbuilder lists for it is built; vm- and the
   * distribution's name unless told
   */
  distribution?: string;
  /** suite of this distribution's own repository whose packages are build dependencies too */
  ownPackages?: Suite;
  /** further repositories: `https://host/path SUITE COMPONENT[,COMPONENT] /path/of/keyring` */
  repositories?: string[];
  /** lintian over what was built */
  lint?: CheckWish;
  /** all packages of the job are installed together in a clean root */
  installTest?: CheckWish;
}

const repositoryPattern =
  '^https?://[A-Za-z0-9][A-Za-z0-9:._~/+-]{0,150} [A-Za-z0-9][A-Za-z0-9._+-]{0,60} [a-z][a-z0-9-]{0,30}(?:,[a-z][a-z0-9-]{0,30}){0,5} /[A-Za-z0-9_./+-]{1,150}\\.(?:gpg|asc)$';

const check: Check<DebianEngineOptions> = checkWith({
  type: 'object',
  additionalProperties: false,
  required: [],
  properties: {
    suffix: { type: 'string', pattern: suffixPattern },
    distribution: { type: 'string', pattern: wordPattern },
    ownPackages: { enum: suites },
    lint: { enum: ['log', 'stop'] },
    installTest: { enum: ['log', 'stop'] },
    repositories: { type: 'array', maxItems: 10, items: { type: 'string', pattern: repositoryPattern } },
  },
});

/** @throws Refusal BAD_DOCUMENT */
export function readEngineOptions(job: EngineJob): DebianEngineOptions {
  return check(job.options ?? {});
}

/** The distribution's own repository first, as far as something was published to it. */
export function extraRepositories(job: EngineJob): ExtraRepository[] {
  const { ownPackages, repositories = [] } = readEngineOptions(job);
  const { url, publicKey, suites: word } = job.published ?? { url: '', publicKey: '' };
  const ownSuites =
    ownPackages === undefined || job.published === undefined
      ? []
      : [...(word === undefined ? [] : [suiteOf(word, ownPackages)]), ownPackages];
  const own = ownSuites.map((suite): ExtraRepository => ({
    url,
    suite: codenameOf(job.dist, suite),
    components: 'main',
    keyring: publicKey,
    ...(word !== undefined && suite !== ownPackages ? { preferred: true } : {}),
  }));
  return [
    ...own,
    ...repositories.map((line): ExtraRepository => {
      const [url, suite, components, keyring] = line.split(' ') as [string, string, string, string];
      return { url, suite, components: components.replaceAll(',', ' '), keyring };
    }),
  ];
}
