// SPDX-License-Identifier: GPL-2.0-or-later
import tap from 'tap';
import { aptAttacks, bomb, packed } from './apt-attacks.js';
import { attack, good, keys } from './attack.js';
import { Farm, removedAfter } from './farm.js';
import { verdict } from './run-audit.js';

aptAttacks(attack, keys);

void tap.test('what comes out of a packed index counts against the budget', async (t) => {
  const farm = removedAfter(t, new Farm(keys, good));
  packed(farm, bomb(100 * 1024 * 1024));
  await t.rejects(verdict(farm, ['--max-read', '50']), {
    name: 'Unreadable',
    message: /--max-read of 50 MiB is met: .*\/apt was not checked to its end/,
  });
});
