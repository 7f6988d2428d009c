// SPDX-License-Identifier: GPL-2.0-or-later
// What an audit says: a row per check, and for each thing that is wrong the evidence, so that a stranger can
// look for himself.

/** The checks in the order of the table; README.md says what each one means. */
export const checkNames = [
  'mirrors',
  'one-line',
  'commits-signed',
  'file-lines',
  'files-grow',
  'intents',
  'payloads',
  'journal-chain',
  'journal-heads',
  'journal-grants',
  'apt-signatures',
  'apt-files',
  'dnf-signatures',
  'dnf-files',
] as const;
export type CheckName = (typeof checkNames)[number];

export type FindingCode =
  | 'MIRROR_FORKED'
  | 'HEAD_LOST'
  | 'HEAD_NOT_COMMIT'
  | 'MERGE'
  | 'SEQ_GAP'
  | 'COMMIT_TIME'
  | 'BAD_COMMIT'
  | 'NOT_SIGNED'
  | 'WRONG_KEY'
  | 'BAD_SIGNATURE'
  | 'KEY_EXPIRED'
  | 'KEY_REVOKED'
  | 'KEY_NOT_USABLE'
  | 'BAD_PUBLICATION'
  | 'CHANGE_WITHOUT_LINE'
  | 'LINE_WITHOUT_CHANGE'
  | 'WRONG_SIZE'
  | 'WRONG_SHA256'
  | 'BAD_FILE_MODE'
  | 'BAD_PATH'
  | 'BAD_TREE'
  | 'TOO_MANY_CHANGES'
  | 'EMPTY_FILE'
  | 'FILE_REMOVED'
  | 'FILE_REWRITTEN'
  | 'BAD_XZ'
  | 'BAD_LINE'
  | 'LOG_TWICE'
  | 'BAD_INTENT'
  | 'INTENT_NAME'
  | 'LOG_NOT_PUBLISHED'
  | 'INTENT_TWICE'
  | 'PAYLOAD_NOT_PUBLISHED'
  | 'PAYLOAD_DIFFERS'
  | 'PAYLOAD_TOO_LARGE'
  | 'PAYLOAD_WITHOUT_INTENT'
  | 'BAD_ENTRY'
  | 'JOURNAL_PLACE'
  | 'JOURNAL_GAP'
  | 'JOURNAL_CHAIN'
  | 'JOURNAL_TIME'
  | 'NOT_PINNED'
  | 'BAD_HEAD'
  | 'HEAD_SIGNATURE'
  | 'HEAD_ORDER'
  | 'HEAD_ENTRY'
  | 'HEAD_BOOT'
  | 'HEAD_TIME'
  | 'HEAD_COMMIT'
  | 'HEAD_MISSING'
  | 'UNKNOWN_COMMIT'
  | 'NO_INTENT'
  | 'INTENT_LATER'
  | 'GRANTED_TWICE'
  | 'NO_GRANT'
  | 'SIGNED_TWICE'
  | 'NO_CLAIM'
  | 'CLAIMED_LATE'
  | 'SIGNATURE_NOT_IN_JOURNAL'
  | 'NO_ORIGIN'
  | 'UNKNOWN_ORIGIN'
  | 'WRONG_ORIGIN'
  | 'WRONG_PAYLOAD'
  | 'WRONG_PURPOSE'
  | 'WRONG_NAME'
  | 'OLD_RELEASE'
  | 'EXPIRED_RELEASE'
  | 'RELEASE_DIFFERS'
  | 'FILE_MISSING'
  | 'BAD_INDEX'
  | 'INDEX_FORMS_DIFFER'
  | 'UNLISTED_FILE';

export interface Finding {
  code: FindingCode;
  /** of the logs repository */
  commit?: string;
  /** in the commit, or in the package repository */
  path?: string;
  expected: string;
  found: string;
}

export interface Row {
  name: CheckName;
  ok: boolean;
  /** how many things were looked at, and what they are */
  count: number;
  unit: string;
  /** how many were wrong; `findings` holds the first of them */
  wrong: number;
  findings: Finding[];
}

/** Enough to see what happened; a forged repository must not fill the auditor's memory. */
const findingsKept = 200;

export class Findings {
  readonly rows: readonly Row[];
  readonly #byName = new Map<CheckName, Row>();

  constructor() {
    const units: Record<CheckName, string> = {
      mirrors: 'remotes',
      'one-line': 'commits',
      'commits-signed': 'commits',
      'file-lines': 'files',
      'files-grow': 'versions',
      intents: 'intents',
      payloads: 'payloads',
      'journal-chain': 'entries',
      'journal-heads': 'heads',
      'journal-grants': 'signatures',
      'apt-signatures': 'signatures',
      'apt-files': 'files',
      'dnf-signatures': 'signatures',
      'dnf-files': 'files',
    };
    this.rows = checkNames.map((name) => ({
      name,
      ok: true,
      count: 0,
      unit: units[name],
      wrong: 0,
      findings: [],
    }));
    for (const row of this.rows) this.#byName.set(row.name, row);
  }

  looked(check: CheckName, count = 1): void {
    (this.#byName.get(check) as Row).count += count;
  }

  wrong(check: CheckName, finding: Finding): void {
    const row = this.#byName.get(check) as Row;
    row.ok = false;
    row.wrong += 1;
    if (row.findings.length < findingsKept) row.findings.push(finding);
  }

  get ok(): boolean {
    return this.rows.every((row) => row.ok);
  }
}
