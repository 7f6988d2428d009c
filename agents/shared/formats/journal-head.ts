// SPDX-License-Identifier: GPL-2.0-or-later
// docs/formats.md, "Journal head": the keys VM's own signed word about where its journal ends. Whoever
// carries the journal can withhold entries; with the heads published beside them it cannot make any up.
import { createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { objectIdPattern, sha256Pattern, vmNamePattern } from './names.js';

export const journalHeadFormat = 'build-infra/journal-head@1';

export interface JournalHead {
  format: typeof journalHeadFormat;
  keysVm: string;
  /** number of the last entry: at least 1, because each start of a keys VM writes one */
  seq: number;
  /** SHA-256 of that entry's line */
  entry: string;
  /** the publication that the keys VM remembers; null before its first receipt */
  commit: string | null;
  /** boot id of the keys VM */
  boot: string;
  /** the keys VM's clock, 2026-11-21T21:37:52.123Z */
  time: string;
  /** base64 of the Ed25519 signature over `journalHeadText` */
  signature: string;
}

/** An Ed25519 public key as it is pinned and published: its 32 bytes in lower case hex. */
export const journalKeyPattern = '^[0-9a-f]{64}$';

export const journalHeadSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['format', 'keysVm', 'seq', 'entry', 'commit', 'boot', 'time', 'signature'],
  properties: {
    format: { const: journalHeadFormat },
    keysVm: { type: 'string', pattern: vmNamePattern },
    seq: { type: 'integer', minimum: 1 },
    entry: { type: 'string', pattern: sha256Pattern },
    commit: { anyOf: [{ type: 'null' }, { type: 'string', pattern: objectIdPattern }] },
    boot: { type: 'string', pattern: '^[ -~]{1,300}$' },
    time: { type: 'string', pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$' },
    signature: { type: 'string', pattern: '^[A-Za-z0-9+/]{86}==$' },
  },
} as const;

type Unsigned = Omit<JournalHead, 'signature'>;

/**
 * What is signed: the fields before the signature as one line of JSON, in this order, without newline. The
 * format's name keeps it apart from all else.
 */
export function journalHeadText({ format, keysVm, seq, entry, commit, boot, time }: Unsigned): string {
  return JSON.stringify({ format, keysVm, seq, entry, commit, boot, time });
}

/** The line as it is sent and published, without newline. */
export function journalHeadLine({
  format,
  keysVm,
  seq,
  entry,
  commit,
  boot,
  time,
  signature,
}: JournalHead): string {
  return JSON.stringify({ format, keysVm, seq, entry, commit, boot, time, signature });
}

export function signJournalHead(head: Unsigned, key: KeyObject): JournalHead {
  return { ...head, signature: sign(null, Buffer.from(journalHeadText(head)), key).toString('base64') };
}

/** @param hex 64 digits, as it is pinned */
export function journalPublicKey(hex: string): KeyObject {
  return createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(hex, 'hex').toString('base64url') },
    format: 'jwk',
  });
}

/** @param journalKey 64 hex digits, or what `journalPublicKey` made of them */
export function verifiesJournalHead(head: JournalHead, journalKey: string | KeyObject): boolean {
  const signature = Buffer.from(head.signature, 'base64');
  const key = typeof journalKey === 'string' ? journalPublicKey(journalKey) : journalKey;
  return (
    signature.toString('base64') === head.signature &&
    verify(null, Buffer.from(journalHeadText(head)), key, signature)
  );
}

/**
 * Where a head is published: beside the file that holds its last entry, one line for each `seq`, each higher
 * than the one before.
 */
export function journalHeadPath(keysVm: string, seq: number): string {
  return `journal/${keysVm}/heads-${String(Math.floor((seq - 1) / 256)).padStart(8, '0')}.jsonl`;
}
