// SPDX-License-Identifier: GPL-2.0-or-later
// sys-net.json (docs/formats.md, "Configuration"), and the webhook's secret beside it. An agent with a
// doubtful one does not start.
import { readFileSync, statSync } from 'node:fs';
import { readDocument, type Check } from '../shared/json-document.js';
import { checkWith, object } from '../shared/json-schema.js';
import { Refusal } from './refusals.js';
import { plainNamePattern, vmNamePattern } from '../shared/formats/names.js';

/** A host as local.ConnectSSH's argument names it: lower case, dots and dashes inside only. */
export const hostPattern = '^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$';

const fullNamePattern = '^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$';

/**
 * Nothing that is read there is believed; yet whoever stands between could hold comments back: TLS, but for
 * the machine itself.
 */
const apiPattern =
  '^(?:https://[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?|http://127\\.0\\.0\\.1:[0-9]{1,5})(?:/[A-Za-z0-9._-]+)*$';

export interface CommandsConfig {
  /** where comments may hold commands, by GitHub's names */
  repositories: string[];
  /** which of the build VMs hear of them */
  buildVms: string[];
  /** the API that is asked for comments whose webhook did not come; absent: none is asked */
  api?: string;
}

export interface SysNetConfig {
  format: 'build-infra/sys-net-config@1';
  vm: string;
  /** absent, with the two below: this VM receives no webhooks */
  webhook?: { socket: string; bodyBytes: number };
  repositories?: { fullName: string; component: string; tag: string }[];
  buildVms?: string[];
  /** absent: no comment is read */
  commands?: CommandsConfig;
  /** absent: this VM connects no ssh */
  sshHosts?: { host: string; address: string; port: number }[];
}

/** A configuration of a VM that receives webhooks. */
export type WebhookConfig = SysNetConfig &
  Required<Pick<SysNetConfig, 'webhook' | 'repositories' | 'buildVms'>>;
/** A configuration of a VM that connects ssh. */
export type SshConfig = SysNetConfig & Required<Pick<SysNetConfig, 'sshHosts'>>;

export const receivesWebhooks = (config: SysNetConfig): config is WebhookConfig =>
  config.webhook !== undefined;
export const connectsSsh = (config: SysNetConfig): config is SshConfig => config.sshHosts !== undefined;

const fields = {
  format: { const: 'build-infra/sys-net-config@1' },
  vm: { type: 'string', pattern: vmNamePattern },
  webhook: object({
    socket: { type: 'string', pattern: '^/[A-Za-z0-9._/-]{1,100}$' },
    bodyBytes: { type: 'integer', minimum: 1024, maximum: 2 * 1024 * 1024 },
  }),
  repositories: {
    type: 'array',
    maxItems: 2000,
    items: object({
      fullName: { type: 'string', pattern: fullNamePattern },
      component: { type: 'string', pattern: plainNamePattern },
      tag: { type: 'string', pattern: '^[A-Za-z0-9._/-]{0,60}\\{version\\}[A-Za-z0-9._/-]{0,60}$' },
    }),
  },
  buildVms: {
    type: 'array',
    minItems: 1,
    maxItems: 50,
    uniqueItems: true,
    items: { type: 'string', pattern: vmNamePattern },
  },
  commands: {
    ...object({
      repositories: {
        type: 'array',
        minItems: 1,
        maxItems: 100,
        uniqueItems: true,
        items: { type: 'string', pattern: fullNamePattern },
      },
      buildVms: {
        type: 'array',
        maxItems: 50,
        uniqueItems: true,
        items: { type: 'string', pattern: vmNamePattern },
      },
      api: { type: 'string', pattern: apiPattern },
    }),
    required: ['repositories', 'buildVms'],
  },
  sshHosts: {
    type: 'array',
    maxItems: 50,
    items: object({
      host: { type: 'string', pattern: hostPattern },
      address: { type: 'string', pattern: '^[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?$|^::1$' },
      port: { type: 'integer', minimum: 1, maximum: 65535 },
    }),
  },
} as const;
/** A VM may receive webhooks, connect ssh, or both; with neither it would have nothing to do. */
const check: Check<SysNetConfig> = checkWith({
  ...object(fields),
  required: ['format', 'vm'],
  dependencies: {
    webhook: ['repositories', 'buildVms'],
    repositories: ['webhook'],
    buildVms: ['webhook'],
    commands: ['webhook'],
  },
  minProperties: 3,
});

function unique(names: readonly string[], field: string): void {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) throw new Refusal('BAD_DOCUMENT', `${name} is named twice`, field);
    seen.add(name);
  }
}

/** @throws Refusal TOO_LARGE, NOT_UTF8, NOT_JSON, BAD_DOCUMENT */
export function readConfig(bytes: Uint8Array): SysNetConfig {
  const config = readDocument(bytes, 1024 * 1024, check);
  // GitHub compares names without case, so two that differ only in that would be one repository.
  unique(
    (config.repositories ?? []).map((repository) => repository.fullName.toLowerCase()),
    '/repositories',
  );
  unique(
    (config.sshHosts ?? []).map((host) => host.host),
    '/sshHosts',
  );
  return config;
}

/**
 * The secret that GitHub shares with us: 32 to 256 printable ASCII characters without blanks, then at most
 * one newline, which does not belong to it. The file must be closed to group and others.
 * @throws Refusal NO_SECRET, SECRET_EXPOSED, BAD_SECRET; no message holds any of it
 */
export function readSecret(path: string): Buffer {
  let bytes: Buffer;
  try {
    if ((statSync(path).mode & 0o077) !== 0)
      throw new Refusal('SECRET_EXPOSED', `${path} must have mode 0600`);
    bytes = readFileSync(path);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal('NO_SECRET', `${path} cannot be read`);
  }
  const secret = bytes.at(-1) === 10 ? bytes.subarray(0, -1) : bytes;
  if (!/^[\x21-\x7e]{32,256}$/.test(secret.toString('latin1')) || secret.includes(10)) {
    throw new Refusal(
      'BAD_SECRET',
      `${path} must hold 32 to 256 printable characters without blanks, and at most one newline after them`,
    );
  }
  return Buffer.from(secret);
}
