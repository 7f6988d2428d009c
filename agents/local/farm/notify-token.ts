// SPDX-License-Identifier: GPL-2.0-or-later
// The notifier's token, which a person makes in the build VM: here the local GitHub's, laid into the VM's
// tree.
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere, writeDurably } from '../../shared/durable-files.js';

const user = 1000;

/**
 * @param root of the build VM @returns whether it is another than it was: the VM is to be started again then
 */
export function layNotifyToken(root: string, token: string): boolean {
  const path = join(root, 'rw/config/build-infra/notify-token');
  const changed = readIfThere(path)?.toString('utf8') !== `${token}\n`;
  if (changed) {
    mkdirSync(join(path, '..'), { recursive: true });
    writeDurably(path, `${token}\n`, 0o400);
  }
  chmodSync(path, 0o400);
  chownSync(path, user, user);
  return changed;
}
