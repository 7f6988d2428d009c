// SPDX-License-Identifier: GPL-2.0-or-later
// Reading the logs repositories with git, of which nothing is believed but what our own hashes confirm. Whoever serves them may be the
// attacker: they go into a new bare repository, with no configuration, hook, submodule or protocol but the four we name. A git is believed
// at its end only: status 0, no signal, and while it runs one answer for each question.
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { execa, ExecaError } from 'execa';
import { cleanEnvironment } from '../../shared/calls/qrexec-call.js';
import { printable } from '../../shared/refusal.js';
import type { Budget } from '../budget.js';
import { Unreadable } from '../unreadable.js';
import type { ObjectType, Pipes } from './objects.js';

const protocols = ['file', 'git', 'http', 'https'];
const mib = 1024 * 1024;

/** A path, or a URL of a known protocol; anything that git would take for an option, ssh or a helper is refused. */
export function gitSource(untrusted: string): string {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(untrusted)?.[1];
  if (scheme !== undefined) {
    if (!protocols.includes(scheme)) throw new Unreadable(`${printable(untrusted)}: only a path, file://, git://, http:// and https://`);
    return untrusted;
  }
  return resolve(untrusted);
}

interface Question {
  /** an object id, or "<id>:<path>" */
  name: string;
  /** whether the object's bytes are wanted; called before any of them is there */
  onHeader(type: ObjectType, size: number): boolean;
  onChunk(chunk: Buffer): void;
  resolve(isThere: boolean): void;
  reject(error: Error): void;
}

/** What nobody wants is read over up to here; beyond, git is ended and begins anew with the next question. */
const skipLimitBytes = mib;

function endGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // All of it has ended.
  }
}

export class PublishedGit {
  readonly folder: string;
  readonly scratch: string;
  readonly budget: Budget;
  readonly #environment: NodeJS.ProcessEnv;
  #reader: ChildProcessWithoutNullStreams | undefined;
  readonly #questions: Question[] = [];
  readonly #program: string;

  /** @param scratch an empty folder of ours @param program a git that a test wants to end badly */
  constructor(scratch: string, budget: Budget, program = 'git') {
    this.#program = program;
    this.scratch = scratch;
    this.budget = budget;
    this.folder = join(scratch, 'logs.git');
    budget.signal.addEventListener('abort', () => this.#reader?.kill('SIGKILL'), { once: true });
    const config = join(scratch, 'gitconfig');
    // safe.directory: a published path may belong to whoever publishes it. Large blobs go through in pieces, packs are mapped in small windows.
    writeFileSync(config, `[safe]\n\tdirectory = *\n[core]\n\thooksPath = /dev/null\n\tbigFileThreshold = 32m\n\tpackedGitWindowSize = 32m\n\tpackedGitLimit = 256m\n[pack]\n\tthreads = 2\n[gc]\n\tauto = 0\n[protocol]\n\tallow = never\n${protocols.map((name) => `[protocol "${name}"]\n\tallow = always\n`).join('')}[http]\n\tlowSpeedLimit = 1000\n\tlowSpeedTime = 60\n[fetch]\n\tfsckObjects = false\n`);
    this.#environment = {
      ...cleanEnvironment, HOME: scratch, GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: config, GIT_TERMINAL_PROMPT: '0', GIT_ASKPASS: '/bin/false',
      GIT_NO_REPLACE_OBJECTS: '1', GIT_PROTOCOL_FROM_USER: '0',
    };
  }

