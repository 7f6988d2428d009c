// SPDX-License-Identifier: GPL-2.0-or-later
// The inside of an .xz log, hashed as it comes out of xz(1), with limits: it may be a bomb.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cleanEnvironment } from '../shared/qrexec-call.js';
import type { PublishedGit } from './published-git.js';
import { hashUpTo } from './prefix-hash.js';

const limitBytes = 4 * 1024 ** 3;
const limitMs = 600_000;

/** Size and SHA-256 of the unpacked bytes, and the SHA-256 of their first `prefixBytes`. undefined if xz refuses or a limit is met. */
export function hashUnpacked(git: PublishedGit, blob: string, prefixBytes = 0): Promise<{ size: number; sha256: string; prefix: string | undefined } | undefined> {
  return new Promise((resolve, reject) => {
    const child = spawn('xz', ['--decompress', '--stdout', '--memlimit-decompress=256MiB'], { env: cleanEnvironment, stdio: ['pipe', 'pipe', 'ignore'] });
    const hash = createHash('sha256');
    let prefix: string | undefined = prefixBytes === 0 ? hash.copy().digest('hex') : undefined;
    let size = 0;
    const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
    child.stdout.on('data', (chunk: Buffer) => {
      prefix = hashUpTo(hash, chunk, prefixBytes - size) ?? prefix;
      size += chunk.length;
      if (size > limitBytes) child.kill('SIGKILL');
    });
    child.stdin.on('error', () => undefined);
    child.on('error', reject);
    child.on('close', (status) => {
      clearTimeout(timer);
      resolve(status === 0 ? { size, sha256: hash.digest('hex'), prefix } : undefined);
    });
    git.read(blob, (chunk) => child.stdin.write(Buffer.from(chunk))).then(() => child.stdin.end(), reject);
  });
}
