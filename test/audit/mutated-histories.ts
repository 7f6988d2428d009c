// SPDX-License-Identifier: GPL-2.0-or-later
// Histories that differ from a good one in some things, from a seed; and what real git and gpgv make of each:
// which files they would serve that no signed message covers, or that are no more what they were.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readPublicationMessage } from '../../agents/shared/formats/publication.js';
import { Farm, log, sha256, type CommitOptions, type Keys } from './farm.js';
import { verdict } from './run-audit.js';

/** The same numbers for the same seed (xorshift32). */
export class Seeded {
  #state: number;

  constructor(seed: number) {
    this.#state = createHash('sha256').update(String(seed)).digest().readUInt32LE(0) | 1;
  }

  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }

  one<T>(of: readonly T[]): T {
    return of[this.below(of.length)] as T;
  }
}

const names = [
  log,
  'build-debian/hello/log_2026-11-21_22-00-00',
  `${log}.xz`,
  'journal/keys-debian/00000000.jsonl',
  `intents/build-debian/2026-11-21/${'a'.repeat(64)}.json`,
  'build-debian/hello/log_2026-02-31_00-00-00',
  'README',
  '.gitattributes',
  'build-debian/index.html',
];
const stampedLine = '2026-11-21 21:00:09.000000 +0000 build-debian: a line of the mutant\n';

type Tree = { mode: string; name: string; id: string }[];

function treeOf(repository: string, object: string): Tree {
  return execFileSync('git', ['--git-dir', repository, 'ls-tree', '-z', object])
    .toString()
    .split('\0')
    .filter((one) => one !== '')
    .map((one) => {
      const [, mode, id, name] = /^(\d+) \w+ (\w+)\t(.*)$/.exec(one) as unknown as [
        string,
        string,
        string,
        string,
      ];
      return { mode: mode.replace(/^0/, ''), name, id };
    });
}

/**
 * Changes raw trees: an entry renamed, doubled, moved, taken away, with another mode or another's content;
 * the folders above are made anew.
 */
function mutatedTree(farm: Farm, random: Seeded, object: string, depth = 0): string {
  const { logs } = farm;
  const entries = treeOf(logs.path, object);
  const folders = entries.filter(({ mode }) => mode === '40000');
  if (depth < 3 && folders.length > 0 && random.below(4) > 0) {
    const folder = random.one(folders);
    folder.id = mutatedTree(farm, random, folder.id, depth + 1);
  } else {
    const at = random.below(entries.length);
    const entry = entries[at] as Tree[number];
    const blob = logs.object('blob', random.one([stampedLine, '', '#!/bin/sh\n']));
    const changes: (() => void)[] = [
      () => entries.splice(at, 1),
      () => (entry.mode = random.one(['100664', '100755', '120000', '100600'])),
      () => (entry.id = blob),
      () => entries.push({ ...entry }),
      () => entries.splice(at, 0, { mode: '100644', name: entry.name, id: blob }),
      () => entries.reverse(),
      () => (entry.name += random.one(['x', '.xz', '.1', ' '])),
      () => entries.push({ mode: '40000', name: 'zz', id: logs.object('tree', '') }),
      () =>
        entries.push({
          mode: '40000',
          name: entry.name,
          id: logs.object('tree', Buffer.concat([Buffer.from('100644 f\0'), Buffer.from(blob, 'hex')])),
        }),
      () => entries.push({ mode: '100644', name: 'zzz', id: blob }),
    ];
    random.one(changes)();
  }
  return logs.object(
    'tree',
    Buffer.concat(
      entries.map(({ mode, name, id }) =>
        Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(id, 'hex')]),
      ),
    ),
  );
}

function mutate(farm: Farm, random: Seeded): string[] {
  const { logs } = farm;
  const told: string[] = [];
  for (let commits = 1 + random.below(2); commits > 0; commits--) {
    const options: CommitOptions = { put: {} };
    const put = options.put as Record<string, Buffer | string>;
    const change = (name: string): void => {
      const before = logs.content.get(name) ?? Buffer.alloc(0);
      put[name] = random.one<() => Buffer | string>([
        () => Buffer.concat([before, Buffer.from(stampedLine)]),
        () => stampedLine,
        () => before.subarray(0, Math.floor(before.length / 2)),
        () => '',
        () => Buffer.from(before.map((byte, i) => (i === 40 ? byte ^ 1 : byte))),
        () => Buffer.concat([before, Buffer.from('no stamp\n')]),
        () => execFileSync('xz', ['-c'], { input: random.one([before, Buffer.from(stampedLine)]) }),
      ])();
    };
    const kind = random.below(10);
    told.push(String(kind));
    if (kind < 4) for (let n = 1 + random.below(2); n > 0; n--) change(random.one(names));
    if (kind === 0) options.lines = (lines) => lines.slice(1);
    if (kind === 1)
      options.lines = (lines) =>
        lines.map((line) =>
          random.one([{ ...line, sha256: sha256('x') }, { ...line, size: line.size + 1 }, line]),
        );
    if (kind === 4) options.remove = [random.one([...logs.content.keys()])];
    if (kind === 5) options.tree = mutatedTree(farm, random, 'HEAD');
    if (kind === 6)
      Object.assign(options, {
        put: { [log]: farm.grow() },
        signer: random.one([null, 'stranger', 'signing', 'logs'] as const),
      });
    if (kind === 7)
      Object.assign(options, {
        put: { [log]: farm.grow() },
        ...random.one<CommitOptions>([
          { time: 1479762000 },
          { seq: 3 },
          { more: ['--textmode'] },
          { mode: '100755' },
          { message: 'Publish\n' },
          { parents: [] },
        ]),
      });
    if (kind === 8)
      Object.assign(options, { tree: mutatedTree(farm, random, 'HEAD'), seq: logs.seq + 1, lines: () => [] });
    if (kind === 9) Object.assign(options, { put: { [log]: farm.grow() } });
    logs.commit(options);
  }
  return told;
}

