// SPDX-License-Identifier: GPL-2.0-or-later
// Calling a service of another VM. The answer is in-band: whatever is not an explicit yes counts as no.
import { spawn } from 'node:child_process';
import { printable } from '../refusal.js';
import { Refusal } from '../refusals.js';

export const qrexecClient = '/usr/bin/qrexec-client-vm';

export interface QrexecCall {
  /** who to ask for; policy redirects @default */
  target?: string;
  /** service or service+argument */
  service: string;
  input?: Uint8Array | string;
  /** of the answer, in bytes */
  limitBytes?: number;
  timeoutMs?: number;
  /** is told the answer's first line as soon as it is there */
  onFirstLine?: (line: string) => void;
  /** the program to run in place of /usr/bin/qrexec-client-vm */
  client?: string;
}

/** A command's environment: nothing of ours but what programs need to run at all. */
export const cleanEnvironment: NodeJS.ProcessEnv = {
  PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
  LANG: 'C.UTF-8',
  HOME: process.env['HOME'] ?? '/',
};

/**
 * One call: sends `input`, ends it, returns the whole answer.
 * @throws Refusal CALL_REFUSED (policy, or the VM could not start), NO_SUCH_SERVICE, CALL_TIMED_OUT,
 * ANSWER_TOO_LARGE; any other end is a fault.
 */
export function callService(call: QrexecCall): Promise<Buffer> {
  const limit = call.limitBytes ?? 1024 * 1024;
  return new Promise((resolve, reject) => {
    const child = spawn(call.client ?? qrexecClient, [call.target ?? '@default', call.service], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: cleanEnvironment,
    });
    const chunks: Buffer[] = [];
    let size = 0;
    let complaint = '';
    let refusal: Refusal | undefined;
    const stop = (why: Refusal): void => {
      refusal ??= why;
      child.kill('SIGKILL');
    };
    let { onFirstLine } = call;
    const hear = (chunk: Buffer): void => {
      chunks.push(chunk);
      if (onFirstLine === undefined || !chunk.includes(10)) return;
      onFirstLine(Buffer.concat(chunks).toString('utf8').split('\n')[0] as string);
      onFirstLine = undefined;
    };
    const timer = setTimeout(
      () => stop(new Refusal('CALL_TIMED_OUT', `${call.service} did not answer in time`)),
      call.timeoutMs ?? 120_000,
    );
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > limit)
        stop(new Refusal('ANSWER_TOO_LARGE', `${call.service} answered more than ${limit} bytes`));
      else hear(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (complaint.length < 500) complaint += chunk.toString('latin1');
    });
    child.stdin.on('error', () => undefined);
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on('close', (status) => {
      clearTimeout(timer);
      if (refusal !== undefined) reject(refusal);
      else if (status === 0) resolve(Buffer.concat(chunks));
      else if (status === 126)
        reject(
          new Refusal('CALL_REFUSED', `${call.service}: ${printable(complaint.trim() || 'Request refused')}`),
        );
      else if (status === 127)
        reject(new Refusal('NO_SUCH_SERVICE', `${call.service}: no such service there`));
      else
        reject(
          new Error(`${call.service}: qrexec-client-vm ended with ${status}: ${printable(complaint.trim())}`),
        );
    });
    child.stdin.end(call.input ?? '');
  });
}
