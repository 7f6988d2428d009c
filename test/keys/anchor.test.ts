// SPDX-License-Identifier: GPL-2.0-or-later
import t from 'tap';
import { KeysMachine, type Published } from './keys-machine.js';

for (const [from, what] of [
  [0, 'holds'],
  [1, 'begins with'],
  [2, 'begins right after'],
] as const) {
  await t.test(`with an anchor the first receipt is believed when it ${what} that commit`, async (t) => {
    const machine = new KeysMachine();
    t.teardown(() => machine.close());
    for (let i = 0; i < 3; i++) machine.publish([]);
    machine.configure({ anchor: (machine.history[1] as Published).commit });
    await machine.start();
    t.match(
      (
        await machine.send(
          machine.receipt([], {
            proof: {
              commits: machine.history.slice(from).map(({ raw }) => raw.toString('base64')),
              intents: [],
            },
          }),
        )
      ).reply,
      { result: 'accepted' },
    );
  });
}

await t.test('with an anchor another history is not believed, even from its root', async (t) => {
  const machine = new KeysMachine();
  t.teardown(() => machine.close());
  machine.publish([]);
  machine.configure({ anchor: 'ab'.repeat(20) });
  await machine.start();
  t.match((await machine.send(machine.receipt([]))).reply, { result: 'refused', code: 'NOT_FROM_ANCHOR' });
});
