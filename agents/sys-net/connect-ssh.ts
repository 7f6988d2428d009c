// SPDX-License-Identifier: GPL-2.0-or-later
// local.ConnectSSH+host: bytes between a VM without network and one configured TCP port, both ways, with
// half-close and back-pressure. We see only the ciphertext of ssh; the caller checks the host's key itself.
import { createConnection, type Socket } from 'node:net';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { Call, Reporter, Service } from '../shared/calls/socket-service.js';
import { hostPattern, type SshConfig } from './config.js';

/**
 * An ssh server has few places for connections that have not logged in (MaxStartups of sshd: from ten on it
 * drops some, whoever they are), and to it we are all one address. Whether a connection has logged in we
 * cannot see; it is given up by the server when it is this old (LoginGraceTime), and what has moved so much
 * has.
 */
const youthMs = 120_000;
const youthBytes = 1024 * 1024;
/** So many young connections one VM may have to one host. More of them wait. */
export const youngOfOne = 3;

/** The young connections to each host, by the VM that has them. */
class Beginners {
  readonly #young = new Map<string, number>();
  readonly #waiting = new Map<string, (() => void)[]>();

  /** Resolves, in turn, when there is a place. @throws Refusal TOO_MANY_CALLS */
  async enter(name: string, timeoutMs: number): Promise<void> {
    const young = this.#young.get(name) ?? 0;
    if (young < youngOfOne) return void this.#young.set(name, young + 1);
    const line = this.#waiting.get(name) ?? [];
    this.#waiting.set(name, line);
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        line.splice(line.indexOf(enter), 1);
        reject(
          new Refusal(
            'TOO_MANY_CALLS',
            `${youngOfOne} connections of this VM to this host are new and have not ended`,
          ),
        );
      }, timeoutMs);
      const enter = (): void => {
        clearTimeout(timer);
        resolve();
      };
      line.push(enter);
    });
  }

  leave(name: string): void {
    const next = this.#waiting.get(name)?.shift();
    if (next !== undefined) return next();
    const left = (this.#young.get(name) ?? 1) - 1;
    if (left === 0) this.#young.delete(name);
    else this.#young.set(name, left);
  }
}

export interface ConnectOptions {
  report: Reporter;
  /** after which a connection is no beginner any more, in ms */
  youthMs?: number;
  connectTimeoutMs?: number;
  /** without a byte in either direction; a push may make the far side think for minutes */
  idleMs?: number;
  /** the same, once one direction has ended: ssh does not half-close, so that side has most likely gone */
  halfOpenIdleMs?: number;
}

function connect(host: { address: string; port: number }, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const remote = createConnection({
      host: host.address,
      port: host.port,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
    });
    const fail = (why: string): void => {
      clearTimeout(timer);
      remote.destroy();
      reject(new Refusal('CANNOT_CONNECT', why));
    };
    const timer = setTimeout(() => fail('no connection in time'), timeoutMs);
    const onError = (error: NodeJS.ErrnoException): void => fail(error.code ?? 'connection failed');
    remote.once('error', onError);
    remote.once('connect', () => {
      clearTimeout(timer);
      remote.off('error', onError);
      resolve(remote);
    });
  });
}

/**
 * Joins two half-open sockets until both directions have ended, one of them broke, or nothing moved for too
 * long. Resolves, once both are closed, to why it ended. Never rejects.
 */
export function join(near: Socket, far: Socket, idleMs: number, halfOpenIdleMs: number): Promise<string> {
  if (near.destroyed || far.destroyed) {
    near.destroy();
    far.destroy();
    return Promise.resolve('cut off');
  }
  return new Promise((resolve) => {
    let why = 'ended';
    let open = 2;
    const broke = (reason: string): void => {
      if (why === 'ended') why = reason;
      near.destroy();
      far.destroy();
    };
    let moved = -1;
    let timer: NodeJS.Timeout;
    const watch = (limitMs: number): void => {
      clearInterval(timer);
      timer = setInterval(() => {
        const now = near.bytesRead + near.bytesWritten + far.bytesRead + far.bytesWritten;
        if (now === moved) broke('idle');
        moved = now;
      }, limitMs);
    };
    watch(idleMs);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.pipe(other);
      one.once('end', () => watch(Math.min(idleMs, halfOpenIdleMs)));
      one.on('error', (error: NodeJS.ErrnoException) => broke(printable(error.code ?? error.message)));
      one.on('close', () => {
        // A side that went away in the middle takes the other with it; one that ended properly has its last
        // bytes flushed.
        if (!one.readableEnded || !one.writableFinished) broke('cut off');
        open -= 1;
        if (open > 0) return;
        clearInterval(timer);
        resolve(why);
      });
    }
  });
}

export function connectSsh(config: SshConfig, options: ConnectOptions): Service {
  const hosts = new Map(config.sshHosts.map((host) => [host.host, host]));
  const beginners = new Beginners();
  const grownMs = options.youthMs ?? youthMs;
  return {
    name: 'local.ConnectSSH',
    argument: hostPattern,
    async handle(call: Call): Promise<void> {
      const host = hosts.get(call.argument);
      if (host === undefined) throw new Refusal('UNKNOWN_HOST', 'this host is not configured');
      const who = `local.ConnectSSH from ${call.source} to ${host.host}`;
      const place = `${call.source} ${host.host}`;
      await beginners.enter(place, grownMs + 10_000);
      const began = Date.now();
      let isYoung = true;
      const grown = (): void => {
        if (isYoung) beginners.leave(place);
        isYoung = false;
      };
      let remote: Socket | undefined;
      const moved = (): number => (remote?.bytesRead ?? 0) + (remote?.bytesWritten ?? 0);
      const timer = setInterval(
        () => {
          if (Date.now() - began >= grownMs || moved() > youthBytes) grown();
        },
        Math.min(1000, grownMs),
      ).unref();
      let why: string;
      try {
        remote = await connect(host, options.connectTimeoutMs ?? 30_000);
        options.report(`${who}: connected`);
        why = await join(call.stream, remote, options.idleMs ?? 900_000, options.halfOpenIdleMs ?? 120_000);
      } finally {
        clearInterval(timer);
        grown();
      }
      options.report(`${who}: ${why}, ${remote.bytesWritten} bytes out, ${remote.bytesRead} in`);
    },
  };
}
