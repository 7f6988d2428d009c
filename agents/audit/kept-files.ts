// SPDX-License-Identifier: GPL-2.0-or-later
// What stands at each path. A long history has more files than anything else, and most are named by their own
// SHA-256: of those only the size is kept, under a name whose hashes are bytes.
import type { LogPosition } from '../published/logs/log-lines.js';
import { detached } from '../published/one-text.js';

export interface FileVersion {
  size: number;
  sha256: string;
  /** of a packed log: its object */
  packed: string | undefined;
  /** of a log: where its lines stand */
  log: LogPosition | undefined;
}

/** No name in a tree holds a zero, so that no two paths have one key. */
const keyOf = (path: string): string =>
  path.length < 64
    ? path
    : path.replace(/[0-9a-f]{64}/g, (hex) => `\0${Buffer.from(hex, 'hex').toString('latin1')}`);
const ownHash = (path: string): string | undefined => /\/([0-9a-f]{64})(?:\.json)?$/.exec(path)?.[1];

export class KeptFiles {
  readonly #files = new Map<string, FileVersion | number>();

  has(path: string): boolean {
    return this.#files.has(keyOf(path));
  }

  get(path: string): FileVersion | undefined {
    const kept = this.#files.get(keyOf(path));
    return typeof kept === 'number'
      ? { size: kept, sha256: ownHash(path) as string, packed: undefined, log: undefined }
      : kept;
  }

  set(path: string, version: FileVersion): void {
    this.#files.set(detached(keyOf(path)), version.sha256 === ownHash(path) ? version.size : version);
  }

  delete(path: string): void {
    this.#files.delete(keyOf(path));
  }
}
