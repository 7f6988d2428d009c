// SPDX-License-Identifier: GPL-2.0-or-later
// Reading the logs repositories with git, of which nothing is believed but what our own hashes confirm.
// Whoever serves them may be the attacker: they go into a new bare repository, with no configuration, hook,
// submodule or protocol but the four we name. A git is believed at its end only: status 0, no signal, and
// while it runs one answer for each question.
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { GitFailed, GitObjects, type ObjectType, type OnHeader } from '../../shared/programs/git-objects.js';
import { ProgramFailed, runProgram, startWith } from '../../shared/programs/program.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../../shared/refusals.js';
import type { Budget } from '../budget.js';
import { Unreadable } from '../unreadable.js';
import type { Pipes } from './objects.js';

const protocols = ['file', 'git', 'http', 'https'];
const mib = 1024 * 1024;

/**
 * A path, or a URL of a known protocol; anything that git would take for an option, ssh or a helper is
 * refused.
 */
export function gitSource(untrusted: string): string {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(untrusted)?.[1];
  if (scheme !== undefined) {
    if (!protocols.includes(scheme))
      throw new Unreadable(`${printable(untrusted)}: only a path, file://, git://, http:// and https://`);
    return untrusted;
  }
  return resolve(untrusted);
}

export class PublishedGit {
  readonly folder: string;
  readonly scratch: string;
  readonly budget: Budget;
  readonly #environment: Record<string, string>;
  readonly #objects: GitObjects;
  readonly #program: string;

