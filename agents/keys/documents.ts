// SPDX-License-Identifier: GPL-2.0-or-later
// The three documents that the keys VM reads: its configuration (written by the admin), receipts and intents
// (from other VMs).
import type { Check } from '../shared/json-document.js';
import {
  fileNamePattern,
  fingerprintPattern,
  jobIdPattern,
  logPathPattern,
  objectIdPattern,
  plainNamePattern,
  sha256Pattern,
  versionPattern,
  vmNamePattern,
} from '../shared/formats/names.js';
import {
  intentFormat,
  intentLimitEntries,
  noncePattern,
  payloadLimitBytes,
  purposes,
  signingModes,
  type HashedFile,
  type Intent,
  type IntentDocument,
} from '../shared/formats/intent.js';
import { journalKeyPattern } from '../shared/formats/journal-head.js';
import { receiptFormat, type GrantRequest, type Receipt } from '../shared/formats/receipt.js';
import {
  anyText,
  list,
  oneOf,
  orNull,
  record,
  text,
  whole,
  type Reader,
} from '../shared/formats/strict-reader.js';

const sha256 = text(sha256Pattern);
const fingerprint = text(fingerprintPattern);

export interface KeysConfig {
  format: 'build-infra/keys-config@1';
  vm: string;
  /** the one build VM that may ask for signatures */
  source: string;
  logsVm: string;
  /** primary fingerprint of the key that signs publications */
  logsKey: string;
  /** remotes that must have confirmed a publication before its intents count */
  requiredRemotes: string[];
  signingKeys: string[];
  /** a commit of the logs repository from which this VM starts to believe, or null: from the root */
  anchor: string | null;
  /** what this VM signs the end of its journal with, or null as long as nobody pinned it */
  journalKey: string | null;
  grantSeconds: number;
  /** the largest payload that is signed, in bytes */
  payloadBytes: number;
}

/** The same rules as `readKeysConfig`, for whoever has ajv (provisioning, tests). */
export const keysConfigSchema = {
  type: 'object',
  additionalProperties: false,
  required: [
    'format',
    'vm',
    'source',
    'logsVm',
    'logsKey',
    'requiredRemotes',
    'signingKeys',
    'anchor',
    'journalKey',
    'grantSeconds',
    'payloadBytes',
  ],
  properties: {
    format: { const: 'build-infra/keys-config@1' },
    vm: { type: 'string', pattern: vmNamePattern },
    source: { type: 'string', pattern: vmNamePattern },
    logsVm: { type: 'string', pattern: vmNamePattern },
    logsKey: { type: 'string', pattern: fingerprintPattern },
    requiredRemotes: {
      type: 'array',
      minItems: 1,
      maxItems: 16,
      items: { type: 'string', pattern: plainNamePattern },
    },
    signingKeys: {
      type: 'array',
      minItems: 1,
      maxItems: 16,
      items: { type: 'string', pattern: fingerprintPattern },
    },
    anchor: { anyOf: [{ type: 'null' }, { type: 'string', pattern: objectIdPattern }] },
    journalKey: { anyOf: [{ type: 'null' }, { type: 'string', pattern: journalKeyPattern }] },
    grantSeconds: { type: 'integer', minimum: 1, maximum: 900 },
    payloadBytes: { type: 'integer', minimum: 1, maximum: payloadLimitBytes },
  },
} as const;

const keysConfig = record<KeysConfig>({
  format: oneOf(['build-infra/keys-config@1']),
  vm: text(vmNamePattern),
  source: text(vmNamePattern),
  logsVm: text(vmNamePattern),
  logsKey: fingerprint,
  requiredRemotes: list(text(plainNamePattern), 1, 16),
  signingKeys: list(fingerprint, 1, 16),
  anchor: orNull(text(objectIdPattern)),
  journalKey: orNull(text(journalKeyPattern)),
  grantSeconds: whole(1, 900),
  payloadBytes: whole(1, payloadLimitBytes),
});

const receipt = record<Receipt>({
  format: oneOf([receiptFormat]),
  source: text(vmNamePattern),
  commit: text(objectIdPattern),
  remotes: list(text(plainNamePattern), 0, 16),
  grants: list(
    record<GrantRequest>({
      sha256,
      size: whole(0, payloadLimitBytes),
      key: fingerprint,
      mode: oneOf(signingModes),
      intent: sha256,
    }),
    0,
    10000,
  ),
  journal: orNull(record<{ seq: number; sha256: string }>({ seq: whole(1, Infinity), sha256 })),
  proof: record<Receipt['proof']>({ commits: list(anyText, 0, 5000), intents: list(anyText, 0, 1000) }),
});

const hashedFile = record<HashedFile>({
  name: text(fileNamePattern),
  size: whole(0, payloadLimitBytes),
  sha256,
});

type IntentFields = { [K in keyof Required<Omit<Intent, 'nonce'>>]: Reader<Intent[K]> };
const intentFields: IntentFields = {
  job: text(jobIdPattern),
  component: text(plainNamePattern),
  version: text(versionPattern),
  dist: text(plainNamePattern),
  purpose: oneOf(purposes),
  key: fingerprint,
  mode: oneOf(signingModes),
  payload: hashedFile,
  logs: list(text(logPathPattern), 0, 100),
  artifacts: list(hashedFile, 0, 1000),
};
const nonce = { nonce: text(noncePattern) };

const oneIntent = record<{ format: typeof intentFormat } & Omit<Intent, 'nonce'>, { nonce: string }>(
  { format: oneOf([intentFormat]), ...intentFields },
  nonce,
);
const manyIntents = record<{ format: typeof intentFormat; intents: Intent[] }>({
  format: oneOf([intentFormat]),
  intents: list(record<Omit<Intent, 'nonce'>, { nonce: string }>(intentFields, nonce), 1, intentLimitEntries),
});

/** All three throw Refusal BAD_DOCUMENT. */
export const readKeysConfig: Check<KeysConfig> = (untrusted) => keysConfig(untrusted, '');
export const readReceipt: Check<Receipt> = (untrusted) => receipt(untrusted, '');
export const readIntent: Check<IntentDocument> = (untrusted) => {
  const isList = typeof untrusted === 'object' && untrusted !== null && Object.hasOwn(untrusted, 'intents');
  return isList ? manyIntents(untrusted, '') : oneIntent(untrusted, '');
};
