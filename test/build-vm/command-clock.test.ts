// SPDX-License-Identifier: GPL-2.0-or-later
// What counts as a command's time and what as the farm's own.
import t from 'tap';
import {
  CommandClock,
  expectFarmCalls,
  farmCallBegins,
  withClock,
} from '../../agents/build-vm/jobs/command-clock.js';
import { toolBegins } from '../../agents/shared/programs/tool-watch.js';

void t.test(
  'time in commands is counted once, however many run, and not while they wait for our gpg',
  async (t) => {
    let now = 1000;
    const clock = new CommandClock(() => now);
    now += 1000;
    const first = clock.command();
    now += 2000;
    const second = clock.command();
    now += 3000;
    first();
    first();
    now += 4000;
    const gpg = clock.farmCall();
    now += 5000;
    t.equal(clock.commandSeconds, 9);
    gpg();
    now += 500;
    t.equal(clock.commandSeconds, 9.5, 'what runs counts before it ends');
    second();
    now += 700;
    t.equal(clock.commandSeconds, 9.5);
    t.equal(clock.totalSeconds, 16.2);
    t.equal(clock.line(), 'overhead 6.70 s of 16.20 s');
  },
);

void t.test(
  'steps side by side have a clock each, and a call of our gpg finds the one of its job file',
  async (t) => {
    const times = [0, 0];
    const clocks = times.map((_, index) => new CommandClock(() => times[index] as number));
    const pass = (ms: number): void =>
      times.forEach((_, index) => (times[index] = (times[index] as number) + ms));
    let ends: (() => void)[] = [];
    await Promise.all(
      clocks.map((clock, index) =>
        withClock(clock, async () => {
          await Promise.resolve();
          if (index === 1) expectFarmCalls('/jobs/x/gpg-job-trixie.json');
          ends = [...ends, toolBegins()];
        }),
      ),
    );
    pass(1000);
    const known = farmCallBegins('/jobs/x/gpg-job-trixie.json');
    const unknown = farmCallBegins('/elsewhere');
    pass(500);
    for (const end of [known, unknown, ...ends]) end();
    t.strictSame(
      clocks.map((clock) => clock.commandSeconds),
      [1.5, 1],
    );
    t.doesNotThrow(toolBegins(), 'outside of every step nothing is counted');
  },
);
