// SPDX-License-Identifier: GPL-2.0-or-later
// Who signed a tag: counted by persons, by primary keys, never by subkeys. No network, no git, no gpg. Rule
// for more than one signature: all of them stand in the tag object and cover the same bytes, either as
// several packets in one armored block or, where the component requires more than one, as several blocks
// (decision 041).
import { join } from 'node:path';
import type * as openpgp from 'openpgp';
import { readIfThere } from '../../shared/durable-files.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { Component, Maintainer } from '../configuration/config.js';
import { verifyOneSignature } from '../signatures/one-signature.js';
import { readOneKey, readSignatures, signatureOf } from '../../shared/openpgp/packets.js';
import type { Signer } from '../jobs/job-document.js';
import type { TagObject } from './tag-object.js';

export interface MaintainerKey extends Maintainer {
  key: openpgp.PublicKey;
}

const signaturesLimit = 40;

/** Reads <FPR>.asc of each maintainer. @throws Refusal NO_MAINTAINER_KEY, BAD_MAINTAINER_KEY */
export async function readMaintainerKeys(
  folder: string,
  maintainers: readonly Maintainer[],
): Promise<MaintainerKey[]> {
  const keys: MaintainerKey[] = [];
  for (const maintainer of maintainers) {
    const bytes = readIfThere(join(folder, `${maintainer.fingerprint}.asc`));
    if (bytes === undefined)
      throw new Refusal(
        'NO_MAINTAINER_KEY',
        `the key ${maintainer.fingerprint} of ${maintainer.name} is not here`,
      );
    const key = await readOneKey(bytes, maintainer.fingerprint).catch((error: unknown) => {
      throw new Refusal(
        'BAD_MAINTAINER_KEY',
        `${maintainer.fingerprint}.asc of ${maintainer.name}: ${printable((error as Error).message)}`,
      );
    });
    keys.push({ ...maintainer, key });
  }
  return keys;
}

async function verifyOne(
  tag: TagObject,
  packet: openpgp.SignaturePacket,
  owner: MaintainerKey,
  now: Date,
): Promise<Signer> {
  const signed = await verifyOneSignature(
    { bytes: new Uint8Array(tag.signedBytes), signature: signatureOf(packet) },
    owner,
    now,
  );
  return { name: owner.name, fingerprint: owner.fingerprint, signed: signed.toISOString() };
}

/**
 * The people who signed, one entry each, at least `component.requiredSignatures`. A signature by a stranger
 * counts for nothing; one that claims a maintainer's key and is bad refuses the tag.
 * @throws Refusal BAD_TAG, BAD_SIGNATURE, UNKNOWN_SIGNER, TOO_FEW_SIGNERS, KEY_EXPIRED, KEY_REVOKED,
 * KEY_NOT_USABLE
 */
export async function verifyTag(
  tag: TagObject,
  component: Component,
  keys: readonly MaintainerKey[],
  now: Date,
): Promise<Signer[]> {
  if (tag.signatures.length > 1 && component.requiredSignatures < 2)
    throw new Refusal('BAD_TAG', 'more than one signature block');
  const packets: openpgp.SignaturePacket[] = [];
  for (const armoredSignature of tag.signatures) {
    try {
      packets.push(...(await readSignatures(Buffer.from(armoredSignature))));
    } catch (error) {
      throw new Refusal(
        'BAD_SIGNATURE',
        `the signature cannot be read: ${printable((error as Error).message)}`,
      );
    }
  }
  if (packets.length === 0 || packets.length > signaturesLimit)
    throw new Refusal(
      'BAD_SIGNATURE',
      'no signature that is read here, or too many: one of version 3, as programs of before 2007 made it, is not',
    );
  const signers = new Map<string, Signer>();
  const seenKeys = new Set<string>();
  for (const packet of packets) {
    const owner = keys.find((candidate) => candidate.key.getKeys(packet.issuerKeyID).length > 0);
    if (owner === undefined) continue;
    const signer = await verifyOne(tag, packet, owner, now);
    if (signers.has(signer.name) || seenKeys.has(signer.fingerprint)) continue;
    signers.set(signer.name, signer);
    seenKeys.add(signer.fingerprint);
  }
  if (signers.size === 0)
    throw new Refusal('UNKNOWN_SIGNER', `no maintainer of ${component.name} signed the tag`);
  if (signers.size < component.requiredSignatures) {
    throw new Refusal(
      'TOO_FEW_SIGNERS',
      `${signers.size} of ${component.requiredSignatures} people signed the tag`,
    );
  }
  return [...signers.values()];
}
