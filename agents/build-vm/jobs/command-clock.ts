// SPDX-License-Identifier: GPL-2.0-or-later
// Where a step's time goes: into the commands of tools and engines, or into the farm itself. What a command
// waits for inside our gpg, which is the gate and its publication, is the farm's. docs/life-of-a-build.md,
// "Overhead".
import { AsyncLocalStorage } from 'node:async_hooks';
import { withToolWatch } from '../../shared/programs/tool-watch.js';

export class CommandClock {
  readonly #now: () => number;
  readonly #started: number;
  #since = 0;
  #commands = 0;
  #farmCalls = 0;
  #spentMs = 0;

  /** @param now ms of a clock that never jumps */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#started = now();
  }

  /** A command begins; of several at once the time counts once. @returns what ends it */
  command(): () => void {
    return this.#count((change) => (this.#commands += change));
  }

  /** While this lasts, commands wait for us. @returns what ends it */
  farmCall(): () => void {
    return this.#count((change) => (this.#farmCalls += change));
  }

  /** since the clock was made */
  get totalSeconds(): number {
    return (this.#now() - this.#started) / 1000;
  }

  /** of that, in commands */
  get commandSeconds(): number {
    return (this.#spentMs + (this.#counting ? this.#now() - this.#since : 0)) / 1000;
  }

  /** As the end of a log says it. */
  line(): string {
    const total = this.totalSeconds;
    return `overhead ${(total - this.commandSeconds).toFixed(2)} s of ${total.toFixed(2)} s`;
  }

  get #counting(): boolean {
    return this.#commands > 0 && this.#farmCalls === 0;
  }

  #count(change: (by: 1 | -1) => void): () => void {
    let over = false;
    this.#turn(() => change(1));
    return () => {
      if (over) return;
      over = true;
      this.#turn(() => change(-1));
    };
  }

  #turn(change: () => void): void {
    const now = this.#now();
    if (this.#counting) this.#spentMs += now - this.#since;
    change();
    this.#since = now;
  }
}

const clocks = new AsyncLocalStorage<CommandClock>();
const byJobFile = new Map<string, CommandClock>();

/**
 * Commands that `work` starts, however deep, count on `clock`: steps run side by side, and each has its own.
 */
export function withClock<T>(clock: CommandClock, work: () => Promise<T>): Promise<T> {
  return clocks.run(clock, () => withToolWatch(() => clock.command(), work));
}

/** Calls of our gpg that name this job file are for the step that runs now. */
export function expectFarmCalls(jobFile: string): void {
  const clock = clocks.getStore();
  if (clock !== undefined) byJobFile.set(jobFile, clock);
}

/** Our gpg was called and works until the returned function is. */
export function farmCallBegins(jobFile: string | undefined): () => void {
  return (jobFile === undefined ? undefined : byJobFile.get(jobFile))?.farmCall() ?? (() => undefined);
}
