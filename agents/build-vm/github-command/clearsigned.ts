// SPDX-License-Identifier: GPL-2.0-or-later
// One clear-signed line, taken apart by the strictest reading of RFC 9580, section 7, and put together again
// by us: what OpenPGP programs see later is our spelling and never the attacker's, who writes every byte that
// is read here. Decision 090
import { Refusal } from '../refusals.js';
import { base64Lines, crcLine, readArmorLines } from './armor.js';

/** The caller's whole input. */
export const commentLimitBytes = 8192;

export const hashes = { SHA256: 8, SHA384: 9, SHA512: 10 } as const;
export type HashName = keyof typeof hashes;

export interface Clearsigned {
  /** what the person signed, without line end */
  line: string;
  hash: HashName;
  /** the signature packet, not yet looked into */
  untrustedPacket: Buffer;
}

const beginMessage = '-----BEGIN PGP SIGNED MESSAGE-----';
const beginSignature = '-----BEGIN PGP SIGNATURE-----';
const endSignature = '-----END PGP SIGNATURE-----';

/**
 * A comment saved in a browser has CRLF at every line's end, one sent through the forge's API has what its
 * sender wrote, and text copied from a terminal has blanks at the ends of lines. None of these is covered by
 * a clear signature, so here, and only here, they go away: line ends are all LF or all CRLF, blanks before
 * them are dropped, the last line end may be missing.
 * @throws Refusal TOO_LARGE, NOT_ASCII, BAD_LINE_ENDS
 */
function plainLines(untrusted: Buffer): string[] {
  if (untrusted.length > commentLimitBytes)
    throw new Refusal('TOO_LARGE', `more than ${commentLimitBytes} bytes`);
  const text = untrusted.toString('latin1');
  if (!/^[\x20-\x7e\r\n]*$/.test(text))
    throw new Refusal('NOT_ASCII', 'a character that is no printable ASCII');
  const ends = text.includes('\r') ? '\r\n' : '\n';
  const lines = text.split(ends);
  if (lines.some((line) => /[\r\n]/.test(line)))
    throw new Refusal('BAD_LINE_ENDS', 'line ends of more than one kind');
  if (lines.at(-1) === '') lines.pop();
  return lines.map((line) => line.replace(/ +$/, ''));
}

/**
 * Exactly: begin, one `Hash:` header with one hash, empty line, one line, begin of the signature without
 * armor headers, empty line, base64, perhaps a checksum, end; and nothing before or after.
 * @throws Refusal TOO_LARGE, NOT_ASCII, BAD_LINE_ENDS, NOT_ONE_MESSAGE, BAD_HASH_HEADER, NOT_ONE_LINE,
 * ARMOR_HEADER, BAD_ARMOR, BAD_CRC
 */
export function readClearsigned(untrusted: Buffer): Clearsigned {
  const lines = plainLines(untrusted);
  const armorLines = lines.filter((line) => line.includes('-----'));
  if (
    lines[0] !== beginMessage ||
    lines.at(-1) !== endSignature ||
    armorLines.length !== 3 ||
    armorLines[1] !== beginSignature
  ) {
    throw new Refusal('NOT_ONE_MESSAGE', 'not one clear-signed message and nothing else');
  }
  const headersEnd = lines.indexOf('');
  const headers = lines.slice(1, headersEnd);
  const hash = /^Hash: (SHA256|SHA384|SHA512)$/.exec(headers[0] ?? '')?.[1] as HashName | undefined;
  if (headersEnd < 0 || headers.length !== 1 || hash === undefined)
    throw new Refusal('BAD_HASH_HEADER', 'not exactly one Hash header with one allowed hash');
  const begin = lines.indexOf(beginSignature);
  const [line, ...more] = lines.slice(headersEnd + 1, begin);
  // A line that begins with a dash would stand there escaped, and no command begins so.
  if (line === undefined || line === '' || line.startsWith('-') || more.length > 0)
    throw new Refusal('NOT_ONE_LINE', 'not exactly one signed line');
  if (lines[begin + 1] !== '')
    throw new Refusal('ARMOR_HEADER', 'the signature has armor headers, or no empty line');
  return { line, hash, untrustedPacket: readArmorLines(lines.slice(begin + 2, -1)) };
}

/** The same message in our spelling, as OpenPGP programs get to see it. */
export function writeClearsigned({ line, hash, untrustedPacket }: Clearsigned): string {
  return [
    beginMessage,
    `Hash: ${hash}`,
    '',
    line,
    beginSignature,
    '',
    ...base64Lines(untrustedPacket),
    crcLine(untrustedPacket),
    endSignature,
    '',
  ].join('\n');
}
