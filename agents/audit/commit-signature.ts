// SPDX-License-Identifier: GPL-2.0-or-later
// Commit signatures by the thousand: the one shape of signature packet that gpg writes for this farm's commits, verified by node:crypto. It only
// ever says yes; whatever it does not know goes to the judge of all other signatures, public-keys.ts. RFC 9580, section 5.2.3.
import { createHash, createPublicKey, verify, type KeyObject } from 'node:crypto';
import { enums, readSignature, SignaturePacket, type PublicKey, type PublicKeyPacket } from 'openpgp';
import { judgeDetached, type BadSignature } from './public-keys.js';

const hashNames = new Map([[8, 'sha256'], [9, 'sha384'], [10, 'sha512']]);
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
  const [, base64, sum] = /^-----BEGIN PGP SIGNATURE-----\n\n((?:[A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/]{1,64}={0,2})\n=([A-Za-z0-9+/]{4})\n-----END PGP SIGNATURE-----\n$/.exec(text) ?? [];
  if (base64 === undefined || sum === undefined || text.length > 8192) return undefined;
  const plain = base64.replaceAll('\n', '');
  const data = Buffer.from(plain, 'base64');
  return data.toString('base64') === plain && crc24(data) === Buffer.from(sum, 'base64').readUIntBE(0, 3) ? data : undefined;
}

