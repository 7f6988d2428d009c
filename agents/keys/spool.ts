// SPDX-License-Identifier: GPL-2.0-or-later
// What a caller wants signed, hashed while it is written to a file that has no name: the bytes that were
// hashed are the bytes that gpg reads, nothing else in the VM can open them by a path, and a kill leaves
// nothing behind.
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, constants, openSync, unlinkSync, writeSync } from 'node:fs';
import { makeFolder } from '../shared/durable-files.js';
import { Refusal } from './refusals.js';

export interface SpoolLimits {
  /** of one payload, in bytes */
  each: number;
  /** of all payloads that are here at one time */
  total: number;
}

export class Spool {
  readonly #folder: string;
  readonly #limits: SpoolLimits;
  #held = 0;

  constructor(folder: string, limits: SpoolLimits) {
    makeFolder(folder, 0o700);
    this.#folder = folder;
    this.#limits = limits;
  }

  take(): SpooledPayload {
    return new SpooledPayload(this.#folder, this.#limits.each, (bytes) => {
      if (bytes > 0 && this.#held + bytes > this.#limits.total)
        throw new Refusal('SPOOL_FULL', 'too many bytes wait to be signed');
      this.#held += bytes;
    });
  }
}

export class SpooledPayload {
  /**
   * its offset stays 0: a program that is given this descriptor as its input reads the payload once, from the
   * start
   */
  readonly fd: number;
  readonly #limitBytes: number;
  readonly #account: (bytes: number) => void;
  readonly #hash = createHash('sha256');
  #size = 0;
  #closed = false;

  constructor(folder: string, limitBytes: number, account: (bytes: number) => void) {
    const path = `${folder}/${randomBytes(16).toString('hex')}`;
    this.fd = openSync(
      path,
      constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      0o600,
    );
    unlinkSync(path);
    this.#limitBytes = limitBytes;
    this.#account = account;
  }

  get size(): number {
    return this.#size;
  }

  /** @throws Refusal TOO_LARGE, SPOOL_FULL */
  add(bytes: Buffer): void {
    if (this.#size + bytes.length > this.#limitBytes)
      throw new Refusal('TOO_LARGE', `more than ${this.#limitBytes} bytes to sign`);
    this.#account(bytes.length);
    const start = this.#size;
    this.#size += bytes.length;
    this.#hash.update(bytes);
    for (let done = 0; done < bytes.length;)
      done += writeSync(this.fd, bytes, done, bytes.length - done, start + done);
  }

  /** Once, at the end. */
  sha256(): string {
    return this.#hash.digest('hex');
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.fd);
    this.#account(-this.#size);
  }
}
