// SPDX-License-Identifier: GPL-2.0-or-later
// A folder, or a file, that takes its name once all that is in it is on disk: after a power cut a name that
// is there stands for whole files, never for empty ones.
import { renameDurably } from '../durable-files.js';
import { runProgram } from '../programs/program.js';

const syncMs = 3600_000;

/**
 * Files and folders below it. In programs of their own, as large packages take their time; only these files,
 * as other jobs write too. @throws ProgramFailed, Refusal TIMED_OUT
 */
export async function syncBelow(folder: string, run: typeof runProgram = runProgram): Promise<void> {
  await run(['find', folder, '(', '-type', 'f', '-o', '-type', 'd', ')', '-exec', 'sync', '--', '{}', '+'], {
    timeoutMs: syncMs,
  });
}

/** @throws as syncBelow; the folder keeps its old name then */
export async function becomeDurably(
  part: string,
  folder: string,
  run: typeof runProgram = runProgram,
): Promise<void> {
  await syncBelow(part, run);
  renameDurably(part, folder);
}
