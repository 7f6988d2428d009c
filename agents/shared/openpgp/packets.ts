// SPDX-License-Identifier: GPL-2.0-or-later
// Files of keys and of signatures, as gpg takes them: without armor, or in one or more armored blocks whose
// packets follow each other.
import * as openpgp from 'openpgp';

/**
 * The packets of all blocks of that kind. What stands around the blocks is nobody's, and their checksums are
 * left out: whoever changed a packet changed what is signed.
 * @throws Error where a file with armor has no such block, or something else than base64 in one
 */
export function dearmored(untrusted: Buffer, kind: 'PUBLIC KEY BLOCK' | 'SIGNATURE'): Buffer {
  if (!untrusted.includes('-----BEGIN')) return untrusted;
  const lines = untrusted
    .toString('latin1')
    .split('\n')
    .map((line) => line.trimEnd());
  const blocks: string[] = [];
  for (let begin = lines.indexOf(`-----BEGIN PGP ${kind}-----`); begin >= 0;) {
    const headersEnd = lines.indexOf('', begin);
    const end = lines.indexOf(`-----END PGP ${kind}-----`, begin);
    if (headersEnd < 0 || end < headersEnd) throw new Error('an armored block without empty line or end');
    const text = lines
      .slice(headersEnd, end)
      .filter((line) => !line.startsWith('='))
      .join('');
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text))
      throw new Error('an armored block that holds something else than base64');
    blocks.push(text);
    begin = lines.indexOf(`-----BEGIN PGP ${kind}-----`, end);
  }
  if (blocks.length === 0) throw new Error(`no armored ${kind.toLowerCase()}`);
  return Buffer.concat(blocks.map((text) => Buffer.from(text, 'base64')));
}

/**
 * Each key once: what a file holds of it in several places is put together. @throws Error what openpgp says
 * of bytes that are no public keys
 */
export async function readPublicKeys(untrusted: Buffer): Promise<openpgp.PublicKey[]> {
  const found = new Map<string, openpgp.PublicKey>();
  for (const key of await openpgp.readKeys({
    binaryKeys: new Uint8Array(dearmored(untrusted, 'PUBLIC KEY BLOCK')),
  })) {
    if (key.isPrivate()) throw new Error('a secret key');
    const before = found.get(key.getFingerprint());
    found.set(key.getFingerprint(), before === undefined ? key : await before.update(key));
  }
  return [...found.values()];
}

/** @throws Error where the file does not hold exactly this one public key */
export async function readOneKey(
  untrusted: Buffer | string,
  fingerprint: string,
): Promise<openpgp.PublicKey> {
  const keys = await readPublicKeys(Buffer.from(untrusted));
  const [key] = keys;
  if (key === undefined || keys.length !== 1)
    throw new Error(`${keys.length} keys, where exactly one must be`);
  if (key.getFingerprint().toUpperCase() !== fingerprint) throw new Error('another key than its name says');
  return key;
}

/**
 * Those that openpgp can judge; one of version 3, and others that it does not know, are left out. @throws
 * Error what openpgp says of bytes that are none
 */
export async function readSignatures(untrusted: Buffer): Promise<openpgp.SignaturePacket[]> {
  const { packets } = await openpgp.readSignature({
    binarySignature: new Uint8Array(dearmored(untrusted, 'SIGNATURE')),
  });
  return packets.filter((packet) => packet instanceof openpgp.SignaturePacket);
}

/** As a signature by itself, to be verified. */
export function signatureOf(packet: openpgp.SignaturePacket): openpgp.Signature {
  const list = new openpgp.PacketList<openpgp.SignaturePacket>();
  list.push(packet);
  return new openpgp.Signature(list);
}
