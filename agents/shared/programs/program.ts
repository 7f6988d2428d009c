// SPDX-License-Identifier: GPL-2.0-or-later
// Running other programs: an argv, a clean environment, limits on time and output, and the whole process group ended at a limit.
// Each starts through setpriv with a death signal, so that it does not outlive this agent by accident.
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { cleanEnvironment } from '../calls/qrexec-call.js';
import { printable } from '../refusal.js';
import { Refusal } from '../refusals.js';
import { refuseCancelled, whenCancelled } from './cancellation.js';
import { commandBegins } from './command-clock.js';

export interface ProgramOptions {
  cwd?: string;
  /** added to the clean environment */
  env?: Record<string, string>;
  input?: Uint8Array | string;
  timeoutMs: number;
  /** of stdout or stderr, in bytes */
  limitBytes?: number;
  /** Its time is not the farm's own (docs/life-of-a-build.md, "Overhead"). */
  isTool?: boolean;
}

export function environmentWith(extra: Record<string, string> = {}): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries({ ...cleanEnvironment, LC_ALL: 'C.UTF-8', ...extra })) {
    if (value !== undefined) environment[name] = value;
  }
  return environment;
}

const proxyNames = ['http_proxy', 'https_proxy', 'ftp_proxy', 'no_proxy'];

/** The VM's own proxy settings, for programs that download. */
export function proxyEnvironment(): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const name of proxyNames) if (process.env[name] !== undefined) environment[name] = process.env[name];
  return environment;
}

/** For our own gpg client, which finds its files as this agent does. */
export function rootEnvironment(): Record<string, string> {
  const root = process.env['BUILD_INFRA_ROOT'];
  return root === undefined ? {} : { BUILD_INFRA_ROOT: root };
}

export interface ProgramEnd {
  /** undefined when a signal ended it, or when it could not be started */
  exitCode: number | undefined;
  signal: string | undefined;
}

/** Both of its streams must be read, or it waits for ever. */
export type Program = ChildProcessByStdio<Writable | null, Readable, Readable> & { readonly ended: Promise<ProgramEnd> };

/** In a step that is cancelled it ends with its group. @throws Refusal CANCELLED where that has happened already */
export function startProgram(argv: readonly string[], options: { cwd?: string; env?: Record<string, string>; stdin?: 'ignore' | 'pipe' }): Program {
  refuseCancelled();
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...argv], {
    cwd: options.cwd ?? '/', env: environmentWith(options.env), detached: true, stdio: [options.stdin ?? 'ignore', 'pipe', 'pipe'],
  }) as ChildProcessByStdio<Writable | null, Readable, Readable>;
  const forget = whenCancelled(() => endGroup(child.pid));
  const ended = new Promise<ProgramEnd>((resolve) => {
    child.once('exit', (code, signal) => resolve({ exitCode: code ?? undefined, signal: signal ?? undefined }));
    // Of a program that could not be started there is no exit.
    child.once('error', () => resolve({ exitCode: undefined, signal: undefined }));
  });
  void ended.then(forget);
  return Object.assign(child, { ended });
}

/** How long what a program had written may take to come through its pipes. */
const lastWordsMs = 5000;
const tickMs = 50;

/**
 * Waits for the program itself. A process that left its group may hold the pipes for ever: the program is over all the same, and whatever that
 * process writes afterwards is nobody's.
 * @param read resolves when everything was read that was written
 * @param isHeldUp whether the reader itself has to wait just now: that is not the program's time
 */
export async function endOf(child: Program, read: Promise<unknown>, isHeldUp: () => boolean = () => false): Promise<ProgramEnd> {
  const end = await child.ended;
  let ticks = lastWordsMs / tickMs;
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<void>((resolve) => {
    timer = setInterval(() => {
      if (!isHeldUp() && --ticks <= 0) resolve();
    }, tickMs);
  });
  await Promise.race([read, patience]);
  clearInterval(timer);
  for (const stream of [child.stdout, child.stderr]) stream.destroy();
  return end;
}

/** Ends a program of startProgram with everything in its process group. */
export function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}

/**
 * Runs a program to its end and returns its stdout.
 * @throws Refusal TIMED_OUT, OUTPUT_LIMIT; an Error with the last words of stderr for any other bad end
 */
export async function runProgram(argv: readonly string[], options: ProgramOptions): Promise<Buffer> {
  const limit = options.limitBytes ?? 16 * 1024 * 1024;
  const ended = options.isTool === true ? commandBegins() : undefined;
  const child = startProgram(argv, { ...options, stdin: options.input === undefined ? 'ignore' : 'pipe' });
  let refusal: Refusal | undefined;
  const stop = (why: Refusal): void => {
    refusal ??= why;
    endGroup(child.pid);
  };
  const timer = setTimeout(() => stop(new Refusal('TIMED_OUT', `${argv[0]} took longer than ${options.timeoutMs / 1000} s`)), options.timeoutMs);
  const chunks: Buffer[] = [];
  let size = 0;
  let complaint = '';
  child.stdout.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > limit) stop(new Refusal('OUTPUT_LIMIT', `${argv[0]} printed more than ${limit} bytes`));
    else chunks.push(chunk);
  });
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString('latin1')).slice(-2000);
  });
  if (options.input !== undefined) {
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(options.input);
  }
  const result = await endOf(child, Promise.all([child.stdout, child.stderr].map((stream) => new Promise((resolve) => stream.once('close', resolve)))));
  clearTimeout(timer);
  ended?.();
  if (refusal !== undefined) throw refusal;
  if (result.exitCode === 0) return Buffer.concat(chunks);
  const ending = result.exitCode === undefined ? `was ended by ${result.signal ?? 'a fault'}` : `ended with ${result.exitCode}`;
  throw new ProgramFailed(argv, ending, complaint.trim().split('\n').slice(-3).join(' | '), result.exitCode);
}

/** Whether it ends with 0 within ten seconds. */
export function commandSucceeds(argv: readonly string[]): Promise<boolean> {
  return runProgram(argv, { timeoutMs: 10_000 }).then(() => true, () => false);
}

export class ProgramFailed extends Error {
  readonly complaint: string;
  /** undefined where a signal ended it, or where it could not be started */
  readonly exitCode: number | undefined;

  constructor(argv: readonly string[], ending: string, complaint: string, exitCode?: number) {
    super(`${argv[0]} ${ending}: ${printable(complaint)}`);
    this.exitCode = exitCode;
    this.complaint = printable(complaint);
  }
}
