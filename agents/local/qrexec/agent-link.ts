// SPDX-License-Identifier: GPL-2.0-or-later
// dom0's connection to the qrexec agent of one VM. Whatever comes from there is hostile: it can only spoil
// calls to that VM.
import type { Socket } from 'node:net';
import { LineReader } from './line-reader.js';

export interface AgentMessage {
  event: 'hello' | 'listening' | 'met' | 'ended';
  id: string;
  status: number | null;
}

const lineCharacters = 65_536;

function readMessage(untrustedLine: string): AgentMessage | undefined {
  try {
    const { event, id = '', status = null } = JSON.parse(untrustedLine) as Record<string, unknown>;
    if (event !== 'hello' && event !== 'listening' && event !== 'met' && event !== 'ended') return undefined;
    if (typeof id !== 'string' || (status !== null && !Number.isInteger(status))) return undefined;
    return { event, id, status: status as number | null };
  } catch {
    return undefined;
  }
}

/** Calls `take` for each message; a line that is none ends the connection. */
export class AgentLink {
  readonly #socket: Socket;

  constructor(socket: Socket, take: (message: AgentMessage) => void, gone: () => void) {
    this.#socket = socket;
    const reader = new LineReader();
    socket.on('data', (chunk: Buffer) => {
      for (const untrustedLine of reader.take(chunk)) {
        const message = readMessage(untrustedLine);
        if (message === undefined) return void socket.destroy();
        take(message);
      }
      if (reader.waiting > lineCharacters) socket.destroy();
    });
    socket.on('close', gone);
  }

  send(message: object): void {
    this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  close(): void {
    this.#socket.destroy();
  }
}
