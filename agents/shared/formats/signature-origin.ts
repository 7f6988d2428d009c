// SPDX-License-Identifier: GPL-2.0-or-later
// docs/formats.md, "Where a signature comes from": a notation in the hashed part of each signature that a
// keys VM makes. It is not critical, so programs that do not know it pass over it (RFC 9580, section
// 5.2.3.24). A signature made under a history that nobody else saw names that history.

/** The part after the `@` is a name space that cannot be anybody's. */
export const originNotation = 'origin@build-infra.invalid';

export interface SignatureOrigin {
  /** the publication that granted it */
  commit: string;
  /** the `claimed` entry of the keys VM's journal: its number and the SHA-256 of its line */
  seq: number;
  claim: string;
}

export function writeSignatureOrigin({ commit, seq, claim }: SignatureOrigin): string {
  return `${commit}:${seq}:${claim}`;
}

/** undefined for any other spelling */
export function readSignatureOrigin(untrustedValue: string): SignatureOrigin | undefined {
  const [, commit, seq, claim] =
    /^([0-9a-f]{40}|[0-9a-f]{64}):([1-9][0-9]{0,14}):([0-9a-f]{64})$/.exec(untrustedValue) ?? [];
  return commit === undefined || claim === undefined || untrustedValue.endsWith('\n')
    ? undefined
    : { commit, seq: Number(seq), claim };
}
