// SPDX-License-Identifier: GPL-2.0-or-later
// What the quick way to judge a commit's signature needs to know of the pinned certificate, asked of openpgp
// once; and openpgp's own word on a signature that the quick way does not know.
import { enums, type PublicKey, type PublicKeyPacket } from 'openpgp';
import { refuseUnusableKey } from '../shared/openpgp/key-now.js';
import { readSignatures } from '../shared/openpgp/packets.js';
import { judgeDetached, type BadSignature } from './public-keys.js';
import { publicKeyAlgorithms, type QuickKey } from '../published/history/quick-signatures.js';

const base64url = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');

function quickKeyOf(
  packet: PublicKeyPacket,
): Pick<QuickKey, 'algorithm' | 'key' | 'numberBytes'> | undefined {
  const {
    n,
    e,
    Q: point,
    oid,
  } = packet.publicParams as {
    n?: Uint8Array;
    e?: Uint8Array;
    Q?: Uint8Array;
    oid?: { getName: () => string };
  };
  const { algorithm } = packet;
  if (packet.version !== 4) return undefined;
  if (algorithm === enums.publicKey.rsaEncryptSign && n !== undefined && e !== undefined)
    return {
      algorithm: publicKeyAlgorithms.rsa,
      key: { kty: 'RSA', n: base64url(n), e: base64url(e) },
      numberBytes: n.length,
    };
  if (point === undefined || oid === undefined) return undefined;
  const curve = oid.getName();
  if (
    algorithm === enums.publicKey.eddsaLegacy &&
    curve === 'ed25519Legacy' &&
    point.length === 33 &&
    point[0] === 0x40
  )
    return {
      algorithm: publicKeyAlgorithms.eddsa,
      key: { kty: 'OKP', crv: 'Ed25519', x: base64url(point.subarray(1)) },
      numberBytes: 32,
    };
  const bytes = { nistP256: 32, nistP384: 48, nistP521: 66 }[curve];
  if (
    algorithm !== enums.publicKey.ecdsa ||
    bytes === undefined ||
    point.length !== 1 + 2 * bytes ||
    point[0] !== 4
  )
    return undefined;
  return {
    algorithm: publicKeyAlgorithms.ecdsa,
    key: {
      kty: 'EC',
      crv: `P-${curve.slice(5)}`,
      x: base64url(point.subarray(1, 1 + bytes)),
      y: base64url(point.subarray(1 + bytes)),
    },
    numberBytes: bytes,
  };
}

/** Of those of its keys that may sign now. @param now the same for all signatures of an audit */
export async function quickKeysOf(key: PublicKey, now = new Date()): Promise<QuickKey[]> {
  const keys = await Promise.all(
    key.getKeys().map(async (one): Promise<QuickKey[]> => {
      const quick = quickKeyOf(one.keyPacket as PublicKeyPacket);
      if (
        quick === undefined ||
        !(await refuseUnusableKey({ name: 'the farm', key }, one.getKeyID(), now).then(
          () => true,
          () => false,
        ))
      )
        return [];
      return [{ ...quick, fingerprint: one.getFingerprint(), created: one.getCreationTime().getTime() }];
    }),
  );
  return keys.flat();
}

export interface JudgedCommit {
  bad: BadSignature | undefined;
  /** when the signature says that it was made, ms; undefined where nothing can be read */
  created: number | undefined;
}

export async function judgeCommit(signed: Buffer, armored: string, key: PublicKey): Promise<JudgedCommit> {
  const bad = await judgeDetached(signed, Buffer.from(armored), key);
  const created = await readSignatures(Buffer.from(armored)).then(
    ([packet]) => packet?.created?.getTime(),
    () => undefined,
  );
  return { bad, created };
}
