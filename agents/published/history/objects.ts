// SPDX-License-Identifier: GPL-2.0-or-later
// The answers of `git cat-file --batch-command --buffer`, read in a thread that has nothing else to do: it
// waits where there is nothing yet, and one buffer serves for all of them.
import { closeSync, readSync, writeSync } from 'node:fs';
import type { ObjectType } from '../../shared/programs/git-objects.js';

/** Why reading cannot go on; who started git knows how it ended. */
export class ReadingEnded extends Error {
  override readonly name = 'ReadingEnded';
  /** what git did, where it did not just end */
  readonly unreadable: string | undefined;

  constructor(unreadable?: string) {
    super(unreadable ?? 'git ended');
    this.unreadable = unreadable;
  }
}

/** Both are open, and git has the other ends. */
export interface Pipes {
  questions: number;
  answers: number;
}

const bufferBytes = 256 * 1024;
/** Asked at once: their names fit into a pipe, so that git and we never wait for each other. */
const outstandingLimit = 512;
/** A name, which git repeats where it has nothing, and a word. */
const lineLimitBytes = 1024;
const newline = 10;

export class ObjectReader {
  readonly #pipes: Pipes;
  readonly #spend: (what: 'objects' | 'bytes', count: number) => void;
  readonly #oneByte = Buffer.alloc(1);
  #buffer: Buffer = Buffer.allocUnsafeSlow(bufferBytes);
  #at = 0;
  #end = 0;
  #isAsking = true;

  /** @param spend is told before a body is read; throws where there is no more budget */
  constructor(pipes: Pipes, spend: (what: 'objects' | 'bytes', count: number) => void) {
    this.#pipes = pipes;
    this.#spend = spend;
  }

  /**
   * Reads objects, in order.
   * @param onObject gets the bytes, which are good until it returns unless `place` gave the memory; or the
   * size alone, where that is beyond the limit
   * @param place gives the memory for so many bytes of the n-th
   * @throws ReadingEnded
   */
  readAll(
    ids: readonly string[],
    type: ObjectType,
    limitBytes: number,
    onObject: (n: number, body: Buffer | number) => void,
    place?: (n: number, bytes: number) => Buffer,
  ): void {
    let asked = 0;
    for (let n = 0; n < ids.length; n++) {
      // Half of them are answered before more are asked, so that git always has some.
      if (asked - n <= outstandingLimit / 2 && asked < ids.length) {
        const next = Math.min(ids.length, n + outstandingLimit);
        this.#write(`contents ${ids.slice(asked, next).join('\ncontents ')}\nflush\n`);
        asked = next;
      }
      const size = this.#header(ids[n] as string, type);
      this.#spend('bytes', size);
      if (size > limitBytes) {
        this.#skip(size);
        onObject(n, size);
      } else if (place !== undefined) {
        const body = place(n, size);
        this.#copy(body);
        onObject(n, body);
      } else {
        onObject(n, this.#whole(size));
      }
      this.#endBody();
    }
  }

  /**
   * The object that a name stands for, "<commit>:<path>"; undefined where there is none of that type and
   * size. The bytes are good until the next call.
   */
  readNamed(name: string, type: ObjectType, limitBytes: number): { id: string; body: Buffer } | undefined {
    this.#write(`contents ${name}\nflush\n`);
    const [id = '', found, bytes = ''] = this.#line().split(' ');
    if (!/^[0-9a-f]{40}$/.test(id) || !/^\d{1,15}$/.test(bytes)) return undefined;
    const size = Number(bytes);
    this.#spend('bytes', size);
    let body: Buffer | undefined;
    if (found === type && size <= limitBytes) body = this.#whole(size);
    else this.#skip(size);
    this.#endBody();
    return body === undefined ? undefined : { id, body };
  }

  /** After the last answer. @throws ReadingEnded if git has more to say */
  finish(): void {
    closeSync(this.#pipes.questions);
    this.#isAsking = false;
    if (this.#end > this.#at || readSync(this.#pipes.answers, this.#buffer) > 0)
      throw new ReadingEnded('git cat-file answered what nobody asked');
  }

  /** Whatever happened before: git has nobody to talk to, and ends. */
  close(): void {
    if (this.#isAsking) closeSync(this.#pipes.questions);
    closeSync(this.#pipes.answers);
  }

  #write(text: string): void {
    const bytes = Buffer.from(text, 'latin1');
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(this.#pipes.questions, bytes, at);
    } catch {
      throw new ReadingEnded();
    }
  }

  /** Bytes beyond those that are here; moves what is here to the front. */
  #fill(): void {
    if (this.#at > 0) {
      this.#buffer.copyWithin(0, this.#at, this.#end);
      this.#end -= this.#at;
      this.#at = 0;
    }
    if (this.#end === this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(2 * this.#buffer.length);
      this.#buffer.copy(larger);
      this.#buffer = larger;
    }
    const got = readSync(this.#pipes.answers, this.#buffer, this.#end, this.#buffer.length - this.#end, null);
    if (got === 0) throw new ReadingEnded();
    this.#end += got;
  }

  /** What is here stays where it is: somebody may be looking at it. */
  #endBody(): void {
    let byte = this.#buffer[this.#at];
    if (this.#at < this.#end) this.#at += 1;
    else if (readSync(this.#pipes.answers, this.#oneByte) === 0) throw new ReadingEnded();
    else [byte] = this.#oneByte;
    if (byte !== newline) throw new ReadingEnded('git cat-file answered with another size');
  }

  /** Where the first line of what is here ends; -1 where it does not. */
  #newline(): number {
    const end = this.#buffer.indexOf(newline, this.#at);
    return end < this.#end ? end : -1;
  }

  #line(): string {
    this.#spend('objects', 1);
    let end = this.#newline();
    while (end < 0) {
      if (this.#end - this.#at > lineLimitBytes)
        throw new ReadingEnded('git cat-file answered what nobody asked');
      this.#fill();
      end = this.#newline();
    }
    const line = this.#buffer.toString('latin1', this.#at, end);
    this.#at = end + 1;
    return line;
  }

  /** The size that git tells of this object. */
  #header(id: string, type: ObjectType): number {
    const header = this.#line();
    const wanted = `${id} ${type} `;
    if (header.startsWith(wanted) && /^\d{1,15}$/.test(header.slice(wanted.length)))
      return Number(header.slice(wanted.length));
    if (!header.startsWith(`${id} `))
      throw new ReadingEnded(`git cat-file answered what nobody asked: ${header}`);
    throw new ReadingEnded(
      `object ${id}: a ${type} was expected, git has: ${header.slice(id.length + 1).split(' ')[0] ?? ''}`,
    );
  }

  #whole(size: number): Buffer {
    while (this.#end - this.#at < size) this.#fill();
    const body = this.#buffer.subarray(this.#at, this.#at + size);
    this.#at += size;
    return body;
  }

  /** What is here is copied; the rest is read to where it belongs. */
  #copy(body: Buffer): void {
    const here = Math.min(body.length, this.#end - this.#at);
    this.#buffer.copy(body, 0, this.#at, this.#at + here);
    this.#at += here;
    for (let at = here; at < body.length;) {
      const got = readSync(this.#pipes.answers, body, at, body.length - at, null);
      if (got === 0) throw new ReadingEnded();
      at += got;
    }
  }

  #skip(size: number): void {
    for (let left = size; left > 0;) {
      if (this.#at === this.#end) this.#fill();
      const part = Math.min(left, this.#end - this.#at);
      this.#at += part;
      left -= part;
    }
  }
}
