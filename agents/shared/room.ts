// SPDX-License-Identifier: GPL-2.0-or-later

/**
 * So much at once, of whatever is counted: calls, programs, bytes. Whoever finds no room waits its turn,
 * first come, first served.
 */
export class Room {
  #free: number;
  #waiting: { size: number; enter: (leave: () => void) => void }[] = [];

  constructor(size: number) {
    this.#free = size;
  }

  /** @returns what gives the room back; undefined where there is none now, or somebody waits */
  enterNow(size = 1): (() => void) | undefined {
    return this.#waiting.length === 0 && size <= this.#free ? this.#take(size) : undefined;
  }

  /**
   * @param size never more than the whole room @param gone ends the wait, with its reason @returns as
   * enterNow
   */
  enter(size = 1, gone?: AbortSignal): Promise<() => void> {
    return new Promise((enter, reject) => {
      if (gone?.aborted === true) return reject(gone.reason as Error);
      const place = { size, enter };
      this.#waiting.push(place);
      gone?.addEventListener(
        'abort',
        () => {
          this.#waiting = this.#waiting.filter((one) => one !== place);
          reject(gone.reason as Error);
          this.#give(0);
        },
        { once: true },
      );
      this.#give(0);
    });
  }

  pass<T>(work: () => Promise<T>, size = 1): Promise<T> {
    return this.enter(size).then((leave) => work().finally(leave));
  }

  #take(size: number): () => void {
    this.#free -= size;
    return () => this.#give(size);
  }

  #give(size: number): void {
    this.#free += size;
    for (
      let first = this.#waiting[0];
      first !== undefined && first.size <= this.#free;
      first = this.#waiting[0]
    ) {
      this.#waiting.shift();
      first.enter(this.#take(first.size));
    }
  }
}
