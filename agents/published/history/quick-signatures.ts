// SPDX-License-Identifier: GPL-2.0-or-later
// Commit signatures by the thousand: the one shape of signature packet that gpg writes for this farm's
// commits, verified by node:crypto. It only ever says yes; whatever it does not know goes to the judge of all
// other signatures, public-keys.ts. RFC 9580, section 5.2.3.
import { createHash, createPublicKey, verify, type JsonWebKey, type KeyObject } from 'node:crypto';

/**
 * One key of the pinned certificate that may sign now: plain data, so that a thread needs no OpenPGP.
 * commit-signature.ts makes it.
 */
export interface QuickKey {
  /** lower case hex */
  fingerprint: string;
  /** RFC 9580, section 9.1 */
  algorithm: number;
  key: JsonWebKey;
  /** of each number of a signature, bytes; those of ECDSA and EdDSA have a fixed size */
  numberBytes: number;
  /** ms; nothing older is its signature */
  created: number;
}

/** RFC 9580, section 9.1. */
export const publicKeyAlgorithms = { rsa: 1, ecdsa: 19, eddsa: 22 } as const;
const binaryClass = 0;
const hashNames = new Map([
  [8, 'sha256'],
  [9, 'sha384'],
  [10, 'sha512'],
]);
const issuerKeyId = 16;
const issuerFingerprint = 33;
const creationTime = 2;

interface SignatureParts {
  hash: string;
  algorithm: number;
  /** s since 1970 */
  created: number;
  fingerprint: string;
  /** what is hashed after the data */
  trailer: Buffer;
  left: Buffer;
  numbers: Buffer[];
}

function crc24(data: Buffer): number {
  let crc = 0xb704ce;
  for (const byte of data) {
    crc ^= byte << 16;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x800000 ? (crc << 1) ^ 0x1864cfb : crc << 1;
  }
  return crc & 0xffffff;
}

function unarmored(text: string): Buffer | undefined {
  const [, base64, sum] =
    /^-----BEGIN PGP SIGNATURE-----\n\n((?:[A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/]{1,64}={0,2})\n=([A-Za-z0-9+/]{4})\n-----END PGP SIGNATURE-----\n$/.exec(
      text,
    ) ?? [];
  if (base64 === undefined || sum === undefined || text.length > 8192) return undefined;
  const plain = base64.replaceAll('\n', '');
  const data = Buffer.from(plain, 'base64');
  return data.toString('base64') === plain && crc24(data) === Buffer.from(sum, 'base64').readUIntBE(0, 3)
    ? data
    : undefined;
}

/** Subpackets in short form, of these types only, each at most once. */
function subpackets(area: Buffer, allowed: readonly number[]): Map<number, Buffer> | undefined {
  const found = new Map<number, Buffer>();
  for (let at = 0; at < area.length;) {
    const length = area[at] as number;
    const type = area[at + 1];
    if (
      length < 2 ||
      length > 191 ||
      at + 1 + length > area.length ||
      type === undefined ||
      !allowed.includes(type) ||
      found.has(type)
    )
      return undefined;
    found.set(type, area.subarray(at + 2, at + 1 + length));
    at += 1 + length;
  }
  return found;
}

/** undefined for anything but one version 4 signature of class 00 as gpg writes it. */
function readParts(text: string): SignatureParts | undefined {
  const packet = unarmored(text);
  if (packet === undefined || packet.length < 20) return undefined;
  const isLong = packet[0] === 0x89;
  if (!isLong && packet[0] !== 0x88) return undefined;
  const body = packet.subarray(isLong ? 3 : 2);
  if (body.length !== (isLong ? packet.readUInt16BE(1) : packet[1])) return undefined;
  const hash = hashNames.get(body[3] as number);
  const hashedEnd = 6 + body.readUInt16BE(4);
  if (body[0] !== 4 || body[1] !== binaryClass || hash === undefined || hashedEnd + 2 > body.length)
    return undefined;
  const unhashedEnd = hashedEnd + 2 + body.readUInt16BE(hashedEnd);
  if (unhashedEnd + 2 > body.length) return undefined;
  const hashed = subpackets(body.subarray(6, hashedEnd), [creationTime, issuerFingerprint]);
  const unhashed = subpackets(body.subarray(hashedEnd + 2, unhashedEnd), [issuerKeyId]);
  const created = hashed?.get(creationTime);
  const issuer = hashed?.get(issuerFingerprint);
  const keyId = unhashed?.get(issuerKeyId);
  if (
    created?.length !== 4 ||
    issuer?.length !== 21 ||
    issuer[0] !== 4 ||
    keyId?.equals(issuer.subarray(13)) !== true
  )
    return undefined;
  const numbers: Buffer[] = [];
  for (let at = unhashedEnd + 2; at < body.length;) {
    if (at + 2 > body.length) return undefined;
    const bits = body.readUInt16BE(at);
    const number = body.subarray(at + 2, at + 2 + Math.ceil(bits / 8));
    if (
      bits === 0 ||
      number.length !== Math.ceil(bits / 8) ||
      8 * (number.length - 1) + 32 - Math.clz32(number[0] as number) !== bits
    )
      return undefined;
    numbers.push(number);
    at += 2 + number.length;
  }
  const trailer = Buffer.concat([
    body.subarray(0, hashedEnd),
    Buffer.from([4, 0xff, 0, 0, hashedEnd >> 8, hashedEnd & 0xff]),
  ]);
  return {
    hash,
    algorithm: body[2] as number,
    created: created.readUInt32BE(0),
    fingerprint: issuer.toString('hex', 1),
    trailer,
    left: body.subarray(unhashedEnd, unhashedEnd + 2),
    numbers,
  };
}

export class QuickSignatures {
  readonly #keys = new Map<string, Omit<QuickKey, 'key'> & { key: KeyObject }>();

  constructor(keys: readonly QuickKey[]) {
    for (const one of keys)
      this.#keys.set(one.fingerprint, { ...one, key: createPublicKey({ key: one.key, format: 'jwk' }) });
  }

  /** When a good signature says that it was made, ms; undefined for one that openpgp has to judge. */
  judge(signed: Buffer, armored: string): number | undefined {
    const parts = readParts(armored);
    if (parts === undefined) return undefined;
    const { hash, algorithm, numbers, trailer } = parts;
    const one = this.#keys.get(parts.fingerprint);
    const created = parts.created * 1000;
    if (one === undefined || one.algorithm !== algorithm || created > Date.now() || created < one.created)
      return undefined;
    if (
      numbers.length !== (algorithm === publicKeyAlgorithms.rsa ? 1 : 2) ||
      numbers.some((number) => number.length > one.numberBytes)
    )
      return undefined;
    const signature = Buffer.concat(
      numbers.flatMap((number) => [Buffer.alloc(one.numberBytes - number.length), number]),
    );
    const digest = createHash(hash).update(signed).update(trailer).digest();
    if (!digest.subarray(0, 2).equals(parts.left)) return undefined;
    // Of EdDSA the message is the digest; the others hash once more, what they are given.
    const isEdDsa = algorithm === publicKeyAlgorithms.eddsa;
    const isGood = verify(
      isEdDsa ? null : hash,
      isEdDsa ? digest : Buffer.concat([signed, trailer]),
      { key: one.key, dsaEncoding: 'ieee-p1363' },
      signature,
    );
    return isGood ? created : undefined;
  }
}
