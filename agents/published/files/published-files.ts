// SPDX-License-Identifier: GPL-2.0-or-later
// A package repository's files, from a folder or over HTTP. Whoever serves them may be the attacker: names
// are plain, sizes limited.
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, realpathSync, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, resolve, sep } from 'node:path';
import { printable } from '../../shared/refusal.js';
import { Unreadable } from '../unreadable.js';

export interface HashedBytes {
  size: number;
  sha256: string;
  sha1: string;
  md5: string;
}

export interface FilePlace {
  /**
   * all of it, piece by piece; undefined where there is none. @throws Unreadable: the server fails, also
   * while it is read
   */
  open: (path: string) => Promise<AsyncIterable<Uint8Array> | undefined>;
  /** every file below a folder, or undefined where this place cannot tell */
  list: (folder: string) => Promise<string[] | undefined>;
}

/** A relative path of plain names; what is not one does not exist. */
function isPlain(path: string): boolean {
  return (
    /^[\x21-\x7e]{1,500}$/.test(path) &&
    path.split('/').every((name) => name !== '' && name !== '.' && name !== '..' && !/[\\?#]/.test(name))
  );
}

/** The weak ones are compared where a list names them: a client may go by them. */
export async function hashOf(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  limitBytes = Infinity,
): Promise<HashedBytes> {
  const [sha256, sha1, md5] = [createHash('sha256'), createHash('sha1'), createHash('md5')];
  let size = 0;
  for await (const chunk of chunks) {
    for (const hash of [sha256, sha1, md5]) hash.update(chunk);
    size += chunk.length;
    if (size > limitBytes) break;
  }
  return { size, sha256: sha256.digest('hex'), sha1: sha1.digest('hex'), md5: md5.digest('hex') };
}

class Folder implements FilePlace {
  readonly #top: string;
  constructor(name: string) {
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

  async open(path: string): Promise<AsyncIterable<Uint8Array> | undefined> {
    const file = this.#file(path);
    return Promise.resolve(
      file === undefined ? undefined : createReadStream(file, { highWaterMark: 1 << 20 }),
    );
  }

  async list(folder: string): Promise<string[]> {
    const top = join(this.#top, folder);
    if (!existsSync(top)) return [];
    const entries = await readdir(top, { withFileTypes: true, recursive: true });
    return entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(this.#top.length + 1))
      .sort();
  }
}

/** One file's whole transfer, in ms. */
const requestMs = 600_000;

function broken(url: string, error: unknown): Unreadable {
  return new Unreadable(
    `${printable(url)}: ${printable(String((error as Error & { cause?: Error }).cause?.message ?? (error as Error).message))}`,
  );
}

/** @throws Unreadable where the connection breaks, is too slow, or ends before the length that was told */
async function* wholeBody(url: string, response: Response): AsyncGenerator<Uint8Array> {
  const told = response.headers.get('content-length');
  let size = 0;
  try {
    for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      size += chunk.length;
      yield chunk;
    }
  } catch (error) {
    throw broken(url, error);
  }
  if (told !== null && Number(told) !== size)
    throw new Unreadable(`${printable(url)}: ${size} bytes of ${printable(told)}`);
}

class Website implements FilePlace {
  readonly #url: string;
  readonly #signal: AbortSignal;

  /** @param signal ends every transfer */
  constructor(url: string, signal: AbortSignal) {
    this.#url = url.replace(/\/+$/, '');
    this.#signal = signal;
  }

  async open(path: string): Promise<AsyncIterable<Uint8Array> | undefined> {
    if (!isPlain(path)) return undefined;
    const url = `${this.#url}/${path.split('/').map(encodeURIComponent).join('/')}`;
    let response: Response;
    try {
      response = await fetch(url, {
        signal: AbortSignal.any([this.#signal, AbortSignal.timeout(requestMs)]),
        headers: { 'accept-encoding': 'identity' },
      });
    } catch (error) {
      throw broken(url, error);
    }
    if (response.status === 404 || response.status === 410) {
      await response.body?.cancel();
      return undefined;
    }
    const encoding = response.headers.get('content-encoding') ?? 'identity';
    if (response.status === 200 && encoding === 'identity') return wholeBody(url, response);
    await response.body?.cancel();
    // fetch() would unpack it, apt and dnf do not: they would read other bytes.
    throw new Unreadable(
      `${printable(url)}: ${response.status === 200 ? `an answer packed with ${printable(encoding)}` : `HTTP ${response.status}`}`,
    );
  }

  async list(): Promise<undefined> {
    return undefined;
  }
}

/**
 * @param signal ends what is read over HTTP @throws Unreadable for another kind of URL, or a folder that is
 * not there
 */
export function openPublished(untrusted: string, signal: AbortSignal): FilePlace {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(untrusted)?.[1];
  if (scheme === 'http' || scheme === 'https') return new Website(untrusted, signal);
  if (scheme === 'file') return new Folder(resolve(decodeURIComponent(new URL(untrusted).pathname)));
  if (scheme !== undefined)
    throw new Unreadable(`${printable(untrusted)}: only a path, file://, http:// and https://`);
  return new Folder(resolve(untrusted));
}
