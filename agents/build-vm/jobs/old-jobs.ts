// SPDX-License-Identifier: GPL-2.0-or-later
// Files of jobs that are over are kept for the newest jobs only. What a job was, and which logs tell of it,
// stays for good: job.json.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isAboutPackages, isOver } from './job-document.js';
import type { JobQueue } from './job-queue.js';

/** So many jobs that are over keep what they built and signed. */
export const keptJobs = 50;
const document = 'job.json';

/** @returns the jobs whose files went */
export function pruneOldJobs(queue: JobQueue, keep = keptJobs): string[] {
  const over = queue
    .all()
    .filter((job) => isOver(job) && isAboutPackages(job))
    .sort((a, b) => ((a.ended ?? '') < (b.ended ?? '') ? 1 : -1));
  return over
    .slice(keep)
    .map((job) => job.job)
    .filter((id) => {
      const folder = queue.folderOf(id);
      // A person may have taken the folder away.
      const names = existsSync(folder) ? readdirSync(folder).filter((name) => name !== document) : [];
      for (const name of names) rmSync(join(folder, name), { recursive: true });
      return names.length > 0;
    });
}
