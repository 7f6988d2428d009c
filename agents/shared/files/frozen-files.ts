// SPDX-License-Identifier: GPL-2.0-or-later
// Taking files out of a folder that something untrusted wrote to: plain files only, never through a link,
// hashed as they are copied, read-only from then on.
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { HashedFile } from '../formats/intent.js';
import { fileNamePattern, matches } from '../formats/names.js';
import { printable } from '../refusal.js';
import { Refusal } from '../refusals.js';

const chunkBytes = 1024 * 1024;

/**
 * @param links how many names the file may have: one, but where it is ours already
 * @throws Refusal BAD_ARTIFACT where `name` is no safe name or no plain file
 */
export function openPlainFile(
  folder: string,
  untrustedName: string,
  links = 1,
): { fd: number; size: number } {
  if (!matches(fileNamePattern, untrustedName))
    throw new Refusal('BAD_ARTIFACT', `"${printable(untrustedName)}" is not an acceptable file name`);
  let fd: number;
  try {
    fd = openSync(
      join(folder, untrustedName),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    );
  } catch (error) {
    throw new Refusal(
      'BAD_ARTIFACT',
      `${untrustedName} cannot be taken: ${(error as NodeJS.ErrnoException).code ?? 'unreadable'}`,
    );
  }
  const about = fstatSync(fd);
  if (!about.isFile() || about.nlink > links) {
    closeSync(fd);
    throw new Refusal('BAD_ARTIFACT', `${untrustedName} is not a plain file of its own`);
  }
  return { fd, size: about.size };
}

/** @throws Refusal BAD_ARTIFACT, TOO_LARGE */
export function readPlainFile(folder: string, untrustedName: string, limitBytes: number): Buffer {
  const { fd, size } = openPlainFile(folder, untrustedName);
  try {
    if (size > limitBytes)
      throw new Refusal('TOO_LARGE', `${untrustedName} is larger than ${limitBytes} bytes`);
    const content = Buffer.alloc(size);
    let done = 0;
    for (let got = -1; got !== 0 && done < size; done += got)
      got = readSync(fd, content, done, size - done, null);
    return content.subarray(0, done);
  } finally {
    closeSync(fd);
  }
}

/** From where `fd` stands to the end. @param each is handed every piece, which is only lent */
function hashContent(fd: number, each?: (chunk: Buffer) => void): Pick<HashedFile, 'size' | 'sha256'> {
  const hash = createHash('sha256');
  const chunk = Buffer.alloc(chunkBytes);
  let size = 0;
  for (let got = readSync(fd, chunk); got > 0; got = readSync(fd, chunk)) {
    const piece = chunk.subarray(0, got);
    hash.update(piece);
    each?.(piece);
    size += got;
  }
  return { size, sha256: hash.digest('hex') };
}

/** Copies one file, on disk when this returns. @throws Refusal BAD_ARTIFACT */
export function freezeFile(from: string, to: string, untrustedName: string): HashedFile {
  const { fd } = openPlainFile(from, untrustedName);
  try {
    const out = openSync(
      join(to, untrustedName),
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL,
      0o444,
    );
    try {
      const content = hashContent(fd, (chunk) => {
        for (let done = 0; done < chunk.length;) done += writeSync(out, chunk, done);
      });
      fsyncSync(out);
      return { name: untrustedName, ...content };
    } finally {
      closeSync(out);
    }
  } finally {
    closeSync(fd);
  }
}

/**
 * SHA-256 of the plain files in a folder of ours, by name, whatever other programs called them. Of any size.
 */
export function hashesIn(folder: string): Map<string, string> {
  return new Map(
    readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => {
        const fd = openSync(join(folder, name), constants.O_RDONLY | constants.O_NOFOLLOW);
        try {
          return [name, hashContent(fd).sha256];
        } finally {
          closeSync(fd);
        }
      }),
  );
}

/** What a file of ours is now. @throws Refusal BAD_ARTIFACT */
export function hashFile(folder: string, name: string): HashedFile {
  const { fd } = openPlainFile(folder, name, Infinity);
  try {
    return { name, ...hashContent(fd) };
  } finally {
    closeSync(fd);
  }
}
