// SPDX-License-Identifier: GPL-2.0-or-later
// Real salt-call, and what it says: states that failed are an error with their own words, the others are
// counted.
import { spawn } from 'node:child_process';

/** What a state run did. */
export interface StateRun {
  /** names of what changed */
  changed: string[];
  states: number;
}

interface StateResult {
  name?: string;
  result?: boolean | null;
  comment?: string | string[];
  changes?: object;
  __run_num__?: number;
}

const outputLimit = 1 << 26;
const seconds = 600;

/** salt-call below /run/salt-venv of the sandbox. Output is one JSON document. */
export const saltCall = (...args: string[]): string[] => [
  '/run/salt-venv/bin/python',
  '/run/salt-venv/bin/salt-call',
  '--local',
  '--config-dir',
  '/run/salt-config',
  '--out=json',
  '--out-indent=-1',
  '--retcode-passthrough',
  '--no-color',
  '-l',
  'error',
  ...args,
];

/**
 * What `local` of the answer holds, whatever the exit status. @throws where there is no answer within 10
 * minutes and 64 MiB
 */
export async function answerOf(machine: string, argv: readonly string[]): Promise<unknown> {
  const child = spawn(argv[0] as string, argv.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: seconds * 1000,
    killSignal: 'SIGKILL',
  });
  const out: Buffer[] = [];
  let length = 0;
  let said = '';
  child.stdout.on('data', (data: Buffer) => {
    length += data.length;
    if (length > outputLimit) child.kill('SIGKILL');
    else out.push(data);
  });
  child.stderr.on('data', (data: Buffer) => {
    said = `${said}${data.toString()}`.slice(-4000);
  });
  const status = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? signal));
  });
  const text = Buffer.concat(out).toString();
  try {
    return (JSON.parse(text) as { local: unknown }).local;
  } catch {
    throw new Error(
      `salt-call for ${machine} ended with ${String(status)} and no answer: ${said.trim() || text.trim().slice(0, 2000)}`,
    );
  }
}

const words = (comment: string | string[] | undefined): string => [comment ?? []].flat().join(' ').trim();

/** @throws with the words of every state that failed, or of what kept Salt from running any */
export function stateRun(machine: string, untrustedAnswer: unknown): StateRun {
  if (typeof untrustedAnswer !== 'object' || untrustedAnswer === null || Array.isArray(untrustedAnswer)) {
    throw new Error(`Salt did not run for ${machine}: ${[untrustedAnswer].flat().map(String).join('; ')}`);
  }
  const results = Object.entries(untrustedAnswer as Record<string, StateResult>).sort(
    ([, a], [, b]) => (a.__run_num__ ?? 0) - (b.__run_num__ ?? 0),
  );
  const failed = results.filter(([, { result }]) => result !== true);
  if (failed.length > 0)
    throw new Error(
      `Salt failed for ${machine}: ${failed.map(([id, one]) => `${one.name ?? id}: ${words(one.comment)}`).join('; ')}`,
    );
  return {
    changed: results
      .filter(([, { changes }]) => Object.keys(changes ?? {}).length > 0)
      .map(([id, { name }]) => name ?? id),
    states: results.length,
  };
}
