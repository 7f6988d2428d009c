// SPDX-License-Identifier: GPL-2.0-or-later
// `npm run fuzz [WHAT] [COUNT] [FIRST]`: mutants from seeds FIRST, FIRST + 1, … against the audit, with the real tools as judges. Ends with 1 where one was missed.
import { histories } from './histories.js';

/** @returns one line for each mutant that was missed */
const targets: Record<string, (seeds: readonly number[]) => Promise<string[]>> = { histories };

const [what = 'histories', count = '1000', first = '1000'] = process.argv.slice(2);
const target = targets[what];
if (target === undefined || !/^\d{1,7}$/.test(count) || !/^\d{1,9}$/.test(first)) {
  process.stderr.write(`usage: npm run fuzz [${Object.keys(targets).join('|')}] [COUNT] [FIRST SEED]\n`);
  process.exit(2);
}
const missed = await target(Array.from({ length: Number(count) }, (_, i) => Number(first) + i));
for (const line of missed) process.stdout.write(`MISSED ${line}\n`);
process.exit(missed.length > 0 ? 1 : 0);
