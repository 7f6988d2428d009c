// SPDX-License-Identifier: GPL-2.0-or-later
import t from 'tap';
import { WakeUp } from '../../agents/build-logs/wake-up.js';

void t.test(
  'nobody is woken before the time, by whatever part of a millisecond it is off a whole one',
  async (t) => {
    const early: string[] = [];
    for (let i = 0; i < 300; i++) {
      const ms = 1 + (i % 7) + i / 300;
      for (const start = performance.now(); performance.now() < start + (i % 11) / 10;);
      const time = performance.now() + ms;
      const woken = await new Promise<number>((resolve) =>
        new WakeUp(() => resolve(performance.now())).at(time),
      );
      if (woken < time) early.push(`${ms} ms: ${time - woken} ms early`);
    }
    t.strictSame(early, []);
  },
);

void t.test(
  'every time that was asked for comes, the earliest first, and a time may be asked for again',
  async (t) => {
    const woken: number[] = [];
    const wakeUp = new WakeUp(() => woken.push(performance.now()));
    const start = performance.now();
    wakeUp.at(start + 10_000);
    wakeUp.at(start + 30);
    wakeUp.at(start + 80);
    wakeUp.at(start + 80);
    await new Promise((resolve) => setTimeout(resolve, 250));
    t.equal(woken.length, 2, 'the later one too, once');
    t.ok(
      (woken[0] as number) >= start + 30 &&
        (woken[0] as number) < (woken[1] as number) &&
        (woken[1] as number) >= start + 80,
    );
    wakeUp.at(performance.now() - 5);
    await new Promise((resolve) => setTimeout(resolve, 100));
    t.equal(woken.length, 3, 'a time that is over wakes at once');
    wakeUp.at(performance.now() + 20);
    wakeUp.stop();
    await new Promise((resolve) => setTimeout(resolve, 100));
    t.equal(woken.length, 3, 'nobody is woken after the stop');
  },
);
