// SPDX-License-Identifier: GPL-2.0-or-later
// A commit's tree as plain files, by plumbing alone: never checkout or archive, which would read attributes
// and run filters. The attacker chose every path, mode and byte; a maintainer's signature says only that
// someone meant them.
import { createHash, type Hash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  lutimesSync,
  mkdirSync,
  openSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeSync,
  constants,
} from 'node:fs';
import { join, posix } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { offlineGit, type Repository } from './git.js';
import { endGroup, runProgram, startProgram } from '../../shared/programs/program.js';

export interface TreeEntry {
  mode: '100644' | '100755' | '120000';
  blob: string;
  size: number;
  /** each byte one character (latin1): git paths are bytes */
  path: string;
}

/** A commit of another repository at a path of this tree. */
export interface Gitlink {
  path: string;
  commit: string;
}

/** What all trees of one job have together; each takes its part. */
export interface Room {
  files: number;
  bytes: number;
}

interface Listing {
  entries: TreeEntry[];
  gitlinks: Gitlink[];
}

export interface TreeManifest {
  files: number;
  bytes: number;
  /** SHA-256 of the lines `<sha256> <mode> <path>\n`, in git's order */
  sha256: string;
  lines: string[];
}

export interface ExportedTree extends TreeManifest, Listing {}

export const roomOfTrees = (): Room => ({ files: 200_000, bytes: 4 * 1024 ** 3 });
const linkLimitBytes = 4000;

/**
 * @throws Refusal UNSAFE_PATH: empty, `.`, `..`, `.git` in any case, absolute, a control byte, or too long
 */
export function checkPath(untrustedPath: string): string {
  const bad = (): Refusal =>
    new Refusal('UNSAFE_PATH', `the tree holds the path ${printable(untrustedPath)}`);
  if (untrustedPath.length > 1024 || /[\x00-\x1f\x7f]/.test(untrustedPath)) throw bad();
  for (const part of untrustedPath.split('/')) {
    if (
      part === '' ||
      part === '.' ||
      part === '..' ||
      part.length > 255 ||
      /^\.git[ .]*$|^git~[0-9]+$/i.test(part)
    )
      throw bad();
  }
  return untrustedPath;
}

/**
 * A link may climb only at its beginning and never out of the tree: then no chain of such links leads out.
 * @throws Refusal UNSAFE_SYMLINK
 */
export function checkLink(path: string, untrustedTarget: string): string {
  const bad = (): Refusal =>
    new Refusal('UNSAFE_SYMLINK', `${printable(path)} points to ${printable(untrustedTarget)}`);
  if (untrustedTarget === '' || untrustedTarget.startsWith('/') || /[\x00-\x1f\x7f]/.test(untrustedTarget))
    throw bad();
  const parts = untrustedTarget.split('/');
  const firstName = parts.findIndex((part) => part !== '..' && part !== '.' && part !== '');
  if (firstName >= 0 && parts.slice(firstName).includes('..')) throw bad();
  if (parts.some((part) => /^\.git$/i.test(part))) throw bad();
  const resolved = posix.normalize(posix.join(posix.dirname(path), untrustedTarget));
  if (resolved === '..' || resolved.startsWith('../')) throw bad();
  return untrustedTarget;
}

/**
 * @param below where it will lie: '', or a submodule's path with a slash at its end
 * @throws Refusal UNSAFE_PATH, BAD_TREE, TOO_LARGE
 */
