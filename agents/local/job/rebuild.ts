// SPDX-License-Identifier: GPL-2.0-or-later
// A job's artifacts made once more in its build VM, from the tag fetched and verified anew, and compared with
// what was frozen.
import type { Machine } from '../outside/machine.js';

export interface Rebuilt {
  /** names of files that came out with the same bytes */
  same: string[];
  /** papers that differ in nothing but the time of the build (.buildinfo, and its hash in .changes) */
  butTime: string[];
  /** whatever else came out differently, with what was and what is */
  otherwise: string[];
}

const line = /^== rebuilt (same|same-but-time|differs|missing|new) (\S+) (\S+) (was \S+ is \S+)$/;

/** @param dists of the job; all unless told. @throws Error where it cannot be built */
export async function rebuild(
  build: Machine,
  job: string,
  dists: readonly string[],
  onLine: (line: string) => void,
): Promise<Rebuilt> {
  const result = await build.run(
    ['/usr/bin/node', '/usr/lib/build-infra/build-agent.mjs', 'rebuild', job, ...dists],
    { user: 'root', onLine, timeoutMs: 3_600_000 },
  );
  const rebuilt: Rebuilt = { same: [], butTime: [], otherwise: [] };
  for (const text of result.stdout.split('\n')) {
    const [, verdict, dist, name, hashes] = line.exec(text) ?? [];
    if (name === undefined) continue;
    if (verdict === 'same') rebuilt.same.push(name);
    else if (verdict === 'same-but-time') rebuilt.butTime.push(name);
    else rebuilt.otherwise.push(`${dist} ${name}: ${verdict}, ${hashes}`);
  }
  if (result.status > 1 || rebuilt.same.length + rebuilt.otherwise.length === 0) {
    throw new Error(
      `${job} could not be built once more:\n${`${result.stdout}\n${result.stderr}`.trim().split('\n').slice(-6).join('\n')}`,
    );
  }
  return rebuilt;
}

/** The one line about it for people. @throws Error where something came out differently */
export function rebuiltLine({ same, butTime, otherwise }: Rebuilt): string {
  if (otherwise.length > 0) throw new Error(`a rebuild gave other bytes:\n${otherwise.join('\n')}`);
  return `the same bytes: ${same.join(' ')}${butTime.length === 0 ? '' : `\nbut for the time of the build: ${butTime.join(' ')}`}`;
}
