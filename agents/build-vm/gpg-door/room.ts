// SPDX-License-Identifier: GPL-2.0-or-later
/** So many bytes of callers' payloads are held at once; whoever needs more waits its turn, first come, first served. */
export class Room {
  #free: number;
  readonly #waiting: { bytes: number; enter: () => void }[] = [];

  constructor(bytes: number) {
    this.#free = bytes;
  }

  /** @param bytes never more than the whole room @param gone ends the wait, with its reason */
  take(bytes: number, gone: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(place), 1);
        reject(gone.reason as Error);
        this.#admit();
      };
      const place = { bytes, enter: () => (gone.removeEventListener('abort', leave), resolve()) };
      this.#waiting.push(place);
      gone.addEventListener('abort', leave, { once: true });
      if (gone.aborted) leave();
      else this.#admit();
    });
  }

  give(bytes: number): void {
    this.#free += bytes;
    this.#admit();
  }

  #admit(): void {
    for (;;) {
      const [first] = this.#waiting;
      if (first === undefined || first.bytes > this.#free) return;
      this.#waiting.shift();
      this.#free -= first.bytes;
      first.enter();
    }
  }
}
