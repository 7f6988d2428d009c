// SPDX-License-Identifier: GPL-2.0-or-later
// How long the notifier waits before it tries again: longer each time, up to a limit, and the first pause
// again once something worked.
import t from 'tap';
import type { Misbehaviour } from '../../agents/local/outside/github-server/server.js';
import { notification, place } from './notifying.js';

const minutes = (...numbers: number[]): number[] => numbers.map((number) => number * 60);
const doubled = [2, 4, 8, 16, 32, 64, 128, 256, 512];

const cases: [what: string, how: Misbehaviour, seconds: number[]][] = [
  ['GitHub is away', { kind: 'status', status: 503 }, [...doubled, ...minutes(10, 10, 10)]],
  ['connections break', { kind: 'drop' }, [...doubled, ...minutes(10, 10, 10)]],
  ['no token works', { kind: 'status', status: 401 }, [...doubled, ...minutes(10, 10, 10)]],
  [
    'GitHub says no, as long as that may change',
    { kind: 'status', status: 404 },
    [...doubled, ...minutes(10, 10, 10)],
  ],
  ['GitHub wants silence and names no time', { kind: 'too-many' }, minutes(1, 2, 4, 8, 16, 32, 61, 61)],
];

for (const [what, how, seconds] of cases) {
  await t.test(`where ${what} the pauses grow, and begin anew after something was said`, async (t) => {
    const { put, github, clock, open } = await place(t);
    const notifier = await open();
    t.teardown(() => notifier.close());
    const pausesWhileAway = async (count: number): Promise<number[]> => {
      const pauses: number[] = [];
      github.down = how;
      for (; pauses.length < count; clock.time += (pauses.at(-1) as number) * 1000)
        pauses.push(((await notifier.deliveries.work()) ?? 0) / 1000);
      github.down = undefined;
      return pauses;
    };
    const sayAll = async (): Promise<void> => {
      for (
        let pause = await notifier.deliveries.work();
        pause !== undefined;
        pause = await notifier.deliveries.work()
      )
        clock.time += pause;
    };
    put(notification({ event: 'building' }));
    t.strictSame(await pausesWhileAway(seconds.length), seconds);
    await sayAll();
    put(notification({ event: 'built' }));
    t.strictSame(await pausesWhileAway(3), seconds.slice(0, 3));
    await sayAll();
    t.equal(notifier.deliveries.waiting, 0);
  });
}
