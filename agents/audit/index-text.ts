// SPDX-License-Identifier: GPL-2.0-or-later
// The text of a repository's index, which may be packed, and may be a bomb.
import { spawn } from 'node:child_process';
import { gunzipSync } from 'node:zlib';
import { cleanEnvironment } from '../shared/qrexec-call.js';
import { Unreadable } from './findings.js';

export const indexLimitBytes = 1024 * 1024 * 1024;

function unxz(data: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = spawn('xz', ['--decompress', '--stdout', '--memlimit-decompress=256MiB'], { env: cleanEnvironment, stdio: ['pipe', 'pipe', 'ignore'] });
    const chunks: Buffer[] = [];
    let size = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > indexLimitBytes) child.kill('SIGKILL');
      else chunks.push(chunk);
    });
    child.stdin.on('error', () => undefined);
    child.on('error', reject);
    child.on('close', (status) => (status === 0 ? resolve(Buffer.concat(chunks)) : reject(new Error('xz cannot unpack it'))));
    child.stdin.end(data);
  });
}

/** By the path's ending: .gz, .xz, or as it stands. undefined where it cannot be unpacked. @throws Unreadable */
export async function indexText(path: string, bytes: Buffer): Promise<Buffer | undefined> {
  try {
    return path.endsWith('.gz') ? gunzipSync(bytes, { maxOutputLength: indexLimitBytes }) : path.endsWith('.xz') ? await unxz(bytes) : bytes;
  } catch (error) {
    if (error instanceof Unreadable) throw error;
    return undefined;
  }
}
