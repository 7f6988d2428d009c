// SPDX-License-Identifier: GPL-2.0-or-later
// The two pinned keys. A fingerprint is what the auditor trusts; where the key's bytes come from does not matter, so they are
// taken from wherever they are published. An OpenPGP signature counts if that primary key, or a signing subkey of it, made it.
import { existsSync, readFileSync } from 'node:fs';
import { createMessage, enums, readCleartextMessage, readKeys, readSignature, verify, type PublicKey, type Signature, type SignaturePacket } from 'openpgp';
import { printable } from '../shared/refusal.js';
import { fingerprintPattern, matches } from '../shared/formats/names.js';
import { originNotation } from '../shared/formats/signature-origin.js';
import type { FindingCode } from './findings.js';
import { Unreadable } from '../published/unreadable.js';

/** One published file by name, or undefined where there is none. */
export interface KeyPlace {
  (path: string): Promise<Buffer | undefined>;
}

/** Several armored blocks may follow each other, as apt allows too. */
async function keysIn(bytes: Buffer): Promise<PublicKey[]> {
  const text = bytes.toString('latin1');
  if (!text.includes('-----BEGIN')) return await readKeys({ binaryKeys: bytes });
  const blocks = text.match(/-----BEGIN PGP PUBLIC KEY BLOCK-----[\s\S]*?-----END PGP PUBLIC KEY BLOCK-----/g) ?? [];
  return (await Promise.all(blocks.map((block) => readKeys({ armoredKeys: block })))).flat();
}

/**
 * @param given a fingerprint, or a file with exactly one public key
 * @param places where published keys lie, asked in order for keys/<FPR>.asc and key.asc
 * @throws Unreadable
 */
export async function findKey(given: string, what: string, places: readonly KeyPlace[]): Promise<PublicKey> {
  if (!matches(fingerprintPattern, given)) {
    if (!existsSync(given)) throw new Unreadable(`${what}: ${printable(given)} is neither a fingerprint (upper case hex) nor a file`);
    const keys = await keysIn(readFileSync(given)).catch(() => []);
    if (keys.length !== 1) throw new Unreadable(`${what}: ${printable(given)} does not hold exactly one public key`);
    return keys[0] as PublicKey;
  }
  for (const place of places) {
    for (const path of [`keys/${given}.asc`, 'key.asc']) {
      const bytes = await place(path);
      const keys = bytes === undefined ? [] : await keysIn(bytes).catch(() => []);
      const key = keys.find((one) => one.getFingerprint().toUpperCase() === given);
      if (key !== undefined) return key;
    }
  }
  throw new Unreadable(`${what}: no key ${given} is published as keys/${given}.asc or key.asc; give its file instead`);
}

export interface BadSignature {
  code: Extract<FindingCode, 'WRONG_KEY' | 'BAD_SIGNATURE'>;
  found: string;
}

const strongHashes = new Set<number>([enums.hash.sha256, enums.hash.sha384, enums.hash.sha512]);

type Verified = Awaited<ReturnType<typeof verify>>['signatures'];

/** @param due the class of signature that may stand here: one over a text is over other spellings of it too, and can be taken out of its message */
async function judge(signatures: Verified, key: PublicKey, due: enums.signature): Promise<BadSignature | undefined> {
  if (signatures.length !== 1) return { code: 'BAD_SIGNATURE', found: `${signatures.length} signatures` };
  const [one] = signatures as [Verified[number]];
  if (!key.getKeys().some((candidate) => candidate.getKeyID().equals(one.keyID))) return { code: 'WRONG_KEY', found: `signed by key ${one.keyID.toHex().toUpperCase()}` };
  try {
    await one.verified;
  } catch (error) {
    return { code: 'BAD_SIGNATURE', found: printable((error as Error).message) };
  }
  const [packet] = (await one.signature).packets;
  const issuer = packet?.issuerFingerprint;
  if (issuer !== null && issuer !== undefined && !key.getKeys().some((candidate) => candidate.getFingerprint() === Buffer.from(issuer).toString('hex'))) {
    return { code: 'WRONG_KEY', found: `signed by ${Buffer.from(issuer).toString('hex').toUpperCase()}` };
  }
  if (packet?.signatureType !== due) return { code: 'BAD_SIGNATURE', found: `a signature of class ${packet?.signatureType}, not ${due}` };
  if (!strongHashes.has(packet.hashAlgorithm ?? 0)) return { code: 'BAD_SIGNATURE', found: 'a weak hash algorithm' };
  return undefined;
}

/** What is wrong with an armored or binary detached signature over `data`; undefined if nothing is. */
export async function judgeDetached(data: Uint8Array, signature: Buffer, key: PublicKey): Promise<BadSignature | undefined> {
  try {
    const text = signature.toString('latin1');
    const parsed = text.includes('-----BEGIN PGP SIGNATURE') ? await readSignature({ armoredSignature: text }) : await readSignature({ binarySignature: signature });
    const { signatures } = await verify({ message: await createMessage({ binary: data }), signature: parsed, verificationKeys: key });
    return await judge(signatures, key, enums.signature.binary);
  } catch (error) {
    return { code: 'BAD_SIGNATURE', found: printable((error as Error).message) };
  }
}

/** The same for a clear-signed message; `text` is what our own reader took out of it. */
export async function judgeCleartext(message: string, text: string, key: PublicKey): Promise<BadSignature | undefined> {
  try {
    const cleartext = await readCleartextMessage({ cleartextMessage: message });
    const trimmed = (one: string): string => one.split('\n').map((line) => line.replace(/[ \t\r]+$/, '')).join('\n');
    if (trimmed(cleartext.getText()) !== trimmed(text)) return { code: 'BAD_SIGNATURE', found: 'two readers of the message see two texts' };
    const { signatures } = await verify({ message: cleartext, verificationKeys: key });
    return await judge(signatures, key, enums.signature.text);
  } catch (error) {
    return { code: 'BAD_SIGNATURE', found: printable((error as Error).message) };
  }
}

async function packetsOf(signed: Buffer): Promise<readonly SignaturePacket[]> {
  const text = signed.toString('latin1');
  // It has its signature, and openpgp's types do not say so.
  if (text.startsWith('-----BEGIN PGP SIGNED MESSAGE')) return (await readCleartextMessage({ cleartextMessage: text }) as unknown as { signature: Signature }).signature.packets;
  return (text.includes('-----BEGIN PGP SIGNATURE') ? await readSignature({ armoredSignature: text }) : await readSignature({ binarySignature: signed })).packets;
}

/** Where a signature, detached or with its text, says that it comes from: every such notation in its hashed part. @param signed one that was judged good */
export async function originsOf(signed: Buffer): Promise<string[]> {
  // openpgp gives the notations of the hashed part only.
  return (await packetsOf(signed)).flatMap(({ rawNotations }) => rawNotations).filter(({ name }) => name === originNotation).map(({ value }) => Buffer.from(value).toString('latin1'));
}
