// SPDX-License-Identifier: GPL-2.0-or-later
// Exactly one good signature by one key, of the class that is due where it stands (RFC 9580, section 5.2.1):
// over bytes, or in a clear-signed message over its text. Made a moment ago by another VM or person, whose
// clock is not this VM's: so far ahead as told here it counts as made now. Behind there is no bound: a
// signature may be old, and counts as long as its key does.
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import * as openpgp from 'openpgp';
import { keyNow, refuseUnusableKey, type KeyOwner } from '../../shared/openpgp/key-now.js';
import { readOneKey } from '../../shared/openpgp/packets.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';

/** How far ahead of this VM's clock a signature may say it was made. */
export const clockToleranceMs = 5 * 60_000;

export type Signed =
  /** its lines, as they are between armor */
  | { clear: string }
  /** a signature beside the bytes that it is over */
  | { bytes: Uint8Array; signature: openpgp.Signature }
  /** a file of any size, read in pieces */
  | { file: string; signature: openpgp.Signature };

const pieceBytes = 1024 * 1024;

/**
 * By its reader: openpgp hands out the stream that it reads from too, and gives it a reader of its own but no
 * iterator.
 */
async function pass(pieces: ReadableStream<Uint8Array>): Promise<void> {
  const reader = pieces.getReader();
  while (!(await reader.read()).done);
}

async function signatureIn(
  signed: Signed,
): Promise<{ packets: readonly openpgp.SignaturePacket[]; clear?: openpgp.CleartextMessage }> {
  if (!('clear' in signed)) return signed.signature;
  const clear = await openpgp.readCleartextMessage({ cleartextMessage: signed.clear });
  // It has its signature, and openpgp's types do not say so.
  return { clear, packets: (clear as unknown as { signature: openpgp.Signature }).signature.packets };
}

/** @returns when it says it was made @throws Error */
async function verify(signed: Signed, owner: KeyOwner, now: Date): Promise<Date> {
  const { packets, clear } = await signatureIn(signed);
  const [packet] = packets;
  if (packets.length !== 1 || !(packet instanceof openpgp.SignaturePacket) || packet.created === null)
    throw new Error('not exactly one signature that is read here');
  const { created } = packet;
  // Over a text it is over every other spelling of its line ends and trailing blanks too, and can be taken
  // out of any clear-signed message.
  if (packet.signatureType !== openpgp.enums.signature[clear === undefined ? 'binary' : 'text'])
    throw new Error(`the signature is of class ${packet.signatureType}, which is not the one that is due`);
  if (created.getTime() > now.getTime() + clockToleranceMs)
    throw new Error(`the signature is from the future: ${created.toISOString()}`);
  // The key may be as new as its signature, by the same clock.
  const date = new Date(Math.max(now.getTime(), created.getTime()));
  if (owner.key.getKeys(packet.issuerKeyID).length > 0)
    await refuseUnusableKey(owner, packet.issuerKeyID, date);
  const verificationKeys = keyNow(owner.key, date);
  const { signatures, data } = (
    'clear' in signed
      ? await openpgp.verify({ message: clear as openpgp.CleartextMessage, verificationKeys, date })
      : await openpgp.verify({
          message: await openpgp.createMessage({
            binary:
              'file' in signed
                ? (Readable.toWeb(
                    createReadStream(signed.file, { highWaterMark: pieceBytes }),
                  ) as ReadableStream<Uint8Array>)
                : signed.bytes,
          }),
          signature: signed.signature,
          verificationKeys,
          date,
          format: 'binary',
        })
  ) as { signatures: { verified: Promise<true> }[]; data: unknown };
  const [only] = signatures;
  if (only === undefined || signatures.length !== 1) throw new Error('not exactly one signature');
  // What was read of a file is hashed while it passes by.
  await Promise.all([only.verified, 'file' in signed ? pass(data as ReadableStream<Uint8Array>) : undefined]);
  return created;
}

/**
 * @param now of this VM
 * @returns when it says it was made
 * @throws Refusal BAD_SIGNATURE, and of a signature by a key that can sign no more KEY_EXPIRED, KEY_REVOKED,
 * KEY_NOT_USABLE
 */
export async function verifyOneSignature(signed: Signed, owner: KeyOwner, now = new Date()): Promise<Date> {
  try {
    return await verify(signed, owner, now);
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(
      'BAD_SIGNATURE',
      `the signature of ${owner.name} does not verify: ${printable((error as Error).message)}`,
    );
  }
}

/** The same, of an armored signature beside the bytes. @throws Refusal as above */
export async function verifyDetached(
  bytes: Uint8Array,
  armoredSignature: string,
  owner: KeyOwner,
  now = new Date(),
): Promise<Date> {
  const signature = await openpgp.readSignature({ armoredSignature }).catch((error: unknown) => {
    throw new Refusal(
      'BAD_SIGNATURE',
      `the signature of ${owner.name} cannot be read: ${printable((error as Error).message)}`,
    );
  });
  return await verifyOneSignature({ bytes, signature }, owner, now);
}

/** @throws Refusal BAD_SIGNATURE, KEY_EXPIRED, KEY_REVOKED, KEY_NOT_USABLE */
export async function verifyClearSigned(
  text: string,
  name: string,
  armoredKey: string,
  fingerprint: string,
): Promise<void> {
  const key = await readOneKey(armoredKey, fingerprint).catch((error: unknown) => {
    throw new Refusal('BAD_SIGNATURE', `${name}: ${printable((error as Error).message)}`);
  });
  await verifyOneSignature({ clear: text }, { name: `this environment over ${name}`, key });
}
