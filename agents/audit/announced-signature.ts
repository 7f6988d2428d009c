// SPDX-License-Identifier: GPL-2.0-or-later
// One signature of a package repository: good, by the pinned key, told of in a published journal over these
// very bytes, and made under this history: it names the publication and the claim that it comes from.
import { createHash } from 'node:crypto';
import type { PublicKey } from 'openpgp';
import { readSignatureOrigin } from '../shared/formats/signature-origin.js';
import { printable } from '../shared/refusal.js';
import type { CheckName, FindingCode, Findings } from './findings.js';
import type { Signature } from './journal.js';
import { originsOf, type BadSignature } from './public-keys.js';

export const sha256 = (data: Uint8Array | string): string => createHash('sha256').update(data).digest('hex');

export interface Announcements {
  /** before a path in a finding: which repository, where there are several */
  place: string;
  signingKey: PublicKey;
  /** by SHA-256 of the signature */
  signatures: ReadonlyMap<string, Signature>;
  /** each signature that is met and stands in a journal */
  met: (path: string, signature: Signature) => void;
  /** every commit of the history */
  commits: ReadonlyMap<string, number>;
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

  /**
   * @param bad what is wrong with it in itself @param payload SHA-256 of what was handed in to be signed
   * @returns the journal's entry about it
   */
  async judge(
    path: string,
    bad: BadSignature | undefined,
    signature: Buffer,
    payload: string,
    mode: string,
  ): Promise<Signature | undefined> {
    if (bad !== undefined)
      this.wrong(this.#check, bad.code, path, `a good signature by ${this.#fingerprint}`, bad.found);
    const known = this.#inJournal(path, signature, payload, mode);
    if (bad === undefined) await this.#originOf(path, signature, known);
    return known;
  }

  /** docs/formats.md, "Where a signature comes from". */
  async #originOf(path: string, signature: Buffer, known: Signature | undefined): Promise<void> {
    const origins = await originsOf(signature);
    const origin = origins.length === 1 ? readSignatureOrigin(origins[0] as string) : undefined;
    if (origin === undefined)
      return this.wrong(
        this.#check,
        'NO_ORIGIN',
        path,
        'one notation that says where it comes from',
        origins.map(printable).join(', ') || 'none',
      );
    if (!this.#expected.commits.has(origin.commit))
      return this.wrong(
        this.#check,
        'UNKNOWN_ORIGIN',
        path,
        'made under a commit of this history',
        `made under ${origin.commit}`,
      );
    if (known === undefined) return;
    const claim = known.claims.find(
      ({ seq, line, commit }) =>
        seq === origin.seq && line === origin.claim && commit === origin.commit && seq < known.entry.seq,
    );
    const hash = sha256(signature);
    if (claim !== undefined && (claim.signature ??= hash) === hash) return;
    this.wrong(
      this.#check,
      'WRONG_ORIGIN',
      path,
      `the claim of entry ${known.entry.seq} of ${known.keysVm}`,
      claim === undefined
        ? origins.map(printable).join()
        : `the claim of the signature sha256:${claim.signature}`,
    );
  }

  #inJournal(path: string, signature: Buffer, payload: string, mode: string): Signature | undefined {
    const hash = sha256(signature);
    const known = this.#expected.signatures.get(hash);
    if (known === undefined) {
      this.wrong(
        this.#check,
        'SIGNATURE_NOT_IN_JOURNAL',
        path,
        `a "signed" entry with result sha256:${hash}`,
        'no published journal has one',
      );
      return undefined;
    }
    this.#expected.met(path, known);
    const { entry, keysVm } = known;
    if (payload !== entry.sha256 || entry.mode !== mode) {
      this.wrong(
        this.#check,
        'WRONG_PAYLOAD',
        path,
        `${mode} over sha256:${payload}`,
        `entry ${entry.seq} of ${keysVm}: ${entry.mode} over sha256:${entry.sha256}`,
      );
    }
    if (entry.key !== this.#fingerprint)
      this.wrong(
        this.#check,
        'WRONG_KEY',
        path,
        this.#fingerprint,
        `entry ${entry.seq} of ${keysVm}: ${entry.key}`,
      );
    return known;
  }
}
