// SPDX-License-Identifier: GPL-2.0-or-later
// One pass over a file's new version tells its hash and the hash of what stood there before.
import type { Hash } from 'node:crypto';

/**
 * Hashes the chunk; where it passes `end` (counted from the chunk's start), also says what the hash was
 * there.
 */
export function hashUpTo(hash: Hash, chunk: Buffer, end: number): string | undefined {
  if (end <= 0 || end > chunk.length) {
    hash.update(chunk);
    return undefined;
  }
  hash.update(chunk.subarray(0, end));
  const there = hash.copy().digest('hex');
  hash.update(chunk.subarray(end));
  return there;
}
