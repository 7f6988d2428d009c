// SPDX-License-Identifier: GPL-2.0-or-later
// Reading the logs repositories with git, of which nothing is believed but what our own hashes confirm. Whoever serves them may be the
// attacker: they go into a new bare repository, with no configuration, hook, submodule or protocol but the four we name.
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { execa, ExecaError } from 'execa';
import { cleanEnvironment } from '../shared/qrexec-call.js';
import { printable } from '../shared/refusal.js';
import { Unreadable } from './findings.js';

const protocols = ['file', 'git', 'http', 'https'];

/** A path, or a URL of a known protocol; anything that git would take for an option, ssh or a helper is refused. */
export function gitSource(untrusted: string): string {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(untrusted)?.[1];
  if (scheme !== undefined) {
    if (!protocols.includes(scheme)) throw new Unreadable(`${printable(untrusted)}: only a path, file://, git://, http:// and https://`);
    return untrusted;
  }
  return resolve(untrusted);
}

/** One change of one path between a commit and its parent, as git's raw diff says. */
export interface Change {
  path: string;
  status: string;
  mode: string;
  before: string;
  after: string;
}

interface Question {
  onChunk(chunk: Buffer): void;
  resolve(size: number | undefined): void;
  reject(error: Error): void;
}

export class PublishedGit {
  readonly folder: string;
  readonly #environment: NodeJS.ProcessEnv;
  #reader: ChildProcessWithoutNullStreams | undefined;
  readonly #questions: Question[] = [];

