// SPDX-License-Identifier: GPL-2.0-or-later
// npm run fuzz [SEED] [COUNT]: more mutants than the tests make; prints what clients took, and ends with 1 if the audit missed one.
import { Keys } from '../audit/farm.js';
import { fuzzApt } from './repositories.js';

const [seed = Math.floor(Date.now() / 1000), wanted = 1000] = process.argv.slice(2).map(Number);
const keys = new Keys();
try {
  const tally = await fuzzApt(keys, seed, wanted, ['trixie']);
  console.log(`seed ${seed}`);
  console.table(Object.fromEntries(tally.kinds));
  console.log(tally.missed.join('\n\n'), tally.goodAndRefused.join('\n'));
  process.exitCode = tally.missed.length > 0 ? 1 : 0;
} finally {
  keys.remove();
}
