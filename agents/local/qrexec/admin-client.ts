// SPDX-License-Identifier: GPL-2.0-or-later
// For the command line and for tests: dom0's admin side from another process, and commands in VMs from
// either.
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { programFolder } from '../vm/host-folders.js';
import type { VmSpec } from '../vm/vm-spec.js';
import type { Dom0Event, ExecRequest, VmStatus } from './events.js';
import { LineReader } from './line-reader.js';

/** What both Dom0 (in this process) and AdminClient (in another) can do. */
export interface CommandRunner {
  prepareExec: (vm: string, request: ExecRequest) => Promise<string>;
}

export interface RunOptions extends Omit<ExecRequest, 'argv'> {
  input?: Uint8Array | string;
  timeoutMs?: number;
  /** of stdout and stderr each; beyond it the command is killed. 16 MiB */
  limitBytes?: number;
  /** each line of stdout and stderr while it comes */
  onLine?: (line: string) => void;
}

export interface RunResult {
  status: number;
  stdout: string;
  stderr: string;
}

/**
 * Starts a command in a VM, with the given stdio, as a child of this process; killing the child kills the
 * command. The child's exit status is the command's (127: no such program). `tty: true` with stdio 'inherit'
 * gives a shell to a person.
 */
export async function spawnInVm(
  dom0: CommandRunner,
  vm: string,
  request: ExecRequest,
  stdio: StdioOptions = 'inherit',
): Promise<ChildProcess> {
  const meeting = await dom0.prepareExec(vm, request);
  return spawn('/usr/bin/python3', ['-IB', join(programFolder(), 'exec_client.py'), meeting], {
    stdio,
    env: { PATH: '/usr/bin:/bin' },
  });
}

/** of a line without end, for who watches */
const shownCharacters = 4096;

/**
 * Runs a command in a VM to its end and returns what it wrote. @throws Error when it takes too long or writes
 * too much
 */
export async function runInVm(
  dom0: CommandRunner,
  vm: string,
  argv: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const { input, timeoutMs = 120_000, limitBytes = 16 * 1024 * 1024, onLine, ...rest } = options;
  const child = await spawnInVm(dom0, vm, { ...rest, argv }, ['pipe', 'pipe', 'pipe']);
  return await new Promise((resolve, reject) => {
    const parts = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    let failure: Error | undefined;
    const fail = (why: string): void => {
      failure ??= new Error(`in ${vm}: ${argv.join(' ').slice(0, 200)} ${why}`);
      child.kill('SIGKILL');
    };
    const timer = setTimeout(() => fail(`took longer than ${timeoutMs} ms`), timeoutMs);
    for (const name of ['stdout', 'stderr'] as const) {
      let size = 0;
      const reader = new LineReader(shownCharacters);
      child[name]?.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > limitBytes) return fail(`wrote more than ${limitBytes} bytes`);
        parts[name].push(chunk);
        if (onLine !== undefined) for (const line of reader.take(chunk)) onLine(line);
      });
    }
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input ?? '');
    child.once('error', reject);
    child.once('close', (status) => {
      clearTimeout(timer);
      if (failure !== undefined) reject(failure);
      else
        resolve({
          status: status ?? 255,
          stdout: Buffer.concat(parts.stdout).toString(),
          stderr: Buffer.concat(parts.stderr).toString(),
        });
    });
  });
}

export class AdminClient implements CommandRunner {
  readonly #socket: Socket;
  readonly #waiting = new Map<
    number,
    { resolve: (result: unknown) => void; reject: (error: Error) => void }
  >();
  readonly #listeners = new Set<(event: Dom0Event) => void>();
  #next = 1;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const reader = new LineReader();
    socket.on('data', (chunk: Buffer) => {
      for (const line of reader.take(chunk))
        this.#take(JSON.parse(line) as Dom0Event | { id: number; result?: unknown; error?: string });
    });
    socket.on('error', () => undefined);
    socket.on('close', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error('dom0 ended'));
      this.#waiting.clear();
    });
  }

  /** @throws Error (ENOENT, ECONNREFUSED) where no dom0 is running */
  static connect(path: string): Promise<AdminClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(path);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new AdminClient(socket));
      });
    });
  }

  async list(): Promise<VmStatus[]> {
    return (await this.#ask({ op: 'list' })) as VmStatus[];
  }

  /** Makes a halted VM known. @throws Error where there is one of that name */
  async addVm(spec: VmSpec): Promise<void> {
    await this.#ask({ op: 'add', spec });
  }

  async startVm(vm: string): Promise<void> {
    await this.#ask({ op: 'start', vm });
  }

  async stopVm(vm: string): Promise<void> {
    await this.#ask({ op: 'stop', vm });
  }

  async killVm(vm: string): Promise<void> {
    await this.#ask({ op: 'kill', vm });
  }

  async prepareExec(vm: string, exec: ExecRequest): Promise<string> {
    return (await this.#ask({ op: 'exec', vm, exec })) as string;
  }

  /** Every event from now on. */
  async onEvent(listener: (event: Dom0Event) => void): Promise<void> {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) await this.#ask({ op: 'events' });
  }

  /** Asks whoever runs dom0 to stop it (Dom0 emits `shutdown`); returns when dom0 is gone. */
  async shutdown(): Promise<void> {
    const gone = new Promise<void>((resolve) => this.#socket.once('close', () => resolve()));
    await this.#ask({ op: 'shutdown' });
    await gone;
  }

  close(): void {
    this.#socket.end();
  }

  #take(message: Dom0Event | { id: number; result?: unknown; error?: string }): void {
    if ('event' in message) {
      for (const listener of this.#listeners) listener(message);
      return;
    }
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.error === undefined) waiting?.resolve(message.result);
    else waiting?.reject(new Error(message.error));
  }

  #ask(request: object): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (!this.#socket.writable) return reject(new Error('the connection to dom0 is closed'));
      const id = this.#next++;
      this.#waiting.set(id, { resolve, reject });
      this.#socket.write(`${JSON.stringify({ id, ...request })}\n`);
    });
  }
}
