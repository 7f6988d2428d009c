// SPDX-License-Identifier: GPL-2.0-or-later
// The oracle: what real apt of two suites takes of mutated repositories, and what the audit says of them.
import tap, { type Test } from 'tap';
import { Keys } from '../audit/farm.js';
import { fuzzApt, fuzzDnf, type Tally } from './repositories.js';

async function oracle(t: Test, wanted: number, fuzz: (keys: Keys) => Promise<Tally>): Promise<void> {
  const keys = new Keys();
  t.teardown(() => keys.remove());
  const { kinds, missed } = await fuzz(keys);
  for (const [kind, { made, taken, evil, good }] of kinds)
    t.comment(
      `${kind}: ${made} made, ${taken} taken by a client, ${evil} with other bytes, ${good} called good`,
    );
  t.same(missed, []);
  const sum = (what: 'made' | 'taken' | 'evil' | 'good'): number =>
    [...kinds.values()].reduce((all, one) => all + one[what], 0);
  t.equal(sum('made'), wanted);
  // Mutants that nobody takes prove nothing.
  t.ok(sum('taken') >= wanted / 3, `${sum('taken')} taken`);
  t.ok(sum('evil') >= wanted / 10, `${sum('evil')} with other bytes`);
  t.ok(sum('good') >= 1, 'some are as good as before');
}

const timeout = 1_200_000;
void tap.test(
  'no APT repository is called good of which a client takes other bytes than the announced ones',
  { timeout },
  (t) => oracle(t, 240, (keys) => fuzzApt(keys, 20261121, 240, ['trixie'])),
);
void tap.test(
  'no DNF repository is called good of which a client takes other bytes than the announced ones',
  { timeout },
  (t) => oracle(t, 260, (keys) => fuzzDnf(keys, 20261121, 260)),
);
