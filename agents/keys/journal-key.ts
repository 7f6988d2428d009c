// SPDX-License-Identifier: GPL-2.0-or-later
// The journal key: made inside this VM, it signs where the journal ends. It is made after the journal's first
// entry is on disk, so a key without a journal means that the journal was lost, and a VM that lost either
// refuses to go on.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { readIfThere, writeDurably } from '../shared/durable-files.js';

export interface JournalKey {
  secret: KeyObject;
  /** as it is pinned: 64 hex digits */
  public: string;
}

const fileOf = (stateFolder: string): string => `${stateFolder}/journal-key.pem`;

function withPublic(secret: KeyObject): JournalKey {
  const { x } = createPublicKey(secret).export({ format: 'jwk' });
  return { secret, public: Buffer.from(x as string, 'base64url').toString('hex') };
}

export function makeJournalKey(stateFolder: string): JournalKey {
  const { privateKey } = generateKeyPairSync('ed25519');
  writeDurably(fileOf(stateFolder), privateKey.export({ type: 'pkcs8', format: 'pem' }), 0o600);
  return withPublic(privateKey);
}

/** The key that was made here, or undefined. */
export function readJournalKey(stateFolder: string): JournalKey | undefined {
  const pem = readIfThere(fileOf(stateFolder));
  return pem === undefined ? undefined : withPublic(createPrivateKey(pem));
}

/**
 * @param pinned what the configuration says, or null
 * @param hasJournal whether the journal had an entry before this start
 * @returns undefined where none was made yet
 * @throws Error in one line if this VM is not the one that the farm knows, or no longer remembers what that
 * one did
 */
export function heldJournalKey(
  stateFolder: string,
  pinned: string | null,
  hasJournal: boolean,
): JournalKey | undefined {
  const key = readJournalKey(stateFolder);
  if (pinned !== null && key?.public !== pinned) {
    throw new Error(
      `JOURNAL_KEY_LOST: the configuration pins the journal key ${pinned}, and this VM holds ${key?.public ?? 'none'}: its state was lost or is another VM's; nothing will be signed`,
    );
  }
  if (key !== undefined && !hasJournal)
    throw new Error(
      `STATE_LOST: ${stateFolder} holds the journal key ${key.public} and no journal; nothing will be signed`,
    );
  return key;
}