/**
 * What somebody who believes git, gpgv and the signed messages gets to see and nobody announced; empty where
 * all is covered.
 */
function uncovered(farm: Farm, keyring: string): string[] {
  const git = (...args: string[]): { status: number | null; out: Buffer } => {
    const { status, stdout } = spawnSync('git', ['--git-dir', farm.logs.path, ...args], {
      maxBuffer: 1 << 28,
    });
    return { status, out: stdout };
  };
  const wrong: string[] = [];
  const listed = git('rev-list', '--reverse', 'main');
  if (listed.status !== 0) return [];
  let before = new Map<string, string>();
  const told = new Map<string, string>();
  let seq = 0;
  for (const id of listed.out.toString().trim().split('\n')) {
    const raw = git('cat-file', 'commit', id).out.toString();
    const [, head = '', signature = '', message = ''] =
      /^([\s\S]*?)\ngpgsig ([\s\S]*?)\n(?=\n)\n([\s\S]*)$/.exec(raw) ?? [];
    writeFileSync(join(farm.top, 'd'), `${head}\n\n${message}`);
    writeFileSync(join(farm.top, 'd.asc'), `${signature.replace(/^ /gm, '')}\n`);
    if (
      spawnSync('gpgv', ['--keyring', keyring, join(farm.top, 'd.asc'), join(farm.top, 'd')], {
        stdio: 'ignore',
      }).status !== 0
    )
      wrong.push(`${id}: gpgv does not find it good`);
    try {
      const publication = readPublicationMessage(message);
      if (publication.seq !== ++seq) wrong.push(`${id}: seq ${publication.seq}`);
      for (const file of publication.files) told.set(file.path, file.sha256);
    } catch {
      wrong.push(`${id}: no publication`);
    }
    const tree = git('ls-tree', '-r', '-z', id);
    if (tree.status !== 0) continue;
    const now = new Map<string, string>();
    for (const line of tree.out
      .toString()
      .split('\0')
      .filter((one) => one !== '')) {
      const [, mode, blob = '', path = ''] = /^(\d+) \w+ (\w+)\t(.*)$/.exec(line) ?? [];
      if (mode !== '100644') wrong.push(`${id}: ${path} has mode ${mode}`);
      now.set(path, blob);
      if (before.get(path) === blob && told.has(path)) continue;
      // What a person sees who asks for that file.
      const shown = git('show', `${id}:${path}`);
      if (shown.status === 0 && told.get(path) !== sha256(shown.out))
        wrong.push(`${id}: ${path} is not what the messages say`);
      const old = before.get(path);
      if (
        old !== undefined &&
        shown.status === 0 &&
        !shown.out
          .subarray(0, git('cat-file', 'blob', old).out.length)
          .equals(git('cat-file', 'blob', old).out) &&
        !path.endsWith('.xz')
      )
        wrong.push(`${id}: ${path} does not begin as before`);
    }
    for (const path of before.keys())
      if (!now.has(path) && !now.has(`${path}.xz`)) wrong.push(`${id}: ${path} is gone`);
    before = now;
  }
  return wrong;
}

export interface Tried {
  good: number;
  bad: number;
  /** neither good nor bad: exit 2 */
  unreadable: number;
  /** the audit said Good, and should not have */
  missed: string[];
}

/** @param seeds one history each */
export async function tryHistories(keys: Keys, good: Farm, seeds: readonly number[]): Promise<Tried> {
  const folder = mkdtempSync(join(tmpdir(), 'mh-'));
  const keyring = join(folder, 'logs.gpg');
  execFileSync('gpg', [
    '--homedir',
    keys.home,
    '--batch',
    '--quiet',
    '--export',
    '--output',
    keyring,
    keys.fingerprint.logs,
  ]);
  const tried: Tried = { good: 0, bad: 0, unreadable: 0, missed: [] };
  try {
    for (const seed of seeds) {
      const farm = new Farm(keys, good);
      try {
        const told = mutate(farm, new Seeded(seed));
        const result = await verdict(farm).catch((error: unknown) => {
          if ((error as Error).name !== 'Unreadable') throw error;
          return undefined;
        });
        if (result === undefined) tried.unreadable += 1;
        else if (!result.ok) tried.bad += 1;
        else {
          tried.good += 1;
          const found = uncovered(farm, keyring);
          if (found.length > 0) tried.missed.push(`seed ${seed} (${told.join(' ')}): ${found.join('; ')}`);
        }
      } finally {
        farm.remove();
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return tried;
}
