// SPDX-License-Identifier: GPL-2.0-or-later
// Publications leave loose objects; now and then git packs what has piled up, beside the publications and in
// proportion to what is new.
import { printable } from '../shared/refusal.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import type { GitRepository } from './git-repository.js';

/** Loose objects are packed after so many publications, or so many bytes of new blobs. */
const packEvery = 400;
const packBytes = 256 * 1024 * 1024;

export class ObjectPacking {
  readonly #repository: GitRepository;
  readonly #report: Reporter;
  readonly #every: number;
  #publications = 0;
  #bytes = 0;
  #packing = false;

  constructor(repository: GitRepository, report: Reporter, every = packEvery) {
    this.#repository = repository;
    this.#report = report;
    this.#every = every;
  }

  wrote(bytes: number): void {
    this.#bytes += bytes;
  }

  published(): void {
    if ((++this.#publications < this.#every && this.#bytes < packBytes) || this.#packing) return;
    this.#publications = this.#bytes = 0;
    this.#packing = true;
    this.#repository
      .pack()
      .catch((error: unknown) => this.#report(`git repack: ${printable(String(error))}`))
      .finally(() => (this.#packing = false));
  }
}
