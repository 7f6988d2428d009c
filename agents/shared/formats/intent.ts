// SPDX-License-Identifier: GPL-2.0-or-later
// docs/formats.md, "Intent". The JSON Schema is plain data: whoever has ajv compiles it, the keys VM has its
// own reader.
import {
  fileNamePattern,
  fingerprintPattern,
  jobIdPattern,
  logPathPattern,
  plainNamePattern,
  sha256Pattern,
  versionPattern,
} from './names.js';

export const intentFormat = 'build-infra/intent@1';
export const intentLimitBytes = 256 * 1024;
/** How many signatures one document may ask for. */
export const intentLimitEntries = 200;
/** The largest payload that may be named, in bytes. */
export const payloadLimitBytes = 4 * 1024 ** 3;

/**
 * The largest payload of a clear signature, in bytes: the keys VM holds it in memory until it is in the
 * journal.
 */
export const clearsignLimitBytes = 32 * 1024 * 1024;

export const noncePattern = '^[0-9a-f]{16,64}$';
export const purposes = [
  'deb-dsc',
  'deb-buildinfo',
  'deb-changes',
  'apt-release',
  'rpm-header',
  'rpm-repomd',
  'link',
  'other',
] as const;
export type Purpose = (typeof purposes)[number];
/**
 * What these sign decides what clients install, so the bytes themselves are published, not only their hash. A
 * package's own header is in the package.
 */
export const publishedPurposes: readonly Purpose[] = [
  'deb-dsc',
  'deb-buildinfo',
  'deb-changes',
  'apt-release',
  'rpm-repomd',
];
/**
 * The largest payload that is published, in bytes; a larger one with a purpose of `publishedPurposes` is
 * refused.
 */
export const publishedPayloadLimitBytes = 1024 * 1024;

/** All published payloads of one document together, in bytes: beyond that it is refused. */
export const publishedDocumentLimitBytes = 16 * 1024 * 1024;

/**
 * Whether the payload's bytes go into the commit of the intent: always with those purposes, and with `link`
 * and `other` where they are small.
 */
export function isPublishedPayload({ purpose, payload }: Pick<Intent, 'purpose' | 'payload'>): boolean {
  return (
    publishedPurposes.includes(purpose) ||
    (purpose !== 'rpm-header' && payload.size <= publishedPayloadLimitBytes)
  );
}

/**
 * What follows a document, and is published beside it: each SHA-256 once, in the order in which the document
 * first names them.
 */
export function publishedPayloads(intents: readonly Pick<Intent, 'purpose' | 'payload'>[]): HashedFile[] {
  const demanded = new Set(intents.filter(isPublishedPayload).map(({ payload }) => payload.sha256));
  const first = new Map<string, HashedFile>();
  for (const { payload } of intents)
    if (demanded.has(payload.sha256) && !first.has(payload.sha256)) first.set(payload.sha256, payload);
  return [...first.values()];
}

export const signingModes = ['detach', 'clearsign'] as const;
export type SigningMode = (typeof signingModes)[number];

export interface HashedFile {
  name: string;
  /** bytes */
  size: number;
  /** lower case hex */
  sha256: string;
}

/** "I want these bytes signed with this key in this mode, for this reason." */
export interface Intent {
  job: string;
  component: string;
  version: string;
  dist: string;
  purpose: Purpose;
  /** full fingerprint of the key that shall sign */
  key: string;
  mode: SigningMode;
  payload: HashedFile;
  /** logs of this job, paths as BuildLog answered them */
  logs: string[];
  artifacts: HashedFile[];
  /**
   * random hex: asking again for the same bytes (after an expiry, a crash) is another document, and so
   * another grant
   */
  nonce?: string;
}

export type IntentDocument =
  ({ format: typeof intentFormat } & Intent) | { format: typeof intentFormat; intents: Intent[] };

/** The intents of a document, in order; their index is part of a grant's identity. */
export function intentsOf(document: IntentDocument): Intent[] {
  if ('intents' in document) return document.intents;
  const { format: _format, ...intent } = document;
  return [intent];
}

const hashedFile = {
  type: 'object',
  additionalProperties: false,
  required: ['name', 'size', 'sha256'],
  properties: {
    name: { type: 'string', pattern: fileNamePattern },
    size: { type: 'integer', minimum: 0, maximum: payloadLimitBytes },
    sha256: { type: 'string', pattern: sha256Pattern },
  },
} as const;

const intentProperties = {
  job: { type: 'string', pattern: jobIdPattern },
  component: { type: 'string', pattern: plainNamePattern },
  version: { type: 'string', pattern: versionPattern },
  dist: { type: 'string', pattern: plainNamePattern },
  purpose: { type: 'string', enum: purposes },
  key: { type: 'string', pattern: fingerprintPattern },
  mode: { type: 'string', enum: signingModes },
  payload: hashedFile,
  logs: { type: 'array', maxItems: 100, items: { type: 'string', pattern: logPathPattern } },
  artifacts: { type: 'array', maxItems: 1000, items: hashedFile },
} as const;
const intentRequired = Object.keys(intentProperties);
const nonce = { type: 'string', pattern: noncePattern } as const;

export const intentSchema = {
  oneOf: [
    {
      type: 'object',
      additionalProperties: false,
      required: ['format', ...intentRequired],
      properties: { format: { const: intentFormat }, ...intentProperties, nonce },
    },
    {
      type: 'object',
      additionalProperties: false,
      required: ['format', 'intents'],
      properties: {
        format: { const: intentFormat },
        intents: {
          type: 'array',
          minItems: 1,
          maxItems: intentLimitEntries,
          items: {
            type: 'object',
            additionalProperties: false,
            required: intentRequired,
            properties: { ...intentProperties, nonce },
          },
        },
      },
    },
  ],
} as const;

export const intentReplyFormat = 'build-infra/intent-reply@1';

/**
 * What BuildLog+intent says before its answer: the commit is on every required remote, and the keys VM is
 * asked for the grant.
 */
export interface IntentIsPublic {
  format: typeof intentReplyFormat;
  result: 'public';
  /** SHA-256 of the intent document as published */
  intent: string;
  commit: string;
  /** that commit and those below it, newest first, raw in base64: as many as fit, or none */
  commits: string[];
}
/** Of `commits`, in bytes before base64. */
export const publicCommitsLimitBytes = 32 * 1024;

/** The last line. */
export type IntentReply =
  | {
      format: typeof intentReplyFormat;
      result: 'published';
      intent: string;
      commit: string;
      grantedUntil: string;
    }
  | { format: typeof intentReplyFormat; result: 'refused'; code: string; detail: string };