  /** The kernel keeps to the limits: no file of git's is larger, and no git takes more memory. */
  #command(args: readonly string[]): [string, string[]] {
    const { memoryMiB, downloadMiB } = this.budget.limits;
    return ['prlimit', [`--as=${memoryMiB * mib}`, `--fsize=${downloadMiB * mib}`, '--core=0', '--', this.#program, '--git-dir', this.folder, ...args]];
  }

  /** Standard output of one git call. @throws Unreadable with git's last words */
  async git(args: readonly string[], timeoutMs = 600_000): Promise<string> {
    const [program, words] = this.#command(args);
    // git's helper for HTTP outlives it, and holds our pipes: a group of their own is ended as one.
    const child = execa(program, words, {
      env: this.#environment, extendEnv: false, timeout: Math.ceil(Math.min(timeoutMs, this.budget.leftMs)), maxBuffer: 256 * mib, stdin: 'ignore', cwd: '/', cancelSignal: this.budget.signal, detached: true,
    });
    const end = (): void => endGroup(child.pid);
    this.budget.signal.addEventListener('abort', end, { once: true });
    // Before what it writes to is removed.
    process.prependOnceListener('exit', end);
    try {
      return (await child).stdout;
    } catch (error) {
      this.budget.look();
      const said = error instanceof ExecaError ? String(error.stderr || error.shortMessage).trim().split('\n').at(-1) ?? '' : String(error);
      throw new Unreadable(`git ${args[0] ?? ''}: ${printable(said)}`);
    } finally {
      this.budget.signal.removeEventListener('abort', end);
      process.removeListener('exit', end);
    }
  }

  /** Fetches the main branch of each source and returns what it is in each, in order. @throws Unreadable */
  async fetch(sources: readonly string[]): Promise<string[]> {
    const version = await this.git(['version']);
    const [major, minor] = /^git version (\d+)\.(\d+)/.exec(version)?.slice(1).map(Number) ?? [];
    if (major === undefined || minor === undefined || major < 2 || (major === 2 && minor < 36)) throw new Unreadable(`git 2.36 or later is needed; this is ${printable(version.trim())}`);
    await this.git(['init', '--quiet', '--bare', '--template=']);
    for (const [i, source] of sources.entries()) {
      this.budget.doing = `${printable(source)} was not read, and nothing was checked`;
      try {
        await this.git(['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', '--no-recurse-submodules', '--', gitSource(source), `+refs/heads/main:refs/audit/${i}`], this.budget.leftMs);
      } catch (error) {
        throw new Unreadable(`${printable(source)}: ${(error as Error).message}`);
      }
    }
    return this.#lines(await this.git(['rev-parse', ...sources.map((_, i) => `refs/audit/${i}`)]), sources.length);
  }

  /** The commit that a name stands for, also behind tags. */
  async commitOf(id: string): Promise<string> {
    return this.#lines(await this.git(['rev-parse', '--verify', `${id}^{commit}`]), 1)[0] as string;
  }

  /** From the root to `head` by first parents: a merge is found as such, and what it merged is nobody's history. */
  async commits(head: string): Promise<string[]> {
    const ids = this.#lines(await this.git(['rev-list', '--first-parent', '--topo-order', '--reverse', head]));
    if (ids.at(-1) !== head) throw new Unreadable(`git rev-list does not end with ${head}`);
    return ids;
  }

  /** @throws Unreadable for anything but full ids, each on a line of its own */
  #lines(output: string, count?: number): string[] {
    const lines = output.trimEnd().split('\n');
    if ((count !== undefined && lines.length !== count) || lines.some((line) => !/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(line))) throw new Unreadable('git did not answer with object ids');
    return lines;
  }

  /** @param answer what comes of it, once all is read */
  #ask<T>(name: string, onHeader: Question['onHeader'], onChunk: Question['onChunk'], answer: (isThere: boolean) => T): Promise<T> {
    return new Promise((resolveAnswer, reject) => {
      const question = { name, onHeader, onChunk, reject, resolve: (isThere: boolean): void => {
        try {
          resolveAnswer(answer(isThere));
        } catch (error) {
          reject(error as Error);
        }
      } };
      this.#questions.push(question);
      if (this.#reader === undefined) this.#start();
      else this.#reader.stdin.write(`${name}\n`);
    });
  }

