// SPDX-License-Identifier: GPL-2.0-or-later
// A log's bytes as the repository holds them: plain up to 10 MiB, beyond that as .xz made piece by piece:
// each time only what is new is packed into one more xz stream at the end, so that a published version is a
// byte prefix of the next in either form. xz takes its time, so that is done beside publications.
import { createHash } from 'node:crypto';
import {
  closeSync,
  createReadStream,
  existsSync,
  fdatasyncSync,
  fstatSync,
  ftruncateSync,
  openSync,
} from 'node:fs';
import { runProgram } from '../shared/programs/program.js';
import type { WrittenObject } from './git-objects.js';
import type { GitRepository } from './git-repository.js';
import type { Log } from './log.js';
import { writeRecord } from './log-record.js';

export const plainLimitBytes = 10 * 1024 * 1024;
/** What is new of the largest log is packed in this time. */
const packMs = 3600_000;

export interface LogBlob extends WrittenObject {
  path: string;
  /** of the log, plain */
  plainBytes: number;
}

/** Whether the log is published packed. */
export function isLarge(log: Log): boolean {
  return log.readyBytes > plainLimitBytes || log.record.xz !== undefined;
}

/** @returns the size of the file beside the log, which holds its bytes up to `plainBytes` then */
async function pack(log: Log, plainBytes: number): Promise<number> {
  const done = log.record.xz ?? { plain: 0, packed: 0 };
  if (done.plain === plainBytes) return done.packed;
  const fd = openSync(`${log.file}.xz`, existsSync(`${log.file}.xz`) ? 'r+' : 'w+');
  closeSync(fd);
  const target = openSync(`${log.file}.xz`, 'a');
  try {
    // What a kill left unfinished.
    ftruncateSync(target, done.packed);
    const input = createReadStream(log.file, {
      start: done.plain,
      end: plainBytes - 1,
      highWaterMark: 256 * 1024,
    });
    await runProgram(['xz', '--compress', '--stdout', '--threads=1', '-1'], {
      input,
      output: target,
      timeoutMs: packMs,
    });
    fdatasyncSync(target);
    log.record.xz = { plain: plainBytes, packed: fstatSync(target).size };
    writeRecord(log.file, log.record);
    return log.record.xz.packed;
  } finally {
    closeSync(target);
  }
}

/**
 * Packs what a large log holds on disk now, and writes it as a git object; not twice at the same time for one
 * log.
 */
export async function writePackedBlob(log: Log, repository: GitRepository): Promise<LogBlob> {
  const plainBytes = log.readyBytes;
  const packed = await pack(log, plainBytes);
  return {
    path: `${log.record.path}.xz`,
    plainBytes,
    ...(await repository.objects.writeFile(`${log.file}.xz`, packed)),
  };
}

/** Writes what any other log holds on disk now as a git object. */
export async function writePlainBlob(log: Log, repository: GitRepository): Promise<LogBlob> {
  const plainBytes = log.readyBytes;
  return { path: log.record.path, plainBytes, ...(await repository.objects.writeFile(log.file, plainBytes)) };
}

/** Whether the file begins with the blob `id` of `size` bytes: what is published already may only grow. */
export async function beginsWithBlob(file: string, id: string, size: number): Promise<boolean> {
  const hash = createHash('sha1').update(`blob ${size}\0`);
  if (!existsSync(file)) return false;
  if (size > 0)
    for await (const chunk of createReadStream(file, { end: size - 1 })) hash.update(chunk as Buffer);
  return hash.digest('hex') === id;
}
