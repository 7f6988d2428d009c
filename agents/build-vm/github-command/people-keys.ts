// SPDX-License-Identifier: GPL-2.0-or-later
// The public keys of the people who may command something: read anew for each command, so that a key that was replaced counts at once.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as openpgp from 'openpgp';
import { AnyRefusal, printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { Reporter } from '../../shared/calls/socket-service.js';
import type { CommandRights } from '../configuration/commands-config.js';

export interface PersonKey {
  rights: CommandRights;
  key: openpgp.Key;
  /** the same key as it stands in its file, for programs that are to have an opinion of their own */
  binary: Buffer;
}

/** One armored key, whatever else the administrator put into the file, or a key that is not armored. @throws Refusal BAD_PERSON_KEY */
function binaryOf(bytes: Buffer): Buffer {
  const text = bytes.toString('latin1');
  // The first bit of whatever OpenPGP packet.
  if (((bytes[0] ?? 0) & 0x80) !== 0 && !text.includes('-----BEGIN')) return bytes;
  const blocks = [...text.matchAll(/^-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\r\n:]+: [^\r\n]*\r?\n)*\r?\n((?:[A-Za-z0-9+/=]+\r?\n)+)-----END PGP PUBLIC KEY BLOCK-----$/gm)];
  const [block] = blocks;
  if (block === undefined || blocks.length !== 1) throw new Refusal('BAD_PERSON_KEY', 'not one armored public key');
  return Buffer.from((block[1] as string).split(/\r?\n/).filter((line) => !line.startsWith('=')).join(''), 'base64');
}

/** @throws Refusal BAD_PERSON_KEY */
async function readPersonKey(folder: string, rights: CommandRights): Promise<PersonKey> {
  try {
    const binary = binaryOf(readFileSync(join(folder, `${rights.fingerprint}.asc`)));
    const keys = await openpgp.readKeys({ binaryKeys: new Uint8Array(binary) });
    const [key] = keys;
    if (key === undefined || keys.length !== 1 || key.isPrivate()) throw new Error('not one public key');
    if (key.getFingerprint().toUpperCase() !== rights.fingerprint) throw new Error('another key');
    return { rights, key, binary };
  } catch (error) {
    throw new Refusal('BAD_PERSON_KEY', `${rights.fingerprint}.asc of ${rights.name}: ${printable((error as Error).message)}`);
  }
}

/** Those that can be read: one bad file takes its own person's rights away and nobody else's. */
export async function readPeopleKeys(folder: string, people: readonly CommandRights[], report: Reporter): Promise<PersonKey[]> {
  const found: PersonKey[] = [];
  for (const rights of people) {
    try {
      found.push(await readPersonKey(folder, rights));
    } catch (error) {
      if (!(error instanceof AnyRefusal)) throw error;
      report(`commands: ${error.line()}`);
    }
  }
  return found;
}
