// SPDX-License-Identifier: GPL-2.0-or-later
// Commits of one repository, one question after another, by one `git cat-file --batch`. It may be started while a fetch is under way, and sees what that brought.
import { spawn, type ChildProcess } from 'node:child_process';
import { gitObjectId } from '../../shared/formats/git-commit.js';
import { environmentWith, ProgramFailed } from '../../shared/programs/program.js';
import { gitEnvironment, gitIn } from '../source/git.js';

const failed = (how: string): ProgramFailed => new ProgramFailed(['git cat-file'], how, '');

export class CommitReader {
  readonly #child: ChildProcess;
  readonly #limitBytes: number;
  #seen: Buffer = Buffer.alloc(0);
  #wake: () => void = () => undefined;
  #failure: ProgramFailed | undefined;

  /** @param limitBytes of one commit */
  constructor(folder: string, limitBytes: number) {
    this.#limitBytes = limitBytes;
    this.#child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...gitIn({ folder }, 'cat-file', '--batch')], { stdio: ['pipe', 'pipe', 'ignore'], env: environmentWith(gitEnvironment()) });
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      this.#seen = Buffer.concat([this.#seen, chunk]);
      this.#wake();
    });
    this.#child.stdin?.on('error', () => undefined);
    const gone = (): void => {
      this.#failure = failed('ended');
      this.#wake();
    };
    this.#child.on('error', gone).on('close', gone);
  }

  /** @param name a commit's id, or a ref. @returns undefined where there is no such commit @throws ProgramFailed where git fails: that is no answer */
  async read(name: string): Promise<{ id: string; body: Buffer } | undefined> {
    this.#child.stdin?.write(`${name}\n`);
    const [id = '', type, size] = (await this.#take((seen) => seen.indexOf(10))).toString('latin1').split(' ');
    if (size === undefined) return undefined;
    const length = Number(size);
    if (!(length <= this.#limitBytes)) throw failed(`found ${size} bytes in ${id}`);
    const body = await this.#take((seen) => (seen.length > length ? length : -1));
    if (type !== 'commit' || (id.length === 40 && gitObjectId('commit', body) !== id)) throw failed(`found no commit in ${id}`);
    return { id, body };
  }

  /** @param end where what is asked for ends, before one byte that is left out; -1 as long as it is not there */
  async #take(end: (seen: Buffer) => number): Promise<Buffer> {
    for (;;) {
      const at = end(this.#seen);
      if (at >= 0) {
        const taken = this.#seen.subarray(0, at);
        this.#seen = this.#seen.subarray(at + 1);
        return taken;
      }
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  stop(): void {
    this.#child.kill('SIGKILL');
  }
}
