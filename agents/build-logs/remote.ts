// SPDX-License-Identifier: GPL-2.0-or-later
// One remote of the logs repository, on a lane of its own: a remote that hangs or fails keeps nobody else
// waiting. Pushes never force. A remote whose head the logs key signed and we do not have holds a second
// history; one with any other head is broken. One that lost what it had is pushed to again. All three are
// alarms; only a second history on a required remote stops every grant.
import { readIfThere, writeDurably } from '../shared/durable-files.js';
import { ProgramFailed } from '../shared/programs/program.js';
import { printable } from '../shared/refusal.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import { matches, objectIdPattern } from '../shared/formats/names.js';
import type { Alarms } from './alarms.js';
import type { RemoteConfig } from './config.js';
import { signerOfHead, type HeadSigner } from './foreign-head.js';
import { branch, linkedBranch, runGit } from './git-program.js';
import type { GitRepository } from './git-repository.js';
import type { Signer } from './signer.js';

export interface Target {
  commit: string;
  seq: number;
}

export interface RemoteOptions {
  repository: GitRepository;
  signer: Signer;
  alarms: Alarms;
  report: Reporter;
  /** where it is kept which commit the remote held last */
  memory: string;
  /** for one push or one reading, ms */
  timeoutMs: number;
  /** GIT_SSH_COMMAND, made of our own paths only */
  sshCommand: string;
  firstRetryMs?: number;
  lastRetryMs?: number;
  /** something about this lane changed */
  changed: () => void;
}

