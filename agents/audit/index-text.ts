// SPDX-License-Identifier: GPL-2.0-or-later
// The text of a repository's index, which may be packed, and may be a bomb.
import { inflateRawSync } from 'node:zlib';

export const indexLimitBytes = 512 * 1024 * 1024;

const headBytes = 10;
const tailBytes = 8;

/** One gzip member and nothing else: of a second one, or of bytes behind it, readers see different things (RFC 1952). undefined for anything else. */
function gunzip(bytes: Buffer): Buffer | undefined {
  if (bytes.length < headBytes + tailBytes || bytes.readUInt16BE(0) !== 0x1f8b || bytes[2] !== 8) return undefined;
  const flags = bytes[3] as number;
  // At most the name of what is packed, as gzip(1) writes it.
  const from = flags === 0 ? headBytes : flags === 8 ? bytes.indexOf(0, headBytes) + 1 : 0;
  if (from < headBytes) return undefined;
  try {
    const { buffer, engine } = inflateRawSync(bytes.subarray(from), { info: true, maxOutputLength: indexLimitBytes }) as unknown as { buffer: Buffer; engine: { bytesWritten: number } };
    const end = from + engine.bytesWritten;
    return end + tailBytes === bytes.length && bytes.readUInt32LE(end + 4) === buffer.length ? buffer : undefined;
  } catch {
    return undefined;
  }
}

/** By the path's ending: .gz, or as it stands. undefined where it cannot be unpacked. */
export function indexText(path: string, bytes: Buffer): Buffer | undefined {
  return path.endsWith('.gz') ? gunzip(bytes) : bytes;
}
