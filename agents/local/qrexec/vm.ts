// SPDX-License-Identifier: GPL-2.0-or-later
// One VM: its sandbox, its sockets to dom0, its state. A VM counts as running once its qrexec agent has said
// hello.
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { makeEtcFolder } from '../vm/etc-folder.js';
import { sandboxCommand } from '../vm/sandbox.js';
import type { VmSpec } from '../vm/vm-spec.js';
import { AgentLink, type AgentMessage } from './agent-link.js';
import type { VmState } from './events.js';
import { Places } from './places.js';

export interface VmFolders {
  /** short path, as long as the stand-in runs */
  run: string;
  /** on disk: emptied at every start */
  tmp: string;
  log: string;
  qubesLayer: string;
}

/** A call or a command that the agent was told of, until it is over. */
interface Meeting {
  hasMet: boolean;
  listening: () => void;
  failed: (error: Error) => void;
  met: () => void;
  ended: (status: number | null) => void;
}

const startTimeoutMs = 60_000;
const stopTimeoutMs = 15_000;

export class Vm {
  readonly spec: VmSpec;
  readonly folders: VmFolders;
  state: VmState = 'halted';
  /** Xen's: each start has a new one, higher than all before; 0 before the first */
  domid = 0;
  /** for calls to this VM */
  readonly places = new Places();
  #servers: Server[] = [];
  #child: ChildProcess | undefined;
  #agent: AgentLink | undefined;
  #starting: Promise<void> | undefined;
  #gone: Promise<void> = Promise.resolve();
  #hello: (() => void) | undefined;
  readonly #meetings = new Map<string, Meeting>();
  readonly #changed: (vm: Vm) => void;

  constructor(spec: VmSpec, folders: VmFolders, changed: (vm: Vm) => void) {
    this.spec = spec;
    this.folders = folders;
    this.#changed = changed;
  }

  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  get vchan(): string {
    return join(this.folders.run, 'vchan');
  }

  /** Listens where this VM's calls come in: whatever arrives at this socket is from this VM. */
  async open(onCall: (connection: Socket) => void): Promise<void> {
    rmSync(this.folders.run, { recursive: true, force: true });
    mkdirSync(this.vchan, { recursive: true, mode: 0o755 });
    await this.#listen('call.sock', 0o666, onCall);
    await this.#listen('agent.sock', 0o600, (connection) => this.#onAgent(connection));
  }