  /** @param scratch an empty folder of ours @param program a git that a test wants to end badly */
  constructor(scratch: string, budget: Budget, program = 'git') {
    this.#program = program;
    this.scratch = scratch;
    this.budget = budget;
    this.folder = join(scratch, 'logs.git');
    const config = join(scratch, 'gitconfig');
    // safe.directory: a published path may belong to whoever publishes it. Large blobs go through in pieces,
    // packs are mapped in small windows.
    writeFileSync(
      config,
      `[safe]\n\tdirectory = *\n[core]\n\thooksPath = /dev/null\n\tbigFileThreshold = 32m\n\tpackedGitWindowSize = 32m\n\tpackedGitLimit = 256m\n[pack]\n\tthreads = 2\n[gc]\n\tauto = 0\n[protocol]\n\tallow = never\n${protocols.map((name) => `[protocol "${name}"]\n\tallow = always\n`).join('')}[http]\n\tlowSpeedLimit = 1000\n\tlowSpeedTime = 60\n[fetch]\n\tfsckObjects = false\n`,
    );
    this.#environment = {
      HOME: scratch,
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_GLOBAL: config,
      GIT_TERMINAL_PROMPT: '0',
      GIT_ASKPASS: '/bin/false',
      GIT_NO_REPLACE_OBJECTS: '1',
      GIT_PROTOCOL_FROM_USER: '0',
    };
    this.#objects = new GitObjects(this.#command([]), { env: this.#environment, signal: budget.signal });
  }

  /** The kernel keeps to the limits: no file of git's is larger, and no git takes more memory. */
  #command(args: readonly string[]): string[] {
    const { memoryMiB, downloadMiB } = this.budget.limits;
    return [
      'prlimit',
      `--as=${memoryMiB * mib}`,
      `--fsize=${downloadMiB * mib}`,
      '--core=0',
      '--',
      this.#program,
      '--git-dir',
      this.folder,
      ...args,
    ];
  }

  /** Standard output of one git call. @throws Unreadable with git's last words */
  async git(args: readonly string[], timeoutMs = 600_000): Promise<string> {
    try {
      return (
        await runProgram(this.#command(args), {
          env: this.#environment,
          timeoutMs: Math.ceil(Math.min(timeoutMs, this.budget.leftMs)),
          limitBytes: 256 * mib,
          signal: this.budget.signal,
        })
      ).toString('utf8');
    } catch (error) {
      this.budget.look();
      const said =
        error instanceof ProgramFailed
          ? error.stderr.split('\n').at(-1) || error.message
          : error instanceof Refusal
            ? error.detail
            : String(error);
      throw new Unreadable(`git ${args[0] ?? ''}: ${printable(said)}`);
    }
  }

  /** Fetches the main branch of each source and returns what it is in each, in order. @throws Unreadable */
  async fetch(sources: readonly string[]): Promise<string[]> {
    const version = await this.git(['version']);
    const [major, minor] = /^git version (\d+)\.(\d+)/.exec(version)?.slice(1).map(Number) ?? [];
    if (major === undefined || minor === undefined || major < 2 || (major === 2 && minor < 36))
      throw new Unreadable(`git 2.36 or later is needed; this is ${printable(version.trim())}`);
    await this.git(['init', '--quiet', '--bare', '--template=']);
    for (const [i, source] of sources.entries()) {
      this.budget.doing = `${printable(source)} was not read, and nothing was checked`;
      try {
        await this.git(
          [
            'fetch',
            '--quiet',
            '--no-tags',
            '--no-write-fetch-head',
            '--no-recurse-submodules',
            '--',
            gitSource(source),
            `+refs/heads/main:refs/audit/${i}`,
          ],
          this.budget.leftMs,
        );
      } catch (error) {
        throw new Unreadable(`${printable(source)}: ${(error as Error).message}`);
      }
    }
    return this.#lines(
      await this.git(['rev-parse', ...sources.map((_, i) => `refs/audit/${i}`)]),
      sources.length,
    );
  }

  /** The commit that a name stands for, also behind tags. */
  async commitOf(id: string): Promise<string> {
    return this.#lines(await this.git(['rev-parse', '--verify', `${id}^{commit}`]), 1)[0] as string;
  }

  /**
   * From the root to `head` by first parents: a merge is found as such, and what it merged is nobody's
   * history.
   */
  async commits(head: string): Promise<string[]> {
    const ids = this.#lines(
      await this.git(['rev-list', '--first-parent', '--topo-order', '--reverse', head]),
    );
    if (ids.at(-1) !== head) throw new Unreadable(`git rev-list does not end with ${head}`);
    return ids;
  }

  /** @throws Unreadable for anything but full ids, each on a line of its own */
  #lines(output: string, count?: number): string[] {
    const lines = output.trimEnd().split('\n');
    if (
      (count !== undefined && lines.length !== count) ||
      lines.some((line) => !/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(line))
    )
      throw new Unreadable('git did not answer with object ids');
    return lines;
  }

  async #ask(name: string, onHeader: OnHeader, onChunk: (chunk: Buffer) => void): Promise<boolean> {
    try {
      const found = await this.#objects.ask(
        name,
        (about) => {
          this.budget.spend('objects', 1);
          const isWanted = onHeader(about);
          if (isWanted) this.budget.spend('bytes', about.size);
          return isWanted;
        },
        onChunk,
      );
      if (found === undefined) this.budget.spend('objects', 1);
      return found !== undefined;
    } catch (error) {
      throw error instanceof GitFailed ? new Unreadable(error.message) : error;
    }
  }

  /**
   * Streams an object's bytes to `onChunk`.
   * @throws Unreadable where there is none of this type, or the budget does not hold it
   */
  async read(id: string, type: ObjectType, onChunk: (chunk: Buffer) => void): Promise<void> {
    let found: string = 'missing';
    await this.#ask(id, (about) => (found = about.type) === type, onChunk);
    if (found !== type) throw new Unreadable(`object ${id}: a ${type} was expected, git has: ${found}`);
  }

  /** A published file of that commit, or undefined where there is none of at most `limitBytes`. */
  async file(commit: string, path: string, limitBytes: number): Promise<Buffer | undefined> {
    const chunks: Buffer[] = [];
    let wanted = false;
    const isThere = await this.#ask(
      `${commit}:${path}`,
      ({ type, size }) => (wanted = type === 'blob' && size <= limitBytes),
      (chunk) => void chunks.push(chunk),
    );
    return isThere && wanted ? Buffer.concat(chunks) : undefined;
  }

  /**
   * A git of its own for a thread, with pipes that wait: Node's own never do.
   * @returns how it ended, once it has
   */
  async answerThread(): Promise<{ pipes: Pipes; ended: Promise<string | number> }> {
    const [questions, answers] = ['questions', 'answers'].map((name) => join(this.scratch, name)) as [
      string,
      string,
    ];
    await runProgram(['mkfifo', '--mode=600', questions, answers], { timeoutMs: 10_000 });
    // Opened for both, so that opening does not wait for another side.
    const both = [questions, answers].map((path) => openSync(path, 'r+'));
    const ours: Pipes = { questions: openSync(questions, 'w'), answers: openSync(answers, 'r') };
    const theirs = [openSync(questions, 'r'), openSync(answers, 'w')] as const;
    // The thread waits for it, and nothing else ends that.
    const child = startWith(
      this.#command(['cat-file', '--batch-command', '--buffer']),
      [...theirs, 'ignore'],
      { env: this.#environment, signal: this.budget.signal },
    );
    for (const fd of [...both, ...theirs]) closeSync(fd);
    return {
      pipes: ours,
      ended: child.ended.then(({ exitCode, signal }) => signal ?? exitCode ?? 'an error'),
    };
  }

  /** @throws Unreadable where the reading git did not end well */
  async close(): Promise<void> {
    await this.#objects.close().catch((error: unknown) => {
      throw error instanceof GitFailed ? new Unreadable(error.message) : error;
    });
  }
}
