// SPDX-License-Identifier: GPL-2.0-or-later
// A receiver for tests that keeps to the protocol of docs/formats.md, "Log stream", and breaks at will.
import { createServer, type Server, type Socket } from 'node:net';
import { logEndPattern, logHeaderPrefix, type LogHeader } from '../../agents/shared/formats/log-stream.js';

export interface ReceivedLog {
  path: string;
  header: LogHeader;
  lines: string[];
  ended: boolean;
}

export class TestReceiver {
  readonly logs: ReceivedLog[] = [];
  /** called for each line; true breaks the connection after the line was kept */
  breakAt: (log: ReceivedLog, line: string) => boolean = () => false;
  /** a refusal line for new logs, while set */
  refuse: string | undefined;
  /** publishes a log that ended; returns the commit */
  publish: (log: ReceivedLog) => string = () => 'a'.repeat(40);
  /** as which path a log that ended is published */
  publishedAs: (log: ReceivedLog) => string = (log) => log.path;
  /** no `synced` while true */
  silent = false;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #count = 0;

  private constructor() {
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
  }

  static async listen(path: string): Promise<TestReceiver> {
    const receiver = new TestReceiver();
    await new Promise<void>((resolve) => receiver.#server.listen(path, resolve));
    return receiver;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  ofStage(stage: string): ReceivedLog[] {
    return this.logs.filter((log) => log.header.stage === stage);
  }

  text(): string {
    return this.logs.flatMap((log) => log.lines).join('\n');
  }

  #open(header: LogHeader): ReceivedLog {
    const continued =
      header.continues === undefined
        ? undefined
        : this.logs.find((log) => log.path === header.continues?.path);
    if (continued !== undefined) return continued;
    const log = {
      path: `build-debian/2026-11-21/log_2026-11-21_20-00-${String(this.#count % 60).padStart(2, '0')}${this.#count < 60 ? '' : `.${Math.floor(this.#count / 60)}`}`,
      header,
      lines: [],
      ended: false,
    };
    this.#count++;
    this.logs.push(log);
    return log;
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
    let partial = '';
    let log: ReceivedLog | undefined;
    let described = false;
    socket.on('data', (chunk: Buffer) => {
      partial += chunk.toString('latin1');
      if (!described) {
        const end = partial.indexOf('\0');
        if (end < 0) return;
        partial = partial.slice(end + 1);
        described = true;
      }
      let fresh = 0;
      for (let end = partial.indexOf('\n'); end >= 0 && !socket.destroyed; end = partial.indexOf('\n')) {
        const line = partial.slice(0, end);
        partial = partial.slice(end + 1);
        if (log === undefined) {
          if (this.refuse !== undefined) return void socket.end(`${this.refuse}\n`);
          log = this.#open(JSON.parse(line.slice(logHeaderPrefix.length)) as LogHeader);
          socket.write(`opened ${log.path} ${log.lines.length}\n`);
          continue;
        }
        log.lines.push(line);
        fresh++;
        if (this.breakAt(log, line)) return void socket.destroy();
      }
      if (log !== undefined && fresh > 0 && !this.silent) socket.write(`synced ${log.lines.length}\n`);
    });
    socket.on('end', () => {
      if (log === undefined || !logEndPattern.test(log.lines.at(-1) ?? '')) return void socket.end();
      log.ended = true;
      socket.end(`${this.publishedAs(log)}\npublished ${this.publish(log)} sha256:${'b'.repeat(64)}\n`);
    });
  }
}
