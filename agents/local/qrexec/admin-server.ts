// SPDX-License-Identifier: GPL-2.0-or-later
// The admin side of dom0: JSON lines over a socket that only its owner can open.
import { chmodSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { VmSpec } from '../vm/vm-spec.js';
import type { Dom0Event, ExecRequest, VmStatus } from './events.js';
import { LineReader } from './line-reader.js';

interface AdminRequest {
  id: number;
  op: string;
  vm?: string;
  exec?: ExecRequest;
  /** of `add` */
  spec?: VmSpec;
}

/** What of dom0 is administered. */
export interface AdministeredDom0 {
  list: () => VmStatus[];
  addVm: (spec: VmSpec) => Promise<void>;
  startVm: (name: string) => Promise<void>;
  stopVm: (name: string) => Promise<void>;
  killVm: (name: string) => Promise<void>;
  prepareExec: (vm: string, request: ExecRequest) => Promise<string>;
  on: (event: 'event', listener: (event: Dom0Event) => void) => unknown;
  off: (event: 'event', listener: (event: Dom0Event) => void) => unknown;
  emit: (event: 'shutdown') => boolean;
}

export class AdminServer {
  readonly #server: Server;
  readonly #connections = new Set<Socket>();

  private constructor(dom0: AdministeredDom0) {
    this.#server = createServer((connection) => {
      this.#connections.add(connection);
      connection.on('close', () => this.#connections.delete(connection));
      serve(dom0, connection);
    });
  }

  /** @throws Error where another dom0 is listening; what a killed one left is removed */
  static async listen(dom0: AdministeredDom0, path: string): Promise<AdminServer> {
    if (await answers(path)) throw new Error(`dom0 is running already (${path})`);
    rmSync(path, { force: true });
    const admin = new AdminServer(dom0);
    await new Promise<void>((resolve, reject) => {
      admin.#server.once('error', reject);
      admin.#server.listen(path, resolve);
    });
    chmodSync(path, 0o600);
    return admin;
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.end();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}

function serve(dom0: AdministeredDom0, connection: Socket): void {
  const send = (message: object): void => {
    if (connection.writable) connection.write(`${JSON.stringify(message)}\n`);
  };
  const onEvent = (event: Dom0Event): void => send(event);
  const reader = new LineReader();
  connection.on('error', () => undefined);
  connection.on('close', () => dom0.off('event', onEvent));
  connection.on('data', (chunk: Buffer) => {
    for (const line of reader.take(chunk)) {
      const request = readRequest(line);
      if (request === undefined) return void connection.destroy();
      answer(dom0, request, onEvent).then(
        (result) => send({ id: request.id, result }),
        (error: unknown) => send({ id: request.id, error: (error as Error).message }),
      );
    }
  });
}

function readRequest(line: string): AdminRequest | undefined {
  try {
    return JSON.parse(line) as AdminRequest;
  } catch {
    return undefined;
  }
}

async function answer(
  dom0: AdministeredDom0,
  request: AdminRequest,
  onEvent: (event: Dom0Event) => void,
): Promise<unknown> {
  const vm = request.vm ?? '';
  switch (request.op) {
    case 'list':
      return dom0.list();
    case 'add':
      return void (await dom0.addVm(request.spec as VmSpec));
    case 'start':
      return void (await dom0.startVm(vm));
    case 'stop':
      return void (await dom0.stopVm(vm));
    case 'kill':
      return void (await dom0.killVm(vm));
    case 'exec':
      return await dom0.prepareExec(vm, request.exec as ExecRequest);
    case 'events':
      return void dom0.on('event', onEvent);
    case 'shutdown':
      // The answer leaves first; then everything ends, this connection too.
      setImmediate(() => dom0.emit('shutdown'));
      return undefined;
    default:
      throw new Error(`no such operation: ${request.op}`);
  }
}
