// SPDX-License-Identifier: GPL-2.0-or-later
// `build-agent read-back URL LOGS-KEY VM COMMIT SIZE SHA256`: one look, for the gpg client where no agent
// serves it.
import { AnyRefusal } from '../../shared/refusal.js';
import { readBackOnce } from './read-back.js';

/** Prints `seen COMMIT`, or a refusal. @returns the exit status */
export async function runReadBack(words: readonly string[], root: string): Promise<number> {
  const [url, logsKey, source, commit, size, sha256] = words as [
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  try {
    await readBackOnce(root).demand(
      { url, logsKey },
      { commit, commits: [], source, size: Number(size), sha256 },
    );
    process.stdout.write(`seen ${commit}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof AnyRefusal)) throw error;
    process.stdout.write(`${error.line()}\n`);
    return 1;
  }
}
