// SPDX-License-Identifier: GPL-2.0-or-later
// How git is started here: with an environment in which nothing but the repository's own configuration
// counts.
import { runProgram } from '../shared/programs/program.js';

export const branch = 'refs/heads/main';
/**
 * The same commit for people: the links in the notices of upstream's builders lead there. Nothing is decided
 * by it.
 */
export const linkedBranch = 'refs/heads/master';

/** No configuration but the repository's own, which this agent wrote. */
export const gitEnvironment: Record<string, string> = {
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_TERMINAL_PROMPT: '0',
};

/** Listings of a whole history, bytes. */
const listingLimitBytes = 256 * 1024 * 1024;
/** A repository of any size is packed in this time. */
const longestMs = 6 * 3600_000;

export interface GitRun {
  timeoutMs?: number;
  signal?: AbortSignal;
  /** GIT_SSH_COMMAND */
  sshCommand?: string;
}

/** What git prints. @throws ProgramFailed, Refusal TIMED_OUT, OUTPUT_LIMIT */
export async function runGit(
  argv: readonly string[],
  { timeoutMs = longestMs, signal, sshCommand }: GitRun = {},
): Promise<string> {
  const env = sshCommand === undefined ? gitEnvironment : { ...gitEnvironment, GIT_SSH_COMMAND: sshCommand };
  return (
    await runProgram(['git', ...argv], {
      env,
      timeoutMs,
      limitBytes: listingLimitBytes,
      ...(signal === undefined ? {} : { signal }),
    })
  ).toString('utf8');
}
