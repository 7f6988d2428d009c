// SPDX-License-Identifier: GPL-2.0-or-later
// One budget for the whole audit: whoever serves the repositories may be the attacker, and wants the auditor
// to wait, or to run out of something.
import { Unreadable } from './unreadable.js';

export interface Limits {
  /** for everything */
  seconds: number;
  /** of this process, MiB; each git may have as much */
  memoryMiB: number;
  /** what git may store while it fetches from one repository, MiB */
  downloadMiB: number;
  /** everything that is read and unpacked, MiB */
  readMiB: number;
  /** git objects */
  objects: number;
}

export const defaultLimits: Limits = {
  seconds: 7200,
  memoryMiB: 2048,
  downloadMiB: 16384,
  readMiB: 262144,
  objects: 20_000_000,
};

const mib = 1024 * 1024;
const lookEachMs = 200;
const lookEach = 1024;

export class Budget {
  readonly limits: Limits;
  readonly #start = performance.now();
  readonly #abort = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #bytes = 0;
  #objects = 0;
  #spent = 0;
  /** what is looked at, and what has not been looked at yet, for the one line that says so */
  doing = 'nothing was checked';

  constructor(limits: Limits) {
    this.limits = limits;
  }

  /** ends every process of the audit */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get leftMs(): number {
    return Math.max(1, this.limits.seconds * 1000 - (performance.now() - this.#start));
  }

  /** What may still be read. */
  get left(): { objects: number; bytes: number } {
    return { objects: this.limits.objects - this.#objects, bytes: this.limits.readMiB * mib - this.#bytes };
  }

  /** @throws Unreadable once a limit is met, before the bytes or objects are read */
  spend(what: 'objects' | 'bytes', count: number): void {
    if (what === 'objects' && (this.#objects += count) > this.limits.objects)
      this.#over('--max-objects', `${this.limits.objects} git objects`);
    if (what === 'bytes' && (this.#bytes += count) > this.limits.readMiB * mib)
      this.#over('--max-read', `${this.limits.readMiB} MiB`);
    if (++this.#spent % lookEach === 0) this.look();
  }

  /** @throws Unreadable where there is no more time or memory */
  look(): void {
    if (performance.now() - this.#start > this.limits.seconds * 1000)
      this.#over('--max-seconds', `${this.limits.seconds} s`);
    if (process.memoryUsage.rss() > this.limits.memoryMiB * mib)
      this.#over('--max-memory', `${this.limits.memoryMiB} MiB`);
  }

  #over(option: string, limit: string): never {
    throw new Unreadable(`the limit ${option} of ${limit} is met: ${this.doing}`);
  }

  /** The work, or the end of the budget, whichever comes first. @throws Unreadable */
  async within<T>(work: () => Promise<T>): Promise<T> {
    const over = new Promise<never>((_, reject) => {
      this.#timer = setInterval(() => {
        try {
          this.look();
        } catch (error) {
          reject(error);
        }
      }, lookEachMs);
    });
    try {
      return await Promise.race([work(), over]);
    } finally {
      clearInterval(this.#timer);
      this.#abort.abort();
    }
  }
}
