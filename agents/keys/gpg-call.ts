// SPDX-License-Identifier: GPL-2.0-or-later
// One qubes.Gpg call on the wire: reading the command line and the payload, and answering in frames. What is
// sent is hostile.
import type { Socket } from 'node:net';
import { Refusal } from './refusals.js';
import {
  dataFrames,
  endFrame,
  exitFrame,
  FrameReader,
  preambleBytes,
  readPreamble,
} from '../shared/formats/split-gpg.js';
import { readAnswerStreams, type AnswerStreams } from './gpg-request.js';

/** The caller closed before it had sent all: nobody waits for an answer. */
export class CallerGone extends Error {}

export interface CallLimits {
  /** for the command line, and for the payload as a whole */
  preambleMs: number;
  payloadMs: number;
}

const moreThanPayload = (): Refusal => new Refusal('BAD_FRAME', 'something follows the end of the payload');

type Sink = (bytes: Buffer) => void;

export class GpgCall {
  readonly #stream: Socket;
  readonly #frames = new FrameReader(1);
  #early = Buffer.alloc(0);
  #more = false;
  #streams: AnswerStreams = { count: 2, status: undefined };

  constructor(stream: Socket) {
    this.#stream = stream;
  }

  /**
   * Waits until `take` says it has enough.
   * @throws Refusal TOO_SLOW, what `take` throws, CallerGone
   */
  #receive(take: (chunk: Buffer) => boolean, timeoutMs: number): Promise<void> {
    const stream = this.#stream;
    return new Promise((resolve, reject) => {
      const finish = (error?: Error): void => {
        clearTimeout(timer);
        stream.pause();
        stream.off('data', onData).off('end', onGone).off('close', onGone).off('error', onGone);
        if (error === undefined) resolve();
        else reject(error);
      };
      const onData = (chunk: Buffer): void => {
        try {
          if (take(chunk)) finish();
        } catch (error) {
          finish(error as Error);
        }
      };
      const onGone = (): void => finish(new CallerGone('the caller went away'));
      const timer = setTimeout(
        () => finish(new Refusal('TOO_SLOW', `the call did not come within ${timeoutMs / 1000} s`)),
        timeoutMs,
      );
      if (stream.destroyed || stream.readableEnded) return onGone();
      stream.on('data', onData).on('end', onGone).on('close', onGone).on('error', onGone);
      stream.resume();
    });
  }

  /** @throws Refusal BAD_PREAMBLE, BAD_CHARACTER, TOO_SLOW; CallerGone */
  async readArguments(timeoutMs: number): Promise<string[]> {
    await this.#receive((chunk) => {
      this.#early = Buffer.concat([this.#early, chunk]);
      return this.#early.length >= preambleBytes;
    }, timeoutMs);
    const untrustedArgs = readPreamble(this.#early.subarray(0, preambleBytes));
    this.#early = this.#early.subarray(preambleBytes);
    this.#streams = readAnswerStreams(untrustedArgs);
    return untrustedArgs;
  }

  /**
   * Gives the payload to `sink` until the caller says that it ends; after that nothing may come. @throws
   * Refusal BAD_FRAME, TOO_SLOW, what `sink` throws; CallerGone
   */
  async readPayload(sink: Sink, timeoutMs: number): Promise<void> {
    let ended = false;
    const take = (chunk: Buffer): boolean => {
      for (const frame of this.#frames.push(chunk)) {
        if (frame.kind === 'exit') throw new CallerGone('the caller ended the call');
        if (ended) throw moreThanPayload();
        if (frame.kind === 'end') ended = true;
        else sink(frame.data);
      }
      if (ended && !this.#frames.complete) throw moreThanPayload();
      return ended;
    };
    const early = this.#early;
    this.#early = Buffer.alloc(0);
    if (!take(early)) await this.#receive(take, timeoutMs);
    this.#stream.on('data', () => (this.#more = true)).resume();
  }

  /** What came since the payload's end. @throws Refusal BAD_FRAME */
  refuseMore(): void {
    if (this.#more) throw moreThanPayload();
  }

  get callerIsThere(): boolean {
    return !this.#stream.destroyed && this.#stream.writable;
  }

  #finish(parts: Buffer[], status: number): void {
    const stream = this.#stream;
    const ends = Array.from({ length: this.#streams.count }, (_, index) => endFrame(index));
    if (!stream.writable) return;
    stream.end(Buffer.concat([...parts, ...ends, exitFrame(status)]));
    // What the caller still sends is read and dropped: closing over unread bytes could take our answer with
    // it.
    stream.on('data', () => undefined).resume();
  }

  answer(output: Buffer, statusText = ''): void {
    const status =
      this.#streams.status === undefined || statusText === ''
        ? []
        : [dataFrames(this.#streams.status, Buffer.from(statusText))];
    this.#finish([...status, dataFrames(0, output)], 0);
  }

  /**
   * One readable line on the caller's stderr, a status line if one is read, exit status 2. Never a bare
   * close.
   */
  deny(line: string): void {
    const status =
      this.#streams.status === undefined
        ? []
        : [dataFrames(this.#streams.status, Buffer.from('[GNUPG:] FAILURE sign 1\n'))];
    this.#finish([dataFrames(1, Buffer.from(`build-infra: ${line}\n`)), ...status], 2);
  }
}
