// SPDX-License-Identifier: GPL-2.0-or-later
// Somebody may want to know when the tools of a piece of work run: a build VM counts their time.
import { AsyncLocalStorage } from 'node:async_hooks';

/** Is told that a tool begins. @returns what is told that it ended */
export type ToolWatch = () => () => void;

const watches = new AsyncLocalStorage<ToolWatch>();

/**
 * Tools that `work` starts, however deep, are told to `watch`: pieces of work run side by side, and each may
 * have its own.
 */
export function withToolWatch<T>(watch: ToolWatch, work: () => Promise<T>): Promise<T> {
  return watches.run(watch, work);
}

/** A tool begins. @returns what ends it */
export function toolBegins(): () => void {
  return watches.getStore()?.() ?? (() => undefined);
}
