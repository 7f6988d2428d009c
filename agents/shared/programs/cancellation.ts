// SPDX-License-Identifier: GPL-2.0-or-later
// A step that a person cancelled: whatever program it runs is ended with its group, and it starts no other
// one. Decision 170
import { AsyncLocalStorage } from 'node:async_hooks';
import { Refusal } from '../refusals.js';

const signals = new AsyncLocalStorage<AbortSignal>();

/** Programs that `work` starts, however deep, end when the signal says so. */
export function withCancellation<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  return signals.run(signal, () => {
    refuseCancelled();
    return work();
  });
}

/** For what is found out once and kept: a cut would be kept as its answer. */
export function beyondCancellation<T>(work: () => T): T {
  return signals.exit(work);
}

export function isCancelled(): boolean {
  return signals.getStore()?.aborted === true;
}

export const cancelled = (): Refusal => new Refusal('CANCELLED', 'a person in this VM cancelled it');

/** @throws Refusal CANCELLED */
export function refuseCancelled(): void {
  if (isCancelled()) throw cancelled();
}

/** @returns what forgets it again */
export function whenCancelled(act: () => void): () => void {
  const signal = signals.getStore();
  signal?.addEventListener('abort', act);
  return () => signal?.removeEventListener('abort', act);
}
