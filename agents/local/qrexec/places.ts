// SPDX-License-Identifier: GPL-2.0-or-later
// The daemon of a VM has 256 ports, and gives calls from other VMs every second one, so that two daemons
// never name the same: which half, goes by whose domain id is the higher. All callers of one side share 128
// places, over all services.
const placesOfSide = 128;

export class Places {
  readonly #taken = { above: 0, below: 0 };

  /** @returns what gives the place back; undefined where all are taken */
  take(caller: number, own: number): (() => void) | undefined {
    const side = caller > own ? 'above' : 'below';
    if (this.#taken[side] >= placesOfSide) return undefined;
    this.#taken[side]++;
    return () => void this.#taken[side]--;
  }
}
