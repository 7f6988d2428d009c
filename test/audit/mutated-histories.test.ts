// SPDX-License-Identifier: GPL-2.0-or-later
// Whatever real git and gpgv go along with and the signed messages do not cover is not called Good. More of
// them: `npm run fuzz histories`.
import tap from 'tap';
import { Farm, Keys } from './farm.js';
import { tryHistories } from './mutated-histories.js';

tap.setTimeout(1_200_000);
void tap.test('250 mutated histories', async (t) => {
  const keys = new Keys();
  const good = new Farm(keys);
  t.teardown(() => {
    good.remove();
    keys.remove();
  });
  good.build();
  const {
    missed,
    good: passed,
    bad,
    unreadable,
  } = await tryHistories(
    keys,
    good,
    Array.from({ length: 250 }, (_, i) => i),
  );
  t.same(missed, []);
  t.ok(
    passed > 5 && bad > 150,
    `some are good (${passed}), most are not (${bad}), ${unreadable} could not be read`,
  );
  t.ok(unreadable < 50);
});
