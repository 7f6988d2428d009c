// SPDX-License-Identifier: GPL-2.0-or-later
// One signature of a package repository: good, by the pinned key, and told of in a published journal over these very bytes.
import { createHash } from 'node:crypto';
import type { PublicKey } from 'openpgp';
import { printable } from '../shared/refusal.js';
import type { CheckName, FindingCode, Findings } from './findings.js';
import type { Signature } from './journal.js';
import type { BadSignature } from './public-keys.js';

export const sha256 = (data: Uint8Array | string): string => createHash('sha256').update(data).digest('hex');

export interface Announcements {
  /** before a path in a finding: which repository, where there are several */
  place: string;
  signingKey: PublicKey;
  /** by SHA-256 of the signature */
  signatures: ReadonlyMap<string, Signature>;
  /** each signature that is met and stands in a journal */
  met(path: string, signature: Signature): void;
}

export class AnnouncedSignatures {
  readonly #expected: Announcements;
  readonly #check: CheckName;
  readonly #findings: Findings;

  /** @param check the row that a bad signature belongs to */
  constructor(expected: Announcements, check: CheckName, findings: Findings) {
    this.#expected = expected;
    this.#check = check;
    this.#findings = findings;
  }

  get #fingerprint(): string {
    return this.#expected.signingKey.getFingerprint().toUpperCase();
  }

  wrong(check: CheckName, code: FindingCode, path: string, expected: string, found: string): void {
    this.#findings.wrong(check, { code, path: printable(`${this.#expected.place}${path}`), expected, found });
  }

  judged(path: string, bad: BadSignature | undefined): void {
    if (bad !== undefined) this.wrong(this.#check, bad.code, path, `a good signature by ${this.#fingerprint}`, bad.found);
  }

  /** @param payloads SHA-256 of what may have been handed in to be signed @returns the journal's entry about it */
  inJournal(path: string, signature: Uint8Array, payloads: readonly string[], mode: string): Signature | undefined {
    const hash = sha256(signature);
    const known = this.#expected.signatures.get(hash);
    if (known === undefined) {
      this.wrong(this.#check, 'SIGNATURE_NOT_IN_JOURNAL', path, `a "signed" entry with result sha256:${hash}`, 'no published journal has one');
      return undefined;
    }
    this.#expected.met(path, known);
    const { entry, keysVm } = known;
    if (!payloads.includes(entry.sha256) || entry.mode !== mode) {
      this.wrong(this.#check, 'WRONG_PAYLOAD', path, `${mode} over sha256:${payloads[0]}`, `entry ${entry.seq} of ${keysVm}: ${entry.mode} over sha256:${entry.sha256}`);
    }
    if (entry.key !== this.#fingerprint) this.wrong(this.#check, 'WRONG_KEY', path, this.#fingerprint, `entry ${entry.seq} of ${keysVm}: ${entry.key}`);
    return known;
  }
}
