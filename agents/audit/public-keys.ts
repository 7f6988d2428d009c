// SPDX-License-Identifier: GPL-2.0-or-later
// The two pinned keys. A fingerprint is what the auditor trusts; where the key's bytes come from does not
// matter, so they are taken from wherever they are published. An OpenPGP signature counts if that primary
// key, or a signing subkey of it, made it.
import { existsSync, readFileSync } from 'node:fs';
import {
  createMessage,
  enums,
  readCleartextMessage,
  readSignature,
  verify,
  type PublicKey,
  type Signature,
  type SignaturePacket,
} from 'openpgp';
import { keyNow, refuseUnusableKey } from '../shared/openpgp/key-now.js';
import { dearmored, readPublicKeys } from '../shared/openpgp/packets.js';
import { AnyRefusal, printable } from '../shared/refusal.js';
import { fingerprintPattern, matches } from '../shared/formats/names.js';
import { originNotation } from '../shared/formats/signature-origin.js';
import type { FindingCode } from './findings.js';
import { Unreadable } from '../published/unreadable.js';

/** One published file by name, or undefined where there is none. */
export interface KeyPlace {
  (path: string): Promise<Buffer | undefined>;
}

/**
 * @param given a fingerprint, or a file with exactly one public key
 * @param places where published keys lie, all asked for keys/<FPR>.asc and key.asc
 * @throws Unreadable
 */
export async function findKey(given: string, what: string, places: readonly KeyPlace[]): Promise<PublicKey> {
  if (!matches(fingerprintPattern, given)) {
    if (!existsSync(given))
      throw new Unreadable(
        `${what}: ${printable(given)} is neither a fingerprint (upper case hex) nor a file`,
      );
    const keys = await readPublicKeys(readFileSync(given)).catch(() => []);
    if (keys.length !== 1)
      throw new Unreadable(`${what}: ${printable(given)} does not hold exactly one public key`);
    return keys[0] as PublicKey;
  }
  // A copy of before the key was lengthened may lie beside a newer one; each of its signatures is its own.
  let found: PublicKey | undefined;
  for (const place of places) {
    for (const path of [`keys/${given}.asc`, 'key.asc']) {
      const bytes = await place(path);
      const keys = bytes === undefined ? [] : await readPublicKeys(bytes).catch(() => []);
      const key = keys.find((one) => one.getFingerprint().toUpperCase() === given);
      if (key !== undefined) found = found === undefined ? key : await found.update(key);
    }
  }
  if (found !== undefined) return found;
  throw new Unreadable(
    `${what}: no key ${given} is published as keys/${given}.asc or key.asc; give its file instead`,
  );
}

export interface BadSignature {
  code: Extract<
    FindingCode,
    'WRONG_KEY' | 'BAD_SIGNATURE' | 'KEY_EXPIRED' | 'KEY_REVOKED' | 'KEY_NOT_USABLE'
  >;
  found: string;
}

const strongHashes = new Set<number>([enums.hash.sha256, enums.hash.sha384, enums.hash.sha512]);

type Verified = Awaited<ReturnType<typeof verify>>['signatures'];

/**
 * @param due the class of signature that may stand here: one over a text is over other spellings of it too,
 * and can be taken out of its message
 */
async function judge(
  key: PublicKey,
  due: enums.signature,
  verified: (verificationKeys: PublicKey, date: Date) => Promise<Verified>,
): Promise<BadSignature | undefined> {
  const now = new Date();
  try {
    const signatures = await verified(keyNow(key, now), now);
    if (signatures.length !== 1) return { code: 'BAD_SIGNATURE', found: `${signatures.length} signatures` };
    const [one] = signatures as [Verified[number]];
    if (key.getKeys(one.keyID).length === 0)
      return { code: 'WRONG_KEY', found: `signed by key ${one.keyID.toHex().toUpperCase()}` };
    await refuseUnusableKey({ name: 'the farm', key }, one.keyID, now);
    await one.verified;
    const [packet] = (await one.signature).packets;
    const issuer = packet?.issuerFingerprint;
    if (
      issuer !== null &&
      issuer !== undefined &&
      !key.getKeys().some((candidate) => candidate.getFingerprint() === Buffer.from(issuer).toString('hex'))
    ) {
      return { code: 'WRONG_KEY', found: `signed by ${Buffer.from(issuer).toString('hex').toUpperCase()}` };
    }
    if (packet?.signatureType !== due)
      return { code: 'BAD_SIGNATURE', found: `a signature of class ${packet?.signatureType}, not ${due}` };
    if (!strongHashes.has(packet.hashAlgorithm ?? 0))
      return { code: 'BAD_SIGNATURE', found: 'a weak hash algorithm' };
    return undefined;
  } catch (error) {
    if (error instanceof AnyRefusal) return { code: error.code as BadSignature['code'], found: error.detail };
    return { code: 'BAD_SIGNATURE', found: printable((error as Error).message) };
  }
}

/** What is wrong with an armored or binary detached signature over `data`; undefined if nothing is. */
export async function judgeDetached(
  data: Uint8Array,
  untrustedSignature: Buffer,
  key: PublicKey,
): Promise<BadSignature | undefined> {
  return await judge(key, enums.signature.binary, async (verificationKeys, date) => {
    const signature = await readSignature({
      binarySignature: new Uint8Array(dearmored(untrustedSignature, 'SIGNATURE')),
    });
    return (
      await verify({ message: await createMessage({ binary: data }), signature, verificationKeys, date })
    ).signatures;
  });
}

/** The same for a clear-signed message; `text` is what our own reader took out of it. */
export async function judgeCleartext(
  cleartextMessage: string,
  text: string,
  key: PublicKey,
): Promise<BadSignature | undefined> {
  return await judge(key, enums.signature.text, async (verificationKeys, date) => {
    const message = await readCleartextMessage({ cleartextMessage });
    const trimmed = (one: string): string =>
      one
        .split('\n')
        .map((line) => line.replace(/[ \t\r]+$/, ''))
        .join('\n');
    if (trimmed(message.getText()) !== trimmed(text))
      throw new Error('two readers of the message see two texts');
    return (await verify({ message, verificationKeys, date })).signatures;
  });
}

async function packetsOf(signed: Buffer): Promise<readonly SignaturePacket[]> {
  const text = signed.toString('latin1');
  // It has its signature, and openpgp's types do not say so.
  if (text.startsWith('-----BEGIN PGP SIGNED MESSAGE'))
    return ((await readCleartextMessage({ cleartextMessage: text })) as unknown as { signature: Signature })
      .signature.packets;
  return (await readSignature({ binarySignature: new Uint8Array(dearmored(signed, 'SIGNATURE')) })).packets;
}

/**
 * Where a signature, detached or with its text, says that it comes from: every such notation in its hashed
 * part. @param signed one that was judged good
 */
export async function originsOf(signed: Buffer): Promise<string[]> {
  // openpgp gives the notations of the hashed part only.
  return (await packetsOf(signed))
    .flatMap(({ rawNotations }) => rawNotations)
    .filter(({ name }) => name === originNotation)
    .map(({ value }) => Buffer.from(value).toString('latin1'));
}
