// SPDX-License-Identifier: GPL-2.0-or-later
// `npm run fuzz [WHAT] [COUNT] [FIRST]`: mutants from seeds FIRST, FIRST + 1, … against the audit, with the
// real tools as judges. Ends with 1 where one was missed.
import { Keys } from '../audit/farm.js';
import { histories } from './histories.js';
import { fuzzApt, fuzzDnf } from './repositories.js';

/** @returns one line for each mutant that was missed */
type Target = (first: number, count: number) => Promise<string[]>;

async function repositories(first: number, count: number): Promise<string[]> {
  const keys = new Keys();
  try {
    const tallies = [await fuzzDnf(keys, first, count), await fuzzApt(keys, first, count, ['trixie'])];
    for (const { kinds, goodAndRefused } of tallies) {
      console.table(Object.fromEntries(kinds));
      process.stdout.write(goodAndRefused.map((line) => `${line}\n`).join(''));
    }
    return tallies.flatMap(({ missed }) => missed);
  } finally {
    keys.remove();
  }
}

const targets: Record<string, Target> = {
  histories: (first, count) => histories(Array.from({ length: count }, (_, i) => first + i)),
  repositories,
};

const [what = 'histories', count = '1000', first = '1000'] = process.argv.slice(2);
const target = targets[what];
if (target === undefined || !/^\d{1,7}$/.test(count) || !/^\d{1,9}$/.test(first)) {
  process.stderr.write(`usage: npm run fuzz [${Object.keys(targets).join('|')}] [COUNT] [FIRST SEED]\n`);
  process.exit(2);
}
const missed = await target(Number(first), Number(count));
for (const line of missed) process.stdout.write(`MISSED ${line}\n`);
process.exit(missed.length > 0 ? 1 : 0);
