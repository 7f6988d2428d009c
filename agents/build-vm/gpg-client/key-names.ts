// SPDX-License-Identifier: GPL-2.0-or-later
// Which key the caller means. There is one: its full fingerprint goes into the intent, whatever way it was
// named.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runProcess } from '../../shared/programs/bounded-process.js';
import { Refusal } from '../refusals.js';
import type { Settings } from './settings.js';

/** The fingerprints and user ids in the environment's public key file, as the real gpg reads them. */
async function readPublicKey(settings: Settings): Promise<{ fingerprints: string[]; users: string[] }> {
  // gpg does not start without a home, which neither the agent nor a caller may have.
  const home = mkdtempSync(join(tmpdir(), 'gpg-'));
  const args = [
    '--homedir',
    home,
    '--no-options',
    '--batch',
    '--no-tty',
    '--with-colons',
    '--show-keys',
    '--',
    settings.publicKeyFile,
  ];
  // gpg's status does not matter here: a key that cannot be read has no names.
  const listing = (
    await runProcess({
      program: settings.localGpg,
      args,
      env: process.env,
      limitBytes: 4 * 1024 * 1024,
      timeoutMs: 30_000,
    }).finally(() => rmSync(home, { recursive: true, force: true }))
  ).stdout.toString('utf8');
  const rows = listing.split('\n').map((line) => line.split(':'));
  const fields = (kind: string): string[] => rows.filter((row) => row[0] === kind).map((row) => row[9] ?? '');
  return { fingerprints: fields('fpr'), users: fields('uid').map((user) => user.replace(/\\x3a/g, ':')) };
}

/**
 * @param user as after gpg's -u: fingerprint, long key id, user id or mail address; undefined for the default
 * key
 * @returns the environment's full fingerprint
 * @throws Refusal OTHER_KEY
 */
export async function resolveKey(user: string | undefined, settings: Settings): Promise<string> {
  if (user === undefined) return settings.signingKey;
  const id = /^(?:0x)?([0-9A-Fa-f]{16}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})!?$/.exec(user)?.[1]?.toUpperCase();
  if (id !== undefined && settings.signingKey.endsWith(id)) return settings.signingKey;
  const key = await readPublicKey(settings);
  const mail = /^<?([^<> ]+@[^<> ]+)>?$/.exec(user)?.[1]?.toLowerCase();
  const known =
    id !== undefined
      ? key.fingerprints.some((fingerprint) => fingerprint.endsWith(id))
      : key.users.some(
          (name) =>
            name === user ||
            (mail !== undefined && (name.toLowerCase() === mail || name.toLowerCase().endsWith(`<${mail}>`))),
        );
  if (!known) throw new Refusal('OTHER_KEY', `${user} is not the key of this VM, ${settings.signingKey}`);
  return settings.signingKey;
}
