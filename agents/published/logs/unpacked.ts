// SPDX-License-Identifier: GPL-2.0-or-later
// The inside of an .xz log, as it comes out of xz(1): complete streams, nothing between and nothing behind them. It may be a bomb.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { cleanEnvironment } from '../../shared/calls/qrexec-call.js';
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
export async function unpack(git: PublishedGit, blob: string, { skipBytes = 0, prefixBytes = 0 }, onChunk: (chunk: Buffer) => void = () => undefined): Promise<Unpacked | undefined> {
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
      if (head.length < magic.length) head = Buffer.concat([head, part.subarray(0, magic.length - head.length)]);
      writeSync(fd, part);
    });
    closeSync(fd);
    isOpen = false;
    if (!head.equals(magic)) return undefined;
    const list = await execa('xz', ['--robot', '--list', memoryLimit, '--', file], { env: cleanEnvironment, extendEnv: false, reject: false, stdin: 'ignore', cancelSignal: git.budget.signal });
    // file, streams, blocks, packed bytes, plain bytes, ratio, checks, bytes of padding
    const [, plain, padding] = /^file\t\d+\t\d+\t\d+\t(\d{1,15})\t\S+\t\S+\t(\d+)$/m.exec(list.stdout) ?? [];
    if (list.exitCode !== 0 || plain === undefined || padding !== '0') return undefined;
    git.budget.spend('bytes', Number(plain));
    const unpacked = await run(git, file, prefixBytes, Number(plain), onChunk);
    return unpacked?.size === Number(plain) ? unpacked : undefined;
  } finally {
    if (isOpen) closeSync(fd);
    rmSync(file, { force: true });
  }
}

function run(git: PublishedGit, file: string, prefixBytes: number, limitBytes: number, onChunk: (chunk: Buffer) => void): Promise<Unpacked | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn('xz', ['--decompress', '--stdout', memoryLimit, '--', file], { env: cleanEnvironment, stdio: ['ignore', 'pipe', 'ignore'], signal: git.budget.signal });
    const hash = createHash('sha256');
    let prefix: string | undefined = prefixBytes === 0 ? hash.copy().digest('hex') : undefined;
    let size = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      prefix = hashUpTo(hash, chunk, prefixBytes - size) ?? prefix;
      const news = chunk.subarray(Math.max(0, prefixBytes - size));
      size += chunk.length;
      if (size > limitBytes) child.kill('SIGKILL');
      else if (news.length > 0) onChunk(news);
    });
    child.on('error', reject);
    child.on('close', (status) => resolve(status === 0 ? { size, sha256: hash.digest('hex'), prefix } : undefined));
  });
}
