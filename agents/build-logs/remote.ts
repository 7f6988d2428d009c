// SPDX-License-Identifier: GPL-2.0-or-later
// One remote of the logs repository, on a lane of its own: a remote that hangs or fails keeps nobody else waiting. Pushes never
// force; a remote that holds commits which we do not is an alarm, because somebody has a second history signed or shown.
import type { SimpleGit } from 'simple-git';
import { printable } from '../shared/refusal.js';
import type { Reporter } from '../shared/socket-service.js';
import { matches, objectIdPattern } from '../shared/formats/names.js';
import type { RemoteConfig } from './config.js';
import { branch, gitIn } from './git-program.js';
import type { GitRepository } from './git-repository.js';

export interface Target {
  commit: string;
  seq: number;
}

export interface RemoteOptions {
  repository: GitRepository;
  report: Reporter;
  /** for one push or one reading, ms */
  timeoutMs: number;
  /** GIT_SSH_COMMAND, made of our own paths only */
  sshCommand: string;
  firstRetryMs?: number;
  lastRetryMs?: number;
  /** something about this lane changed */
  changed(): void;
}

export class Remote {
  readonly name: string;
  readonly required: boolean;
  readonly #url: string;
  readonly #options: RemoteOptions;
  #target: Target | undefined;
  #confirmed: Target | undefined;
  #busy = false;
  #failures = 0;
  #retry: NodeJS.Timeout | undefined;
  #stopped = new AbortController();
  /** why it is not confirmed, for people */
  trouble = '';
  diverged = false;

  constructor(config: RemoteConfig, options: RemoteOptions) {
    this.name = config.name;
    this.required = config.required;
    this.#url = config.url;
    this.#options = options;
  }

  get confirmedSeq(): number {
    return this.#confirmed?.seq ?? 0;
  }

  /** Whether a push or reading is under way. */
  get busy(): boolean {
    return this.#busy;
  }

  /** From now on the remote is to hold this commit. */
  aim(target: Target): void {
    this.#target = target;
    if (this.#failures === 0 || this.#retry === undefined) void this.#work();
  }

  stop(): void {
    this.#stopped.abort();
    clearTimeout(this.#retry);
  }

  /** What the remote's branch is at; null where there is none. @throws what git says, or after the timeout */
  async head(): Promise<string | null> {
    const listed = await this.#git((git) => git.listRemote([this.#url, branch]));
    const line = listed.split('\n').find((candidate) => candidate.endsWith(`\t${branch}`));
    if (line === undefined) return null;
    const id = line.split('\t')[0];
    if (!matches(objectIdPattern, id)) throw new Error('the remote answered something else than a commit id');
    return id;
  }

  /** Brings the remote's commits here without moving our branch. */
  async fetch(): Promise<void> {
    await this.#git((git) => git.raw('fetch', '--quiet', '--no-tags', '--no-write-fetch-head', '--no-auto-maintenance', this.#url, branch));
  }

  async #git<T>(act: (git: SimpleGit) => Promise<T>): Promise<T> {
    const signal = AbortSignal.any([AbortSignal.timeout(this.#options.timeoutMs), this.#stopped.signal]);
    const git = gitIn(this.#options.repository.path, { abort: signal, sshCommand: this.#options.sshCommand });
    let late: (() => void) | undefined;
    try {
      // A git that ignores its end must not keep the lane.
      return await Promise.race([act(git), new Promise<never>((_, reject) => {
        late = () => reject(new Error(`no answer within ${this.#options.timeoutMs / 1000} s`));
        signal.addEventListener('abort', late, { once: true });
      })]);
    } finally {
      if (late !== undefined) signal.removeEventListener('abort', late);
    }
  }

  async #work(): Promise<void> {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    const target = this.#target;
    if (this.#busy || target === undefined || target.commit === this.#confirmed?.commit || this.#stopped.signal.aborted) return;
    this.#busy = true;
    let problem: string | undefined;
    try {
      problem = await this.#pushAndReadBack(target);
    } catch (error) {
      problem = printable(String((error as Error).message).trim().split('\n').join(' / '));
    }
    this.#busy = false;
    if (this.#stopped.signal.aborted) return;
    if (problem === undefined) {
      if (this.#failures > 0) this.#options.report(`remote ${this.name}: published again`);
      this.#failures = 0;
      this.trouble = '';
      this.diverged = false;
      this.#confirmed = target;
    } else {
      this.trouble = problem;
      const wait = Math.min((this.#options.firstRetryMs ?? 500) * 2 ** this.#failures, this.#options.lastRetryMs ?? 60_000);
      this.#failures = Math.min(this.#failures + 1, 20);
      this.#options.report(`${this.diverged ? 'ALARM ' : ''}remote ${this.name}: ${problem}; again in ${wait / 1000} s`);
      this.#retry = setTimeout(() => void this.#work(), wait);
    }
    this.#options.changed();
    if (problem === undefined) void this.#work();
  }

  /** @returns what is wrong, or undefined once the remote has shown that it holds the commit */
  async #pushAndReadBack(target: Target): Promise<string | undefined> {
    let pushError: unknown;
    try {
      await this.#git((git) => git.raw('-c', 'pack.threads=1', 'push', '--porcelain', '--no-verify', this.#url, `${target.commit}:${branch}`));
    } catch (error) {
      pushError = error;
    }
    const shown = await this.head();
    if (shown === target.commit) return undefined;
    if (shown !== null && !await this.#options.repository.isAncestor(shown, target.commit)) {
      this.diverged = true;
      return `holds commit ${shown}, which is not in our history`;
    }
    this.diverged = false;
    if (pushError !== undefined) throw pushError;
    return `took the push but shows ${shown ?? 'nothing'}`;
  }
}
