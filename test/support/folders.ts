// SPDX-License-Identifier: GPL-2.0-or-later
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A new folder, gone when the test or the whole file is over. Its path is short, as sockets lie in such
 * folders.
 */
export function folderOf(t: { teardown: (act: () => unknown) => void }): string {
  const made = mkdtempSync(join(tmpdir(), 'bi-'));
  t.teardown(() => rmSync(made, { recursive: true, force: true, maxRetries: 5 }));
  return made;
}
