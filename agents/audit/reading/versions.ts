// SPDX-License-Identifier: GPL-2.0-or-later
// The new versions of files in some commits, read into memory that both threads see.
import { hash, verify, type KeyObject } from 'node:crypto';
import { journalHeadText, journalPublicKey, type JournalHead } from '../../shared/formats/journal-head.js';
import type { ObjectReader } from './objects.js';
import type { ReadCommit } from './read-commit.js';
import type { Change } from './tree-walk.js';

/** Files of this size are read ahead; larger ones when it is their turn. */
const fileLimitBytes = 256 * 1024;
/** Before each file, for what git hashes before it. */
const roomBytes = 32;
const headsPattern = /^journal\/([^/]+)\/heads-\d{8,12}\.jsonl$/;
const lineLimitBytes = 4096;

/** Where a version's bytes are. */
export interface PlacedChange extends Change {
  at?: number;
  size?: number;
  /** of a file of journal heads: the pinned key of the keys VM by which its last line is well signed */
  headBy?: string;
}

interface Version {
  change: PlacedChange;
  /** as the message tells it */
  told: number;
}

export class Versions {
  readonly #objects: ObjectReader;
  readonly #pinned: ReadonlyMap<string, readonly { hex: string; key: KeyObject }[]>;

  /** @param pinned keys VM → its journal keys, 64 hex digits each */
  constructor(objects: ObjectReader, pinned: ReadonlyMap<string, readonly string[]>) {
    this.#objects = objects;
    this.#pinned = new Map([...pinned].map(([keysVm, keys]) => [keysVm, keys.map((hex) => ({ hex, key: journalPublicKey(hex) }))]));
  }

  /**
   * Reads those that the messages tell the size of, as long as there is memory, and says in each change where its bytes are. Of a file that
   * grows, git is asked for the last version only: those before begin it, or their ids would be others.
   */
  read(commits: readonly { commit: ReadCommit; changes: PlacedChange[] }[], memory: Buffer): void {
    const byPath = versionsByPath(commits);
    let used = 0;
    const readAll = (wanted: readonly Version[]): void => {
      const fitting = wanted.filter(({ change, told }) => {
        if (told > fileLimitBytes || used + roomBytes + told > memory.length) return false;
        change.at = used + roomBytes;
        used += roomBytes + told;
        return true;
      });
      let limit = 0;
      const place = (n: number, bytes: number): Buffer => {
        const { change, told } = fitting[n] as Version;
        if (bytes > told) return Buffer.allocUnsafe(bytes);
        change.size = bytes;
        return memory.subarray(change.at, (change.at as number) + bytes);
      };
      for (const { told } of fitting) limit = Math.max(limit, told);
      this.#objects.readAll(fitting.map(({ change }) => change.after as string), 'blob', limit, () => undefined, place);
    };
    readAll([...byPath.values()].map((versions) => versions.at(-1) as Version));
    const others: Version[] = [];
    for (const versions of byPath.values()) {
      const { at, size } = (versions.at(-1) as Version).change;
      for (const version of versions.slice(0, -1)) {
        if (at !== undefined && size !== undefined && version.told <= size && blobId(memory, at, version.told) === version.change.after) Object.assign(version.change, { at, size: version.told });
        else others.push(version);
      }
    }
    readAll(others);
    for (const [path, versions] of byPath) {
      const keysVm = headsPattern.exec(path)?.[1];
      if (keysVm === undefined) continue;
      for (const { change } of versions) {
        if (change.size === undefined) continue;
        const by = this.#signerOf(keysVm, memory.subarray(change.at, (change.at as number) + change.size));
        if (by !== undefined) change.headBy = by;
      }
    }
  }

  /** Of the last line; it can only save the judge the work. */
  #signerOf(keysVm: string, body: Buffer): string | undefined {
    const line = body.toString('utf8', body.lastIndexOf(10, -2) + 1, body.length - 1);
    if (line.length > lineLimitBytes) return undefined;
    try {
      const head = JSON.parse(line) as JournalHead;
      const signature = Buffer.from(head.signature, 'base64');
      const text = Buffer.from(journalHeadText(head));
      return signature.toString('base64') === head.signature ? this.#pinned.get(keysVm)?.find(({ key }) => verify(null, text, key, signature))?.hex : undefined;
    } catch {
      return undefined;
    }
  }
}

function versionsByPath(commits: readonly { commit: ReadCommit; changes: PlacedChange[] }[]): Map<string, Version[]> {
  const found = new Map<string, Version[]>();
  for (const { commit, changes } of commits) {
    const sizes = new Map((commit.message?.files ?? []).map((file) => [file.path, file.size]));
    for (const change of changes) {
      const told = change.after === undefined ? undefined : sizes.get(change.path);
      if (told === undefined) continue;
      const versions = found.get(change.path);
      if (versions === undefined) found.set(change.path, [{ change, told }]);
      else versions.push({ change, told });
    }
  }
  return found;
}

/** What git calls a file of these bytes; what it puts before them is put into the room that was left. */
function blobId(memory: Buffer, at: number, size: number): string {
  const head = `blob ${size}\0`;
  memory.write(head, at - head.length, 'latin1');
  return hash('sha1', memory.subarray(at - head.length, at + size));
}
