// SPDX-License-Identifier: GPL-2.0-or-later
// One call at the earliest of the times that were asked for, never before it. A timer of Node's alone may be early by a millisecond, as
// it counts in whole ones from the last whole one: whoever is woken then finds that nothing is due yet, and would sleep on for ever.

/** Less than the longest time that a timer of Node's takes. */
const longestMs = 2 ** 30;

export class WakeUp {
  readonly #call: () => void;
  #timer: NodeJS.Timeout | undefined;
  #time = Infinity;

  constructor(call: () => void) {
    this.#call = call;
  }

  /** @param time by performance.now() */
  at(time: number): void {
    if (time >= this.#time) return;
    this.#time = time;
    this.#sleep();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #sleep(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (performance.now() < this.#time) return this.#sleep();
      this.#time = Infinity;
      this.#call();
    }, Math.max(0, Math.min(Math.ceil(this.#time - performance.now()), longestMs)));
  }
}
