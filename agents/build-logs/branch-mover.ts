// SPDX-License-Identifier: GPL-2.0-or-later
// Moving the branch without a process each time: one `git update-ref --stdin`, with git's own locks and its
// own fsync.
import type { ChildProcess } from 'node:child_process';
import { endGroup, startWith } from '../shared/programs/program.js';
import { branch, gitEnvironment } from './git-program.js';

export class BranchMover {
  readonly #repository: string;
  #child: ChildProcess | undefined;
  #answered: ((line: string) => void) | undefined;

  constructor(repository: string) {
    this.#repository = repository;
  }

  /** One at a time. @throws Error when the branch was not at `from`, or git does not answer in time */
  move(from: string | null, to: string): Promise<void> {
    const child = (this.#child ??= this.#start());
    return new Promise((resolve, reject) => {
      let lines = '';
      const timer = setTimeout(() => endGroup(child.pid), 30_000);
      this.#answered = (text) => {
        lines += text;
        const done = lines.endsWith('commit: ok\n');
        if (!done && text !== '') return;
        clearTimeout(timer);
        this.#answered = undefined;
        if (done) resolve();
        else reject(new Error(`git did not move ${branch} from ${from} to ${to}`));
      };
      child.stdin?.write(`start\nupdate ${branch} ${to} ${from ?? '0'.repeat(40)}\ncommit\n`);
    });
  }

  #start(): ChildProcess {
    const child = startWith(
      ['git', '--git-dir', this.#repository, 'update-ref', '--stdin'],
      ['pipe', 'pipe', 'ignore'],
      { env: gitEnvironment },
    );
    child.stdout?.on('data', (chunk: Buffer) => this.#answered?.(chunk.toString()));
    child.stdin?.on('error', () => undefined);
    const gone = (): void => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#answered?.('');
    };
    child.on('error', gone).on('close', gone);
    return child;
  }

  stop(): void {
    this.#child?.stdin?.end();
    this.#child = undefined;
  }
}
