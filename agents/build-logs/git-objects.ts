// SPDX-License-Identifier: GPL-2.0-or-later
// Writing git objects without a git process each: a loose object is zlib("<type> <size>\0" + body), named by
// its SHA-1. One read of a log gives its object and the SHA-256 that the commit message vouches for. Decision
// 020.
import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createDeflate, deflate } from 'node:zlib';

const deflateInOneGo = promisify(deflate);
/** Logs shrink well at the fastest level, and git packs them better later. */
const compression = { level: 1 };
/** Larger bodies are streamed. */
const oneGoBytes = 1024 * 1024;

export interface WrittenObject {
  id: string;
  size: number;
  /** of the body */
  sha256: string;
}

export interface TreeEntry {
  mode: '100644' | '40000';
  name: string;
  id: string;
}

/** @throws Error for anything but plain files and folders: nothing else is ever written here */
export function readTree(body: Buffer): TreeEntry[] {
  const entries: TreeEntry[] = [];
  for (let at = 0; at < body.length;) {
    const end = body.indexOf(0, at);
    const [mode, name] = body.toString('utf8', at, end).split(' ') as [string, string];
    if (mode !== '100644' && mode !== '40000')
      throw new Error(`the repository holds an entry of mode ${mode}`);
    entries.push({ mode, name, id: body.toString('hex', end + 1, end + 21) });
    at = end + 21;
  }
  return entries;
}

/** In git's order: bytewise, a folder as if its name ended in a slash. */
export function writeTree(entries: readonly TreeEntry[]): Buffer {
  const key = (entry: TreeEntry): string => (entry.mode === '40000' ? `${entry.name}/` : entry.name);
  const sorted = [...entries].sort((a, b) => (key(a) < key(b) ? -1 : 1));
  return Buffer.concat(
    sorted.flatMap((entry) => [Buffer.from(`${entry.mode} ${entry.name}\0`), Buffer.from(entry.id, 'hex')]),
  );
}

let temporaries = 0;

export class LooseObjects {
  readonly #folder: string;
  /** folders whose entries are to be synced before a ref may name them */
  readonly #unsynced = new Set<string>();
  #pending: Promise<unknown>[] = [];

  /** @param repository a bare repository */
  constructor(repository: string) {
    this.#folder = join(repository, 'objects');
  }

  /** Names the object at once; it is surely on disk after sync(). */
  write(type: 'blob' | 'tree' | 'commit', body: Buffer): WrittenObject {
    const whole = Buffer.concat([Buffer.from(`${type} ${body.length}\0`), body]);
    const id = createHash('sha1').update(whole).digest('hex');
    const about = { id, size: body.length, sha256: createHash('sha256').update(body).digest('hex') };
    if (!existsSync(this.#path(id))) {
      const stored = this.#store(async (file) => {
        await file.writeFile(await deflateInOneGo(whole, compression));
        return about;
      });
      stored.catch(() => undefined);
      this.#pending.push(stored);
    }
    return about;
  }

  /** The first `size` bytes of a file as a blob, in constant memory. */
  async writeFile(path: string, size: number): Promise<WrittenObject> {
    if (size <= oneGoBytes) {
      const file = await open(path, 'r');
      try {
        const body = Buffer.alloc(size);
        for (let at = 0; at < size;) {
          const { bytesRead } = await file.read(body, at, size - at, at);
          if (bytesRead === 0) throw new Error(`${path} is shorter than ${size} bytes`);
          at += bytesRead;
        }
        return this.write('blob', body);
      } finally {
        await file.close();
      }
    }
    return this.#store(async (target) => {
      const sha1 = createHash('sha1').update(`blob ${size}\0`);
      const sha256 = createHash('sha256');
      let seen = 0;
      const whole = async function* (): AsyncGenerator<Buffer> {
        yield Buffer.from(`blob ${size}\0`);
        for await (const chunk of createReadStream(path, {
          end: size - 1,
          highWaterMark: 256 * 1024,
        }) as AsyncIterable<Buffer>) {
          seen += chunk.length;
          sha1.update(chunk);
          sha256.update(chunk);
          yield chunk;
        }
      };
      await pipeline(whole, createDeflate(compression), async (packed: AsyncIterable<Buffer>) => {
        for await (const part of packed) await target.writeFile(part);
      });
      if (seen !== size) throw new Error(`${path} is shorter than ${size} bytes`);
      return { id: sha1.digest('hex'), size, sha256: sha256.digest('hex') };
    });
  }

  /** Everything that was written survives a power cut now. @throws what went wrong with any of it */
  async sync(): Promise<void> {
    const pending = this.#pending;
    this.#pending = [];
    await Promise.all(pending);
    const folders = [...this.#unsynced, ...(this.#unsynced.size > 0 ? [this.#folder] : [])];
    this.#unsynced.clear();
    await Promise.all(
      folders.map(async (folder) => {
        const handle = await open(folder, 'r');
        try {
          await handle.sync();
        } finally {
          await handle.close();
        }
      }),
    );
  }

  #path(id: string): string {
    return join(this.#folder, id.slice(0, 2), id.slice(2));
  }

  async #store(fill: (file: FileHandle) => Promise<WrittenObject>): Promise<WrittenObject> {
    const temporary = join(this.#folder, `tmp_obj_${process.pid}_${temporaries++}`);
    const file = await open(temporary, 'wx', 0o444);
    try {
      const about = await fill(file);
      await file.datasync();
      const folder = join(this.#folder, about.id.slice(0, 2));
      await mkdir(folder, { recursive: true });
      await rename(temporary, this.#path(about.id));
      this.#unsynced.add(folder);
      return about;
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    } finally {
      await file.close();
    }
  }
}
