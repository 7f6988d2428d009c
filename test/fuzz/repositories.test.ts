// SPDX-License-Identifier: GPL-2.0-or-later
// The oracle: what real apt of two suites takes of mutated repositories, and what the audit says of them.
import tap from 'tap';
import { Keys } from '../audit/farm.js';
import { fuzzApt } from './repositories.js';

void tap.test('no repository is called good of which a client takes other bytes than the announced ones', { timeout: 1_200_000 }, async (t) => {
  const keys = new Keys();
  t.teardown(() => keys.remove());
  const tally = await fuzzApt(keys, 20261121, 120, ['trixie']);
  for (const [kind, { made, taken, evil, good }] of tally.kinds) t.comment(`${kind}: ${made} made, ${taken} taken by a client, ${evil} with other bytes, ${good} called good`);
  t.same(tally.missed, []);
  const sum = (what: 'made' | 'taken' | 'evil' | 'good'): number => [...tally.kinds.values()].reduce((all, one) => all + one[what], 0);
  t.equal(sum('made'), 120);
  // Mutants that nobody takes prove nothing.
  t.ok(sum('taken') >= 40, `${sum('taken')} taken`);
  t.ok(sum('evil') >= 15, `${sum('evil')} with other bytes`);
  t.ok(sum('good') >= 1, 'some are as good as before');
});
