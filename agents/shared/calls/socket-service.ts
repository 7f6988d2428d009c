// SPDX-License-Identifier: GPL-2.0-or-later
// The harness of qrexec socket services: who is calling, with what argument, within which limits. Facts:
// docs/formats.md, "Service descriptor".
import { existsSync, unlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { AnyRefusal, printable } from '../refusal.js';
import { Refusal } from '../refusals.js';
import { matches, vmNamePattern } from '../formats/names.js';

/**
 * One call, after the descriptor. Bytes that came with the descriptor are put back: `stream` starts at the
 * caller's first byte.
 */
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
  handle: (call: Call) => Promise<void>;
  /** says a refusal of the harness where a plain line would not be understood */
  deny?: (stream: Socket, line: string) => void;
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
/** An honest caller begins at once: its client was started for this. */
const firstByteTimeoutMs = 10_000;
/**
 * From the answer to the end of the connection, for a caller that does not end it, and for one that does not
 * even read.
 */
const goodbyeMs = 2000;
const unreadMs = 30_000;
/**
 * qrexec gives a VM 128 places for calls from all VMs whose domain id is on one side of its own, however few
 * these are; some are left over.
 */
const sharedPlaces = 120;

/**
 * How many calls one VM may hold open at another, which `callers` VMs call: none of them, and no few of many,
 * can take the places of the others.
 */
export function callsPerSource(callers: number): number {
  return Math.max(16, Math.min(60, Math.floor(sharedPlaces / callers)));
}

/**
 * The calls that are open now, over all services of this VM. A call is open until its connection is closed,
 * whatever was answered.
 */
class OpenCalls {
  readonly #limit: number;
  readonly #bySource = new Map<string, number>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** @throws Refusal TOO_MANY_CALLS */
  enter(source: string, stream: Socket): void {
    const open = this.#bySource.get(source) ?? 0;
    if (open >= this.#limit)
      throw new Refusal('TOO_MANY_CALLS', `${open} calls of ${source} are open already`);
    if (stream.closed) return;
    this.#bySource.set(source, open + 1);
    stream.once('close', () => this.#bySource.set(source, (this.#bySource.get(source) ?? 1) - 1));
  }
}

/** `service+arg SOURCE`, NUL: the first bytes of every call. @throws Refusal BAD_DESCRIPTOR */
export function readDescriptor(untrusted: string): { service: string; argument: string; source: string } {
  const parts = /^([A-Za-z0-9_.-]+)(?:\+([A-Za-z0-9_.+-]*))? (\S+)$/.exec(untrusted);
  if (parts === null || !matches(vmNamePattern, parts[3]))
    throw new Refusal('BAD_DESCRIPTOR', 'the call names no service and source');
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
      if (end < 0 || end > descriptorLimitBytes)
        return finish(() => reject(new Refusal('BAD_DESCRIPTOR', 'the descriptor is too long')));
      const rest = seen.subarray(end + 1);
      finish(() => {
        if (rest.length > 0) stream.unshift(rest);
        resolve(seen.subarray(0, end).toString('latin1'));
      });
    };
    const onEnd = (): void =>
      finish(() => reject(new Refusal('BAD_DESCRIPTOR', 'the call ended before its descriptor')));
    const onError = (error: Error): void => finish(() => reject(error));
    const timer = setTimeout(
      () => finish(() => reject(new Refusal('BAD_DESCRIPTOR', 'no descriptor came'))),
      descriptorTimeoutMs,
    );
    stream.on('data', onData).on('end', onEnd).on('error', onError);
  });
}

/**
 * The answer is given: the caller's place is free once this end is closed too, so it is closed whatever the
 * caller does with its own.
 */
function leave(stream: Socket, graceMs: number): void {
  if (stream.closed) return;
  const close = (): void => void stream.destroy();
  const timer = setTimeout(close, unreadMs).unref();
  const answered = (): void => void setTimeout(close, graceMs).unref();
  if (stream.writableFinished) answered();
  else stream.once('finish', answered);
  stream.once('close', () => clearTimeout(timer));
  stream.resume();
}

async function serve(
  service: Service,
  stream: Socket,
  calls: OpenCalls,
  { report = reportToStderr, firstByteMs = firstByteTimeoutMs }: ServeOptions,
): Promise<void> {
  let who = '?';
  let silence: NodeJS.Timeout | undefined;
  // Whoever may not come in is out at once: calls that are refused one after the other must not hold places
  // either.
  let graceMs = 0;
  const refuse = (refusal: AnyRefusal): void => {
    report(`${service.name} from ${who}: ${refusal.line()}`);
    if (!stream.writable) return;
    if (service.deny !== undefined) service.deny(stream, refusal.line());
    else stream.end(`${refusal.line()}\n`);
  };
  try {
    const { service: name, argument, source } = readDescriptor(await untilDescriptor(stream));
    who = source;
    if (name !== service.name) throw new Refusal('WRONG_SERVICE', 'this socket is another service');
    calls.enter(source, stream);
    graceMs = goodbyeMs;
    if (!new RegExp(service.argument).test(argument))
      throw new Refusal('BAD_ARGUMENT', `the argument of ${service.name} is not acceptable`);
    const silent = stream.readableLength === 0 ? stream.bytesRead : -1;
    silence = setTimeout(() => {
      if (stream.bytesRead !== silent || stream.readableEnded) return;
      refuse(new Refusal('TOO_SLOW', `not a byte came within ${firstByteMs / 1000} s`));
      leave(stream, graceMs);
    }, firstByteMs).unref();
    await service.handle({ service: name, argument, source, stream });
  } catch (error) {
    if (error instanceof AnyRefusal) {
      refuse(error);
    } else {
      report(`${service.name} from ${who}: fault: ${printable(String((error as Error).stack ?? error))}`);
      if (stream.writable) stream.end('fault\n');
    }
  } finally {
    clearTimeout(silence);
    leave(stream, graceMs);
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
  /** VMs that call this one, where that is known */
  callers?: number;
  /** from the descriptor to the caller's first byte, or its end */
  firstByteMs?: number;
}

/** As many environments as a farm has, and the build-logs VM. */
const usualCallers = 5;

/**
 * Listens for every service. A handler's Refusal becomes the caller's one line `refused CODE detail`;
 * anything else it throws becomes `fault`, with the detail in this VM's log only. Handlers end the stream
 * themselves when they have answered; soon after they return it is closed.
 */
export async function serveSockets(
  services: readonly Service[],
  options: ServeOptions = {},
): Promise<{ close: () => Promise<void> }> {
  const report = options.report ?? reportToStderr;
  const calls = new OpenCalls(callsPerSource(options.callers ?? usualCallers));
  const handedOver = options.sockets ?? socketsFromSystemd();
  const servers: Server[] = [];
  for (const service of services) {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: false }, (stream) => {
      stream.on('error', (error) => report(`${service.name}: connection: ${printable(error.message)}`));
      void serve(service, stream, calls, options);
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
 * Everything the caller sends until its end. @throws Refusal TOO_LARGE beyond `limitBytes`, TOO_SLOW after
 * `timeoutMs`.
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
    const timer = setTimeout(
      () =>
        finish(() => reject(new Refusal('TOO_SLOW', `the input did not end within ${timeoutMs / 1000} s`))),
      timeoutMs,
    );
    stream.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose);
    stream.resume();
  });
}
