// SPDX-License-Identifier: GPL-2.0-or-later
// Running a program to its end: an argv, an environment of its own, a limit on time and on every output, no
// shell. Whatever goes wrong is a status.
import { spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';

export interface ProcessRun {
  program: string;
  args: readonly string[];
  env: NodeJS.ProcessEnv;
  /** bytes for descriptor 0, or an open descriptor that becomes it */
  input?: Uint8Array | { fd: number };
  /** bytes for descriptor 4, where the program reads a second input */
  secondInput?: Uint8Array;
  /** of stdout, in bytes; stderr and the status stream have 256 KiB */
  limitBytes: number;
  timeoutMs: number;
  /** the account that it runs as, where root may choose */
  account?: number;
}

export interface ProcessEnd {
  /** 0 to 255, or -1: ended by a signal, by us for breaking a limit, or never started */
  status: number;
  stdout: Buffer;
  stderr: string;
  /** what it wrote to descriptor 3 (--status-fd 3) */
  statusText: string;
}

const textLimitBytes = 256 * 1024;

/** Never rejects: whatever goes wrong is a status other than 0. */
export function runProcess(run: ProcessRun): Promise<ProcessEnd> {
  const { input = new Uint8Array() } = run;
  return new Promise((resolve) => {
    const child = spawn(run.program, run.args, {
      stdio: [
        'fd' in input ? input.fd : 'pipe',
        'pipe',
        'pipe',
        'pipe',
        run.secondInput === undefined ? 'ignore' : 'pipe',
      ],
      env: run.env,
      cwd: '/',
      // What it started ends with it at a limit.
      detached: true,
      ...(run.account === undefined ? {} : { uid: run.account, gid: run.account }),
    });
    // Out of descriptors, Node gives a child without any stream, and 'error' follows.
    const extra = (child.stdio as typeof child.stdio | undefined) ?? [];
    let broken = false;
    const stop = (): void => {
      broken = true;
      try {
        process.kill(-(child.pid as number), 'SIGKILL');
      } catch {
        // It ended just now, or never started.
      }
    };
    const timer = setTimeout(stop, run.timeoutMs);
    const collect = (stream: Readable | null, limit: number): Buffer[] => {
      const chunks: Buffer[] = [];
      let size = 0;
      stream?.on('error', stop).on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > limit) stop();
        else chunks.push(chunk);
      });
      return chunks;
    };
    const stdout = collect(child.stdout, run.limitBytes);
    const stderr = collect(child.stderr, textLimitBytes);
    const status = collect((extra[3] ?? null) as Readable | null, textLimitBytes);
    const finish = (code: number, fault = ''): void => {
      clearTimeout(timer);
      const joined = (chunks: Buffer[]): string => Buffer.concat(chunks).toString('utf8');
      resolve({
        status: broken ? -1 : code,
        stdout: Buffer.concat(stdout),
        stderr: fault + joined(stderr),
        statusText: joined(status),
      });
    };
    child.on('error', ({ message }) => finish(-1, message)).on('close', (code) => finish(code ?? -1));
    // The program may end without reading: its status says why.
    const feed = (stream: Writable | null, bytes: Uint8Array): unknown =>
      stream?.on('error', () => undefined).end(bytes);
    if (!('fd' in input)) feed(child.stdin, input);
    if (run.secondInput !== undefined) feed((extra[4] ?? null) as Writable | null, run.secondInput);
  });
}
