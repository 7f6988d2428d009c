// SPDX-License-Identifier: GPL-2.0-or-later
// docs/formats.md, "Configuration": build-logs.json. An unknown field stops the agent.
import type { Check } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';
import { Refusal } from './refusals.js';
import { payloadLimitBytes } from '../shared/formats/intent.js';
import { journalKeyPattern } from '../shared/formats/journal-head.js';
import { fingerprintPattern, plainNamePattern, vmNamePattern } from '../shared/formats/names.js';

export interface RemoteConfig {
  name: string;
  url: string;
  /** a publication counts once it is confirmed on every remote that says so */
  required: boolean;
}

export interface SourceConfig {
  /** the build VM */
  vm: string;
  /** the keys VM that gets its receipts; one build VM each, or two chains of receipts would cross */
  keysVm: string;
  /** the keys that this build VM may name in an intent, full fingerprints */
  keys: string[];
  /** what the keys VM signs the end of its journal with, or null as long as nobody pinned it */
  journalKey: string | null;
  /** the largest payload that the keys VM signs, bytes */
  payloadBytes: number;
}

export interface BuildLogsConfig {
  format: 'build-infra/build-logs-config@1';
  vm: string;
  logsKey: string;
  remotes: RemoteConfig[];
  sources: SourceConfig[];
  /** an open log is published at most so long after its last new line, s */
  publishSeconds: number;
  /** an intent that is not published after that is refused, s */
  intentSeconds: number;
  /** a log whose sender broke off is closed as truncated after that, s */
  reopenSeconds: number;
  /** of one stamped log, bytes */
  logBytes: number;
  /** per build VM */
  openLogs: number;
  /** documents that one build VM may have published in a day, UTC */
  intentsPerDay: number;
  /** of them and of what is published with them, bytes */
  intentBytesPerDay: number;
}

const seconds = { type: 'integer', minimum: 1, maximum: 86400 } as const;

const configSchema = {
  type: 'object',
  additionalProperties: false,
  required: [
    'format',
    'vm',
    'logsKey',
    'remotes',
    'sources',
    'publishSeconds',
    'intentSeconds',
    'reopenSeconds',
    'logBytes',
    'openLogs',
    'intentsPerDay',
    'intentBytesPerDay',
  ],
  properties: {
    format: { const: 'build-infra/build-logs-config@1' },
    vm: { type: 'string', pattern: vmNamePattern },
    logsKey: { type: 'string', pattern: fingerprintPattern },
    remotes: {
      type: 'array',
      minItems: 1,
      maxItems: 16,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['name', 'url', 'required'],
        properties: {
          name: { type: 'string', pattern: plainNamePattern },
          // No leading dash (git would read an option), no "ext::" and the like (git would run a program).
          url: { type: 'string', pattern: '^(?:ssh://|https://|file:///|/)[ -~]{1,500}$' },
          required: { type: 'boolean' },
        },
      },
    },
    sources: {
      type: 'array',
      minItems: 1,
      maxItems: 64,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['vm', 'keysVm', 'keys', 'journalKey', 'payloadBytes'],
        properties: {
          vm: { type: 'string', pattern: vmNamePattern },
          keysVm: { type: 'string', pattern: vmNamePattern },
          keys: { type: 'array', maxItems: 16, items: { type: 'string', pattern: fingerprintPattern } },
          journalKey: { anyOf: [{ type: 'null' }, { type: 'string', pattern: journalKeyPattern }] },
          payloadBytes: { type: 'integer', minimum: 1, maximum: payloadLimitBytes },
        },
      },
    },
    publishSeconds: seconds,
    intentSeconds: seconds,
    reopenSeconds: seconds,
    logBytes: { type: 'integer', minimum: 65536, maximum: 4 * 1024 ** 3 },
    openLogs: { type: 'integer', minimum: 1, maximum: 1000 },
    intentsPerDay: { type: 'integer', minimum: 1, maximum: 1_000_000 },
    intentBytesPerDay: { type: 'integer', minimum: 1024 * 1024, maximum: 1024 ** 4 },
  },
} as const;

const checkShape: Check<BuildLogsConfig> = checkWith(configSchema);

/** @throws Refusal BAD_DOCUMENT for a wrong shape, a name that stands twice, or no required remote. */
export function checkConfig(untrusted: unknown): BuildLogsConfig {
  const config = checkShape(untrusted);
  const once = (names: string[], field: string): void => {
    if (new Set(names).size !== names.length)
      throw new Refusal('BAD_DOCUMENT', 'names something twice', field);
  };
  once(
    config.remotes.map((remote) => remote.name),
    '/remotes',
  );
  once(
    config.remotes.map((remote) => remote.url),
    '/remotes',
  );
  once(
    config.sources.map((source) => source.vm),
    '/sources',
  );
  once(
    config.sources.map((source) => source.keysVm),
    '/sources',
  );
  if (!config.remotes.some((remote) => remote.required))
    throw new Refusal('BAD_DOCUMENT', 'no remote is required', '/remotes');
  // These two are top folders of the repository.
  if (config.sources.some((source) => source.vm === 'intents' || source.vm === 'journal'))
    throw new Refusal('BAD_DOCUMENT', 'a build VM may not be called intents or journal', '/sources');
  return config;
}
