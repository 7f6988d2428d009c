// SPDX-License-Identifier: GPL-2.0-or-later
// When the keys end that this environment needs: read once, as their files change only while the agent is not
// running, and shown from two months before.
import { join } from 'node:path';
import { readIfThere } from '../../shared/durable-files.js';
import { endsOf } from '../../shared/openpgp/key-now.js';
import { readOneKey } from '../../shared/openpgp/packets.js';
import type { Config } from '../configuration/config.js';

export interface NeededKey {
  fingerprint: string;
  whose: string;
  /** of each key of it that may sign, ms since 1970; undefined where the file cannot be read */
  ends: readonly number[] | undefined;
}

/** As `status.json` has it. */
export interface EndingKey {
  fingerprint: string;
  whose: string;
  /** `KEY_ENDS`, `KEY_EXPIRED`, or `KEY_NOT_USABLE`, also of one that was revoked */
  code: string;
  /** a day, UTC; null where there is none */
  ends: string | null;
}

const warnMs = 60 * 24 * 3600_000;

export async function neededKeys(config: Config, folder: string, now: Date): Promise<NeededKey[]> {
  const owners = new Map<string, string>([[config.signingKey, 'the keys VM']]);
  const add = (fingerprint: string, whose: string): unknown =>
    owners.has(fingerprint) || owners.set(fingerprint, whose);
  if (config.publication) add(config.publication.logsKey, 'the logs VM');
  for (const { maintainers } of config.components)
    for (const { name, fingerprint } of maintainers) add(fingerprint, name);
  for (const { name, fingerprint } of config.commands?.people ?? []) add(fingerprint, name);
  return await Promise.all(
    [...owners].map(async ([fingerprint, whose]) => {
      const read = async (): Promise<number[]> => {
        const key = await readOneKey(readIfThere(join(folder, `${fingerprint}.asc`)) ?? '', fingerprint);
        return (await key.isRevoked()) ? [] : await endsOf(key, now);
      };
      return { fingerprint, whose, ends: await read().catch(() => undefined) };
    }),
  );
}

/**
 * Those to look at: the first of the keys with which somebody may sign ends within two months, or nothing is
 * left to sign with.
 */
export function endingKeys(keys: readonly NeededKey[], now: Date): EndingKey[] {
  return keys.flatMap(({ ends, ...key }): EndingKey[] => {
    if (ends === undefined || ends.length === 0) return [{ ...key, code: 'KEY_NOT_USABLE', ends: null }];
    const left = ends.filter((end) => end > now.getTime());
    const end = left.length > 0 ? Math.min(...left) : Math.max(...ends);
    if (end > now.getTime() + warnMs) return [];
    const code = left.length > 0 ? 'KEY_ENDS' : 'KEY_EXPIRED';
    return [{ ...key, code, ends: new Date(end).toISOString().slice(0, 10) }];
  });
}
