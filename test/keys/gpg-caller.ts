// SPDX-License-Identifier: GPL-2.0-or-later
// A qubes.Gpg caller written for the tests, by the reference's bytes and not with the code under test.
import { callSocket, type KeysMachine } from './keys-machine.js';

export interface GpgAnswer {
  /** undefined: the stream ended without an exit frame */
  status: number | undefined;
  streams: Buffer[];
  raw: Buffer;
}

export function preamble(args: readonly string[]): Buffer {
  const area = Buffer.alloc(1024);
  const command = Buffer.from(`\0${args.join('\0')}\0`);
  command.copy(area);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(args.length === 0 ? 0 : command.length - 1);
  return Buffer.concat([length, area]);
}

export function frame(index: number, data: string | Uint8Array): Buffer {
  const head = Buffer.alloc(8);
  head.writeInt32LE(index, 0);
  head.writeUInt32LE(Buffer.byteLength(data), 4);
  return Buffer.concat([head, Buffer.from(data)]);
}

export function input(payload: string | Uint8Array): Buffer {
  const bytes = Buffer.from(payload);
  const frames: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 4096) frames.push(frame(0, bytes.subarray(at, at + 4096)));
  return Buffer.concat([...frames, frame(0, '')]);
}

export function readAnswer(raw: Buffer): GpgAnswer {
  const streams: Buffer[] = [];
  for (let at = 0; at + 8 <= raw.length;) {
    const index = raw.readInt32LE(at);
    if (index < 0) return { status: -index - 1, streams, raw };
    const length = raw.readUInt32LE(at + 4);
    streams[index] = Buffer.concat([
      streams[index] ?? Buffer.alloc(0),
      raw.subarray(at + 8, at + 8 + length),
    ]);
    at += 8 + length;
  }
  return { status: undefined, streams, raw };
}

export interface GpgCallOptions {
  source?: string;
  chunk?: number;
  halfClose?: boolean;
}

export async function callGpgRaw(
  machine: KeysMachine,
  bytes: Uint8Array,
  options: GpgCallOptions = {},
): Promise<GpgAnswer> {
  return readAnswer(
    await callSocket(
      `${machine.root}/run/build-infra/qubes.Gpg.sock`,
      `qubes.Gpg+ ${options.source ?? 'build-debian'}`,
      bytes,
      options,
    ),
  );
}

export function callGpg(
  machine: KeysMachine,
  args: readonly string[],
  payload: string | Uint8Array = '',
  options: GpgCallOptions = {},
): Promise<GpgAnswer> {
  return callGpgRaw(machine, Buffer.concat([preamble(args), input(payload)]), options);
}

/** The code in the one line on the caller's stderr, for an answer that is a refusal in every respect. */
export function refusalCode(answer: GpgAnswer): string {
  const line = answer.streams[1]?.toString() ?? '';
  const code = /^build-infra: refused ([A-Z_]+)[^\n]*\n$/.exec(line)?.[1];
  if (answer.status !== 2 || (answer.streams[0]?.length ?? 0) > 0 || code === undefined)
    return `not a refusal: ${answer.status} ${line}`;
  return code;
}
