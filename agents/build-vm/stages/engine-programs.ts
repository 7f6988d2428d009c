// SPDX-License-Identifier: GPL-2.0-or-later
// Where an engine is found: a program with the name that the distribution's configuration says
// (docs/engines.md).
import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';
import { Refusal } from '../refusals.js';

/**
 * The first folder that has it counts: what came with the template cannot be replaced by a program of the
 * VM's own private volume.
 * @param name as config.ts checks it
 * @throws Refusal NO_ENGINE
 */
export function engineProgram(folders: readonly string[], name: string): string {
  for (const folder of folders) {
    const path = join(folder, name);
    const about = statSync(path, { throwIfNoEntry: false });
    if (about === undefined) continue;
    if (!about.isFile()) throw new Refusal('NO_ENGINE', `${path} is no program`);
    // Who may write it decides what this VM builds.
    if (about.uid !== process.geteuid?.())
      throw new Refusal('NO_ENGINE', `${path} belongs to another account than the agent's`);
    if ((about.mode & 0o022) !== 0)
      throw new Refusal('NO_ENGINE', `${path} can be written by others than its owner`);
    try {
      accessSync(path, constants.X_OK);
    } catch {
      throw new Refusal('NO_ENGINE', `${path} is not executable`);
    }
    return path;
  }
  throw new Refusal('NO_ENGINE', `there is no engine "${name}" in ${folders.join(' or ')}`);
}
