// SPDX-License-Identifier: GPL-2.0-or-later
// docs/formats.md, "Journal": the keys VM's append-only, hash-chained record. One JSON object a line, fields
// in this order.
import { createHash } from 'node:crypto';
import { fingerprintPattern, objectIdPattern, sha256Pattern, vmNamePattern } from './names.js';
import { signingModes, type SigningMode } from './intent.js';

export const journalFormat = 'build-infra/journal-entry@1';
/**
 * `claimed` is written before the key is used and `signed` after, so that no signature exists without an
 * entry, whenever the power fails. `expired` ends a grant that nobody used.
 */
export const journalEvents = ['start', 'granted', 'claimed', 'signed', 'refused', 'expired'] as const;
export type JournalEvent = (typeof journalEvents)[number];

export interface JournalEntry {
  format: typeof journalFormat;
  /** from 1, without gaps */
  seq: number;
  /** SHA-256 of the previous line's bytes without its newline; 64 zeros before the first */
  prev: string;
  /** the keys VM's clock, 2026-11-21T21:37:52.123Z */
  time: string;
  event: JournalEvent;
  source: string | null;
  /** of the payload */
  sha256: string | null;
  key: string | null;
  mode: SigningMode | null;
  /** the publication that granted it */
  commit: string | null;
  /** SHA-256 of the intent document */
  intent: string | null;
  /**
   * start: the boot id. granted: when the grant ends. claimed, expired: empty.
   * signed: sha256:<hex> of the signature as it was handed out (for a clear signature, of the whole message).
   * refused: the code.
   */
  result: string;
}

export const noEntry = '0'.repeat(64);

/** The line as it is hashed, stored and published, without newline. */
export function journalLine(entry: JournalEntry): string {
  const { format, seq, prev, time, event, source, sha256, key, mode, commit, intent, result } = entry;
  return JSON.stringify({
    format,
    seq,
    prev,
    time,
    event,
    source,
    sha256,
    key,
    mode,
    commit,
    intent,
    result,
  });
}

export function journalLineHash(line: string): string {
  return createHash('sha256').update(line).digest('hex');
}

const entriesPerFile = 256;

/**
 * Where an entry is published: files of at most 256 entries, so that a publication's cost does not grow with
 * the journal.
 */
export function journalPath(keysVm: string, seq: number): string {
  return `journal/${keysVm}/${String(Math.floor((seq - 1) / entriesPerFile)).padStart(8, '0')}.jsonl`;
}

/**
 * The first entry of the file at `path`, and the first one after it; undefined where no file of this VM's
 * journal has that path.
 */
export function journalFileEntries(keysVm: string, path: string): { first: number; end: number } | undefined {
  const number = /\/([0-9]{8,12})\.jsonl$/.exec(path)?.[1];
  if (number === undefined) return undefined;
  const first = Number(number) * entriesPerFile + 1;
  return journalPath(keysVm, first) === path ? { first, end: first + entriesPerFile } : undefined;
}

const orNull = <const S extends object>(schema: S) => ({ anyOf: [{ type: 'null' }, schema] }) as const;

export const journalEntrySchema = {
  type: 'object',
  additionalProperties: false,
  required: [
    'format',
    'seq',
    'prev',
    'time',
    'event',
    'source',
    'sha256',
    'key',
    'mode',
    'commit',
    'intent',
    'result',
  ],
  properties: {
    format: { const: journalFormat },
    seq: { type: 'integer', minimum: 1 },
    prev: { type: 'string', pattern: sha256Pattern },
    time: { type: 'string', pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$' },
    event: { type: 'string', enum: journalEvents },
    source: orNull({ type: 'string', pattern: vmNamePattern }),
    sha256: orNull({ type: 'string', pattern: sha256Pattern }),
    key: orNull({ type: 'string', pattern: fingerprintPattern }),
    mode: orNull({ type: 'string', enum: signingModes }),
    commit: orNull({ type: 'string', pattern: objectIdPattern }),
    intent: orNull({ type: 'string', pattern: sha256Pattern }),
    result: { type: 'string', pattern: '^[ -~]{0,300}$' },
  },
} as const;
