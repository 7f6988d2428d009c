// SPDX-License-Identifier: GPL-2.0-or-later
// The text of a repository's index, which may be packed, and may be a bomb.
import { inflateRawSync } from 'node:zlib';
import type { Budget } from '../budget.js';

export const indexLimitBytes = 512 * 1024 * 1024;

const headBytes = 10;
const tailBytes = 8;

/**
 * One gzip member and nothing else: of a second one, or of bytes behind it, readers see different things (RFC
 * 1952). undefined for anything else.
 */
function gunzip(bytes: Buffer, budget: Budget): Buffer | undefined {
  if (bytes.length < headBytes + tailBytes || bytes.readUInt16BE(0) !== 0x1f8b || bytes[2] !== 8)
    return undefined;
  const flags = bytes[3] as number;
  // At most the name of what is packed, as gzip(1) writes it.
  const from = flags === 0 ? headBytes : flags === 8 ? bytes.indexOf(0, headBytes) + 1 : 0;
  // Its end says how much comes out.
  const size = bytes.readUInt32LE(bytes.length - tailBytes / 2);
  if (from < headBytes || size > indexLimitBytes) return undefined;
  budget.spend('bytes', size);
  try {
    const { buffer, engine } = inflateRawSync(bytes.subarray(from), {
      info: true,
      maxOutputLength: Math.max(1, size),
    }) as unknown as { buffer: Buffer; engine: { bytesWritten: number } };
    const end = from + engine.bytesWritten;
    return end + tailBytes === bytes.length && buffer.length === size ? buffer : undefined;
  } catch {
    return undefined;
  }
}

/**
 * By the path's ending: .gz, or as it stands. undefined where it cannot be unpacked. @throws Unreadable where
 * the budget does not hold what comes out
 */
export function indexText(path: string, bytes: Buffer, budget: Budget): Buffer | undefined {
  return path.endsWith('.gz') ? gunzip(bytes, budget) : bytes;
}