/** Subpackets in short form, of these types only, each at most once. */
function subpackets(area: Buffer, allowed: readonly number[]): Map<number, Buffer> | undefined {
  const found = new Map<number, Buffer>();
  for (let at = 0; at < area.length;) {
    const length = area[at] as number;
    const type = area[at + 1];
    if (length < 2 || length > 191 || at + 1 + length > area.length || type === undefined || !allowed.includes(type) || found.has(type)) return undefined;
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
  if (body[0] !== 4 || body[1] !== enums.signature.binary || hash === undefined || hashedEnd + 2 > body.length) return undefined;
  const unhashedEnd = hashedEnd + 2 + body.readUInt16BE(hashedEnd);
  if (unhashedEnd + 2 > body.length) return undefined;
  const hashed = subpackets(body.subarray(6, hashedEnd), [creationTime, issuerFingerprint]);
  const unhashed = subpackets(body.subarray(hashedEnd + 2, unhashedEnd), [issuerKeyId]);
  const created = hashed?.get(creationTime);
  const issuer = hashed?.get(issuerFingerprint);
  const keyId = unhashed?.get(issuerKeyId);
  if (created?.length !== 4 || issuer?.length !== 21 || issuer[0] !== 4 || keyId?.equals(issuer.subarray(13)) !== true) return undefined;
  const numbers: Buffer[] = [];
  for (let at = unhashedEnd + 2; at < body.length;) {
    if (at + 2 > body.length) return undefined;
    const bits = body.readUInt16BE(at);
    const number = body.subarray(at + 2, at + 2 + Math.ceil(bits / 8));
    if (bits === 0 || number.length !== Math.ceil(bits / 8) || 8 * (number.length - 1) + 32 - Math.clz32(number[0] as number) !== bits) return undefined;
    numbers.push(number);
    at += 2 + number.length;
  }
  const trailer = Buffer.concat([body.subarray(0, hashedEnd), Buffer.from([4, 0xff, 0, 0, hashedEnd >> 8, hashedEnd & 0xff])]);
  return { hash, algorithm: body[2] as number, created: created.readUInt32BE(0), fingerprint: issuer.toString('hex', 1), trailer, left: body.subarray(unhashedEnd, unhashedEnd + 2), numbers };
}

interface FastKey {
  algorithm: number;
  key: KeyObject;
  /** of each number of a signature, bytes; those of ECDSA and EdDSA have a fixed size */
  numberBytes: number;
}

const base64url = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');

function fastKeyOf(packet: PublicKeyPacket): FastKey | undefined {
  const parameters = packet.publicParams as { n?: Uint8Array; e?: Uint8Array; Q?: Uint8Array; oid?: { getName(): string } };
  const { n, e, Q: point, oid } = parameters;
  const of = (jwk: Record<string, string>, algorithm: number, numberBytes: number): FastKey => ({ algorithm, key: createPublicKey({ key: jwk, format: 'jwk' }), numberBytes });
  if (packet.version !== 4) return undefined;
  if (packet.algorithm === enums.publicKey.rsaEncryptSign && n !== undefined && e !== undefined) return of({ kty: 'RSA', n: base64url(n), e: base64url(e) }, packet.algorithm, n.length);
  if (point === undefined || oid === undefined) return undefined;
  const curve = oid.getName();
  if (packet.algorithm === enums.publicKey.eddsaLegacy && curve === 'ed25519Legacy' && point.length === 33 && point[0] === 0x40) return of({ kty: 'OKP', crv: 'Ed25519', x: base64url(point.subarray(1)) }, packet.algorithm, 32);
  const bytes = { nistP256: 32, nistP384: 48, nistP521: 66 }[curve];
  if (packet.algorithm !== enums.publicKey.ecdsa || bytes === undefined || point.length !== 1 + 2 * bytes || point[0] !== 4) return undefined;
  return of({ kty: 'EC', crv: `P-${curve.slice(5)}`, x: base64url(point.subarray(1, 1 + bytes)), y: base64url(point.subarray(1 + bytes)) }, packet.algorithm, bytes);
}

export interface JudgedCommit {
  bad: BadSignature | undefined;
  /** when the signature says that it was made, ms; undefined where nothing can be read */
  created: number | undefined;
}

export class CommitSignatures {
  readonly #key: PublicKey;
  readonly #fast = new Map<string, FastKey>();
  /** ms, ascending: between two of these the key's packets say the same of each moment */
  readonly #turns: number[];
  readonly #good = new Map<string, Promise<boolean>>();
  /** signatures that node:crypto found good */
  fast = 0;

  constructor(key: PublicKey) {
    this.#key = key;
    const turns = new Set<number>();
    const keyTimes: number[] = [];
    for (const one of key.getKeys()) {
      const fast = fastKeyOf(one.keyPacket as PublicKeyPacket);
      if (fast !== undefined) this.#fast.set(one.getFingerprint(), fast);
      keyTimes.push(one.getCreationTime().getTime());
      turns.add(one.getCreationTime().getTime());
    }
    for (const packet of key.toPacketList()) {
      if (!(packet instanceof SignaturePacket)) continue;
      const expires = packet.getExpirationTime();
      for (const time of [packet.created, expires instanceof Date ? expires : undefined]) if (time) turns.add(time.getTime());
      for (const made of keyTimes) if (packet.keyExpirationTime !== null) turns.add(made + packet.keyExpirationTime * 1000);
    }
    this.#turns = [...turns].sort((a, b) => a - b);
  }

  async judge(signed: Buffer, armored: string): Promise<JudgedCommit> {
    const parts = readParts(armored);
    if (parts !== undefined && await this.#isGood(signed, parts)) {
      this.fast += 1;
      return { bad: undefined, created: parts.created * 1000 };
    }
    const bad = await judgeDetached(signed, Buffer.from(armored), this.#key);
    const created = await readSignature({ armoredSignature: armored }).then(({ packets }) => packets[0]?.created?.getTime(), () => undefined);
    return { bad, created };
  }

  async #isGood(signed: Buffer, parts: SignatureParts): Promise<boolean> {
    const { hash, algorithm, numbers, trailer } = parts;
    const fast = this.#fast.get(parts.fingerprint);
    const created = parts.created * 1000;
    if (fast === undefined || fast.algorithm !== algorithm || created > Date.now() || !await this.#mayVerify(parts.fingerprint, created)) return false;
    if (numbers.length !== (algorithm === enums.publicKey.rsaEncryptSign ? 1 : 2) || numbers.some((number) => number.length > fast.numberBytes)) return false;
    const signature = Buffer.concat(numbers.flatMap((number) => [Buffer.alloc(fast.numberBytes - number.length), number]));
    const digest = createHash(hash).update(signed).update(trailer).digest();
    if (!digest.subarray(0, 2).equals(parts.left)) return false;
    // Of EdDSA the message is the digest; the others hash once more, what they are given.
    const isEdDsa = algorithm === enums.publicKey.eddsaLegacy;
    const message = isEdDsa ? digest : Buffer.concat([signed, trailer]);
    return new Promise((resolve) => verify(isEdDsa ? null : hash, message, { key: fast.key, dsaEncoding: 'ieee-p1363' }, signature, (error, isGood) => resolve(error === null && isGood)));
  }

  /** Whether this key could sign at that time, as openpgp sees it: asked once for each stretch of time in which nothing changes. */
  #mayVerify(fingerprint: string, time: number): Promise<boolean> {
    const stretch = this.#turns.filter((turn) => turn <= time).length;
    // Right at a turn both of its sides would have to be asked.
    if (this.#turns.includes(time)) return Promise.resolve(false);
    const name = `${fingerprint} ${stretch}`;
    let known = this.#good.get(name);
    if (known === undefined) {
      const one = this.#key.getKeys().find((candidate) => candidate.getFingerprint() === fingerprint);
      known = this.#key.getSigningKey(one?.getKeyID(), new Date(time)).then((found) => found.getFingerprint() === fingerprint, () => false);
      this.#good.set(name, known);
    }
    return known;
  }
}
