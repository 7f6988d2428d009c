// SPDX-License-Identifier: GPL-2.0-or-later

/** So much at once, of whatever is counted: calls, programs, bytes. Whoever finds no room waits its turn, first come, first served. */
export class Room {
  #free: number;
  readonly #waiting: { size: number; enter: () => void }[] = [];

  constructor(size: number) {
    this.#free = size;
  }

  /** @returns what gives the room back; undefined where there is none now, or somebody waits */
  enterNow(size = 1): (() => void) | undefined {
    if (this.#waiting.length > 0 || size > this.#free) return undefined;
    this.#free -= size;
    return () => this.#give(size);
  }

  /** @param size never more than the whole room @param gone ends the wait, with its reason @returns as enterNow */
  async enter(size = 1, gone?: AbortSignal): Promise<() => void> {
    gone?.throwIfAborted();
    const leave = this.enterNow(size);
    if (leave !== undefined) return leave;
    await new Promise<void>((resolve, reject) => {
      const give = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(place), 1);
        reject(gone?.reason as Error);
        this.#give(0);
      };
      const place = { size, enter: () => (gone?.removeEventListener('abort', give), resolve()) };
      this.#waiting.push(place);
      gone?.addEventListener('abort', give, { once: true });
    });
    return () => this.#give(size);
  }

  async pass<T>(work: () => Promise<T>, size = 1): Promise<T> {
    const leave = await this.enter(size);
    try {
      return await work();
    } finally {
      leave();
    }
  }

  #give(size: number): void {
    this.#free += size;
    for (let first = this.#waiting[0]; first !== undefined && first.size <= this.#free; first = this.#waiting[0]) {
      this.#waiting.shift();
      this.#free -= first.size;
      first.enter();
    }
  }
}