  /**
   * Streams an object's bytes to `onChunk`.
   * @throws Unreadable where there is none of this type, or the budget does not hold it
   */
  read(id: string, type: ObjectType, onChunk: (chunk: Buffer) => void): Promise<void> {
    let found: string = 'missing';
    return this.#ask(id, (is) => (found = is) === type, onChunk, () => {
      if (found !== type) throw new Unreadable(`object ${id}: a ${type} was expected, git has: ${found}`);
    });
  }

  /** A published file of that commit, or undefined where there is none of at most `limitBytes`. */
  file(commit: string, path: string, limitBytes: number): Promise<Buffer | undefined> {
    const chunks: Buffer[] = [];
    let wanted = false;
    return this.#ask(`${commit}:${path}`, (type, size) => (wanted = type === 'blob' && size <= limitBytes), (chunk) => void chunks.push(Buffer.from(chunk)), (isThere) => (isThere && wanted ? Buffer.concat(chunks) : undefined));
  }

  /**
   * A git of its own for a thread, with pipes that wait: Node's own never do.
   * @returns how it ended, once it has
   */
  async answerThread(): Promise<{ pipes: Pipes; ended: Promise<string | number> }> {
    const [questions, answers] = ['questions', 'answers'].map((name) => join(this.scratch, name)) as [string, string];
    await execa('mkfifo', ['--mode=600', questions, answers], { env: cleanEnvironment, extendEnv: false, stdin: 'ignore' });
    // Opened for both, so that opening does not wait for another side.
    const both = [questions, answers].map((path) => openSync(path, 'r+'));
    const ours: Pipes = { questions: openSync(questions, 'w'), answers: openSync(answers, 'r') };
    const theirs = [openSync(questions, 'r'), openSync(answers, 'w')] as const;
    const [program, words] = this.#command(['cat-file', '--batch-command', '--buffer']);
    const child = spawn(program, words, { env: this.#environment, stdio: [...theirs, 'ignore'], cwd: '/' });
    for (const fd of [...both, ...theirs]) closeSync(fd);
    // The thread waits for it, and nothing else ends that.
    const end = (): void => void child.kill('SIGKILL');
    this.budget.signal.addEventListener('abort', end, { once: true });
    process.prependOnceListener('exit', end);
    const ended = once(child, 'close').then(([status, signal]) => (signal ?? status) as string | number, () => 'an error').finally(() => process.removeListener('exit', end));
    return { pipes: ours, ended };
  }

  /** @throws Unreadable where the reading git did not end well */
  async close(): Promise<void> {
    const reader = this.#reader;
    if (reader === undefined) return;
    const ended = new Promise<[number | null, string | null]>((resolveEnd) => reader.once('close', (status, signal) => resolveEnd([status, signal])));
    reader.stdin.end();
    const [status, signal] = await ended;
    if (status !== 0) throw new Unreadable(`git cat-file ended with ${signal ?? status}`);
  }

  #start(): void {
    const [program, words] = this.#command(['cat-file', '--batch']);
    const child = spawn(program, words, { env: this.#environment, stdio: ['pipe', 'pipe', 'pipe'], cwd: '/' });
    this.#reader = child;
    let header = '';
    /** bytes of the body that are still to come, and the newline after it; -1 in a header */
    let left = -1;
    let isWanted = false;
    const fail = (error: Error): void => {
      if (this.#reader !== child) return;
      this.#reader = undefined;
      child.kill('SIGKILL');
      for (const question of this.#questions.splice(0)) question.reject(error);
    };
    const onHeader = (): void => {
      const question = this.#questions[0];
      const [, name, rest] = /^(\S+) (.*)$/.exec(header) ?? [];
      const [, type, length] = /^(blob|tree|commit|tag) (\d{1,15})$/.exec(rest ?? '') ?? [];
      if (question === undefined || (name !== question.name && (type === undefined || !question.name.includes(':')))) throw new Unreadable(`git cat-file answered what nobody asked: ${printable(header)}`);
      header = '';
      this.budget.spend('objects', 1);
      if (type === undefined) {
        if (rest !== 'missing') throw new Unreadable(`git cat-file answered ${printable(rest ?? '')}`);
        this.#questions.shift();
        return question.resolve(false);
      }
      const size = Number(length);
      isWanted = question.onHeader(type as ObjectType, size);
      if (isWanted) this.budget.spend('bytes', size);
      left = size + 1;
      if (isWanted || size <= skipLimitBytes) return;
      this.#questions.shift();
      question.resolve(true);
      this.#reader = undefined;
      child.kill('SIGKILL');
      if (this.#questions.length > 0) this.#start();
    };
    const onData = (chunk: Buffer): void => {
      for (let at = 0; at < chunk.length && this.#reader === child;) {
        if (left < 0) {
          const end = chunk.indexOf(10, at);
          header += chunk.toString('latin1', at, end < 0 ? chunk.length : end);
          if (end < 0) return;
          at = end + 1;
          onHeader();
          continue;
        }
        const part = chunk.subarray(at, at + left);
        at += part.length;
        left -= part.length;
        const question = this.#questions[0] as Question;
        const body = left === 0 ? part.subarray(0, -1) : part;
        if (isWanted && body.length > 0) question.onChunk(body);
        if (left > 0) continue;
        left = -1;
        this.#questions.shift();
        question.resolve(true);
      }
    };
    child.stderr.resume();
    child.stdin.on('error', () => undefined);
    child.stdout.on('data', (chunk: Buffer) => {
      try {
        onData(chunk);
      } catch (error) {
        fail(error as Error);
      }
    });
    child.on('error', fail);
    child.on('close', (status, signal) => {
      if (this.#questions.length > 0 || status !== 0) fail(new Unreadable(`git cat-file ended early with ${signal ?? status}`));
    });
    child.stdin.write(this.#questions.map(({ name }) => `${name}\n`).join(''));
  }
}