export async function listTree(
  repository: Repository,
  tree: string,
  below: string,
  room: Room,
): Promise<Listing> {
  const { argv, env } = offlineGit(repository, 'ls-tree', '-r', '-l', '-z', '--full-tree', tree);
  const untrustedListing = (
    await runProgram(argv, { env, timeoutMs: 120_000, limitBytes: 256 * 1024 * 1024 })
  ).toString('latin1');
  const entries: TreeEntry[] = [];
  const gitlinks: Gitlink[] = [];
  for (const record of untrustedListing.split('\0').slice(0, -1)) {
    const parts = /^([0-7]{6}) (blob|commit) ([0-9a-f]{40,64}) +([0-9]+|-)\t([\s\S]+)$/.exec(record);
    if (parts === null) throw new Refusal('BAD_TREE', 'the tree holds something that is no file');
    const [, mode, type, blob, size, untrustedPath] = parts as unknown as [
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    const path = checkPath(below + untrustedPath).slice(below.length);
    if (type === 'commit') {
      gitlinks.push({ path, commit: blob });
      continue;
    }
    if (mode !== '100644' && mode !== '100755' && mode !== '120000')
      throw new Refusal('BAD_TREE', `${printable(path)} has mode ${mode}`);
    room.files -= 1;
    room.bytes -= Number(size);
    entries.push({ mode, blob, size: Number(size), path });
    if (room.files < 0 || room.bytes < 0) throw new Refusal('TOO_LARGE', 'the tree is too large');
  }
  if (entries.length === 0) throw new Refusal('BAD_TREE', 'the tree is empty');
  return { entries, gitlinks };
}

/** `git cat-file --batch` as a sequence of sized pieces. */
class BatchReader {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(stream: AsyncIterable<Buffer>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async #more(): Promise<Buffer> {
    const next = await this.#chunks.next();
    if (next.done === true) throw new Error('git cat-file ended too early');
    return next.value;
  }

  async line(): Promise<string> {
    let end = this.#rest.indexOf(10);
    while (end < 0) {
      if (this.#rest.length > 1000) throw new Error('git cat-file answers a long line');
      this.#rest = Buffer.concat([this.#rest, await this.#more()]);
      end = this.#rest.indexOf(10);
    }
    const line = this.#rest.toString('latin1', 0, end);
    this.#rest = this.#rest.subarray(end + 1);
    return line;
  }

  async take(size: number, into: (piece: Buffer) => void): Promise<void> {
    for (let left = size; left > 0;) {
      if (this.#rest.length === 0) this.#rest = await this.#more();
      const piece = this.#rest.subarray(0, left);
      into(piece);
      left -= piece.length;
      this.#rest = this.#rest.subarray(piece.length);
    }
  }
}

const bytesOf = (folder: string, path: string): Buffer => Buffer.from(join(folder, '/') + path, 'latin1');

function makeParents(folder: string, path: string, made: Set<string>): void {
  const parts = path.split('/').slice(0, -1);
  for (let i = 1; i <= parts.length; i++) {
    const parent = parts.slice(0, i).join('/');
    if (made.has(parent)) continue;
    // Not recursive: where a file or link of that name stands already, this fails instead of following it.
    mkdirSync(bytesOf(folder, parent), { mode: 0o755 });
    made.add(parent);
  }
}

/**
 * Of lines `<sha256> <mode> <path>`; a submodule's and a download's are put where git's order of paths, that
 * of their bytes, has them.
 */
export function manifestOf(lines: readonly string[], bytes: number): TreeManifest {
  const pathOf = (line: string): string => line.slice(72);
  const sorted = [...lines].sort((one, other) => (pathOf(one) < pathOf(other) ? -1 : 1));
  return {
    files: sorted.length,
    bytes,
    sha256: createHash('sha256')
      .update(sorted.map((line) => `${line}\n`).join(''), 'latin1')
      .digest('hex'),
    lines: sorted,
  };
}

/**
 * Writes the tree into `folder`, made new. All times are `time` (seconds): nothing looks newer than anything
 * else. Where the tree has a submodule, nothing is made.
 * @throws Refusal as listTree and checkLink
 */
export async function exportTree(
  repository: Repository,
  tree: string,
  folder: string,
  time: number,
  room = roomOfTrees(),
): Promise<ExportedTree> {
  if (existsSync(folder)) rmSync(folder, { recursive: true });
  makeFolder(folder);
  return await exportInto(repository, tree, folder, '', time, room);
}

/** The same into an empty folder that is there; the manifest's paths begin with `below`. */
export async function exportInto(
  repository: Repository,
  tree: string,
  folder: string,
  below: string,
  time: number,
  room: Room,
): Promise<ExportedTree> {
  const { entries, gitlinks } = await listTree(repository, tree, below, room);
  const { argv, env } = offlineGit(repository, 'cat-file', '--batch');
  const child = startProgram(argv, { env, stdin: 'pipe' });
  child.stderr.resume();
  const made = new Set<string>();
  const lines: string[] = [];
  const links: { path: string; target: string }[] = [];
  try {
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(entries.map((entry) => `${entry.blob}\n`).join(''));
    const reader = new BatchReader(child.stdout as AsyncIterable<Buffer>);
    for (const entry of entries) {
      if ((await reader.line()) !== `${entry.blob} blob ${entry.size}`)
        throw new Error('git cat-file answers something else');
      const hash = createHash('sha256');
      makeParents(folder, entry.path, made);
      if (entry.mode === '120000')
        links.push({ path: entry.path, target: await readLink(reader, entry, hash) });
      else await writeFile(reader, entry, folder, hash, time);
      lines.push(`${hash.digest('hex')} ${entry.mode} ${below}${entry.path}`);
      await reader.line();
    }
  } finally {
    endGroup(child.pid);
    child.stdin?.destroy();
    child.stdout.destroy();
    await child.ended;
  }
  for (const { path, target } of links) {
    symlinkSync(Buffer.from(target, 'latin1'), bytesOf(folder, path));
    lutimesSync(bytesOf(folder, path), time, time);
  }
  for (const parent of [...made].reverse()) utimesSync(bytesOf(folder, parent), time, time);
  utimesSync(folder, time, time);
  return {
    ...manifestOf(
      lines,
      entries.reduce((sum, entry) => sum + entry.size, 0),
    ),
    entries,
    gitlinks,
  };
}

async function readLink(reader: BatchReader, entry: TreeEntry, hash: Hash): Promise<string> {
  if (entry.size > linkLimitBytes)
    throw new Refusal('UNSAFE_SYMLINK', `${printable(entry.path)} is too long a link`);
  let target = '';
  await reader.take(entry.size, (piece) => {
    hash.update(piece);
    target += piece.toString('latin1');
  });
  return checkLink(entry.path, target);
}

async function writeFile(
  reader: BatchReader,
  entry: TreeEntry,
  folder: string,
  hash: Hash,
  time: number,
): Promise<void> {
  const path = bytesOf(folder, entry.path);
  const fd = openSync(
    path,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    entry.mode === '100755' ? 0o755 : 0o644,
  );
  try {
    await reader.take(entry.size, (piece) => {
      hash.update(piece);
      for (let done = 0; done < piece.length;) done += writeSync(fd, piece, done);
    });
  } finally {
    closeSync(fd);
  }
  utimesSync(path, time, time);
}
