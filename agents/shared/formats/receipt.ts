// SPDX-License-Identifier: GPL-2.0-or-later
// docs/formats.md, "Receipt": what the build-logs VM tells a keys VM, and the answer.
import {
  fingerprintPattern,
  objectIdPattern,
  plainNamePattern,
  sha256Pattern,
  vmNamePattern,
} from './names.js';
import { journalHeadSchema, type JournalHead } from './journal-head.js';
import { payloadLimitBytes, signingModes, type SigningMode } from './intent.js';

export const receiptFormat = 'build-infra/receipt@1';
export const receiptLimitBytes = 4 * 1024 * 1024;

export interface GrantRequest {
  sha256: string;
  size: number;
  key: string;
  mode: SigningMode;
  /** SHA-256 of the intent document that names it */
  intent: string;
}

export interface Receipt {
  format: typeof receiptFormat;
  /** the build VM whose intents these are; the service's argument must say the same */
  source: string;
  /** the last commit of the proof, published and confirmed on `remotes` */
  commit: string;
  remotes: string[];
  /** empty in the receipt after the last log of a job */
  grants: GrantRequest[];
  /** the last journal entry that the build-logs VM holds, or null; what follows it is sent back */
  journal: { seq: number; sha256: string } | null;
  proof: {
    /**
     * raw commit objects in base64 (without git's "commit <size>" header), oldest first; the first one's
     * parent is the head that the keys VM remembers
     */
    commits: string[];
    /** intent documents in base64, as published */
    intents: string[];
  };
}

export const receiptSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['format', 'source', 'commit', 'remotes', 'grants', 'journal', 'proof'],
  properties: {
    format: { const: receiptFormat },
    source: { type: 'string', pattern: vmNamePattern },
    commit: { type: 'string', pattern: objectIdPattern },
    remotes: { type: 'array', maxItems: 16, items: { type: 'string', pattern: plainNamePattern } },
    grants: {
      type: 'array',
      maxItems: 10000,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['sha256', 'size', 'key', 'mode', 'intent'],
        properties: {
          sha256: { type: 'string', pattern: sha256Pattern },
          size: { type: 'integer', minimum: 0, maximum: payloadLimitBytes },
          key: { type: 'string', pattern: fingerprintPattern },
          mode: { type: 'string', enum: signingModes },
          intent: { type: 'string', pattern: sha256Pattern },
        },
      },
    },
    journal: {
      anyOf: [
        { type: 'null' },
        {
          type: 'object',
          additionalProperties: false,
          required: ['seq', 'sha256'],
          properties: {
            seq: { type: 'integer', minimum: 1 },
            sha256: { type: 'string', pattern: sha256Pattern },
          },
        },
      ],
    },
    proof: {
      type: 'object',
      additionalProperties: false,
      required: ['commits', 'intents'],
      properties: {
        commits: { type: 'array', maxItems: 5000, items: { type: 'string' } },
        intents: { type: 'array', maxItems: 1000, items: { type: 'string' } },
      },
    },
  },
} as const;

export const receiptReplyFormat = 'build-infra/receipt-reply@1';

/**
 * First line of LogReceived's answer; the journal entries after the receipt's `journal` follow, one line
 * each. `head` is the commit that the keys VM remembers after this receipt (null before its first); a refusal
 * names it too, so that the build-logs VM can send the missing commits or see that its last receipt did
 * arrive.
 */
export type ReceiptResult =
  | { format: typeof receiptReplyFormat; result: 'accepted'; head: string; granted: number; until: string }
  | {
      format: typeof receiptReplyFormat;
      result: 'refused';
      head: string | null;
      code: string;
      detail: string;
    };
/** `journalHead` says where the journal ends after all of this, also where fewer entries follow. */
export type ReceiptReply = ReceiptResult & { journalHead: JournalHead };

export const receiptReplySchema = {
  oneOf: [
    {
      type: 'object',
      additionalProperties: false,
      required: ['format', 'result', 'head', 'granted', 'until', 'journalHead'],
      properties: {
        format: { const: receiptReplyFormat },
        result: { const: 'accepted' },
        head: { type: 'string', pattern: objectIdPattern },
        granted: { type: 'integer', minimum: 0 },
        until: { type: 'string' },
        journalHead: journalHeadSchema,
      },
    },
    {
      type: 'object',
      additionalProperties: false,
      required: ['format', 'result', 'head', 'code', 'detail', 'journalHead'],
      properties: {
        format: { const: receiptReplyFormat },
        result: { const: 'refused' },
        head: { anyOf: [{ type: 'null' }, { type: 'string', pattern: objectIdPattern }] },
        code: { type: 'string' },
        detail: { type: 'string' },
        journalHead: journalHeadSchema,
      },
    },
  ],
} as const;
