// SPDX-License-Identifier: GPL-2.0-or-later
// This VM's time in microseconds, for stamps and commits. It follows a clock that is set, and a suspend,
// which a steady clock alone does not see; between two such steps it runs steadily, so that it has
// microseconds and never goes back by a jitter of two clocks.
import { systemClock, type Clock } from '../shared/clock.js';

/** Microseconds since 1970. */
export type StampTime = () => number;

/** So far the steady clock may part from the VM's before that counts as set, ms. */
const stepMs = 20;

export function followingTime({ wall, steady }: Pick<Clock, 'wall' | 'steady'> = systemClock): StampTime {
  let offset = wall() - steady();
  return () => {
    const before = steady();
    const time = wall();
    const now = steady();
    // Whoever is held up between the readings sees them apart although nobody set anything.
    if (offset < time - now - stepMs || offset > time + 1 - before + stepMs) offset = time - now;
    return Math.floor((now + offset) * 1000);
  };
}
