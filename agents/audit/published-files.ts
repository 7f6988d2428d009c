// SPDX-License-Identifier: GPL-2.0-or-later
// A package repository's files, from a folder or over HTTP. Whoever serves them may be the attacker: names are plain, sizes limited.
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, realpathSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { printable } from '../shared/refusal.js';
import { Unreadable } from './findings.js';

export interface PublishedFiles {
  readonly name: string;
  /** undefined where there is none. @throws Unreadable: too large, or the server fails */
  read(path: string, limitBytes: number): Promise<Buffer | undefined>;
  hash(path: string): Promise<{ size: number; sha256: string } | undefined>;
  /** all of it, piece by piece */
  open(path: string): Promise<AsyncIterable<Uint8Array> | undefined>;
  /** every file below a folder, or undefined where this place cannot tell */
  list(folder: string): Promise<string[] | undefined>;
}

/** A relative path of plain names; what is not one does not exist. */
function isPlain(path: string): boolean {
  return /^[\x21-\x7e]{1,500}$/.test(path) && path.split('/').every((name) => name !== '' && name !== '.' && name !== '..' && !/[\\?#]/.test(name));
}

async function collect(chunks: AsyncIterable<Uint8Array>, limitBytes: number, what: string): Promise<Buffer> {
  const kept: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > limitBytes) throw new Unreadable(`${what} is larger than ${limitBytes} bytes`);
    kept.push(chunk);
  }
  return Buffer.concat(kept);
}

async function hashOf(chunks: AsyncIterable<Uint8Array>): Promise<{ size: number; sha256: string }> {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of chunks) {
    hash.update(chunk);
    size += chunk.length;
  }
  return { size, sha256: hash.digest('hex') };
}

class Folder implements PublishedFiles {
  readonly #top: string;
  constructor(readonly name: string) {
    if (!existsSync(name)) throw new Unreadable(`${printable(name)} is not there`);
    this.#top = realpathSync(name);
  }

  /** A symlink may not lead out of the repository. */
  #file(path: string): string | undefined {
    if (!isPlain(path)) return undefined;
    const at = join(this.#top, path);
    if (!existsSync(at)) return undefined;
    const real = realpathSync(at);
    return real.startsWith(`${this.#top}${sep}`) && statSync(real).isFile() ? real : undefined;
  }

  async read(path: string, limitBytes: number): Promise<Buffer | undefined> {
    const file = this.#file(path);
    return file === undefined ? undefined : collect(createReadStream(file), limitBytes, printable(path));
  }

  async hash(path: string): Promise<{ size: number; sha256: string } | undefined> {
    const file = this.#file(path);
    return file === undefined ? undefined : hashOf(createReadStream(file, { highWaterMark: 1 << 20 }));
  }

  async open(path: string): Promise<AsyncIterable<Uint8Array> | undefined> {
    const file = this.#file(path);
    return Promise.resolve(file === undefined ? undefined : createReadStream(file, { highWaterMark: 1 << 20 }));
  }

  async list(folder: string): Promise<string[]> {
    const top = join(this.#top, folder);
    if (!existsSync(top)) return [];
    const entries = await readdir(top, { withFileTypes: true, recursive: true });
    return entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(this.#top.length + 1)).sort();
  }
}

class Website implements PublishedFiles {
  readonly name: string;
  constructor(url: string) {
    this.name = url.replace(/\/+$/, '');
  }

  async #get(path: string): Promise<AsyncIterable<Uint8Array> | undefined> {
    if (!isPlain(path)) return undefined;
    const url = `${this.name}/${path.split('/').map(encodeURIComponent).join('/')}`;
    let response: Response;
    try {
      response = await fetch(url, { signal: AbortSignal.timeout(600_000) });
    } catch (error) {
      throw new Unreadable(`${printable(url)}: ${printable(String((error as Error & { cause?: Error }).cause?.message ?? (error as Error).message))}`);
    }
    if (response.status === 404 || response.status === 410) {
      await response.body?.cancel();
      return undefined;
    }
    if (!response.ok) throw new Unreadable(`${printable(url)}: HTTP ${response.status}`);
    return (response.body ?? []) as AsyncIterable<Uint8Array>;
  }

  async read(path: string, limitBytes: number): Promise<Buffer | undefined> {
    const body = await this.#get(path);
    return body === undefined ? undefined : collect(body, limitBytes, printable(path));
  }

  async hash(path: string): Promise<{ size: number; sha256: string } | undefined> {
    const body = await this.#get(path);
    return body === undefined ? undefined : hashOf(body);
  }

  open(path: string): Promise<AsyncIterable<Uint8Array> | undefined> {
    return this.#get(path);
  }

  async list(): Promise<undefined> {
    return undefined;
  }
}

/** @throws Unreadable for another kind of URL, or a folder that is not there */
export function openPublished(untrusted: string): PublishedFiles {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(untrusted)?.[1];
  if (scheme === 'http' || scheme === 'https') return new Website(untrusted);
  if (scheme === 'file') return new Folder(resolve(decodeURIComponent(new URL(untrusted).pathname)));
  if (scheme !== undefined) throw new Unreadable(`${printable(untrusted)}: only a path, file://, http:// and https://`);
  return new Folder(resolve(untrusted));
}
