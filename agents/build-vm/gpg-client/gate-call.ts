// SPDX-License-Identifier: GPL-2.0-or-later
// The caller's end of split-gpg v1: the preamble in one write, 4096-byte frames, no half-close (a C server
// takes that for a caller that went away), done at the exit frame.
import { spawn } from 'node:child_process';
import { cleanEnvironment } from '../../shared/calls/qrexec-call.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import {
  dataFrames,
  endFrame,
  FrameReader,
  frameLimitBytes,
  writePreamble,
} from '../../shared/formats/split-gpg.js';
import { outputDescriptors, readGpgArguments } from '../../shared/formats/split-gpg-arguments.js';

export interface GateAnswer {
  status: number;
  stdout: Buffer;
  stderr: string;
  /** what came for --status-fd, where it was asked for */
  statusText: string;
}

const answerLimitBytes = 1024 * 1024 * 1024;
const timeoutMs = 600_000;

/**
 * @param args gpg's command line without argv[0]; --status-fd only with a number above 2
 * @throws Refusal CALL_REFUSED, NO_ANSWER, CALL_TIMED_OUT, ANSWER_TOO_LARGE, BAD_FRAME
 */
export function callGate(client: string, args: readonly string[], payload: Uint8Array): Promise<GateAnswer> {
  const streams = outputDescriptors(readGpgArguments(args).options).length;
  return new Promise((resolve, reject) => {
    const child = spawn(client, ['@default', 'qubes.Gpg'], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: cleanEnvironment,
    });
    const reader = new FrameReader(streams);
    const outputs = Array.from({ length: streams }, (): Buffer[] => []);
    let size = 0;
    let complaint = '';
    let done = false;
    const finish = (outcome: () => void): void => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      child.stdin.end();
      child.stdout.destroy();
      child.stderr.destroy();
      child.unref();
      outcome();
    };
    const refuse = (refusal: Refusal): void =>
      finish(() => {
        child.kill();
        reject(refusal);
      });
    const timer = setTimeout(
      () => refuse(new Refusal('CALL_TIMED_OUT', 'the keys VM did not answer in time')),
      timeoutMs,
    );
    const answer = (status: number): void => {
      const [stdout, stderr, statusText] = outputs.map((chunks) => Buffer.concat(chunks));
      finish(() =>
        resolve({
          status,
          stdout: stdout as Buffer,
          stderr: (stderr as Buffer).toString('utf8'),
          statusText: statusText?.toString('utf8') ?? '',
        }),
      );
    };
    child.stdout.on('data', (untrustedChunk: Buffer) => {
      try {
        for (const frame of reader.push(untrustedChunk)) {
          if (frame.kind === 'exit') return answer(frame.status);
          if (frame.kind === 'data') outputs[frame.index]?.push(frame.data);
        }
        size += untrustedChunk.length;
        if (size > answerLimitBytes) refuse(new Refusal('ANSWER_TOO_LARGE', 'the keys VM sends too much'));
      } catch (error) {
        finish(() => reject(error));
      }
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (complaint.length < 500) complaint += chunk.toString('latin1');
    });
    child.stdin.on('error', () => undefined);
    child.on('error', (error) => finish(() => reject(error)));
    child.on('close', (status) => {
      const why = printable(complaint.trim());
      if (status === 126) refuse(new Refusal('CALL_REFUSED', `qubes.Gpg: ${why || 'Request refused'}`));
      else
        refuse(
          new Refusal(
            'NO_ANSWER',
            `qubes.Gpg ended (${status ?? 'killed'}) without an answer${why === '' ? '' : `: ${why}`}`,
          ),
        );
    });
    child.stdin.write(writePreamble(args));
    sendPayload(child.stdin, payload);
  });
}

/** Sixteen full frames at a time: the socket's own pace, not all of a large file twice in memory. */
function sendPayload(stdin: NodeJS.WritableStream, payload: Uint8Array): void {
  const step = 16 * frameLimitBytes;
  let at = 0;
  const more = (): void => {
    while (at < payload.length) {
      const part = payload.subarray(at, (at += step));
      if (!stdin.write(dataFrames(0, part)) && at < payload.length) {
        stdin.once('drain', more);
        return;
      }
    }
    stdin.write(endFrame(0));
  };
  more();
}
