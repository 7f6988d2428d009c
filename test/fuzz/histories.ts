// SPDX-License-Identifier: GPL-2.0-or-later
import { Farm, Keys } from '../audit/farm.js';
import { tryHistories } from '../audit/mutated-histories.js';

export async function histories(seeds: readonly number[]): Promise<string[]> {
  const keys = new Keys();
  const good = new Farm(keys);
  try {
    good.build();
    const tried = await tryHistories(keys, good, seeds);
    process.stdout.write(
      `${seeds.length} histories: ${tried.good} good, ${tried.bad} bad, ${tried.unreadable} could not be read, ${tried.missed.length} missed\n`,
    );
    return tried.missed;
  } finally {
    good.remove();
    keys.remove();
  }
}
