// SPDX-License-Identifier: GPL-2.0-or-later
// One call at each of the times that were asked for, never before it. All of them are kept: where the
// earliest passes with nothing to do, as its log has ended meanwhile, a later one must still come. A timer of
// Node's alone may be early by a millisecond, as it counts in whole ones from the last whole one: whoever is
// woken then finds that nothing is due yet, and would sleep on for ever.

/** Less than the longest time that a timer of Node's takes. */
const longestMs = 2 ** 30;

export class WakeUp {
  readonly #call: () => void;
  #timer: NodeJS.Timeout | undefined;
  readonly #times = new Set<number>();

  constructor(call: () => void) {
    this.#call = call;
  }

  /** @param time by performance.now() */
  at(time: number): void {
    this.#times.add(time);
    this.#sleep();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #sleep(): void {
    clearTimeout(this.#timer);
    if (this.#times.size === 0) return;
    this.#timer = setTimeout(
      () => {
        const now = performance.now();
        const over = [...this.#times].filter((time) => time <= now);
        for (const time of over) this.#times.delete(time);
        this.#sleep();
        if (over.length > 0) this.#call();
      },
      Math.max(0, Math.min(Math.ceil(Math.min(...this.#times) - performance.now()), longestMs)),
    );
  }
}
