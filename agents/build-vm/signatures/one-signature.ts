// SPDX-License-Identifier: GPL-2.0-or-later
// Exactly one good signature by one key, of the class that is due where it stands (RFC 9580, section 5.2.1): over bytes, or in a clear-signed message over its text. Made a moment ago by another VM or person, whose clock is not this VM's: so far
// ahead as told here it counts as made now. Behind there is no bound: a signature may be old, and whether its key may still sign is its caller's question.
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import * as openpgp from 'openpgp';
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

/** By its reader: openpgp hands out the stream that it reads from too, and gives it a reader of its own but no iterator. */
async function pass(pieces: ReadableStream<Uint8Array>): Promise<void> {
  const reader = pieces.getReader();
  while (!(await reader.read()).done);
}

/**
 * @param now of this VM
 * @returns when it says it was made
 * @throws Error that says why not, in words that may hold what the signature holds
 */
export async function verifyOneSignature(signed: Signed, key: openpgp.Key, now = new Date()): Promise<Date> {
  const clear = 'clear' in signed ? await openpgp.readCleartextMessage({ cleartextMessage: signed.clear }) : undefined;
  // It has its signature, and openpgp's types do not say so.
  const { packets } = 'clear' in signed ? (clear as unknown as { signature: openpgp.Signature }).signature : signed.signature;
  const [packet] = packets;
  const created = packet?.created;
  if (packets.length !== 1 || created === null || created === undefined) throw new Error('not exactly one signature');
  // Over a text it is over every other spelling of its line ends and trailing blanks too, and can be taken out of any clear-signed message.
  if (packet?.signatureType !== openpgp.enums.signature['clear' in signed ? 'text' : 'binary']) throw new Error(`the signature is of class ${packet?.signatureType}, which is not the one that is due`);
  if (created.getTime() > now.getTime() + clockToleranceMs) throw new Error(`the signature is from the future: ${created.toISOString()}`);
  const date = new Date(Math.max(now.getTime(), created.getTime()));
  const { signatures, data } = 'clear' in signed
    ? await openpgp.verify({ message: clear as openpgp.CleartextMessage, verificationKeys: key, date })
    : await openpgp.verify({ message: await openpgp.createMessage({ binary: 'file' in signed ? Readable.toWeb(createReadStream(signed.file, { highWaterMark: pieceBytes })) as ReadableStream<Uint8Array> : signed.bytes }), signature: signed.signature, verificationKeys: key, date, format: 'binary' });
  const [only] = signatures;
  if (only === undefined || signatures.length !== 1) throw new Error('not exactly one signature');
  // What was read of a file is hashed while it passes by.
  await Promise.all([only.verified, 'file' in signed ? pass(data as unknown as ReadableStream<Uint8Array>) : undefined]);
  return created;
}

/** The same, of an armored signature beside the bytes. @throws Error as above */
export async function verifyDetached(bytes: Uint8Array, armoredSignature: string, key: openpgp.Key, now = new Date()): Promise<Date> {
  return await verifyOneSignature({ bytes, signature: await openpgp.readSignature({ armoredSignature }) }, key, now);
}

/** @throws Refusal BAD_SIGNATURE */
export async function verifyClearSigned(text: string, name: string, armoredKey: string, fingerprint: string): Promise<void> {
  try {
    const key = await openpgp.readKey({ armoredKey });
    if (key.getFingerprint().toUpperCase() !== fingerprint) throw new Error('the public key here is another one');
    await verifyOneSignature({ clear: text }, key);
  } catch (error) {
    throw new Refusal('BAD_SIGNATURE', `${name}: ${printable((error as Error).message)}`);
  }
}