  async close(): Promise<void> {
    await this.kill();
    await Promise.all(this.#servers.map((server) => new Promise((resolve) => server.close(resolve))));
    await rm(this.folders.run, { recursive: true, force: true });
    await rm(this.folders.tmp, { recursive: true, force: true });
  }

  /** Starts the VM, or waits for a start under way. @throws Error where it does not come up */
  start(): Promise<void> {
    if (this.state === 'running') return Promise.resolve();
    this.#starting ??= this.#start().finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  /** Asks the VM to shut down; after 15 s kills it. */
  async stop(): Promise<void> {
    await this.#starting?.catch(() => undefined);
    if (this.#child === undefined) return;
    this.#setState('stopping');
    this.#agent?.send({ op: 'shutdown' });
    const timer = setTimeout(() => void this.kill(), this.#agent === undefined ? 0 : stopTimeoutMs);
    await this.#gone;
    clearTimeout(timer);
  }

  /** Ends the VM as a power cut would. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#gone;
  }

  /**
   * Tells the agent of a call (or a command) and returns once it waits for the caller at `vchan/<id>`.
   * @throws Error where the VM is gone before that
   */
  prepare(
    id: string,
    request: object,
    meeting: { met?: () => void; ended?: (status: number | null) => void } = {},
  ): Promise<void> {
    const agent = this.#agent;
    if (agent === undefined) return Promise.reject(new Error(`${this.spec.name} has no qrexec agent`));
    return new Promise((resolve, reject) => {
      this.#meetings.set(id, {
        hasMet: false,
        listening: resolve,
        failed: reject,
        met: meeting.met ?? (() => undefined),
        ended: meeting.ended ?? (() => undefined),
      });
      agent.send({ id, ...request });
    });
  }

  /** The caller is gone. If it never came to the agent, the agent waits no longer. */
  forget(id: string): void {
    const meeting = this.#meetings.get(id);
    this.#meetings.delete(id);
    if (meeting === undefined || meeting.hasMet) return;
    this.#agent?.send({ op: 'cancel', id });
    removeIfThere(join(this.vchan, id));
  }

  /**
   * Makes the socket of one call reachable from `source` and from nowhere else. Connecting goes by inode, so
   * that nothing relays. The target's root may have put anything in its folder: only a socket is let through.
   */
  moveMeetingTo(source: Vm, id: string): void {
    if (source === this) return;
    const from = join(this.vchan, id);
    const to = join(source.vchan, id);
    linkSync(from, to);
    unlinkSync(from);
    if (lstatSync(to).isSocket()) return;
    unlinkSync(to);
    throw new Error(`${this.spec.name} offered something that is no socket`);
  }

  async #listen(name: string, mode: number, take: (connection: Socket) => void): Promise<void> {
    const path = join(this.folders.run, name);
    const server = createServer({ allowHalfOpen: false }, take);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ path, backlog: 4096 }, resolve);
    });
    chmodSync(path, mode);
    this.#servers.push(server);
  }

  #onAgent(connection: Socket): void {
    connection.on('error', () => undefined);
    // While one agent is connected no other may take its place.
    if (this.#agent !== undefined || this.#child === undefined) return void connection.destroy();
    const link = new AgentLink(
      connection,
      (message) => this.#onMessage(message),
      () => {
        if (this.#agent === link) this.#agentGone();
      },
    );
    this.#agent = link;
  }

  #onMessage(message: AgentMessage): void {
    if (message.event === 'hello') return this.#hello?.();
    const meeting = this.#meetings.get(message.id);
    if (meeting === undefined) return;
    if (message.event === 'listening') return meeting.listening();
    if (message.event === 'met') {
      meeting.hasMet = true;
      return meeting.met();
    }
    this.#meetings.delete(message.id);
    meeting.ended(message.status);
  }

  #agentGone(): void {
    this.#agent = undefined;
    for (const meeting of this.#meetings.values())
      meeting.failed(new Error(`the qrexec agent of ${this.spec.name} went away`));
    this.#meetings.clear();
  }

  async #start(): Promise<void> {
    await this.#gone;
    if (!existsSync(this.spec.root)) throw new Error(`${this.spec.name} has no files at ${this.spec.root}`);
    this.#setState('starting');
    await rm(this.folders.tmp, { recursive: true, force: true });
    mkdirSync(this.folders.tmp, { recursive: true });
    chmodSync(this.folders.tmp, 0o1777);
    // Each start of a VM is a boot of its own, as grants in keys-* must see it.
    writeFileSync(join(this.folders.run, 'boot_id'), `${randomUUID()}\n`);
    const etc = makeEtcFolder(join(this.folders.run, 'etc'), {
      name: this.spec.name,
      network: this.spec.netvm !== null,
      overlay: join(this.spec.root, 'etc'),
    });
    const [program, ...args] = sandboxCommand(this.spec, {
      qubesLayer: this.folders.qubesLayer,
      etc,
      tmp: this.folders.tmp,
      sockets: this.folders.run,
    }) as [string, ...string[]];
    mkdirSync(dirname(this.folders.log), { recursive: true });
    const log = openSync(this.folders.log, 'a', 0o600);
    const hello = new Promise<void>((resolve) => {
      this.#hello = resolve;
    });
    // In a session of its own: a Ctrl-C at dom0's terminal is for dom0. The sandbox still ends when dom0
    // does.
    const child = spawn(program, args, {
      stdio: ['ignore', log, log],
      detached: true,
      cwd: '/',
      env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin' },
    });
    closeSync(log);
    this.#child = child;
    this.#gone = new Promise((resolve) => {
      const over = (): void => {
        this.#child = undefined;
        this.#agent?.close();
        this.#agentGone();
        for (const left of readdirSync(this.vchan)) removeIfThere(join(this.vchan, left));
        this.#setState('halted');
        resolve();
      };
      child.once('exit', over);
      child.once('error', over);
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () =>
          reject(
            new Error(
              `${this.spec.name} did not come up in ${startTimeoutMs / 1000} s; its log: ${this.folders.log}`,
            ),
          ),
        startTimeoutMs,
      );
    });
    const died = this.#gone.then(() => {
      throw new Error(`${this.spec.name} ended while it started; its log: ${this.folders.log}`);
    });
    died.catch(() => undefined);
    try {
      await Promise.race([hello, died, late]);
      this.#setState('running');
    } catch (error) {
      await this.kill();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #setState(state: VmState): void {
    if (this.state === state) return;
    this.state = state;
    this.#changed(this);
  }
}

/** An id that nobody guesses, short enough for a socket's path. */
export function newCallId(): string {
  return randomBytes(8).toString('hex');
}

export function removeIfThere(path: string): void {
  rmSync(path, { force: true, recursive: true });
}
