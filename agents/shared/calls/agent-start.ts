// SPDX-License-Identifier: GPL-2.0-or-later
import { printable } from '../refusal.js';
import { reportToStderr } from './socket-service.js';

/**
 * Starts an agent. Whatever is wrong at the start is one line that says what, exit status 1, and no service; systemd tries again.
 * @param start may return what goes on from then: a fault in it is not one of the start, and is said to be none
 */
export function startOrSay(agent: string, start: () => Promise<void | (() => Promise<void>)>): void {
  const end = (what: string) => (error: unknown): never => {
    reportToStderr(`${agent}: ${what}: ${printable((error as Error).message)}`);
    process.exit(1);
  };
  start().then((run) => void run?.().catch(end('ended by a fault')), end('not started'));
}
