// SPDX-License-Identifier: GPL-2.0-or-later
import { printable } from './refusal.js';
import { reportToStderr } from './socket-service.js';

/** Starts an agent. Whatever is wrong at the start is one line that says what, exit status 1, and no service; systemd tries again. */
export function startOrSay(agent: string, start: () => Promise<void>): void {
  start().catch((error: unknown) => {
    reportToStderr(`${agent}: not started: ${printable((error as Error).message)}`);
    process.exit(1);
  });
}
