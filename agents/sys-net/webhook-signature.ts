// SPDX-License-Identifier: GPL-2.0-or-later
// X-Hub-Signature-256: HMAC-SHA256 over the raw bytes of the body. Mandatory.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';

/** The 32 bytes of a well spelt header, or undefined. */
export function readSignatureHeader(untrusted: unknown): Buffer | undefined {
  const parts = typeof untrusted === 'string' ? /^sha256=([0-9a-f]{64})$/.exec(untrusted) : null;
  return parts === null ? undefined : Buffer.from(parts[1] as string, 'hex');
}

/** In constant time: how much of a guess was right cannot be measured. */
export function isSignedBy(secret: Uint8Array, body: Uint8Array, claimed: Uint8Array): boolean {
  return timingSafeEqual(createHmac('sha256', secret).update(body).digest(), claimed);
}

/**
 * What a replay has in common with the original, whatever delivery id it wears: the HMAC covers the body
 * only.
 */
export function bodyHash(body: Uint8Array): string {
  return createHash('sha256').update(body).digest('hex');
}