  /** @param scratch an empty folder of ours */
  constructor(scratch: string) {
    this.folder = join(scratch, 'logs.git');
    const config = join(scratch, 'gitconfig');
    // safe.directory: a published path may belong to whoever publishes it.
    writeFileSync(config, `[safe]\n\tdirectory = *\n[core]\n\thooksPath = /dev/null\n\tbigFileThreshold = 1g\n[gc]\n\tauto = 0\n[protocol]\n\tallow = never\n${protocols.map((name) => `[protocol "${name}"]\n\tallow = always\n`).join('')}[http]\n\tlowSpeedLimit = 1000\n\tlowSpeedTime = 60\n[fetch]\n\tfsckObjects = false\n`);
    this.#environment = {
      ...cleanEnvironment, HOME: scratch, GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: config, GIT_TERMINAL_PROMPT: '0', GIT_ASKPASS: '/bin/false',
      GIT_NO_REPLACE_OBJECTS: '1', GIT_PROTOCOL_FROM_USER: '0',
    };
  }

  /** Standard output of one git call. @throws Unreadable with git's last words */
  async git(args: readonly string[], timeoutMs = 60_000): Promise<string> {
    try {
      const { stdout } = await execa('git', ['--git-dir', this.folder, ...args], {
        env: this.#environment, extendEnv: false, timeout: timeoutMs, maxBuffer: 256 * 1024 * 1024, stdin: 'ignore', cwd: '/',
      });
      return stdout;
    } catch (error) {
      const said = error instanceof ExecaError ? String(error.stderr || error.shortMessage).trim().split('\n').at(-1) ?? '' : String(error);
      throw new Unreadable(`git ${args[0] ?? ''}: ${printable(said)}`);
    }
  }

  /** Fetches the main branch of each source and returns the heads, in order. @throws Unreadable */
  async fetch(sources: readonly string[], timeoutMs = 900_000): Promise<string[]> {
    await this.git(['init', '--quiet', '--bare', '--template=']);
    for (const [i, source] of sources.entries()) {
      try {
        await this.git(['fetch', '--quiet', '--no-tags', '--no-write-fetch-head', '--no-recurse-submodules', '--', gitSource(source), `+refs/heads/main:refs/audit/${i}`], timeoutMs);
      } catch (error) {
        throw new Unreadable(`${printable(source)}: ${(error as Error).message}`);
      }
    }
    return (await this.git(['rev-parse', ...sources.map((_, i) => `refs/audit/${i}^{commit}`)])).trim().split('\n');
  }

  /** From the root to `head` by first parents: a merge is found as such, and what it merged is nobody's history. */
  async commits(head: string): Promise<string[]> {
    return (await this.git(['rev-list', '--first-parent', '--topo-order', '--reverse', head])).split('\n').filter((line) => line !== '');
  }

  async isAncestor(older: string, younger: string): Promise<boolean> {
    return (await this.git(['merge-base', older, younger]).catch(() => '')).trim() === older;
  }

  /** What each commit changed against its first parent (the root: against nothing). Only commits with changes are in the map. */
  async changes(commits: readonly { id: string; parent: string | undefined }[]): Promise<Map<string, Change[]>> {
    const child = spawn('git', ['--git-dir', this.folder, 'diff-tree', '--stdin', '-r', '--root', '--raw', '--no-renames', '--no-abbrev', '-z'], { env: this.#environment, stdio: ['pipe', 'pipe', 'ignore'], cwd: '/' });
    const found = new Map<string, Change[]>();
    let current: Change[] = [];
    let raw: string[] | undefined;
    let rest = '';
    child.stdin.on('error', () => undefined);
    child.stdin.end(commits.map(({ id, parent }) => (parent === undefined ? `${id}\n` : `${id} ${parent}\n`)).join(''));
    // Paths are bytes; latin1 keeps every one distinct, and only plain ASCII ones are allowed later.
    for await (const chunk of child.stdout.setEncoding('latin1')) {
      const fields = (rest + String(chunk)).split('\0');
      rest = fields.pop() ?? '';
      for (const field of fields) {
        if (raw !== undefined) {
          current.push({ path: field, mode: raw[1] as string, before: raw[2] as string, after: raw[3] as string, status: raw[4] as string });
          raw = undefined;
        } else if (field.startsWith(':')) {
          raw = field.split(' ');
        } else {
          found.set(field.slice(0, 64), current = []);
        }
      }
    }
    return found;
  }

  /** Streams an object's bytes to `onChunk`; resolves to its size, or undefined where there is no such object. */
  read(id: string, onChunk: (chunk: Buffer) => void): Promise<number | undefined> {
    return new Promise((resolveSize, reject) => {
      const reader = this.#reader ??= this.#start();
      this.#questions.push({ onChunk, resolve: resolveSize, reject });
      reader.stdin.write(`${id}\n`);
    });
  }

  /** The whole of a small object. @throws Unreadable beyond `limitBytes` */
  async readWhole(id: string, limitBytes: number): Promise<Buffer | undefined> {
    const chunks: Buffer[] = [];
    let size = 0;
    const found = await this.read(id, (chunk) => {
      size += chunk.length;
      if (size <= limitBytes) chunks.push(Buffer.from(chunk));
    });
    if (size > limitBytes) throw new Unreadable(`object ${id} is larger than ${limitBytes} bytes`);
    return found === undefined ? undefined : Buffer.concat(chunks);
  }

  close(): void {
    this.#reader?.stdin.end();
  }

  #start(): ChildProcessWithoutNullStreams {
    const child = spawn('git', ['--git-dir', this.folder, 'cat-file', '--batch'], { env: this.#environment, stdio: ['pipe', 'pipe', 'pipe'], cwd: '/' });
    let header = '';
    let size = 0;
    /** bytes of the body that are still to come, and the newline after it; -1 in a header */
    let left = -1;
    child.stderr.resume();
    child.stdin.on('error', () => undefined);
    child.stdout.on('data', (chunk: Buffer) => {
      for (let at = 0; at < chunk.length;) {
        const question = this.#questions[0];
        if (left < 0) {
          const end = chunk.indexOf(10, at);
          header += chunk.toString('latin1', at, end < 0 ? chunk.length : end);
          if (end < 0) return;
          at = end + 1;
          const [, type, length] = header.split(' ');
          header = '';
          if (type === 'missing' || length === undefined) {
            this.#questions.shift();
            question?.resolve(undefined);
          } else {
            size = Number(length);
            left = size + 1;
          }
          continue;
        }
        const part = chunk.subarray(at, at + left);
        at += part.length;
        left -= part.length;
        const body = left === 0 ? part.subarray(0, -1) : part;
        if (body.length > 0) question?.onChunk(body);
        if (left > 0) continue;
        left = -1;
        this.#questions.shift();
        question?.resolve(size);
      }
    });
    child.on('error', (error) => this.#fail(error));
    child.on('close', () => this.#fail(new Unreadable('git cat-file ended early')));
    return child;
  }

  #fail(error: Error): void {
    this.#reader = undefined;
    for (const question of this.#questions.splice(0)) question.reject(error);
  }
}
