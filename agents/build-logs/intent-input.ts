// SPDX-License-Identifier: GPL-2.0-or-later
// What a caller of BuildLog+intent sends: the document's line, then the payloads that have to be public, with
// nothing between or behind. docs/formats.md, "Intent". The document is judged before room is made for the
// payloads, and these before anything is published.
import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import {
  intentLimitBytes,
  publishedDocumentLimitBytes,
  publishedPayloadLimitBytes,
  publishedPayloads,
  type HashedFile,
  type Intent,
} from '../shared/formats/intent.js';
import { Refusal } from './refusals.js';

export interface Payload {
  sha256: string;
  bytes: Buffer;
}

/** Reads a socket piece by piece; the rest stays in the kernel, and so with the caller. */
export class IntentInput {
  readonly #chunks: AsyncIterator<Buffer, undefined>;
  readonly #timeoutMs: number;
  #rest: Buffer = Buffer.alloc(0);

  /** @param timeoutMs for the document, and again for the payloads */
  constructor(stream: Socket, timeoutMs: number) {
    this.#chunks = stream.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer, undefined>;
    this.#timeoutMs = timeoutMs;
  }

  /** Up to the first newline and with it, or all there is. @throws Refusal TOO_LARGE, TOO_SLOW */
  async document(): Promise<Buffer> {
    const deadline = Date.now() + this.#timeoutMs;
    const parts: Buffer[] = [];
    for (let size = 0; ;) {
      const chunk = await this.#next(deadline);
      if (chunk === undefined) return Buffer.concat(parts);
      const end = chunk.indexOf(10) + 1;
      const part = end === 0 ? chunk : chunk.subarray(0, end);
      size += part.length;
      if (size > intentLimitBytes)
        throw new Refusal(
          'TOO_LARGE',
          `the document has more than ${intentLimitBytes} bytes, or no newline before the payloads`,
        );
      parts.push(part);
      if (end === 0) continue;
      this.#rest = chunk.subarray(end);
      return Buffer.concat(parts);
    }
  }

  /**
   * Exactly these, and then the end. @throws Refusal PAYLOAD_MISSING, PAYLOAD_DIFFERS, TOO_LARGE, TOO_SLOW
   */
  async payloads(wanted: readonly HashedFile[]): Promise<Payload[]> {
    const deadline = Date.now() + this.#timeoutMs;
    const found: Payload[] = [];
    for (const { name, size, sha256 } of wanted) {
      const bytes = Buffer.alloc(size);
      for (let at = 0; at < size;) {
        const chunk = this.#rest.length > 0 ? this.#rest : await this.#next(deadline);
        if (chunk === undefined)
          throw new Refusal(
            'PAYLOAD_MISSING',
            `${name}: ${at} of ${size} bytes came after the document; its bytes have to be published`,
            '/payload',
          );
        const taken = chunk.copy(bytes, at, 0, size - at);
        this.#rest = chunk.subarray(taken);
        at += taken;
      }
      if (createHash('sha256').update(bytes).digest('hex') !== sha256)
        throw new Refusal('PAYLOAD_DIFFERS', `${name}: other bytes came than the document names`, '/payload');
      found.push({ sha256, bytes });
    }
    if (this.#rest.length > 0 || (await this.#next(deadline)) !== undefined)
      throw new Refusal('TOO_LARGE', 'more came than the document and its payloads');
    return found;
  }

  async #next(deadline: number): Promise<Buffer | undefined> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Refusal('TOO_SLOW', `the input did not end within ${this.#timeoutMs / 1000} s`)),
        Math.max(0, deadline - Date.now()),
      );
    });
    try {
      const next = await Promise.race([this.#chunks.next(), late]);
      return next.value;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** @throws Refusal TOO_LARGE; PAYLOAD_DIFFERS where one SHA-256 has two sizes */
export function payloadsToPublish(intents: readonly Intent[]): HashedFile[] {
  const wanted = publishedPayloads(intents);
  const large = wanted.find(({ size }) => size > publishedPayloadLimitBytes);
  if (large !== undefined)
    throw new Refusal(
      'TOO_LARGE',
      `${large.name}: what is signed for this purpose is published, so it has at most ${publishedPayloadLimitBytes} bytes`,
      '/payload',
    );
  const sizes = new Map(wanted.map(({ sha256, size }) => [sha256, size]));
  if (intents.some(({ payload }) => (sizes.get(payload.sha256) ?? payload.size) !== payload.size))
    throw new Refusal('PAYLOAD_DIFFERS', 'the document names one SHA-256 with two sizes', '/payload');
  if (sumOf(wanted) > publishedDocumentLimitBytes)
    throw new Refusal(
      'TOO_LARGE',
      `the payloads of one document have at most ${publishedDocumentLimitBytes} bytes`,
      '/payload',
    );
  return wanted;
}

export const sumOf = (files: readonly HashedFile[]): number => files.reduce((sum, { size }) => sum + size, 0);
