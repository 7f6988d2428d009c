// SPDX-License-Identifier: GPL-2.0-or-later
// The inside of an .xz log, as it comes out of xz(1): complete streams, nothing between and nothing behind
// them. It may be a bomb.
import { createHash } from 'node:crypto';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { ProgramFailed, runProgram } from '../../shared/programs/program.js';
import { Refusal } from '../../shared/refusals.js';
import type { PublishedGit } from '../history/published-git.js';
import { hashUpTo } from './prefix-hash.js';

const memoryLimit = '--memlimit-decompress=256MiB';
const magic = Buffer.from('fd377a585a00', 'hex');

export interface Unpacked {
  size: number;
  sha256: string;
  /** of the first `prefixBytes` */
  prefix: string | undefined;
}

let parts = 0;

/**
 * Unpacks what is in `blob` after its first `skipBytes`.
 * @param onChunk gets what comes out
 * @returns undefined for anything but complete xz streams
 * @throws Unreadable where the budget does not hold what is in there
 */
export async function unpack(
  git: PublishedGit,
  blob: string,
  { skipBytes = 0, prefixBytes = 0 },
  onChunk: (chunk: Buffer) => void = () => undefined,
): Promise<Unpacked | undefined> {
  const file = join(git.scratch, `part-${parts++}.xz`);
  const fd = openSync(file, 'w');
  let isOpen = true;
  try {
    let seen = 0;
    let head = Buffer.alloc(0);
    await git.read(blob, 'blob', (chunk) => {
      const part = chunk.subarray(Math.max(0, skipBytes - seen));
      seen += chunk.length;
      if (part.length === 0) return;
      if (head.length < magic.length)
        head = Buffer.concat([head, part.subarray(0, magic.length - head.length)]);
      writeSync(fd, part);
    });
    closeSync(fd);
    isOpen = false;
    if (!head.equals(magic)) return undefined;
    const list = await orBad(
      runProgram(['xz', '--robot', '--list', memoryLimit, '--', file], {
        timeoutMs: git.budget.leftMs,
        signal: git.budget.signal,
      }),
    );
    // file, streams, blocks, packed bytes, plain bytes, ratio, checks, bytes of padding
    const [, plain, padding] =
      /^file\t\d+\t\d+\t\d+\t(\d{1,15})\t\S+\t\S+\t(\d+)$/m.exec(list?.toString('latin1') ?? '') ?? [];
    if (plain === undefined || padding !== '0') return undefined;
    git.budget.spend('bytes', Number(plain));
    const unpacked = await run(git, file, prefixBytes, Number(plain), onChunk);
    return unpacked?.size === Number(plain) ? unpacked : undefined;
  } finally {
    if (isOpen) closeSync(fd);
    rmSync(file, { force: true });
  }
}

/** undefined where xz takes it for no complete streams, or more comes out than it told. */
async function orBad<T>(end: Promise<T>): Promise<T | undefined> {
  try {
    return await end;
  } catch (error) {
    if (
      (error instanceof ProgramFailed && error.exitCode !== undefined) ||
      (error instanceof Refusal && error.code === 'OUTPUT_LIMIT')
    )
      return undefined;
    throw error;
  }
}

async function run(
  git: PublishedGit,
  file: string,
  prefixBytes: number,
  limitBytes: number,
  onChunk: (chunk: Buffer) => void,
): Promise<Unpacked | undefined> {
  const hash = createHash('sha256');
  let prefix: string | undefined = prefixBytes === 0 ? hash.copy().digest('hex') : undefined;
  let size = 0;
  const come = (chunk: Buffer): void => {
    prefix = hashUpTo(hash, chunk, prefixBytes - size) ?? prefix;
    const news = chunk.subarray(Math.max(0, prefixBytes - size));
    size += chunk.length;
    if (news.length > 0) onChunk(news);
  };
  const end = await orBad(
    runProgram(['xz', '--decompress', '--stdout', memoryLimit, '--', file], {
      timeoutMs: git.budget.leftMs,
      signal: git.budget.signal,
      limitBytes,
      onChunk: come,
    }),
  );
  return end === undefined ? undefined : { size, sha256: hash.digest('hex'), prefix };
}
