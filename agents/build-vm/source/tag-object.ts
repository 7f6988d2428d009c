// SPDX-License-Identifier: GPL-2.0-or-later
// A raw annotated tag, taken apart without git's own signature code. The bytes come from the forge: untrusted
// until verified.
import { Refusal } from '../refusals.js';
import { matches, objectIdPattern } from '../../shared/formats/names.js';

export interface TagObject {
  /** the commit it names */
  commit: string;
  /** the name that is inside the object, and so under the signature */
  name: string;
  tagger: string;
  /** seconds since 1970, as the tagger says */
  time: number;
  message: string;
  /** what the signatures cover: everything before the first signature block */
  signedBytes: Buffer;
  /** armored blocks; at least one */
  signatures: string[];
}

export const tagLimitBytes = 256 * 1024;

/** A block with its last line end, if it has one; other programs than git end lines as Windows does. */
const block =
  /^-----BEGIN PGP SIGNATURE-----[ \t\r]*\n(?:(?!-----)[^\n]*\n)*-----END PGP SIGNATURE-----[ \t\r]*(?:\n|$)/;

function splitSignatures(text: string): { signed: string; blocks: string[] } {
  const begin = /\n-----BEGIN PGP SIGNATURE-----[ \t\r]*\n/.exec(text)?.index;
  if (begin === undefined) throw new Refusal('NOT_SIGNED', 'the tag carries no OpenPGP signature');
  const blocks: string[] = [];
  // Blank lines after it say nothing.
  for (let rest = text.slice(begin + 1); /\S/.test(rest);) {
    const [found] = block.exec(rest) ?? [];
    if (found === undefined)
      throw new Refusal(
        'BAD_TAG',
        rest.startsWith('-----BEGIN PGP SIG')
          ? 'the signature in the tag does not end'
          : 'something follows the signature in the tag',
      );
    blocks.push(found);
    rest = rest.slice(found.length);
  }
  return { signed: text.slice(0, begin + 1), blocks };
}

/**
 * Exactly: object, type commit, tag, tagger, empty line, message, one or more OpenPGP signature blocks up to
 * the end.
 * @param untrustedBody the object's bytes without the "tag <size>" header
 * @throws Refusal BAD_TAG, NOT_SIGNED, TOO_LARGE
 */
export function readTagObject(untrustedBody: Buffer): TagObject {
  if (untrustedBody.length > tagLimitBytes)
    throw new Refusal('TOO_LARGE', `the tag is larger than ${tagLimitBytes} bytes`);
  const text = untrustedBody.toString('utf8');
  if (!Buffer.from(text, 'utf8').equals(untrustedBody)) throw new Refusal('BAD_TAG', 'the tag is not UTF-8');
  if (text.includes('\0')) throw new Refusal('BAD_TAG', 'the tag holds a NUL');
  const headEnd = text.indexOf('\n\n');
  if (headEnd < 0) throw new Refusal('BAD_TAG', 'the tag has no message');
  const lines = text.slice(0, headEnd).split('\n');
  if (lines.length !== 4)
    throw new Refusal('BAD_TAG', 'the tag has other headers than object, type, tag and tagger');
  const take = (index: number, name: string): string => {
    const line = lines[index] as string;
    if (!line.startsWith(`${name} `))
      throw new Refusal('BAD_TAG', `the tag's header ${index + 1} is not "${name}"`);
    return line.slice(name.length + 1);
  };
  const commit = take(0, 'object');
  if (!matches(objectIdPattern, commit)) throw new Refusal('BAD_TAG', 'the tag names no object id');
  if (take(1, 'type') !== 'commit') throw new Refusal('BAD_TAG', 'the tag does not name a commit');
  const name = take(2, 'tag');
  const tagger = take(3, 'tagger');
  const time = /^[^<>]*<[^<>]*> ([0-9]{1,12}) [+-][0-9]{4}$/.exec(tagger);
  if (time === null) throw new Refusal('BAD_TAG', 'the tag names no tagger and time');
  const { signed, blocks } = splitSignatures(text);
  if (signed.length < headEnd + 2) throw new Refusal('BAD_TAG', 'the signature is among the headers');
  return {
    commit,
    name,
    tagger,
    time: Number(time[1]),
    message: signed.slice(headEnd + 2),
    signedBytes: Buffer.from(signed, 'utf8'),
    signatures: blocks,
  };
}
