// SPDX-License-Identifier: GPL-2.0-or-later
// Is a package signed by the environment's key, and is it else the package that was built?
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PublicKey } from 'openpgp';
import { makeFolder } from '../../../shared/durable-files.js';
import { readOneKey } from '../../../shared/openpgp/packets.js';
import { printable } from '../../../shared/refusal.js';
import { Refusal } from '../../refusals.js';
import { ProgramFailed, runProgram } from '../../../shared/programs/program.js';
import { readRpmFile } from './rpm-file.js';

const verifyMs = 600_000;

/** @throws Refusal BAD_SIGNATURE where the armored text is not that one key */
export async function environmentKey(armored: string, fingerprint: string): Promise<PublicKey> {
  return await readOneKey(armored, fingerprint).catch((error: unknown) => {
    throw new Refusal(
      'BAD_SIGNATURE',
      `the public key here is not ${fingerprint} alone: ${printable((error as Error).message)}`,
    );
  });
}

/**
 * rpm's own check with a database that holds nothing but the key, then that only the signature header differs
 * from the frozen package.
 * @param folder with the signed packages @param frozen with the same names, as built @param work a folder to
 * make and remove
 * @param most signatures in one package: over its header, and with `rpmsign --rpmv3` one more over header and
 * payload
 * @throws Refusal BAD_SIGNATURE, BAD_ARTIFACT
 */
export async function verifyPackages(
  folder: string,
  frozen: string,
  names: readonly string[],
  key: { armored: string; fingerprint: string },
  work: string,
  most: 1 | 2 = 1,
): Promise<void> {
  await environmentKey(key.armored, key.fingerprint);
  rmSync(work, { recursive: true, force: true });
  makeFolder(join(work, 'db'), 0o700);
  try {
    for (const name of names) {
      const signed = readRpmFile(folder, name);
      if (signed.unsigned !== readRpmFile(frozen, name).unsigned)
        throw new Refusal(
          'BAD_ARTIFACT',
          `${name} is not the package that was built: more than its signature differs`,
        );
      if (signed.signatures.length < 1 || signed.signatures.length > most)
        throw new Refusal(
          'BAD_SIGNATURE',
          `${name} has ${signed.signatures.length} signatures, not ${most === 1 ? 'one' : 'one or two'}`,
        );
    }
    writeFileSync(join(work, 'key.asc'), key.armored);
    const rpmkeys = async (...argv: string[]): Promise<void> => {
      // Every package must have a signature and digests that are right; a VM's own configuration could ask
      // for less.
      await runProgram(
        [
          'rpmkeys',
          '--dbpath',
          join(work, 'db'),
          '--define',
          '_pkgverify_level all',
          '--define',
          '_pkgverify_flags 0',
          ...argv,
        ],
        { timeoutMs: verifyMs, env: { HOME: work } },
      );
    };
    try {
      await rpmkeys('--import', join(work, 'key.asc'));
      await rpmkeys('--checksig', ...names.map((name) => join(folder, name)));
    } catch (error) {
      if (error instanceof ProgramFailed)
        throw new Refusal('BAD_SIGNATURE', `rpmkeys does not accept what was signed: ${error.complaint}`);
      throw error;
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
