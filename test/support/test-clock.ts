// SPDX-License-Identifier: GPL-2.0-or-later
import type { Clock } from '../../agents/shared/clock.js';

/** A clock that goes when somebody waits for it, or a test moves it. */
export class TestClock implements Clock {
  /** every wait, ms */
  readonly pauses: number[] = [];

  constructor(
    public time = Date.parse('2026-11-22T05:00:00.000Z'),
    public up = 1000,
  ) {}

  wall = (): number => this.time;
  steady = (): number => this.up;
  after = (ms: number, act: () => void): NodeJS.Timeout => {
    this.pauses.push(ms);
    return setTimeout(() => {
      this.time += ms;
      this.up += ms;
      act();
    }, 0);
  };
}
