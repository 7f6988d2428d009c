// SPDX-License-Identifier: GPL-2.0-or-later
// What was taken back stays back: written down before anything is taken out of a repository, and asked before
// anything goes into a suite.
import { join } from 'node:path';
import { makeFolder, readIfThere, writeDurably } from '../../shared/durable-files.js';

export interface Withdrawn {
  version: string;
  /**
   * one that it was made for; whatever it says, the version is withdrawn from all, also from those that come
   * later
   */
  dist: string;
  /** the job that took it out */
  job: string;
  /** ISO 8601, this VM's clock */
  time: string;
}

export class WithdrawnVersions {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    makeFolder(folder);
  }

  #of(component: string): Withdrawn[] {
    const bytes = readIfThere(join(this.#folder, `${component}.json`));
    return bytes === undefined ? [] : (JSON.parse(bytes.toString('utf8')) as Withdrawn[]);
  }

  has(component: string, version: string): boolean {
    return this.#of(component).some((one) => one.version === version);
  }

  /** Durable when it returns. */
  add(component: string, withdrawn: readonly Withdrawn[]): void {
    const fresh = withdrawn.filter((one) => !this.has(component, one.version));
    if (fresh.length > 0)
      writeDurably(
        join(this.#folder, `${component}.json`),
        `${JSON.stringify([...this.#of(component), ...fresh], null, 1)}\n`,
      );
  }
}