/** What was confirmed is noted so long afterwards, off the way of the next publication. */
const rememberMs = 1000;

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
  #heldBefore: string | undefined;
  #remembering: NodeJS.Timeout | undefined;
  /** in the attempt that is under way */
  #setBack = false;
  /** whose head that is which it showed last and we did not have */
  #looked: { head: string; signer: HeadSigner } | undefined;
  #diverged = false;
  /** why it is not confirmed, for people */
  trouble = '';

  constructor(config: RemoteConfig, options: RemoteOptions) {
    this.name = config.name;
    this.required = config.required;
    this.#url = config.url;
    this.#options = options;
    const before = readIfThere(options.memory)?.toString('latin1').trim();
    if (matches(objectIdPattern, before)) this.#heldBefore = before;
  }

  /** Whether it answered a push with a second history that the logs key signed. */
  get diverged(): boolean {
    return this.#diverged;
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
    clearTimeout(this.#remembering);
    this.#remember();
  }

  #remember(): void {
    this.#remembering = undefined;
    if (this.#heldBefore === undefined) return;
    try {
      writeDurably(this.#options.memory, `${this.#heldBefore}\n`);
    } catch (error) {
      this.#options.report(`${this.#options.memory}: ${printable(String(error))}`);
    }
  }

  alarm(what: string): void {
    this.#options.alarms.raise(this.name, what);
  }

  /** Whose head that is; looked at once for each that it shows. */
  async signerOf(head: string): Promise<HeadSigner> {
    if (this.#looked?.head !== head || this.#looked.signer === 'unknown') {
      const { signer, sshCommand, timeoutMs } = this.#options;
      this.#looked = {
        head,
        signer: await signerOfHead(head, { url: this.#url, signer, sshCommand, timeoutMs }),
      };
    }
    return this.#looked.signer;
  }

  /** What the remote's branch is at; null where there is none. @throws what git says, or after the timeout */
  async head(): Promise<string | null> {
    const listed = await this.#git('ls-remote', '--', this.#url, branch);
    const line = listed.split('\n').find((candidate) => candidate.endsWith(`\t${branch}`));
    if (line === undefined) return null;
    const id = line.split('\t')[0];
    if (!matches(objectIdPattern, id)) throw new Error('the remote answered something else than a commit id');
    return id;
  }

  /** Brings the remote's commits here without moving our branch. */
  async fetch(): Promise<void> {
    await this.#git(
      'fetch',
      '--quiet',
      '--no-tags',
      '--no-write-fetch-head',
      '--no-auto-maintenance',
      '--',
      this.#url,
      branch,
    );
  }

  #git(...argv: string[]): Promise<string> {
    const { repository, sshCommand, timeoutMs } = this.#options;
    return runGit(['--git-dir', repository.path, ...argv], {
      sshCommand,
      timeoutMs,
      signal: this.#stopped.signal,
    });
  }

  async #work(): Promise<void> {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    const target = this.#target;
    if (
      this.#busy ||
      target === undefined ||
      target.commit === this.#confirmed?.commit ||
      this.#stopped.signal.aborted
    )
      return;
    this.#busy = true;
    let problem: string | undefined;
    try {
      problem = await this.#pushAndReadBack(target);
    } catch (error) {
      const said =
        error instanceof ProgramFailed && error.stderr !== ''
          ? error.stderr
          : String((error as Error).message).trim();
      problem = printable(said.split('\n').join(' / '));
    }
    this.#busy = false;
    if (this.#stopped.signal.aborted) return;
    if (problem === undefined) {
      if (this.#failures > 0) this.#options.report(`remote ${this.name}: published again`);
      this.#failures = 0;
      this.trouble = '';
      this.#diverged = false;
      this.#confirmed = target;
      this.#heldBefore = target.commit;
      this.#remembering ??= setTimeout(() => this.#remember(), rememberMs);
      if (!this.#setBack) this.#options.alarms.settled(this.name);
    } else {
      this.trouble = problem;
      const wait = Math.min(
        (this.#options.firstRetryMs ?? 500) * 2 ** this.#failures,
        this.#options.lastRetryMs ?? 60_000,
      );
      this.#failures = Math.min(this.#failures + 1, 20);
      this.#options.report(`remote ${this.name}: ${problem}; again in ${wait / 1000} s`);
      this.#retry = setTimeout(() => void this.#work(), wait);
    }
    this.#options.changed();
    if (problem === undefined) void this.#work();
  }

  /** @returns what is wrong, or undefined once the remote has shown that it holds the commit */
  async #pushAndReadBack(target: Target): Promise<string | undefined> {
    let pushError: Error | undefined;
    this.#setBack = false;
    try {
      const said = await this.#git(
        '-c',
        'pack.threads=1',
        '-c',
        'core.abbrev=no',
        'push',
        '--porcelain',
        '--no-verify',
        '--',
        this.#url,
        `${target.commit}:${branch}`,
        `${target.commit}:${linkedBranch}`,
      );
      await this.#lookWhetherSetBack(headBefore(said));
    } catch (error) {
      pushError = error as Error;
      // Of several branches one may have been refused; of the other git says all the same what it found.
      if (error instanceof ProgramFailed)
        await this.#lookWhetherSetBack(headBefore(error.stdout.toString('latin1')));
    }
    const shown = await this.head();
    if (shown === target.commit) return undefined;
    if (shown !== null && !(await this.#options.repository.isAncestor(shown, target.commit)))
      return await this.#strangeHead(shown);
    this.#diverged = false;
    await this.#lookWhetherSetBack(shown);
    if (pushError !== undefined) throw pushError;
    return `took the push but shows ${shown ?? 'nothing'}`;
  }

  async #strangeHead(shown: string): Promise<string> {
    const signer = await this.signerOf(shown);
    this.#diverged = signer === 'the logs key';
    switch (signer) {
      case 'the logs key': {
        const what = `holds commit ${shown}, which the logs key signed and which is not in our history: a second history${this.required ? '; nothing is granted' : ''}`;
        this.alarm(what);
        return what;
      }
      case 'somebody else': {
        const what = `holds commit ${shown}, which the logs key did not sign`;
        this.alarm(what);
        return what;
      }
      case 'unknown':
        return `shows commit ${shown}, which is not in our history, and does not hand it out`;
    }
  }

  /** @param shown what it held when we came; undefined where it did not say */
  async #lookWhetherSetBack(shown: string | null | undefined): Promise<void> {
    const held = this.#heldBefore;
    if (held === undefined || shown === undefined || shown === held || this.#setBack) return;
    if (shown !== null && !(await this.#options.repository.isAncestor(shown, held))) return;
    this.#setBack = true;
    this.alarm(
      `was set back: it held ${held} and showed ${shown ?? 'nothing'}; what is missing is pushed again`,
    );
  }
}

/** What a push found there, from its own words: `old..new`, or a branch that it made. */
function headBefore(said: string): string | null | undefined {
  for (const line of said.split('\n')) {
    const [flag, refs, summary = ''] = line.split('\t');
    if (refs?.endsWith(`:${branch}`) !== true) continue;
    if (flag === '*') return null;
    return /^([0-9a-f]{40}|[0-9a-f]{64})\.\./.exec(summary)?.[1];
  }
  return undefined;
}
