// SPDX-License-Identifier: GPL-2.0-or-later
// The base64 inside an OpenPGP armor: RFC 9580, section 6. One spelling for one content, so that nothing can
// be said between the lines.
import { Refusal } from '../refusals.js';

/** CRC-24 of RFC 9580, section 6.1.1. */
export function crc24(bytes: Uint8Array): number {
  let crc = 0xb704ce;
  for (const byte of bytes) {
    crc ^= byte << 16;
    for (let bit = 0; bit < 8; bit++)
      crc = (crc & 0x800000) === 0 ? crc << 1 : ((crc << 1) ^ 0x864cfb) & 0xffffff;
  }
  return crc;
}

export function crcLine(bytes: Uint8Array): string {
  const crc = crc24(bytes);
  return `=${Buffer.from([crc >> 16, (crc >> 8) & 0xff, crc & 0xff]).toString('base64')}`;
}

/** In lines as gpg writes them. */
export function base64Lines(bytes: Buffer): string[] {
  return bytes.toString('base64').match(/.{1,64}/g) ?? [];
}

/**
 * What stands between the empty line and the end line. Lines are of one length but the last; the base64 is
 * the one that these bytes have; a checksum, which newer programs leave out, is the right one.
 * @throws Refusal BAD_ARMOR, BAD_CRC
 */
export function readArmorLines(untrustedLines: readonly string[]): Buffer {
  const checksum = untrustedLines.at(-1)?.startsWith('=') === true ? untrustedLines.at(-1) : undefined;
  const lines = checksum === undefined ? untrustedLines : untrustedLines.slice(0, -1);
  const width = lines[0]?.length ?? 0;
  if (
    width === 0 ||
    width > 76 ||
    lines.some((line, i) =>
      i < lines.length - 1 ? line.length !== width : line.length > width || line.length === 0,
    )
  ) {
    throw new Refusal('BAD_ARMOR', 'the armored lines are of no usual length');
  }
  const text = lines.join('');
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') !== text)
    throw new Refusal('BAD_ARMOR', 'the armored lines are no base64 in its one spelling');
  if (checksum !== undefined && checksum !== crcLine(bytes))
    throw new Refusal('BAD_CRC', 'the checksum is not of these bytes');
  return bytes;
}
