// SPDX-License-Identifier: GPL-2.0-or-later
// Reading git objects without a process each: one `git cat-file --batch`, whose answers come in the order of
// the questions. It finds what was written, packed or fetched after it began. A git is believed at its end
// only: status 0, no signal, and one answer for each question.
import type { ChildProcess } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { printable } from '../refusal.js';
import { endGroup, startWith, type ProgramEnd, type Started, type StartOptions } from './program.js';

export type ObjectType = 'blob' | 'tree' | 'commit' | 'tag';

export interface GitObject {
  id: string;
  type: ObjectType;
  /** bytes */
  size: number;
}

/**
 * Whether the object's bytes are wanted; called before any of them is there. @throws what ends the reading,
 * for all who asked
 */
export type OnHeader = (about: GitObject) => boolean;

interface Question {
  /** an object id, a ref, or "<id>:<path>" */
  name: string;
  onHeader: OnHeader;
  onChunk: (chunk: Buffer) => void;
  resolve: (found: GitObject | undefined) => void;
  reject: (error: Error) => void;
}

/** What nobody wants is read over up to here; beyond, git is ended and begins anew with the next question. */
const skipLimitBytes = 1024 * 1024;
const endingOf = ({ exitCode, signal }: ProgramEnd): string => `${signal ?? exitCode ?? 'a fault'}`;

/** git ended, or answered something else: nothing is known by that. */
export class GitFailed extends Error {
  override readonly name = 'GitFailed';
}

export class GitObjects {
  readonly #argv: readonly string[];
  readonly #options: StartOptions;
  readonly #questions: Question[] = [];
  #child: Started<ChildProcess> | undefined;
  /** what the first question has found */
  #found: GitObject | undefined;

  /** @param git the argv of a git in its repository, up to its options */
  constructor(git: readonly string[], options: StartOptions) {
    this.#argv = [...git, 'cat-file', '--batch'];
    this.#options = options;
  }

  /**
   * Asks for one object and streams its bytes to `onChunk`, which are good until it returns. Where a git
   * ended, the next question starts another one.
   * @returns undefined where there is no such object
   * @throws GitFailed, or what `onHeader` or `onChunk` throw
   */
  ask(name: string, onHeader: OnHeader, onChunk: (chunk: Buffer) => void): Promise<GitObject | undefined> {
    return new Promise((resolve, reject) => {
      this.#questions.push({ name, onHeader, onChunk, resolve, reject });
      if (this.#child === undefined) this.#start();
      else this.#child.stdin?.write(`${name}\n`);
    });
  }

  /** The whole object. @throws as ask; GitFailed where it has more than `limitBytes` */
  async read(name: string, limitBytes = Infinity): Promise<(GitObject & { body: Buffer }) | undefined> {
    const chunks: Buffer[] = [];
    const found = await this.ask(
      name,
      ({ size }) => size <= limitBytes,
      (chunk) => void chunks.push(chunk),
    );
    if (found !== undefined && found.size > limitBytes)
      throw new GitFailed(`git cat-file found ${found.size} bytes in ${found.id}`);
    return found === undefined ? undefined : { ...found, body: Buffer.concat(chunks) };
  }

  /** After the last answer. @throws GitFailed where git does not end well */
  async close(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    child.stdin?.end();
    const end = await child.ended;
    if (end.exitCode !== 0) throw new GitFailed(`git cat-file ended with ${endingOf(end)}`);
  }

  /** Whatever it is doing. Who asks again starts another one. */
  stop(): void {
    this.#fail(this.#child, new GitFailed('git cat-file was stopped'));
  }

  #fail(child: Started<ChildProcess> | undefined, error: Error): void {
    if (child === undefined || this.#child !== child) return;
    this.#child = undefined;
    endGroup(child.pid);
    for (const question of this.#questions.splice(0)) question.reject(error);
  }

  /**
   * @returns of the first question: whether its body is wanted, and how many bytes follow; undefined where
   * none do
   */
  #header(header: string): { isWanted: boolean; size: number } | undefined {
    const question = this.#questions[0];
    const [, id, rest = ''] = /^(\S+) (.*)$/.exec(header) ?? [];
    const [, type, length] = /^(blob|tree|commit|tag) (\d{1,15})$/.exec(rest) ?? [];
    const isName = question === undefined || /^[0-9a-f]{40,64}$/.test(question.name);
    if (
      question === undefined ||
      id === undefined ||
      (id !== question.name && (type === undefined || isName))
    )
      throw new GitFailed(`git cat-file answered what nobody asked: ${printable(header)}`);
    if (type === undefined) {
      if (rest !== 'missing') throw new GitFailed(`git cat-file answered ${printable(rest)}`);
      this.#questions.shift();
      question.resolve(undefined);
      return undefined;
    }
    this.#found = { id, type: type as ObjectType, size: Number(length) };
    return { isWanted: question.onHeader(this.#found), size: this.#found.size };
  }

  #answered(): void {
    this.#questions.shift()?.resolve(this.#found);
  }

  #start(): void {
    const child = startWith(this.#argv, ['pipe', 'pipe', 'ignore'], this.#options);
    this.#child = child;
    const [stdin, stdout] = [child.stdin as Writable, child.stdout as Readable];
    let header = '';
    /** bytes of the body that are still to come, and the newline after it; -1 in a header */
    let left = -1;
    let isWanted = false;
    const onData = (chunk: Buffer): void => {
      for (let at = 0; at < chunk.length && this.#child === child;) {
        if (left < 0) {
          const end = chunk.indexOf(10, at);
          header += chunk.toString('latin1', at, end < 0 ? chunk.length : end);
          if (end < 0) return;
          at = end + 1;
          const body = this.#header(header);
          header = '';
          if (body === undefined) continue;
          isWanted = body.isWanted;
          left = body.size + 1;
          if (isWanted || body.size <= skipLimitBytes) continue;
          this.#answered();
          this.#child = undefined;
          endGroup(child.pid);
          if (this.#questions.length > 0) this.#start();
          return;
        }
        const part = chunk.subarray(at, at + left);
        at += part.length;
        left -= part.length;
        const body = left === 0 ? part.subarray(0, -1) : part;
        if (isWanted && body.length > 0) this.#questions[0]?.onChunk(body);
        if (left > 0) continue;
        left = -1;
        this.#answered();
      }
    };
    stdin.on('error', () => undefined);
    stdout.on('data', (chunk: Buffer) => {
      try {
        onData(chunk);
      } catch (error) {
        this.#fail(child, error as Error);
      }
    });
    child.on('error', (error) => this.#fail(child, error));
    child.on('close', (status, signal) => {
      if (this.#questions.length > 0 || status !== 0)
        this.#fail(child, new GitFailed(`git cat-file ended early with ${signal ?? status}`));
      else if (this.#child === child) this.#child = undefined;
    });
    stdin.write(this.#questions.map(({ name }) => `${name}\n`).join(''));
  }
}
