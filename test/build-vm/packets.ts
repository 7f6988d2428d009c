// SPDX-License-Identifier: GPL-2.0-or-later
// A clear-signed message taken apart and put together by hand, with what nobody's program would write.
import { crcLine } from '../../agents/build-vm/github-command/armor.js';

export interface Parts {
  headers: string[];
  text: string[];
  packet: Buffer;
}

export function takeApart(message: string): Parts {
  const lines = message.trimEnd().split('\n');
  const empty = lines.indexOf('');
  const begin = lines.indexOf('-----BEGIN PGP SIGNATURE-----');
  return {
    headers: lines.slice(1, empty),
    text: lines.slice(empty + 1, begin),
    packet: Buffer.from(
      lines
        .slice(begin + 2, -1)
        .filter((line) => !line.startsWith('='))
        .join(''),
      'base64',
    ),
  };
}

export function putTogether({ headers, text, packet }: Parts): string {
  const armored = packet.toString('base64').match(/.{1,64}/g) ?? [];
  return [
    '-----BEGIN PGP SIGNED MESSAGE-----',
    ...headers,
    '',
    ...text,
    '-----BEGIN PGP SIGNATURE-----',
    '',
    ...armored,
    crcLine(packet),
    '-----END PGP SIGNATURE-----',
    '',
  ].join('\n');
}

/** The same message with another packet. */
export function withPacket(message: string, change: (packet: Buffer) => Buffer): string {
  const parts = takeApart(message);
  return putTogether({ ...parts, packet: change(parts.packet) });
}

export interface Packet {
  tag: number;
  body: Buffer;
}

/** All packets, of definite lengths. */
export function packetsOf(bytes: Buffer): Packet[] {
  const packets: Packet[] = [];
  for (let at = 0; at < bytes.length;) {
    const header = bytes[at] as number;
    let length: number;
    let start: number;
    if ((header & 0x40) !== 0) {
      const first = bytes[at + 1] as number;
      [length, start] =
        first < 192
          ? [first, 2]
          : first < 224
            ? [((first - 192) << 8) + (bytes[at + 2] as number) + 192, 3]
            : [bytes.readUInt32BE(at + 2), 6];
    } else {
      const octets = [1, 2, 4][header & 3] as number;
      [length, start] = [bytes.readUIntBE(at + 1, octets), 1 + octets];
    }
    packets.push({
      tag: (header & 0x40) !== 0 ? header & 0x3f : (header >> 2) & 15,
      body: bytes.subarray(at + start, at + start + length),
    });
    at += start + length;
  }
  return packets;
}

export function writePacket({ tag, body }: Packet): Buffer {
  const length =
    body.length < 192 ? [body.length] : [((body.length - 192) >> 8) + 192, (body.length - 192) & 0xff];
  return Buffer.concat([Buffer.from([0xc0 | tag, ...length]), body]);
}

export interface SignatureBody {
  /** version, type, algorithm, hash */
  head: Buffer;
  hashed: Buffer;
  unhashed: Buffer;
  /** left 16 bits and numbers */
  rest: Buffer;
}

export function readSignature(body: Buffer): SignatureBody {
  const hashedEnd = 6 + body.readUInt16BE(4);
  const unhashedEnd = hashedEnd + 2 + body.readUInt16BE(hashedEnd);
  return {
    head: body.subarray(0, 4),
    hashed: body.subarray(6, hashedEnd),
    unhashed: body.subarray(hashedEnd + 2, unhashedEnd),
    rest: body.subarray(unhashedEnd),
  };
}

const framed = (area: Buffer): Buffer =>
  Buffer.concat([Buffer.from([area.length >> 8, area.length & 0xff]), area]);
export const writeSignature = ({ head, hashed, unhashed, rest }: SignatureBody): Buffer =>
  Buffer.concat([head, framed(hashed), framed(unhashed), rest]);

/** The same message with one part of its signature's body changed. */
export function withSignature(
  message: string,
  change: (signature: SignatureBody) => Partial<SignatureBody>,
): string {
  return withPacket(message, (packet) => {
    const [{ body }] = packetsOf(packet) as [Packet];
    const signature = readSignature(body);
    return writePacket({ tag: 2, body: writeSignature({ ...signature, ...change(signature) }) });
  });
}

export const subpacket = (type: number, body: Buffer): Buffer =>
  Buffer.concat([Buffer.from([body.length + 1, type]), body]);

export function armoredKey(bytes: Buffer): string {
  return [
    '-----BEGIN PGP PUBLIC KEY BLOCK-----',
    '',
    ...(bytes.toString('base64').match(/.{1,64}/g) ?? []),
    crcLine(bytes),
    '-----END PGP PUBLIC KEY BLOCK-----',
    '',
  ].join('\n');
}

export function keyBytes(armored: string): Buffer {
  const lines = armored.trim().split('\n');
  return Buffer.from(
    lines
      .slice(lines.indexOf('') + 1, -1)
      .filter((line) => !line.startsWith('='))
      .join(''),
    'base64',
  );
}
