// SPDX-License-Identifier: GPL-2.0-or-later
// The commits between the last version that was built here and this one, for the notifier. A courtesy:
// nothing rests on it, and where it cannot be had the job goes on. History hangs from the verified commit by
// git's hashes; it comes into a repository of its own and without trees.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { commitsLimit, type ClosingCommit } from '../../shared/formats/notification.js';
import { printable } from '../../shared/refusal.js';
import { readCommits } from './closing-commits.js';
import { fetchHistory, logOfRange, type Forge } from './git.js';
import type { BuildJob, Job } from '../jobs/job-document.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import { compareVersions } from '../configuration/version-tag.js';

/** The commit of the highest version below this one that was verified here; null: there is none. */
export function commitBefore(job: BuildJob, jobs: readonly Job[]): string | null {
  const earlier = jobs.filter(
    (one) =>
      one.kind === 'build' &&
      one.component === job.component &&
      one.line === job.line &&
      one.evidence !== null &&
      compareVersions(one.version, job.version) < 0,
  );
  const before = earlier.reduce<Job | undefined>(
    (highest, one) =>
      highest === undefined || compareVersions(one.version, highest.version) > 0 ? one : highest,
    undefined,
  );
  return before?.evidence?.commit ?? null;
}

/**
 * @param since the commit of the version before; null: there is none, and nothing is announced @returns
 * newest first; empty where it cannot be told
 */
export async function closingCommits(
  url: string,
  tag: string,
  commit: string,
  since: string | null,
  folder: string,
  forge: Forge,
  log: Pick<LineSink, 'say'>,
): Promise<ClosingCommit[]> {
  if (since === null || since === commit) return [];
  const place = join(folder, 'history.git');
  try {
    makeFolder(place, 0o700);
    const repository = await fetchHistory(place, url, tag, commitsLimit + 1, forge);
    const commits = readCommits(await logOfRange(repository, commit, since, commitsLimit));
    for (const { commit: id, issues } of commits.filter((one) => one.issues.length > 0))
      log.say(`commit ${id} closes ${issues.join(', ')}`);
    return commits;
  } catch (error) {
    log.say(`the commits since ${since} are not known: ${printable(String((error as Error).message))}`);
    return [];
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
