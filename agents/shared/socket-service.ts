// SPDX-License-Identifier: GPL-2.0-or-later
// The harness of qrexec socket services: who is calling, with what argument, within which limits. Facts: docs/formats.md, "Service descriptor".
import { existsSync, unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { printable, Refusal } from './refusal.js';
import { matches, vmNamePattern } from './formats/names.js';

/** One call, after the descriptor. Bytes that came with the descriptor are put back: `stream` starts at the caller's first byte. */
export interface Call {
  service: string;
  /** empty where the caller gave none */
  argument: string;
  /** the calling VM, as dom0 says; the agent connecting is believed (docs/threat-model.md) */
  source: string;
  /** caller's data in, answer out; half-open: the caller's end does not close it */
  stream: Socket;
}

export interface Service {
  /** the qrexec name, e.g. qubesbuilder.LogReceived */
  name: string;
  /** what the argument must match, as a pattern anchored at both ends; '^$' for none */
  argument: string;
  handle(call: Call): Promise<void>;
}

export interface Reporter {
  /** one line for this VM's own log; untrusted text must be printable() already */
  (line: string): void;
}

/** systemd's journal, or whoever holds our stderr. */
export const reportToStderr: Reporter = (line) => {
  process.stderr.write(`${line}\n`);
};

const descriptorLimitBytes = 4096;
const descriptorTimeoutMs = 10_000;

/** `service+arg SOURCE`, NUL: the first bytes of every call. @throws Refusal BAD_DESCRIPTOR */
export function readDescriptor(untrusted: string): { service: string; argument: string; source: string } {
  const parts = /^([A-Za-z0-9_.-]+)(?:\+([A-Za-z0-9_.+-]*))? (\S+)$/.exec(untrusted);
  if (parts === null || !matches(vmNamePattern, parts[3])) throw new Refusal('BAD_DESCRIPTOR', 'the call names no service and source');
  return { service: parts[1] as string, argument: parts[2] ?? '', source: parts[3] };
}

function untilDescriptor(stream: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let seen = Buffer.alloc(0);
    const finish = (outcome: () => void): void => {
      clearTimeout(timer);
      stream.off('data', onData).off('end', onEnd).off('error', onError);
      outcome();
    };
    const onData = (chunk: Buffer): void => {
      seen = Buffer.concat([seen, chunk]);
      const end = seen.indexOf(0);
      if (end < 0 && seen.length <= descriptorLimitBytes) return;
      stream.pause();
      if (end < 0 || end > descriptorLimitBytes) return finish(() => reject(new Refusal('BAD_DESCRIPTOR', 'the descriptor is too long')));
      const rest = seen.subarray(end + 1);
      finish(() => {
        if (rest.length > 0) stream.unshift(rest);
        resolve(seen.subarray(0, end).toString('latin1'));
      });
    };
    const onEnd = (): void => finish(() => reject(new Refusal('BAD_DESCRIPTOR', 'the call ended before its descriptor')));
    const onError = (error: Error): void => finish(() => reject(error));
    const timer = setTimeout(() => finish(() => reject(new Refusal('BAD_DESCRIPTOR', 'no descriptor came'))), descriptorTimeoutMs);
    stream.on('data', onData).on('end', onEnd).on('error', onError);
  });
}

async function serve(service: Service, stream: Socket, report: Reporter): Promise<void> {
  let who = '?';
  try {
    const { service: name, argument, source } = readDescriptor(await untilDescriptor(stream));
    who = source;
    if (name !== service.name) throw new Refusal('WRONG_SERVICE', 'this socket is another service');
    if (!new RegExp(service.argument).test(argument)) throw new Refusal('BAD_ARGUMENT', `the argument of ${service.name} is not acceptable`);
    await service.handle({ service: name, argument, source, stream });
  } catch (error) {
    if (error instanceof Refusal) {
      report(`${service.name} from ${who}: ${error.line()}`);
      if (stream.writable) stream.end(`${error.line()}\n`);
    } else {
      report(`${service.name} from ${who}: fault: ${printable(String((error as Error).stack ?? error))}`);
      if (stream.writable) stream.end('fault\n');
    }
  }
}

/** The listening sockets that systemd handed over, by FileDescriptorName (sd_listen_fds(3)). */
export function socketsFromSystemd(environment: NodeJS.ProcessEnv = process.env): Map<string, number> {
  const sockets = new Map<string, number>();
  if (environment['LISTEN_PID'] !== String(process.pid)) return sockets;
  const names = (environment['LISTEN_FDNAMES'] ?? '').split(':');
  for (let i = 0; i < Number(environment['LISTEN_FDS'] ?? 0); i++) sockets.set(names[i] ?? '', 3 + i);
  return sockets;
}

/** Where a service listens when nobody handed its socket over. */
export function socketPath(service: string, folder = '/run/build-infra'): string {
  return `${folder}/${service}.sock`;
}

export interface ServeOptions {
  report?: Reporter;
  /** handed-over sockets; by default systemd's */
  sockets?: Map<string, number>;
  /** where to make sockets that were not handed over (tests, a start by hand) */
  folder?: string;
}

/**
 * Listens for every service. A handler's Refusal becomes the caller's one line `refused CODE detail`; anything else it throws
 * becomes `fault`, with the detail in this VM's log only. Handlers end the stream themselves when they have answered.
 */
export async function serveSockets(services: readonly Service[], options: ServeOptions = {}): Promise<{ close(): Promise<void> }> {
  const report = options.report ?? reportToStderr;
  const handedOver = options.sockets ?? socketsFromSystemd();
  const servers: Server[] = [];
  for (const service of services) {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: false }, (stream) => {
      stream.on('error', (error) => report(`${service.name}: connection: ${printable(error.message)}`));
      void serve(service, stream, report);
    });
    const fd = handedOver.get(service.name);
    const path = socketPath(service.name, options.folder);
    if (fd === undefined && existsSync(path)) unlinkSync(path);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(fd === undefined ? { path, backlog: 511 } : { fd }, resolve);
    });
    servers.push(server);
  }
  return {
    close: async () => {
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    },
  };
}

/**
 * Everything the caller sends until its end. @throws Refusal TOO_LARGE beyond `limitBytes`, TOO_SLOW after `timeoutMs`.
 */
export function readAll(stream: Socket, limitBytes: number, timeoutMs = 60_000): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const finish = (outcome: () => void): void => {
      clearTimeout(timer);
      stream.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose);
      outcome();
    };
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      if (size > limitBytes) {
        stream.pause();
        return finish(() => reject(new Refusal('TOO_LARGE', `more than ${limitBytes} bytes`)));
      }
      chunks.push(chunk);
    };
    const onEnd = (): void => finish(() => resolve(Buffer.concat(chunks)));
    const onError = (error: Error): void => finish(() => reject(error));
    const onClose = (): void => finish(() => reject(new Error('the caller went away')));
    const timer = setTimeout(() => finish(() => reject(new Refusal('TOO_SLOW', `the input did not end within ${timeoutMs / 1000} s`))), timeoutMs);
    stream.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose);
    stream.resume();
  });
}
