// SPDX-License-Identifier: GPL-2.0-or-later
import { version } from '../command-line/version.js';
import { printable } from '../refusal.js';
import { reportToStderr } from './socket-service.js';

/** What a person who runs an agent by hand wants to know. */
function about(agent: string): string | undefined {
  const asked = process.argv[2];
  if (asked === '--version') return `build-infra ${agent} ${version}\n`;
  if (asked !== '--help' && asked !== '-h') return undefined;
  return `The ${agent} of build-infra. systemd starts it, without arguments. "build-infra doctor" tells what it lacks.\n`;
}

/**
 * Starts an agent. Whatever is wrong at the start is one line that says what, exit status 1, and no service;
 * systemd tries again.
 * @param start may return what goes on from then: a fault in it is not one of the start, and its message says
 * so
 */
export function startOrSay(agent: string, start: () => Promise<void | (() => Promise<void>)>): void {
  const told = about(agent);
  if (told !== undefined) return void process.stdout.write(told);
  const end =
    (what: string) =>
    (error: unknown): never => {
      reportToStderr(`${agent}: ${what}: ${printable((error as Error).message)}`);
      process.exit(1);
    };
  start().then((run) => void run?.().catch(end('ended by a fault')), end('not started'));
}
