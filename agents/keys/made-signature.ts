// SPDX-License-Identifier: GPL-2.0-or-later
// What gpg made, compared with what was ordered before it leaves: exactly the announced text where it holds
// one, and one signature packet (RFC 9580, section 5.2.3) of that class, key and digest, with our notation
// and nothing else that it would say in the key's name.
import { createHash } from 'node:crypto';
import type { SigningMode } from '../shared/formats/intent.js';
import {
  originNotation,
  writeSignatureOrigin,
  type SignatureOrigin,
} from '../shared/formats/signature-origin.js';
import type { Digest } from './gpg-request.js';
import { dearmor } from './logs-key.js';

export interface SigningOrder {
  /** full fingerprint from the configuration */
  key: string;
  mode: SigningMode;
  armor: boolean;
  digest: Digest;
  /** descriptor of the spooled payload, at its start */
  payload: { fd: number; size: number; sha256: string };
  /** what the signature says of itself: docs/formats.md, "Where a signature comes from" */
  origin: SignatureOrigin;
}

/** RFC 9580, section 9.5 */
export const hashNumbers: Record<Digest, string> = { SHA256: '8', SHA512: '10' };

const frame = '\n-----BEGIN PGP SIGNATURE-----\n';

/** The signature behind a clear-signed text. @throws Error where the text is not the announced one */
function behindText(output: Buffer, { digest, payload }: SigningOrder): Buffer {
  const head = `-----BEGIN PGP SIGNED MESSAGE-----\nHash: ${digest}\n\n`;
  const end = output.indexOf(frame, head.length - 1);
  if (output.toString('latin1', 0, head.length) !== head || end < 0)
    throw new Error('it is not one clear-signed message');
  // From the newline before the text on, so that its first line is as the others.
  const text = output
    .toString('latin1', head.length - 1, end + 1)
    .replaceAll('\n- ', '\n')
    .slice(1);
  if (createHash('sha256').update(text, 'latin1').digest('hex') !== payload.sha256)
    throw new Error('its text is not the announced one');
  return output.subarray(end + 1);
}

/** @throws Error that says what about `output` was not ordered */
export function checkMadeSignature(output: Buffer, order: SigningOrder): void {
  const signature = order.mode === 'clearsign' ? behindText(output, order) : output;
  const packet =
    order.armor || order.mode === 'clearsign'
      ? dearmor(signature.toString('latin1'), 'SIGNATURE')
      : signature;
  // gpg writes the old packet header: 0x88 with one byte of length, 0x89 with two.
  const body = packet.subarray(packet[0] === 0x88 ? 2 : 3);
  const length = packet[0] === 0x88 ? packet.readUInt8(1) : packet[0] === 0x89 ? packet.readUInt16BE(1) : -1;
  if (length !== body.length) throw new Error('it is not one signature packet');
  const said = [body[0], body[1], body[3]].join(' ');
  const ordered = `4 ${order.mode === 'detach' ? 0 : 1} ${hashNumbers[order.digest]}`;
  if (said !== ordered) throw new Error(`its version, class and digest are ${said}, not ${ordered}`);
  const hashed = body.subarray(6, 6 + body.readUInt16BE(4));
  const fingerprint = Buffer.from(order.key, 'hex');
  const value = writeSignatureOrigin(order.origin);
  // Issuer fingerprint; human-readable notation, not critical, with both lengths; and no room beside them but
  // for the time.
  const issuer = Buffer.concat([Buffer.from([fingerprint.length + 2, 33, 4]), fingerprint]);
  const notation = Buffer.concat([
    Buffer.from([
      9 + originNotation.length + value.length,
      20,
      128,
      0,
      0,
      0,
      0,
      originNotation.length,
      0,
      value.length,
    ]),
    Buffer.from(originNotation + value),
  ]);
  if (
    !hashed.includes(issuer) ||
    !hashed.includes(notation) ||
    hashed.length !== issuer.length + notation.length + 6
  )
    throw new Error('it says something else than its key, its time and its origin');
}
