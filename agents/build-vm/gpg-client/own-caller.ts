// SPDX-License-Identifier: GPL-2.0-or-later
// The caller is whoever started this process: its descriptors are ours, read and written at once, so that
// nothing is left in a buffer at the end.
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { constants as osConstants } from 'node:os';
import { isatty } from 'node:tty';
import { Refusal } from '../refusals.js';
import { payloadMemoryBytes, type Caller } from './caller.js';

/** A descriptor may be non-blocking, for reasons of the caller's: then it is tried again. */
function patiently<T>(attempt: () => T): T {
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}

function readFrom(fd: number): Buffer {
  const info = fstatSync(fd);
  const parts: Buffer[] = [];
  let size = 0;
  for (;;) {
    const part = Buffer.allocUnsafe(
      info.isFile() && size === 0 ? Math.min(Math.max(info.size, 1) + 1, payloadMemoryBytes + 1) : 65536,
    );
    const got = patiently(() => readSync(fd, part, 0, part.length, null));
    if (got === 0) return Buffer.concat(parts);
    size += got;
    if (size > payloadMemoryBytes)
      throw new Refusal('TOO_LARGE', `more than ${payloadMemoryBytes} bytes to sign`);
    parts.push(part.subarray(0, got));
  }
}

function readInput(input: number | string): Buffer {
  if (typeof input === 'number') return readFrom(input);
  let fd: number;
  try {
    fd = openSync(input, 'r');
  } catch (error) {
    throw new Refusal('NO_SUCH_FILE', `${input}: ${(error as Error).message}`);
  }
  try {
    return readFrom(fd);
  } finally {
    closeSync(fd);
  }
}

function writeTo(fd: number, data: Uint8Array): void {
  try {
    for (let done = 0; done < data.length;)
      done += patiently(() => writeSync(fd, data, done, data.length - done));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

/** A device, a pipe or a link stays what it is and is written into; a plain file is replaced by a rename. */
function writeWhole(path: string, data: Uint8Array): void {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there !== undefined && !there.isFile()) return writeFileSync(path, data);
  const part = `${path}.${randomBytes(6).toString('hex')}.part`;
  try {
    writeFileSync(part, data, { flag: 'wx' });
    renameSync(part, path);
  } catch (error) {
    rmSync(part, { force: true });
    throw error;
  }
}

function complain(line: string): void {
  writeTo(2, Buffer.from(`${line}\n`));
  if (isatty(2)) return;
  try {
    const terminal = openSync('/dev/tty', constants.O_WRONLY | constants.O_NOCTTY);
    writeTo(terminal, Buffer.from(`${line}\n`));
    closeSync(terminal);
  } catch {
    // There is no terminal.
  }
}

function runLocalGpg(args: readonly string[], inheritedFds: readonly number[]): number {
  const stdio: ('ignore' | number)[] = Array.from(
    { length: Math.max(2, ...inheritedFds) + 1 },
    () => 'ignore',
  );
  for (const fd of [0, 1, 2, ...inheritedFds]) stdio[fd] = fd;
  const run = spawnSync('/usr/bin/gpg', args, { stdio });
  if (run.error !== undefined) throw run.error;
  return run.status ?? 128 + (run.signal === null ? 0 : osConstants.signals[run.signal]);
}

export const ownCaller: Caller = {
  jobFile: process.env['BUILD_INFRA_JOB'],
  elapsedMs: () => (process.env['BUILD_INFRA_TIMING'] === undefined ? undefined : performance.now()),
  read: async (input) => readInput(input),
  isOpen: async (fd) => {
    try {
      // Node has descriptors of its own, and the caller never meant those.
      return !readlinkSync(`/proc/self/fd/${fd}`).startsWith('anon_inode:');
    } catch {
      return false;
    }
  },
  write: async (fd, data) => writeTo(fd, data),
  writeFile: async (path, data) => writeWhole(path, data),
  complain: async (line) => complain(line),
  stillThere: async () => undefined,
  runLocalGpg: async (args, inheritedFds) => runLocalGpg(args, inheritedFds),
};
