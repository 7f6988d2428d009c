// SPDX-License-Identifier: GPL-2.0-or-later
// The public keys of the people who may command something: read anew for each command, so that a key that was
// replaced counts at once.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PublicKey } from 'openpgp';
import { dearmored, readOneKey } from '../../shared/openpgp/packets.js';
import { AnyRefusal, printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { Reporter } from '../../shared/calls/socket-service.js';
import type { CommandRights } from '../configuration/commands-config.js';

export interface PersonKey {
  rights: CommandRights;
  key: PublicKey;
  /** the same key as it stands in its file, for programs that are to have an opinion of their own */
  binary: Buffer;
}

/** @throws Refusal BAD_PERSON_KEY */
async function readPersonKey(folder: string, rights: CommandRights): Promise<PersonKey> {
  try {
    const binary = dearmored(readFileSync(join(folder, `${rights.fingerprint}.asc`)), 'PUBLIC KEY BLOCK');
    const key = await readOneKey(binary, rights.fingerprint);
    return { rights, key, binary };
  } catch (error) {
    throw new Refusal(
      'BAD_PERSON_KEY',
      `${rights.fingerprint}.asc of ${rights.name}: ${printable((error as Error).message)}`,
    );
  }
}

/** Those that can be read: one bad file takes its own person's rights away and nobody else's. */
export async function readPeopleKeys(
  folder: string,
  people: readonly CommandRights[],
  report: Reporter,
): Promise<PersonKey[]> {
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
