// SPDX-License-Identifier: GPL-2.0-or-later
// A key counts as it is now, as gpgv has it. Where a key is lengthened, or another user ID comes, gpg drops
// the self-signatures that were in force before; what a certificate said when an older signature was made is
// then nowhere to be read. docs/decisions/keys-now.md
import { config as usual, type Key, type KeyID, type PublicKey } from 'openpgp';
import { printable } from '../refusal.js';
import { Refusal } from '../refusals.js';

/** Whose key it is, for words. */
export interface KeyOwner {
  name: string;
  key: Key;
}

/** gpg makes none without flags, and uses old ones that have none for what their algorithm can do. */
const config = { ...usual, allowMissingKeyFlags: true };

/** Which subkey, if it is not the primary key. */
const subkeyOf = (key: Key, keyId: KeyID): Key['subkeys'][number] | undefined =>
  key.subkeys.find((one) => one.getKeyID().equals(keyId));

/**
 * When a key can sign no more, by what it says now; undefined: never. Of a subkey, also when its primary key
 * ends.
 */
export async function endOf(key: Key, keyId: KeyID): Promise<Date | undefined> {
  const ends = [await key.getExpirationTime(), await subkeyOf(key, keyId)?.getExpirationTime(null as never)];
  const [first] = ends.filter((end) => end instanceof Date).sort((a, b) => a.getTime() - b.getTime());
  return first;
}

/**
 * @param keyId which key of it signs, primary key or subkey
 * @throws Refusal KEY_REVOKED, KEY_EXPIRED, KEY_NOT_USABLE (nobody called it back: it has no user ID, is of
 * an algorithm that is not taken here, may not sign, …)
 */
export async function refuseUnusableKey({ name, key }: KeyOwner, keyId: KeyID, now: Date): Promise<void> {
  const subkey = subkeyOf(key, keyId);
  const [primary, sub] = [key, subkey].map((one) => one?.getFingerprint().toUpperCase());
  const which = sub === undefined ? primary : `${sub} (a subkey of ${primary})`;
  const reject = (code: 'KEY_REVOKED' | 'KEY_EXPIRED' | 'KEY_NOT_USABLE', why: string): Refusal =>
    new Refusal(code, `the key ${which} of ${name} ${why}`);
  const all = undefined as never;
  if ((await key.isRevoked(all, all, now)) || (await subkey?.isRevoked(all, all, now)) === true) {
    throw reject('KEY_REVOKED', 'is revoked');
  }
  const end = await endOf(key, keyId);
  if (end !== undefined && end <= now)
    throw reject('KEY_EXPIRED', `expired on ${end.toISOString().slice(0, 10)}`);
  try {
    await key.getSigningKey(keyId, now, undefined, config);
  } catch (error) {
    throw reject('KEY_NOT_USABLE', `cannot sign: ${printable((error as Error).message)}`);
  }
}

/**
 * Of each key of it that may sign and was not revoked, when it ends, ms since 1970; Infinity: never. One that
 * ended may be lengthened.
 */
export async function endsOf(key: Key, now: Date): Promise<number[]> {
  const ends = await Promise.all(
    key.getKeys().map(async (one): Promise<number[]> => {
      const end = (await endOf(key, one.getKeyID()))?.getTime() ?? Infinity;
      // One that has ended signed until then.
      const then = new Date(Math.min(now.getTime(), end - 1000));
      const found = await key.getSigningKey(one.getKeyID(), then, undefined, config).catch(() => undefined);
      return found === undefined ? [] : [end];
    }),
  );
  return ends.flat();
}

/**
 * For `verify` of openpgp, which asks a key what it could do when the signature was made: this one answers of
 * `now`.
 */
export function keyNow(key: Key, now: Date): PublicKey {
  const getSigningKey: Key['getSigningKey'] = (keyId) => key.getSigningKey(keyId, now, undefined, config);
  return Object.create(key, { getSigningKey: { value: getSigningKey } }) as PublicKey;
}
