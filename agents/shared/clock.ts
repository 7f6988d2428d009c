// SPDX-License-Identifier: GPL-2.0-or-later

/** A VM's time, for whatever a test has to move in time. */
export interface Clock {
  /** ms since 1970; may jump */
  wall: () => number;
  /** ms since any time; never jumps, and stands still while suspended */
  steady: () => number;
  /** calls `act` once, so many ms later */
  after: (ms: number, act: () => void) => NodeJS.Timeout;
}

export const systemClock: Clock = {
  wall: () => Date.now(),
  steady: () => performance.now(),
  after: (ms, act) => setTimeout(act, ms),
};
