// SPDX-License-Identifier: GPL-2.0-or-later
// The wire between /usr/lib/build-infra/gpg and the agent: messages of a verb, a number and bytes
// (docs/formats.md). The agent asks, the caller does.
import type { Socket } from 'node:net';

export interface Message {
  verb: string;
  number: number;
  body: Buffer;
}

/** 8 characters of verb, filled with spaces; the number; the body's length; both big-endian. */
const headBytes = 16;
const nothing = Buffer.alloc(0);

/** The other end closed, or was killed: there is nobody left to answer to. */
export class CallerGone extends Error {
  override readonly name = 'CallerGone';
}

export class Messages {
  readonly #socket: Socket;
  #wake: () => void = () => undefined;

  readonly #lookMs: number;

  /** @param lookMs how often it is looked whether a caller that nothing is read from is still there */
  constructor(socket: Socket, lookMs = 5000) {
    this.#socket = socket;
    this.#lookMs = lookMs;
    for (const event of ['readable', 'end', 'error', 'close']) socket.on(event, () => this.#wake());
  }

  send(verb: string, number: number, body: Uint8Array = Buffer.alloc(0)): void {
    if (!this.#socket.writable) throw new CallerGone('the caller is gone');
    const head = Buffer.alloc(headBytes, ' ');
    head.write(verb, 'latin1');
    head.writeUInt32BE(number, 8);
    head.writeUInt32BE(body.length, 12);
    this.#socket.write(head);
    this.#socket.write(body);
  }

  /**
   * @param limit of the body, in bytes
   * @param whenThereIsRoom waited for between the head and the body, which stays in the socket until then;
   * its signal says that the caller is gone
   * @throws CallerGone, also for what is no message
   */
  async next(
    limit: number,
    whenThereIsRoom: (bytes: number, gone: AbortSignal) => Promise<void> = async () => undefined,
  ): Promise<Message> {
    const head = await this.#take(headBytes);
    const length = head.readUInt32BE(12);
    if (length > limit) throw new CallerGone(`a message of ${length} bytes`);
    await this.#whileThere((gone) => whenThereIsRoom(length, gone));
    return {
      verb: head.toString('latin1', 0, 8).trimEnd(),
      number: head.readUInt32BE(8),
      body: await this.#take(length),
    };
  }

  /** With bytes unread the end of the socket cannot be read: a write of nothing finds it. */
  async #whileThere(wait: (gone: AbortSignal) => Promise<void>): Promise<void> {
    const leaving = new AbortController();
    const gone = (): void => leaving.abort(new CallerGone('the caller is gone'));
    const look = setInterval(() => this.#socket.write(nothing), this.#lookMs);
    this.#socket.once('close', gone);
    if (this.#socket.destroyed) gone();
    try {
      await wait(leaving.signal);
    } finally {
      clearInterval(look);
      this.#socket.off('close', gone);
    }
  }

  async #take(bytes: number): Promise<Buffer> {
    if (bytes === 0) return Buffer.alloc(0);
    for (;;) {
      const part = this.#socket.read(bytes) as Buffer | null;
      if (part?.length === bytes) return part;
      if (part !== null || this.#socket.readableEnded || this.#socket.destroyed)
        throw new CallerGone('the caller is gone');
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
