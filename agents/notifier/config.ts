// SPDX-License-Identifier: GPL-2.0-or-later
// notify.json (docs/formats.md, "Configuration"), and the token beside it, which no message, line or error
// may ever hold.
import { readFileSync, statSync } from 'node:fs';
import { readIfThere } from '../shared/durable-files.js';
import { logsUrlPattern } from '../shared/formats/log-link.js';
import {
  packageSets,
  releasePattern,
  repositoryNamePattern,
  type PackageSet,
} from '../shared/formats/notification.js';
import { plainNamePattern, vmNamePattern } from '../shared/formats/names.js';
import { readDocument, type Check } from '../shared/json-document.js';
import { checkWith, object, orNull, text } from '../shared/json-schema.js';
import { Refusal } from './refusals.js';

export interface NotifiedDistribution {
  packageSet: PackageSet;
  /** for message templates: fedora, debian, … */
  family: string;
  /** as labels and signed commands call it; the distribution's own name where it is left out */
  name?: string;
}

export interface NotifyConfig {
  format: 'build-infra/notify-config@1';
  vm: string;
  /** of the API: https://api.github.com, https://host/api/v3 */
  baseUrl: string;
  /** of the pages: https://github.com; issue addresses on another host are none of ours */
  webUrl: string;
  /** login of the token's account: only what this account wrote counts as ours */
  account: string;
  /** where the status issues are */
  repository: string;
  /** what `#12` in a commit message means; null: it means nothing */
  issuesRepository: string | null;
  /** in which repositories commits may have us comment: owner/name, or owner/* */
  commentIn: string[];
  logsUrl: string;
  release: string;
  distributions: Record<string, NotifiedDistribution>;
  /** component → its repository's page, where it is not the address of the source */
  componentUrls: Record<string, string>;
  minAgeDays: number;
  /** replaces shipped templates by files of the same names; null: as shipped */
  templates: string | null;
  /** says what it would say, and asks GitHub nothing */
  dryRun: boolean;
}

const webAddress =
  '^https?://[A-Za-z0-9][A-Za-z0-9.-]{0,200}(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~-]{1,100}){0,8}$';
const named = <const S extends object>(pattern: string, content: S) =>
  ({
    type: 'object',
    maxProperties: 10_000,
    propertyNames: { pattern },
    additionalProperties: content,
  }) as const;

const check: Check<NotifyConfig> = checkWith(
  object({
    format: { const: 'build-infra/notify-config@1' },
    vm: text(vmNamePattern),
    baseUrl: text(webAddress),
    webUrl: text(webAddress),
    account: text('^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:\\[bot\\])?$'),
    repository: text(repositoryNamePattern),
    issuesRepository: orNull(text(repositoryNamePattern)),
    commentIn: {
      type: 'array',
      maxItems: 200,
      uniqueItems: true,
      items: text('^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/(?:[A-Za-z0-9._-]{1,100}|\\*)$'),
    },
    logsUrl: text(logsUrlPattern),
    release: text(releasePattern),
    distributions: named(plainNamePattern, {
      type: 'object',
      additionalProperties: false,
      required: ['packageSet', 'family'],
      properties: {
        packageSet: { enum: packageSets },
        family: text(plainNamePattern),
        name: text(plainNamePattern),
      },
    }),
    componentUrls: named(plainNamePattern, text(webAddress)),
    minAgeDays: { type: 'integer', minimum: 0, maximum: 365 },
    templates: orNull(text('^/[A-Za-z0-9._/-]{1,200}$')),
    dryRun: { type: 'boolean' },
  }),
);

/**
 * @throws Refusal NO_CONFIG, TOO_LARGE, NOT_UTF8, NOT_JSON, BAD_DOCUMENT, PLAIN_HTTP: the notifier does not
 * start
 */
export function readConfig(path: string): NotifyConfig {
  const bytes = readIfThere(path);
  if (bytes === undefined) throw new Refusal('NO_CONFIG', `${path} is not there`);
  const config = readDocument(bytes, 1024 * 1024, check);
  const { protocol, hostname } = new URL(config.baseUrl);
  // A token in clear is everybody's token.
  if (protocol === 'http:' && !['127.0.0.1', 'localhost'].includes(hostname))
    throw new Refusal('PLAIN_HTTP', 'the address of the API must begin with https://', '/baseUrl');
  return config;
}

/**
 * One line of printable characters, at most one newline after it; the file is closed to group and others.
 * @throws Refusal NO_TOKEN, TOKEN_EXPOSED, BAD_TOKEN; no message holds any of it
 */
export function readToken(path: string): string {
  let untrustedToken: string;
  try {
    if ((statSync(path).mode & 0o077) !== 0)
      throw new Refusal('TOKEN_EXPOSED', `${path} must have mode 0400`);
    untrustedToken = readFileSync(path, 'latin1').replace(/\n$/, '');
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal('NO_TOKEN', `${path} cannot be read`);
  }
  if (!/^[\x21-\x7e]{20,500}$/.test(untrustedToken))
    throw new Refusal('BAD_TOKEN', `${path} must hold one token of 20 to 500 printable characters`);
  return untrustedToken;
}
