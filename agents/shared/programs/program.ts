// SPDX-License-Identifier: GPL-2.0-or-later
// Running other programs: an argv, a clean environment, limits on time and output, and the whole process
// group ended at a limit. Each starts through setpriv with a death signal, so that it does not outlive this
// agent by accident.
import { spawn, type ChildProcess, type ChildProcessByStdio, type StdioOptions } from 'node:child_process';
import { Readable, type Writable } from 'node:stream';
import { cleanEnvironment } from '../calls/qrexec-call.js';
import { printable } from '../refusal.js';
import { Refusal } from '../refusals.js';
import { refuseCancelled, whenCancelled } from './cancellation.js';
import { toolBegins } from './tool-watch.js';

export interface ProgramOptions {
  cwd?: string;
  /** added to the clean environment */
  env?: Record<string, string>;
  input?: Uint8Array | string | Readable;
  timeoutMs: number;
  /** of stdout, in bytes */
  limitBytes?: number;
  /** gets stdout piece by piece; nothing of it is returned then */
  onChunk?: (chunk: Buffer) => void;
  /** an open descriptor that becomes its stdout */
  output?: number;
  /** ends it */
  signal?: AbortSignal;
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

export interface ProgramEnd {
  /** undefined when a signal ended it, or when it could not be started */
  exitCode: number | undefined;
  signal: string | undefined;
}

export type Started<T extends ChildProcess> = T & { readonly ended: Promise<ProgramEnd> };

/** Both of its streams must be read, or it waits for ever. */
export type Program = Started<ChildProcessByStdio<Writable | null, Readable, Readable>>;

/** Groups that run: they end with us, before what they write to is removed. */
const groups = new Set<number>();
process.prependListener('exit', () => groups.forEach(endGroup));

export interface StartOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** ends it with its group */
  signal?: AbortSignal | undefined;
}

/**
 * In a step that is cancelled it ends with its group. @throws Refusal CANCELLED where that has happened
 * already
 */
export function startWith(
  argv: readonly string[],
  stdio: StdioOptions,
  options: StartOptions,
): Started<ChildProcess> {
  refuseCancelled();
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...argv], {
    cwd: options.cwd ?? '/',
    env: environmentWith(options.env),
    detached: true,
    stdio,
  });
  const { pid } = child;
  const end = (): void => endGroup(pid);
  if (pid !== undefined) groups.add(pid);
  const forget = whenCancelled(end);
  options.signal?.addEventListener('abort', end);
  if (options.signal?.aborted === true) end();
  const ended = new Promise<ProgramEnd>((resolve) => {
    child.once('exit', (code, signal) =>
      resolve({ exitCode: code ?? undefined, signal: signal ?? undefined }),
    );
    // Of a program that could not be started there is no exit.
    child.once('error', () => resolve({ exitCode: undefined, signal: undefined }));
  });
  void ended.then(() => {
    forget();
    options.signal?.removeEventListener('abort', end);
    if (pid !== undefined) groups.delete(pid);
  });
  return Object.assign(child, { ended });
}

/** As startWith, with pipes for what it prints. */
export function startProgram(
  argv: readonly string[],
  options: StartOptions & { stdin?: 'ignore' | 'pipe' },
): Program {
  return startWith(argv, [options.stdin ?? 'ignore', 'pipe', 'pipe'], options) as Program;
}

/** How long what a program had written may take to come through its pipes. */
const lastWordsMs = 5000;
const tickMs = 50;

/**
 * Waits for the program itself. A process that left its group may hold the pipes for ever: the program is
 * over all the same, and whatever that process writes afterwards is nobody's.
 * @param read resolves when everything was read that was written
 * @param isHeldUp whether the reader itself has to wait just now: that is not the program's time
 */
export async function endOf(
  child: Started<ChildProcess>,
  read: Promise<unknown>,
  isHeldUp: () => boolean = () => false,
): Promise<ProgramEnd> {
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
  for (const stream of [child.stdout, child.stderr]) stream?.destroy();
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

/** What a timer of Node's takes. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * Runs a program to its end and returns its stdout.
 * @throws Refusal TIMED_OUT, OUTPUT_LIMIT; ProgramFailed for any other bad end
 */
export async function runProgram(argv: readonly string[], options: ProgramOptions): Promise<Buffer> {
  const { input, output, timeoutMs, limitBytes = 16 * 1024 * 1024 } = options;
  const ended = options.isTool === true ? toolBegins() : undefined;
  const child = startWith(argv, [input === undefined ? 'ignore' : 'pipe', output ?? 'pipe', 'pipe'], options);
  let refusal: Refusal | undefined;
  let fault: Error | undefined;
  const stop = (why: Refusal): void => {
    refusal ??= why;
    endGroup(child.pid);
  };
  const fail = (error: Error): void => {
    fault ??= error;
    endGroup(child.pid);
  };
  const timer = setTimeout(
    () => stop(new Refusal('TIMED_OUT', `${argv[0]} took longer than ${timeoutMs / 1000} s`)),
    Math.min(timeoutMs, longestTimerMs),
  );
  const chunks: Buffer[] = [];
  const { onChunk = (chunk: Buffer): void => void chunks.push(chunk) } = options;
  let size = 0;
  let complaint = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    size += chunk.length;
    if (size > limitBytes)
      return stop(new Refusal('OUTPUT_LIMIT', `${argv[0]} printed more than ${limitBytes} bytes`));
    try {
      onChunk(chunk);
    } catch (error) {
      fail(error as Error);
    }
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString('latin1')).slice(-2000);
  });
  if (child.stdin !== null) {
    // The program may end without reading: its status says why. What cannot be read for it is a fault.
    child.stdin.on('error', () => undefined);
    if (input instanceof Readable) input.on('error', fail).pipe(child.stdin);
    else child.stdin.end(input);
  }
  const result = await endOf(
    child,
    Promise.all(
      [child.stdout, child.stderr].map(
        (stream) =>
          new Promise((resolve) => (stream === null ? resolve(undefined) : stream.once('close', resolve))),
      ),
    ),
  );
  clearTimeout(timer);
  ended?.();
  if (refusal !== undefined) throw refusal;
  if (fault !== undefined) throw fault;
  if (result.exitCode === 0) return Buffer.concat(chunks);
  throw new ProgramFailed(argv, endingOf(result), complaint, result.exitCode, Buffer.concat(chunks));
}

const endingOf = ({ exitCode, signal }: ProgramEnd): string =>
  exitCode === undefined ? `was ended by ${signal ?? 'a fault'}` : `ended with ${exitCode}`;

/** Whether it ends with 0 within ten seconds. */
export function commandSucceeds(argv: readonly string[]): Promise<boolean> {
  return runProgram(argv, { timeoutMs: 10_000 }).then(
    () => true,
    () => false,
  );
}

export class ProgramFailed extends Error {
  /** the end of what it wrote to stderr, in lines */
  readonly stderr: string;
  /** its last three lines, in one */
  readonly complaint: string;
  /** undefined where a signal ended it, or where it could not be started */
  readonly exitCode: number | undefined;
  /** what it had printed */
  readonly stdout: Buffer;

  constructor(
    argv: readonly string[],
    ending: string,
    stderr: string,
    exitCode?: number,
    stdout = Buffer.alloc(0),
  ) {
    const complaint = printable(stderr.trim().split('\n').slice(-3).join(' | '));
    super(`${argv[0]} ${ending}: ${complaint}`);
    this.stderr = stderr.trim();
    this.complaint = complaint;
    this.exitCode = exitCode;
    this.stdout = stdout;
  }
}
