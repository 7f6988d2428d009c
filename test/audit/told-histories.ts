// SPDX-License-Identifier: GPL-2.0-or-later
// Histories made by chance, honest and not, and whether what the messages tell of them is what the trees say.
import type { Test } from 'tap';
import type { ObjectReader } from '../../agents/published/history/objects.js';
import { QuickSignatures } from '../../agents/published/history/quick-signatures.js';
import { readCommit } from '../../agents/published/history/read-commit.js';
import { OtherTree } from '../../agents/published/history/told-trees.js';
import { WindowFiles, type CommitFiles } from '../../agents/published/history/window-files.js';
import { sha256, type LogsRepository } from './farm.js';

const memory = Buffer.alloc(8 * 1024 * 1024);
const unsigned = new QuickSignatures([]);

/** Numbers that look like chance, the same in each run. */
export function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

export type Commit = (logs: LogsRepository, random: (below: number) => number, n: number) => void;
const openLogs = (logs: LogsRepository): string[] =>
  [...logs.content.keys()].filter((path) => path.includes('/log_') && !path.endsWith('.xz'));
const grown = (logs: LogsRepository, path: string, n: number): Record<string, string> => ({
  [path]: `${logs.content.get(path)?.toString() ?? ''}line ${n}\n`,
});
const intent = (n: number, vm = 'build-debian'): Record<string, string> => ({
  [`intents/${vm}/2026-11-2${n % 3}/${sha256(`intent ${n}`)}.json`]: `{"n":${n}}`,
});
const logPath = (random: (below: number) => number, n: number): string =>
  `build-debian/${['hello', 'linux', '2026-11-21'][random(3)]}/log_2026-11-21_21-0${Math.floor(n / 60)}-${String(n % 60).padStart(2, '0')}`;
const pack = (logs: LogsRepository, path: string): { put: Record<string, string>; remove: string[] } => ({
  put: { [`${path}.xz`]: `packed ${logs.content.get(path)?.toString() ?? ''}` },
  remove: [path],
});

export const honest: Commit[] = [
  (logs, random, n) => logs.commit({ signer: null, put: grown(logs, logPath(random, n), n) }),
  (logs, random, n) => {
    const open = openLogs(logs);
    logs.commit({
      signer: null,
      put: {
        ...(open.length === 0 ? {} : grown(logs, open[random(open.length)] as string, n)),
        ...intent(n),
      },
    });
  },
  (logs, _, n) =>
    logs.commit({
      signer: null,
      put: {
        ...intent(n),
        ...grown(logs, 'journal/keys-debian/00000000.jsonl', n),
        ...grown(logs, 'journal/keys-debian/heads-00000000.jsonl', n),
      },
    }),
  (logs, random, n) => {
    const open = openLogs(logs);
    if (open.length === 0) logs.commit({ signer: null, put: intent(n) });
    else logs.commit({ signer: null, ...pack(logs, open[random(open.length)] as string) });
  },
  // A line may repeat what stands there.
  (logs, random, n) => {
    const paths = [...logs.content.keys()];
    const path = paths[random(paths.length)];
    logs.commit({
      signer: null,
      put: { ...intent(n), ...(path === undefined ? {} : { [path]: logs.content.get(path) as Buffer }) },
    });
  },
];
export const dishonest: Commit[] = [
  (logs, random, n) =>
    logs.commit({
      signer: null,
      put: { ...intent(n), ...grown(logs, logPath(random, n), n) },
      lines: (lines) => lines.slice(1),
    }),
  (logs, random, n) => {
    const paths = [...logs.content.keys()];
    logs.commit({ signer: null, put: intent(n), remove: [paths[random(paths.length)] as string] });
  },
  (logs, random, n) => {
    const paths = [...logs.content.keys()];
    logs.commit({ signer: null, put: { [paths[random(paths.length)] as string]: `other ${n}` } });
  },
  (logs, _, n) =>
    logs.commit({
      signer: null,
      put: intent(n),
      lines: (lines) => lines.map((line) => ({ ...line, size: line.size + (n % 2 === 0 ? 1 : -1) })),
    }),
  (logs, random, n) =>
    logs.commit({
      signer: null,
      put: grown(logs, logPath(random, n), n),
      mode: ['100755', '120000', '100664'][n % 3],
    }),
  (logs, _, n) =>
    logs.commit({
      signer: null,
      put: intent(n),
      lines: (lines) => [
        ...lines,
        { path: `intents/build-debian/2026-11-20/${sha256('none')}.json`, size: 3, sha256: sha256('none') },
      ],
    }),
  (logs, _, n) => logs.commit({ signer: null, put: intent(n), message: `No publication ${n}\n` }),
  (logs, _, n) => logs.commit({ signer: null, put: { [`a/b/c/d/e/f${n}`]: 'deep' } }),
];

function commitsOf(objects: ObjectReader, ids: readonly string[]): CommitFiles[] {
  const commits: CommitFiles[] = [];
  objects.readAll(
    ids,
    'commit',
    1_000_000,
    (_, body) => void commits.push({ commit: readCommit(body as Buffer, unsigned), changes: [], bad: [] }),
  );
  return commits;
}

const said = (commits: readonly CommitFiles[]): unknown =>
  commits.map(({ changes, bad }) => ({
    bad,
    changes: changes.map(({ path, after, at, size }) => ({
      path,
      after,
      body: size === undefined ? undefined : memory.subarray(at, (at as number) + size).toString(),
    })),
  }));

/** Goes through the history in windows of so many; how many of them were told. */
export function compareTold(
  t: Test,
  objects: ObjectReader,
  ids: readonly string[],
  windowCommits: number,
): { told: number; windows: number } {
  const [teller, looker] = [new WindowFiles(objects), new WindowFiles(objects)];
  let told = 0;
  let windows = 0;
  for (let from = 0; from < ids.length; from += windowCommits) {
    const here = ids.slice(from, from + windowCommits);
    const looked = commitsOf(objects, here);
    looker.look(looked, memory);
    const expected = said(looked);
    const commits = commitsOf(objects, here);
    windows += 1;
    try {
      teller.tell(here, commits, memory);
      told += 1;
      t.same(said(commits), expected, `what is told of window ${windows} is what is there`);
    } catch (error) {
      if (!(error instanceof OtherTree)) throw error;
    }
    for (const files of [teller, looker])
      files.treeBefore =
        looked.findLast(({ commit }) => commit.tree !== undefined)?.commit.tree ?? files.treeBefore;
  }
  return { told, windows };
}
