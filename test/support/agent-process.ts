// SPDX-License-Identifier: GPL-2.0-or-later
import { spawn } from 'node:child_process';

export interface AgentProcess {
  pid: number;
  /** all of its stderr so far */
  said: () => string;
  /** Resolves when it is gone, at once where it was. */
  kill: (signal?: NodeJS.Signals) => Promise<void>;
}

/**
 * How a fixture starts its agent: what stands before the command line, and another program than the compiled
 * one.
 */
export interface HowStarted {
  under?: readonly string[];
  program?: string;
}

/**
 * Starts a program; resolves once it says that it is ready. @throws Error with all that it said, where it
 * ends before
 */
export async function startAgent(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<AgentProcess> {
  const child = spawn(argv[0] as string, argv.slice(1), { env, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await new Promise<void>((resolve, reject) => {
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (/\bready\b/.test(said)) resolve();
    });
    child.once('close', () => reject(new Error(`the agent ended: ${said}`)));
  });
  return {
    pid: child.pid as number,
    said: () => said,
    kill: (signal = 'SIGKILL') => {
      child.kill(signal);
      return gone;
    },
  };
}
