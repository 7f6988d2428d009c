// SPDX-License-Identifier: GPL-2.0-or-later
// npm run fuzz [SEED] [COUNT]: more mutants than the tests make; prints what clients took, and ends with 1 if the audit missed one.
import { Keys } from '../audit/farm.js';
import { fuzzApt, fuzzDnf } from './repositories.js';

const [seed = Math.floor(Date.now() / 1000), wanted = 1000] = process.argv.slice(2).map(Number);
const keys = new Keys();
try {
  console.log(`seed ${seed}`);
  for (const tally of [await fuzzDnf(keys, seed, wanted), await fuzzApt(keys, seed, wanted, ['trixie'])]) {
    console.table(Object.fromEntries(tally.kinds));
    console.log(tally.missed.join('\n\n'), tally.goodAndRefused.join('\n'));
    if (tally.missed.length > 0) process.exitCode = 1;
  }
} finally {
  keys.remove();
}
