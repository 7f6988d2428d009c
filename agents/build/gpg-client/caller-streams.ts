// SPDX-License-Identifier: GPL-2.0-or-later
// The descriptors that the caller gave us, read and written at once: nothing is left in a buffer when the process ends.
import { closeSync, constants, fstatSync, openSync, readlinkSync, readSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { Refusal } from '../../shared/refusal.js';

/** What this client takes into memory to sign, in bytes; the keys VM has a limit of its own. */
export const payloadMemoryBytes = 256 * 1024 * 1024;

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

/** Everything until the end. @throws Refusal TOO_LARGE */
export function readFrom(fd: number): Buffer {
  const info = fstatSync(fd);
  const parts: Buffer[] = [];
  let size = 0;
  for (;;) {
    const part = Buffer.allocUnsafe(info.isFile() && size === 0 ? Math.min(Math.max(info.size, 1) + 1, payloadMemoryBytes + 1) : 65536);
    const got = patiently(() => readSync(fd, part, 0, part.length, null));
    if (got === 0) return Buffer.concat(parts);
    size += got;
    if (size > payloadMemoryBytes) throw new Refusal('TOO_LARGE', `more than ${payloadMemoryBytes} bytes to sign`);
    parts.push(part.subarray(0, got));
  }
}

/** @throws Refusal NO_SUCH_FILE, TOO_LARGE */
export function readInput(input: number | string): Buffer {
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

/** A reader that went away (`gpg --version | head -n1`) is no fault. */
export function writeTo(fd: number, data: Uint8Array): void {
  try {
    for (let done = 0; done < data.length;) done += patiently(() => writeSync(fd, data, done, data.length - done));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error;
  }
}

/** The caller named a descriptor: is it one that it opened, and not one that Node made for itself? */
export function isOpenForCaller(fd: number): boolean {
  try {
    return !readlinkSync(`/proc/self/fd/${fd}`).startsWith('anon_inode:');
  } catch {
    return false;
  }
}

/** Where stderr is captured (git shows nothing of it), a person at a terminal still reads why. */
export function complain(line: string): void {
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
