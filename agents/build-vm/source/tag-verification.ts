// SPDX-License-Identifier: GPL-2.0-or-later
// Who signed a tag: counted by persons, by primary keys, never by subkeys. No network, no git, no gpg.
// Rule for more than one signature: all of them stand in the tag object and cover the same bytes, either as several
// packets in one armored block or, where the component requires more than one, as several blocks (decision 041).
import { join } from 'node:path';
import * as openpgp from 'openpgp';
import { readIfThere } from '../../shared/durable-files.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { Component, Maintainer } from '../configuration/config.js';
import { clockToleranceMs, verifyOneSignature } from '../signatures/one-signature.js';
import { readPublicKeys } from '../../engines/source-tree/public-key-file.js';
import type { Signer } from '../jobs/job-document.js';
import type { TagObject } from './tag-object.js';

export interface MaintainerKey extends Maintainer {
  key: openpgp.Key;
}

const signaturesLimit = 40;

/** Reads <FPR>.asc of each maintainer. @throws Refusal NO_MAINTAINER_KEY, BAD_MAINTAINER_KEY */
export async function readMaintainerKeys(folder: string, maintainers: readonly Maintainer[]): Promise<MaintainerKey[]> {
  const keys: MaintainerKey[] = [];
  for (const maintainer of maintainers) {
    const bytes = readIfThere(join(folder, `${maintainer.fingerprint}.asc`));
    if (bytes === undefined) throw new Refusal('NO_MAINTAINER_KEY', `the key ${maintainer.fingerprint} of ${maintainer.name} is not here`);
    let found: openpgp.Key[];
    try {
      found = await readPublicKeys(bytes);
    } catch (error) {
      throw new Refusal('BAD_MAINTAINER_KEY', `${maintainer.fingerprint}.asc: ${printable((error as Error).message)}`);
    }
    const [key] = found;
    if (key === undefined || found.length !== 1) throw new Refusal('BAD_MAINTAINER_KEY', `${maintainer.fingerprint}.asc holds ${found.length} keys; it must hold exactly one`);
    if (key.getFingerprint().toUpperCase() !== maintainer.fingerprint) throw new Refusal('BAD_MAINTAINER_KEY', `${maintainer.fingerprint}.asc holds another key`);
    keys.push({ ...maintainer, key });
  }
  return keys;
}

/** @throws Refusal KEY_EXPIRED, KEY_REVOKED, KEY_NOT_USABLE */
export async function refuseUnusableKey(owner: MaintainerKey, keyId: openpgp.KeyID, now: Date): Promise<void> {
  const reject = (code: 'KEY_REVOKED' | 'KEY_EXPIRED' | 'KEY_NOT_USABLE', why: string): never => {
    throw new Refusal(code, `the key ${owner.fingerprint} of ${owner.name} ${why}`);
  };
  if (await owner.key.isRevoked(undefined, undefined, now)) reject('KEY_REVOKED', 'is revoked');
  const expires = await owner.key.getExpirationTime();
  if (expires === null) reject('KEY_REVOKED', 'is not valid');
  if (expires instanceof Date && expires <= now) reject('KEY_EXPIRED', 'is expired');
  try {
    await owner.key.verifyPrimaryKey(now);
    await owner.key.getSigningKey(keyId, now);
  } catch (error) {
    const why = printable((error as Error).message);
    reject(/revoked/i.test(why) ? 'KEY_REVOKED' : /expired/i.test(why) ? 'KEY_EXPIRED' : 'KEY_NOT_USABLE', `cannot sign: ${why}`);
  }
}

function owns(key: openpgp.Key, keyId: openpgp.KeyID): boolean {
  return key.getKeys().some((candidate) => candidate.getKeyID().equals(keyId));
}

async function verifyOne(tag: TagObject, packet: openpgp.SignaturePacket, owner: MaintainerKey, now: Date): Promise<Signer> {
  if (packet.signatureType !== openpgp.enums.signature.binary) throw new Refusal('BAD_SIGNATURE', 'the signature is not one over bytes');
  if (packet.created === null || packet.created.getTime() > now.getTime() + clockToleranceMs) throw new Refusal('BAD_SIGNATURE', 'the signature is from the future');
  // The key may be as new as its signature, by the same clock.
  await refuseUnusableKey(owner, packet.issuerKeyID, new Date(Math.max(now.getTime(), packet.created.getTime())));
  const list = new openpgp.PacketList<openpgp.SignaturePacket>();
  list.push(packet);
  try {
    await verifyOneSignature({ bytes: new Uint8Array(tag.signedBytes), signature: new openpgp.Signature(list) }, owner.key, now);
  } catch (error) {
    throw new Refusal('BAD_SIGNATURE', `the signature of ${owner.name} does not verify: ${printable((error as Error).message)}`);
  }
  return { name: owner.name, fingerprint: owner.fingerprint, signed: packet.created.toISOString() };
}

/**
 * The people who signed, one entry each, at least `component.requiredSignatures`.
 * A signature by a stranger counts for nothing; one that claims a maintainer's key and is bad refuses the tag.
 * @throws Refusal BAD_TAG, BAD_SIGNATURE, UNKNOWN_SIGNER, TOO_FEW_SIGNERS, KEY_EXPIRED, KEY_REVOKED, KEY_NOT_USABLE
 */
export async function verifyTag(tag: TagObject, component: Component, keys: readonly MaintainerKey[], now: Date): Promise<Signer[]> {
  if (tag.signatures.length > 1 && component.requiredSignatures < 2) throw new Refusal('BAD_TAG', 'more than one signature block');
  const packets: openpgp.SignaturePacket[] = [];
  for (const armoredSignature of tag.signatures) {
    try {
      const read = await openpgp.readSignature({ armoredSignature });
      for (const packet of read.packets) packets.push(packet);
    } catch (error) {
      throw new Refusal('BAD_SIGNATURE', `the signature cannot be read: ${printable((error as Error).message)}`);
    }
  }
  if (packets.length === 0 || packets.length > signaturesLimit) throw new Refusal('BAD_SIGNATURE', 'no signature, or too many');
  const signers = new Map<string, Signer>();
  const seenKeys = new Set<string>();
  for (const packet of packets) {
    const owner = keys.find((candidate) => owns(candidate.key, packet.issuerKeyID));
    if (owner === undefined) continue;
    const signer = await verifyOne(tag, packet, owner, now);
    if (signers.has(signer.name) || seenKeys.has(signer.fingerprint)) continue;
    signers.set(signer.name, signer);
    seenKeys.add(signer.fingerprint);
  }
  if (signers.size === 0) throw new Refusal('UNKNOWN_SIGNER', `no maintainer of ${component.name} signed the tag`);
  if (signers.size < component.requiredSignatures) {
    throw new Refusal('TOO_FEW_SIGNERS', `${signers.size} of ${component.requiredSignatures} people signed the tag`);
  }
  return [...signers.values()];
}
