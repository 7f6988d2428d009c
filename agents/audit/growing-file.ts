// SPDX-License-Identifier: GPL-2.0-or-later
// A file that is appended to in many commits: what it holds and its hash so far, so that a new version costs
// a comparison and its own bytes.
import { createHash, type Hash } from 'node:crypto';

export class GrowingFile {
  readonly #hash: Hash = createHash('sha256');
  #memory: Buffer = Buffer.alloc(0);
  #size = 0;
  /** of what is known */
  sha256: string | undefined;

  /**
   * The SHA-256 of a version that begins with what is known, which is known from then on; undefined for any
   * other.
   */
  grow(version: Buffer): string | undefined {
    const known = this.#size;
    if (version.length < known || version.compare(this.#memory, 0, known, 0, known) !== 0) return undefined;
    if (version.length > this.#memory.length) {
      const memory = Buffer.allocUnsafeSlow(2 * version.length);
      this.#memory.copy(memory, 0, 0, known);
      this.#memory = memory;
    }
    version.copy(this.#memory, known, known);
    this.#size = version.length;
    return (this.sha256 = this.#hash.update(version.subarray(known)).copy().digest('hex'));
  }
}

/** So many are known at once; those that grew least lately are forgotten. */
const known = 32;

export class GrowingFiles {
  readonly #files = new Map<string, GrowingFile>();

  /**
   * @param before SHA-256 of what stood at this path before @returns that of the version, if it is the first,
   * or begins with the one before and that is still known
   */
  grow(path: string, version: Buffer, before: string | undefined): string | undefined {
    const file = before === undefined ? new GrowingFile() : this.#files.get(path);
    this.#files.delete(path);
    const sha256 = file?.sha256 === before ? file?.grow(version) : undefined;
    if (file === undefined || sha256 === undefined) return undefined;
    this.#files.set(path, file);
    if (this.#files.size > known) this.#files.delete(this.#files.keys().next().value as string);
    return sha256;
  }
}
