// SPDX-License-Identifier: GPL-2.0-or-later
// The keys of farm.ts without gpg: Ed25519 signatures of the shape that gpg writes, made in this process at
// once (RFC 9580, sections 5.2.3 and 7.1). For tests of single parts of the audit; what gpg itself makes of a
// case is seen by those of the whole audit.
import { createHash, createPrivateKey, createPublicKey, sign, type KeyObject } from 'node:crypto';
import type { SigningMode } from '../../agents/shared/formats/intent.js';
import { journalKeyOf, type Keys, type Signer } from './farm.js';

const number16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const number32 = (value: number): Buffer => Buffer.concat([number16(value >>> 16), number16(value & 0xffff)]);
const packet = (tag: number, body: Buffer): Buffer =>
  Buffer.concat([Buffer.from([0x80 | (tag << 2) | 1]), number16(body.length), body]);
const subpacket = (type: number, body: Buffer): Buffer =>
  body.length < 191
    ? Buffer.concat([Buffer.from([body.length + 1, type]), body])
    : Buffer.concat([
        Buffer.from([((body.length + 1 - 192) >> 8) + 192, (body.length + 1 - 192) & 0xff, type]),
        body,
      ]);
function number(bytes: Buffer): Buffer {
  const plain = bytes.subarray(bytes.findIndex((byte) => byte !== 0));
  return Buffer.concat([number16(8 * (plain.length - 1) + 32 - Math.clz32(plain[0] as number)), plain]);
}

export function armor(what: string, data: Buffer): string {
  let crc = 0xb704ce;
  for (const byte of data) {
    crc ^= byte << 16;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x800000 ? (crc << 1) ^ 0x1864cfb : crc << 1;
  }
  return `-----BEGIN PGP ${what}-----\n\n${(data.toString('base64').match(/.{1,64}/g) ?? []).join('\n')}\n=${Buffer.from([(crc >> 16) & 0xff, (crc >> 8) & 0xff, crc & 0xff]).toString('base64')}\n-----END PGP ${what}-----\n`;
}

interface Pen {
  made: number;
  secret: KeyObject;
  public: Buffer;
  fingerprint: Buffer;
}

function penOf(seed: string, made: number): Pen {
  const { secret } = journalKeyOf(seed);
  const point = Buffer.from(
    createPublicKey(createPrivateKey(secret.export({ type: 'pkcs8', format: 'pem' }))).export({
      format: 'jwk',
    }).x as string,
    'base64url',
  );
  const body = Buffer.concat([
    Buffer.from([4]),
    number32(made),
    Buffer.from([22, 9]),
    Buffer.from('2b06010401da470f01', 'hex'),
    number16(263),
    Buffer.from([0x40]),
    point,
  ]);
  return {
    made,
    secret,
    public: body,
    fingerprint: createHash('sha1')
      .update(Buffer.concat([Buffer.from([0x99]), number16(body.length), body]))
      .digest(),
  };
}

interface Words {
  type: number;
  created: number;
  hash: 'SHA1' | 'SHA256' | 'SHA384' | 'SHA512';
  more: Buffer[];
}

function signaturePacket(
  { secret, fingerprint }: Pen,
  data: Buffer,
  { type, created, hash, more }: Words,
): Buffer {
  const hashed = Buffer.concat([
    subpacket(33, Buffer.concat([Buffer.from([4]), fingerprint])),
    subpacket(2, number32(created)),
    ...more,
  ]);
  const head = Buffer.concat([
    Buffer.from([4, type, 22, { SHA1: 2, SHA256: 8, SHA384: 9, SHA512: 10 }[hash]]),
    number16(hashed.length),
    hashed,
  ]);
  const digest = createHash(hash.toLowerCase())
    .update(data)
    .update(head)
    .update(Buffer.concat([Buffer.from([4, 0xff]), number32(head.length)]))
    .digest();
  const both = sign(null, digest, secret);
  const unhashed = subpacket(16, fingerprint.subarray(12));
  return packet(
    2,
    Buffer.concat([
      head,
      number16(unhashed.length),
      unhashed,
      digest.subarray(0, 2),
      number(both.subarray(0, 32)),
      number(both.subarray(32)),
    ]),
  );
}

export class Pens {
  readonly #pens: Record<Signer, Pen>;
  readonly fingerprint: Record<Signer, string>;

  /** @param made when its keys were, s since 1970; yesterday, where nothing is said */
  constructor(made = Math.floor(Date.now() / 1000) - 86_400) {
    this.#pens = {
      logs: penOf('logs', made),
      signing: penOf('signing', made),
      stranger: penOf('stranger', made),
    };
    const of = (signer: Signer): string => this.#pens[signer].fingerprint.toString('hex').toUpperCase();
    this.fingerprint = { logs: of('logs'), signing: of('signing'), stranger: of('stranger') };
  }

  /** @param more those of gpg's options that the tests use */
  sign(signer: Signer, mode: SigningMode, data: Buffer | string, more: readonly string[] = []): Buffer {
    const after = (option: string): string[] =>
      more.flatMap((word, i) => (more[i - 1] === option ? [word] : []));
    const notations = after('--sig-notation').map((word) => {
      const [name, value] = [word.slice(0, word.indexOf('=')), word.slice(word.indexOf('=') + 1)];
      return subpacket(
        20,
        Buffer.concat([
          Buffer.from([0x80, 0, 0, 0]),
          number16(name.length),
          number16(value.length),
          Buffer.from(name + value),
        ]),
      );
    });
    const hash = (after('--digest-algo')[0] ?? 'SHA512') as Words['hash'];
    const isText = mode === 'clearsign' || more.includes('--textmode');
    const created = Number(
      (after('--faked-system-time')[0] ?? `${Math.floor(Date.now() / 1000)}!`).slice(0, -1),
    );
    const text = data.toString('utf8').replace(/\n$/, '');
    const over =
      mode === 'clearsign'
        ? Buffer.from(
            text
              .split('\n')
              .map((line) => line.trimEnd())
              .join('\r\n'),
          )
        : isText
          ? Buffer.from(data.toString('utf8').replaceAll('\n', '\r\n'))
          : Buffer.from(data);
    const armored = armor(
      'SIGNATURE',
      signaturePacket(this.#pens[signer], over, { type: isText ? 1 : 0, created, hash, more: notations }),
    );
    if (mode === 'detach') return Buffer.from(armored);
    return Buffer.from(
      `-----BEGIN PGP SIGNED MESSAGE-----\nHash: ${hash}\n\n${text
        .split('\n')
        .map((line) => (line.startsWith('-') ? `- ${line}` : line))
        .join('\n')}\n${armored}`,
    );
  }

  export(signer: Signer): Buffer {
    const pen = this.#pens[signer];
    const user = Buffer.from(`${signer} <${signer}@farm.example>`);
    const over = Buffer.concat([
      Buffer.from([0x99]),
      number16(pen.public.length),
      pen.public,
      Buffer.from([0xb4]),
      number32(user.length),
      user,
    ]);
    const self = signaturePacket(pen, over, {
      type: 0x13,
      created: pen.made,
      hash: 'SHA512',
      more: [subpacket(27, Buffer.from([3]))],
    });
    return Buffer.from(
      armor('PUBLIC KEY BLOCK', Buffer.concat([packet(6, pen.public), packet(13, user), self])),
    );
  }

  remove(): void {
    // Nothing of it is anywhere.
  }
}

export const pens = new Pens() as unknown as Keys;
