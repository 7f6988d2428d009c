// SPDX-License-Identifier: GPL-2.0-or-later
// Histories made by chance, honest and not: what the messages tell is believed only where it is what the
// trees say, and an honest farm's history is always told, also where logs are packed. So the quick way can
// neither be wrong nor die unnoticed.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import tap, { type Test } from 'tap';
import { Budget, defaultLimits } from '../../agents/published/budget.js';
import { PublishedGit } from '../../agents/published/history/published-git.js';
import { ObjectReader } from '../../agents/published/history/objects.js';
import { folderOf } from '../support/folders.js';
import { keys } from './attack.js';
import { LogsRepository } from './farm.js';
import { chance, compareTold, dishonest, honest, type Commit } from './told-histories.js';

tap.setTimeout(600_000);
const top = folderOf(tap);

/** Goes through the history in windows of so many; how many of them were told. */
async function compare(
  t: Test,
  logs: LogsRepository,
  windowCommits: number,
): Promise<{ told: number; windows: number }> {
  const ids = execFileSync('git', ['--git-dir', logs.path, 'rev-list', '--reverse', 'main'])
    .toString()
    .trim()
    .split('\n');
  const { pipes } = await new PublishedGit(dirname(logs.path), new Budget(defaultLimits)).answerThread();
  const objects = new ObjectReader(pipes, () => undefined);
  const result = compareTold(t, objects, ids, windowCommits);
  objects.finish();
  objects.close();
  for (const name of ['questions', 'answers']) rmSync(join(dirname(logs.path), name));
  return result;
}

for (const seed of [1, 2, 3, 4]) {
  void tap.test(`an honest history is told, and rightly (seed ${seed})`, async (t) => {
    const random = chance(seed);
    const logs = new LogsRepository(join(mkdtempSync(join(top, 'honest-')), 'logs.git'), keys);
    for (let n = 1; n <= 120; n++) (honest[random(honest.length)] as Commit)(logs, random, n);
    for (const windowCommits of [1, 7, 128]) {
      const { told, windows } = await compare(t, logs, windowCommits);
      t.equal(told, windows, `all windows of ${windowCommits}`);
    }
  });
  void tap.test(
    `nothing is told of a history that is not honest but what is there (seed ${seed})`,
    async (t) => {
      const random = chance(seed * 1000);
      const logs = new LogsRepository(join(mkdtempSync(join(top, 'dishonest-')), 'logs.git'), keys);
      for (let n = 1; n <= 120; n++) {
        const kind = n < 3 || random(4) > 0 ? honest : dishonest;
        (kind[random(kind.length)] as Commit)(logs, random, n);
      }
      for (const windowCommits of [1, 3, 128]) {
        const { told, windows } = await compare(t, logs, windowCommits);
        if (windowCommits === 1) t.ok(told > 20 && told < windows, `${told} of ${windows} windows are told`);
      }
    },
  );
}
