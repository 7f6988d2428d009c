// SPDX-License-Identifier: GPL-2.0-or-later
// The split-gpg v1 wire of qubes.Gpg, pure: docs/formats.md, "split-gpg v1". Both ends use it: the keys VM
// reads what a hostile build VM sends, and the gpg client reads what the keys VM answers. All integers are
// 32-bit little-endian.
//
// caller to keys VM: a preamble of 1028 bytes (the command line), then frames. Back: frames only, the last
// one an exit frame.
import { Refusal } from '../refusals.js';

export const commandAreaBytes = 1024;
export const preambleBytes = 4 + commandAreaBytes;
/** of one frame's payload */
export const frameLimitBytes = 4096;

/**
 * Index of a stream within its direction, never a real descriptor: callers send 0 (stdin); answers come on 0
 * (stdout), 1 (stderr), 2...
 */
export type Frame =
  | { kind: 'data'; index: number; data: Buffer }
  | { kind: 'end'; index: number }
  | { kind: 'exit'; status: number };

/**
 * What an argument may hold: printable ASCII, or well-formed UTF-8 above it. Control bytes end a terminal
 * line or a log line.
 * @throws Refusal BAD_CHARACTER
 */
function readArgument(untrustedBytes: Buffer): string {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(untrustedBytes);
  } catch {
    throw new Refusal('BAD_CHARACTER', 'an argument is not UTF-8');
  }
  if (/[\x00-\x1f\x7f]/.test(text))
    throw new Refusal('BAD_CHARACTER', 'an argument holds a control character');
  return text;
}

/**
 * The 1028 bytes that must go out in one write (a C server reads them with a single read).
 * @param args without argv[0]
 * @throws Refusal COMMAND_TOO_LONG beyond 1024 bytes with a NUL before each argument and at the end,
 * BAD_CHARACTER
 */
export function writePreamble(args: readonly string[]): Buffer {
  for (const arg of args) readArgument(Buffer.from(arg));
  const command = Buffer.from(`\0${args.map((arg) => `${arg}\0`).join('')}`);
  if (command.length > commandAreaBytes)
    throw new Refusal('COMMAND_TOO_LONG', `the command line is longer than ${commandAreaBytes} bytes`);
  const preamble = Buffer.alloc(preambleBytes);
  preamble.writeUInt32LE(command.length - 1, 0);
  command.copy(preamble, 4);
  return preamble;
}

/**
 * The arguments in 1028 bytes of preamble. Bytes before the first NUL are skipped: old callers put argv[0]
 * there.
 * @throws Refusal BAD_PREAMBLE, BAD_CHARACTER
 */
export function readPreamble(untrustedBytes: Buffer): string[] {
  if (untrustedBytes.length !== preambleBytes)
    throw new Refusal('BAD_PREAMBLE', 'the preamble is not 1028 bytes');
  const last = untrustedBytes.readUInt32LE(0);
  if (last >= commandAreaBytes) throw new Refusal('BAD_PREAMBLE', 'the command line is longer than its area');
  const command = untrustedBytes.subarray(4, 4 + last + 1);
  if (command[last] !== 0) throw new Refusal('BAD_PREAMBLE', 'the command line does not end in NUL');
  const args: string[] = [];
  for (let start = command.indexOf(0) + 1; start < command.length;) {
    const end = command.indexOf(0, start);
    args.push(readArgument(command.subarray(start, end)));
    start = end + 1;
  }
  return args;
}

function header(index: number, length: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeInt32LE(index, 0);
  bytes.writeUInt32LE(length, 4);
  return bytes;
}

/**
 * `data` as frames of at most 4096 bytes, in one buffer. No data gives no frame: an empty frame would mean
 * the stream's end.
 */
export function dataFrames(index: number, data: Uint8Array): Buffer {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < data.length; at += frameLimitBytes) {
    const part = data.subarray(at, at + frameLimitBytes);
    parts.push(header(index, part.length), part);
  }
  return Buffer.concat(parts);
}

export function endFrame(index: number): Buffer {
  return header(index, 0);
}

/** @param status 0 to 255 */
export function exitFrame(status: number): Buffer {
  return header(-(status & 0xff) - 1, 0);
}

/**
 * Frames out of chunks cut anywhere. Holds at most one incomplete frame (4104 bytes) and copies no payload
 * that came whole. After an exit frame the rest is ignored, as the C peers do.
 */
export class FrameReader {
  readonly #streams: number;
  #rest: Buffer = Buffer.alloc(0);
  #ended = false;

  /** @param streams how many streams this direction has: indexes 0 to streams - 1 */
  constructor(streams: number) {
    this.#streams = streams;
  }

  /** Whether the bytes so far end between two frames. */
  get complete(): boolean {
    return this.#rest.length === 0;
  }

  /**
   * @throws Refusal BAD_FRAME: a payload over 4096 bytes, or a stream that this call does not have. The
   * reader is of no use after that.
   */
  push(untrustedChunk: Buffer): Frame[] {
    const frames: Frame[] = [];
    let bytes = this.#rest.length === 0 ? untrustedChunk : Buffer.concat([this.#rest, untrustedChunk]);
    while (!this.#ended && bytes.length >= 8) {
      const index = bytes.readInt32LE(0);
      const length = bytes.readUInt32LE(4);
      if (length > frameLimitBytes)
        throw new Refusal('BAD_FRAME', `a frame holds more than ${frameLimitBytes} bytes`);
      if (index >= this.#streams)
        throw new Refusal('BAD_FRAME', 'a frame is for a stream that this call does not have');
      if (index < 0) {
        this.#ended = true;
        frames.push({ kind: 'exit', status: -(index + 1) & 0xff });
      } else if (length === 0) {
        frames.push({ kind: 'end', index });
        bytes = bytes.subarray(8);
      } else {
        if (bytes.length < 8 + length) break;
        frames.push({ kind: 'data', index, data: bytes.subarray(8, 8 + length) });
        bytes = bytes.subarray(8 + length);
      }
    }
    // A copy, so that four bytes of a header do not keep a caller's 64 KiB chunk alive.
    this.#rest = this.#ended ? Buffer.alloc(0) : Buffer.from(bytes);
    return frames;
  }
}
