// SPDX-License-Identifier: GPL-2.0-or-later
// The pillar: the one description of a farm. Checked as a whole before anything is written; the first thing wrong is named in one line.
import { readFileSync } from 'node:fs';
import { Ajv, type ErrorObject } from 'ajv';
import { parseDocument } from 'yaml';
import { Refusal } from '../../shared/refusal.js';
import { pillarSchema } from './pillar-schema.js';
import { checkMeaning } from './pillar-meaning.js';

export type Family = 'Debian' | 'RedHat';

export interface Component {
  url: string;
  'full-name': string;
  tag: string;
}

/** How one environment treats a component; what is left out is as for the whole environment. */
export interface BuiltComponent {
  /** release lines by name */
  lines?: Record<string, { tag?: string; versions?: string; distributions: string[] }>;
  maintainers?: string[];
  'required-signatures'?: number;
}

/** What a VM of ours may have of its own; what is left out is the role's default (vms.ts) or Qubes'. */
export interface VmSettings {
  template?: string;
  /** size of the private volume, GiB */
  'private-gib'?: number;
  /** MiB */
  memory?: number;
  maxmem?: number;
  vcpus?: number;
}

export interface Distribution {
  engine: string;
  packages?: 'deb' | 'rpm';
  publisher?: 'agent' | 'engine';
  options?: Record<string, string | number | boolean | string[]>;
}

/** Built by signed commands alone. */
export interface Template {
  releases: string[];
  engine: string;
  distribution: string;
  repository: 'templates-itl' | 'templates-community';
  'build-seconds'?: number;
  options?: Distribution['options'];
}

/** What one key may command; what is left out, nothing. */
export interface Commander {
  key: string;
  verbs?: string[];
  components?: 'all' | string[];
  distributions?: 'all' | string[];
  repositories?: string[];
  templates?: 'all' | string[];
}

/** What becomes notify.json; the token is made by hand in the VM. */
export interface Notify {
  account: string;
  repository: string;
  release: string;
  distributions: Record<string, { set: 'host' | 'vm'; family: string; name?: string }>;
  'issues-repository'?: string;
  'comment-in'?: string[];
  'base-url'?: string;
  'web-url'?: string;
  templates?: string;
  'dry-run'?: boolean;
}

export interface BuildEnv {
  build?: VmSettings;
  keys?: VmSettings;
  logs: string;
  netvm: string;
  key: string | null;
  anchor?: string | null;
  'journal-key'?: string | null;
  distributions: Record<string, Distribution>;
  templates?: Record<string, Template>;
  /** `valid-days`: so long a Release is valid; left out or null: for ever */
  apt?: { upload: string; url: string; origin?: string; label?: string; 'valid-days'?: number | null };
  dnf?: { upload: string; url: string };
  /** where the published logs are read, of a required remote; left out or null: nowhere */
  publication?: { url: string } | null;
  promotion?: { 'min-age-days'?: number };
  'status-page'?: { upload: string; url: string };
  'logs-url'?: string;
  /** what is said on GitHub; left out: nothing */
  notify?: Notify;
  maintainers: Record<string, string>;
  'required-signatures': number;
  components: Record<string, BuiltComponent>;
  /** signed commands in comments; left out: none */
  commands?: { releases: string[]; 'window-seconds'?: number; 'distribution-words'?: Record<string, string>; people: Record<string, Commander> };
  'poll-seconds'?: number;
  'build-seconds'?: number;
  'grant-seconds'?: number;
  'payload-bytes'?: number;
}

export interface LogsVm extends VmSettings {
  netvm: string;
  key: string | null;
  remotes: Record<string, { url: string; required: boolean }>;
  'publish-seconds'?: number;
  'intent-seconds'?: number;
  'reopen-seconds'?: number;
  'log-bytes'?: number;
  'open-logs'?: number;
  'intents-per-day'?: number;
  'intent-bytes-per-day'?: number;
}

/** What stands under the pillar's top key `build-infra`. */
export interface Pillar {
  'net-vm': string;
  /** a VM of its own behind the net VM for local.ConnectSSH; without it the net VM answers */
  'ssh-proxy-vm'?: string;
  /** Templates of ours, each a clone of `source`. */
  templates: Record<string, { source: string; family: Family }>;
  /** of every VM that names no other */
  template: string;
  /** `vm`: a VM of its own behind the net VM; without it the net VM receives webhooks itself */
  webhook: VmSettings & { vm?: string; port: number; address?: string; tls?: boolean; 'body-bytes'?: number; comments?: string[] };
  'ssh-hosts': Record<string, { address: string; port: number; 'host-keys': string[] }>;
  'public-keys': Record<string, string>;
  components: Record<string, Component>;
  'logs-vms': Record<string, LogsVm>;
  'build-envs': Record<string, BuildEnv>;
}

const ajv = new Ajv({ allErrors: false, strict: true, allowUnionTypes: true, verbose: true });
const matchesShape = ajv.compile<Pillar>(pillarSchema);

function explain(error: ErrorObject): Refusal {
  const field = error.instancePath.split('/').slice(1).map((name) => name.replace(/~1/g, '/').replace(/~0/g, '~'));
  const title = (error.parentSchema as { title?: string } | undefined)?.title;
  switch (error.keyword) {
    case 'additionalProperties':
      return new Refusal('UNKNOWN_FIELD', 'is not a known field', [...field, error.params['additionalProperty'] as string].join('.'));
    case 'required':
      return new Refusal('MISSING_FIELD', 'is missing', [...field, error.params['missingProperty'] as string].join('.'));
    case 'uniqueItems':
      return new Refusal('BAD_VALUE', 'holds the same entry twice', field.join('.'));
    default: {
      const place = [...field, ...(error.propertyName === undefined ? [] : [error.propertyName])].join('.');
      return new Refusal('BAD_VALUE', `is not ${title ?? error.message ?? 'as it should be'}`, place);
    }
  }
}

/**
 * The content of `build-infra`, checked for shape and meaning.
 * @throws Refusal with the field as `build-envs.debian.key`; codes in salt/README.md
 */
export async function checkPillar(untrusted: unknown): Promise<Pillar> {
  if (!matchesShape(untrusted)) {
    // For "anyOf" and "propertyNames" ajv lists the inner failures first; the outer one has the words for people.
    const errors = matchesShape.errors as ErrorObject[];
    throw explain(errors.find(({ keyword }) => keyword === 'anyOf') ?? errors[0] as ErrorObject);
  }
  await checkMeaning(untrusted);
  return untrusted;
}

/** Reads a pillar file: YAML 1.2, one document, top key `build-infra` and no other. Anchors and repeated keys are refused. */
export async function readPillar(path: string): Promise<Pillar> {
  const document = parseDocument(readFileSync(path, 'utf8'), { version: '1.2', uniqueKeys: true, strict: true });
  const problem = document.errors[0] ?? document.warnings[0];
  if (problem !== undefined) throw new Refusal('NOT_YAML', problem.message.split('\n')[0] as string);
  const untrusted = document.toJS({ maxAliasCount: 0 }) as unknown;
  const top = typeof untrusted === 'object' && untrusted !== null ? Object.keys(untrusted) : [];
  if (top.length !== 1 || top[0] !== 'build-infra') throw new Refusal('BAD_VALUE', 'a pillar has the one top key build-infra');
  return checkPillar((untrusted as { 'build-infra': unknown })['build-infra']);
}
