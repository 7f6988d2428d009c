// SPDX-License-Identifier: GPL-2.0-or-later
// Reading git objects without a process each: one `git cat-file --batch-command`, questions answered in order. It finds objects that
// were written or packed after it began.
import { spawn, type ChildProcess } from 'node:child_process';
import { gitEnvironment } from './git-program.js';

interface Waiting {
  resolve(answer: { type: string; body: Buffer } | undefined): void;
  reject(error: Error): void;
}

export class ObjectReader {
  readonly #repository: string;
  #child: ChildProcess | undefined;
  #waiting: Waiting[] = [];
  #seen: Buffer[] = [];
  #seenBytes = 0;
  #needed = 0;

  constructor(repository: string) {
    this.#repository = repository;
  }

  /** @param question as git-cat-file(1) has it; undefined where there is no such object */
  ask(question: string): Promise<{ type: string; body: Buffer } | undefined> {
    return new Promise((resolve, reject) => {
      const child = this.#child ??= this.#start();
      this.#waiting.push({ resolve, reject });
      child.stdin?.write(`${question}\n`);
    });
  }

  #start(): ChildProcess {
    const child = spawn('git', ['--git-dir', this.#repository, 'cat-file', '--batch-command'], { stdio: ['pipe', 'pipe', 'ignore'], env: gitEnvironment });
    child.stdout?.on('data', (chunk: Buffer) => {
      this.#seen.push(chunk);
      this.#seenBytes += chunk.length;
      if (this.#seenBytes >= this.#needed) this.#read();
    });
    child.stdin?.on('error', () => undefined);
    const gone = (): void => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#seen = [];
      this.#seenBytes = this.#needed = 0;
      for (const waiting of this.#waiting.splice(0)) waiting.reject(new Error('git cat-file ended'));
    };
    child.on('error', gone).on('close', gone);
    return child;
  }

  #read(): void {
    let data = this.#seen.length === 1 ? this.#seen[0] as Buffer : Buffer.concat(this.#seen);
    this.#needed = 0;
    for (;;) {
      const end = data.indexOf(10);
      if (end < 0) break;
      const words = data.toString('utf8', 0, end).split(' ');
      const kind = words.at(-2) as string;
      // `info` answers like `contents` without the body; its question is spelled with ^{} nowhere, so the marker is ours.
      if (words.at(-1) === 'missing' || words.at(-1) === 'ambiguous') {
        this.#waiting.shift()?.resolve(undefined);
        data = data.subarray(end + 1);
        continue;
      }
      const size = Number(words.at(-1));
      if (data.length < end + 1 + size + 1) {
        this.#needed = end + 1 + size + 1;
        break;
      }
      this.#waiting.shift()?.resolve({ type: kind, body: Buffer.from(data.subarray(end + 1, end + 1 + size)) });
      data = data.subarray(end + 1 + size + 1);
    }
    this.#seen = data.length > 0 ? [data] : [];
    this.#seenBytes = data.length;
  }

  stop(): void {
    this.#child?.stdin?.end();
    this.#child = undefined;
  }
}
