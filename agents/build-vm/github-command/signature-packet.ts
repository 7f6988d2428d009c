// SPDX-License-Identifier: GPL-2.0-or-later
// One OpenPGP signature packet, byte for byte, before any OpenPGP program sees it: RFC 9580, sections 4.2 and
// 5.2. What two programs could read in two ways (partial lengths, trailing packets, odd subpackets, two
// issuers) is refused here.
import { Refusal } from '../refusals.js';
import { hashes, type HashName } from './clearsigned.js';

export interface SignatureFacts {
  /** as the signer's clock said, seconds since 1970; signed */
  created: number;
  /** 16 hex digits, upper case; which key is to be tried, nothing more */
  issuerKeyId: string;
}

const textSignature = 0x01;
/**
 * Number of MPIs of a signature: RSA, ECDSA, EdDSA. DSA and the rest are not allowed; gpgv of Debian 12 knows
 * no newer ones.
 */
const mpiCounts = new Map([
  [1, 1],
  [19, 2],
  [22, 2],
]);

const subpacket = {
  created: 2,
  expires: 3,
  issuer: 16,
  notation: 20,
  policyUri: 26,
  signerUserId: 28,
  issuerFingerprint: 33,
} as const;
/**
 * In the hashed area. A notation or URI that is not critical changes nothing and gpg's settings can add it.
 */
const hashedTypes = new Set<number>(Object.values(subpacket));
/**
 * The unhashed area can be changed by whoever carries the message: only the hint who signed may stand there,
 * and must be the same hint.
 */
const unhashedTypes = new Set<number>([subpacket.issuer, subpacket.issuerFingerprint]);
const mayBeCritical = new Set<number>([
  subpacket.created,
  subpacket.expires,
  subpacket.issuer,
  subpacket.issuerFingerprint,
]);

function no(what: string): never {
  throw new Refusal('BAD_SIGNATURE_PACKET', what);
}

class Bytes {
  #at = 0;
  constructor(readonly bytes: Buffer) {}

  get left(): number {
    return this.bytes.length - this.#at;
  }

  take(count: number): Buffer {
    if (count > this.left) no('the packet is cut short');
    return this.bytes.subarray(this.#at, (this.#at += count));
  }

  number(bytes: number): number {
    return this.take(bytes).readUIntBE(0, bytes);
  }
}

/**
 * The body of the only packet. Partial and indeterminate lengths, and a length in more octets than it needs,
 * are refused.
 */
function onlyPacket(bytes: Buffer): Buffer {
  const input = new Bytes(bytes);
  const header = input.number(1);
  let length: number;
  if ((header & 0xc0) === 0xc0) {
    if ((header & 0x3f) !== 2) no('not a signature packet');
    const first = input.number(1);
    if (first < 192) length = first;
    else if (first < 224) length = ((first - 192) << 8) + input.number(1) + 192;
    else return no('a partial or overlong length');
  } else {
    if ((header & 0x80) === 0 || ((header >> 2) & 0x0f) !== 2) no('not a signature packet');
    const octets = [1, 2][header & 3] ?? no('an indeterminate or overlong length');
    length = input.number(octets);
    if (octets === 2 && length < 256) no('a length in more octets than it needs');
  }
  if (length !== input.left) no('not exactly one packet');
  return input.take(length);
}

function subpackets(area: Bytes, allowed: ReadonlySet<number>): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  while (area.left > 0) {
    const first = area.number(1);
    const length =
      first < 192
        ? first
        : first < 255
          ? ((first - 192) << 8) + area.number(1) + 192
          : no('an overlong subpacket');
    if (length === 0) no('an empty subpacket');
    const typeByte = area.number(1);
    const type = typeByte & 0x7f;
    const body = area.take(length - 1);
    if (!allowed.has(type)) no(`a subpacket of type ${type}`);
    if ((typeByte & 0x80) !== 0 && !mayBeCritical.has(type)) no(`a critical subpacket of type ${type}`);
    // Notations may be many; nothing reads them.
    if (found.has(type) && type !== subpacket.notation) no(`two subpackets of type ${type}`);
    found.set(type, body);
  }
  return found;
}

function issuersOf(areas: readonly Map<number, Buffer>[]): string[] {
  return areas.flatMap((area) => {
    const id = area.get(subpacket.issuer);
    const fingerprint = area.get(subpacket.issuerFingerprint);
    if (id !== undefined && id.length !== 8) no('a key id of no usual length');
    if (fingerprint !== undefined && (fingerprint.length !== 21 || fingerprint[0] !== 4))
      no('a fingerprint of no version 4 key');
    return [id, fingerprint?.subarray(-8)].flatMap((one) =>
      one === undefined ? [] : [one.toString('hex').toUpperCase()],
    );
  });
}

function checkMpis(rest: Bytes, algorithm: number): void {
  for (
    let count = mpiCounts.get(algorithm) ?? no('a public key algorithm that is not allowed');
    count > 0;
    count--
  ) {
    const bits = rest.number(2);
    const value = rest.take((bits + 7) >> 3);
    if (bits === 0 || (value[0] as number) >> ((bits - 1) & 7) !== 1)
      no('a number in more bits than it needs');
  }
  if (rest.left > 0) no('something follows the signature inside its packet');
}

/**
 * A version 4 signature over text, by an allowed algorithm, with the hash that the header announced.
 * @throws Refusal BAD_SIGNATURE_PACKET, HASH_MISMATCH
 */
export function readSignaturePacket(untrusted: Buffer, hash: HashName): SignatureFacts {
  const body = new Bytes(onlyPacket(untrusted));
  if (body.number(1) !== 4) no('not a signature of version 4');
  if (body.number(1) !== textSignature) no('not a signature over text');
  const algorithm = body.number(1);
  if (body.number(1) !== hashes[hash])
    throw new Refusal('HASH_MISMATCH', 'the Hash header names another hash than the signature');
  const hashed = subpackets(new Bytes(body.take(body.number(2))), hashedTypes);
  const unhashed = subpackets(new Bytes(body.take(body.number(2))), unhashedTypes);
  body.take(2);
  checkMpis(body, algorithm);
  const created = hashed.get(subpacket.created);
  if (created?.length !== 4) no('no creation time');
  const issuers = new Set(issuersOf([hashed, unhashed]));
  const [issuerKeyId] = issuers;
  if (issuerKeyId === undefined || issuers.size !== 1) no('no issuer, or more than one');
  // The same fingerprint in both areas, or the hint could name two keys that share an id.
  const [a, b] = [hashed.get(subpacket.issuerFingerprint), unhashed.get(subpacket.issuerFingerprint)];
  if (a !== undefined && b !== undefined && !a.equals(b)) no('two issuer fingerprints');
  return { created: created.readUInt32BE(0), issuerKeyId };
}
