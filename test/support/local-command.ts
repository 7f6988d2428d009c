// SPDX-License-Identifier: GPL-2.0-or-later
// `npm run local` as a person calls it, on a farm of the test file's own; gone at the file's end.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';

const program = fileURLToPath(new URL('../../../dist/local.mjs', import.meta.url));

export interface LocalCommand {
  folder: string;
  local: (...args: string[]) => Promise<{ status: number; out: string }>;
}

/** @param prefix of the folder's name */
export function localCommand(t: Test, prefix: string): LocalCommand {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  const local: LocalCommand['local'] = (...args) =>
    new Promise((resolve) => {
      const child = execFile(
        process.execPath,
        [program, '--state', folder, ...args],
        { maxBuffer: 64 * 1024 * 1024 },
        (_error, stdout, stderr) => {
          resolve({ status: child.exitCode ?? 255, out: stdout + stderr });
        },
      );
    });
  t.teardown(async () => {
    await local('down');
    rmSync(folder, { recursive: true, force: true });
  });
  return { folder, local };
}
