// SPDX-License-Identifier: GPL-2.0-or-later
// The fingerprint of a public key, armored or not, without gpg and without a package: RFC 9580, sections 4.2
// (packet headers), 5.5.4 (fingerprints), 6.2 (armor).
import { createHash } from 'node:crypto';

const publicKeyPacket = 6;

function dearmored(text: string): Buffer | undefined {
  const block =
    /^-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\r\n:]+: [^\r\n]*\r?\n)*\r?\n((?:[A-Za-z0-9+/=]+\r?\n)+)-----END PGP PUBLIC KEY BLOCK-----\s*$/.exec(
      text,
    );
  if (block === null) return undefined;
  const lines = (block[1] as string).split(/\r?\n/).filter((line) => line !== '' && !line.startsWith('='));
  return Buffer.from(lines.join(''), 'base64');
}

/** The first packet: its tag and body. Partial and indeterminate lengths do not occur in keys. */
function firstPacket(bytes: Buffer): { tag: number; body: Buffer } | undefined {
  const header = bytes[0];
  if (header === undefined || (header & 0x80) === 0) return undefined;
  let tag: number;
  let length: number;
  let start: number;
  if ((header & 0x40) !== 0) {
    tag = header & 0x3f;
    const first = bytes[1] ?? 255;
    if (first < 192) [length, start] = [first, 2];
    else if (first < 224) [length, start] = [((first - 192) << 8) + (bytes[2] ?? 0) + 192, 3];
    else if (first === 255 && bytes.length > 6) [length, start] = [bytes.readUInt32BE(2), 6];
    else return undefined;
  } else {
    tag = (header >> 2) & 0x0f;
    const size = [1, 2, 4][header & 3];
    if (size === undefined || bytes.length < 1 + size) return undefined;
    [length, start] = [bytes.readUIntBE(1, size), 1 + size];
  }
  const body = bytes.subarray(start, start + length);
  return body.length === length ? { tag, body } : undefined;
}

/** Upper-case hexadecimal, or undefined where the file does not hold one public key of version 4 or 6. */
export function fingerprintOf(bytes: Buffer): string | undefined {
  const packet = firstPacket(dearmored(bytes.toString('latin1')) ?? bytes);
  if (packet === undefined || packet.tag !== publicKeyPacket) return undefined;
  const { body } = packet;
  if (body[0] === 4) {
    const header = Buffer.from([0x99, body.length >> 8, body.length & 0xff]);
    return createHash('sha1').update(header).update(body).digest('hex').toUpperCase();
  }
  if (body[0] === 6) {
    const header = Buffer.alloc(5);
    header[0] = 0x9b;
    header.writeUInt32BE(body.length, 1);
    return createHash('sha256').update(header).update(body).digest('hex').toUpperCase();
  }
  return undefined;
}
