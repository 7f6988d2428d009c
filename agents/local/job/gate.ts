// SPDX-License-Identifier: GPL-2.0-or-later
// Asks the gate for signatures from inside the build VM, without our gpg client: an intent for some bytes,
// then calls of qubes.Gpg with these bytes and with others, in split-gpg's protocol as any client speaks it.
import { createHash } from 'node:crypto';
import {
  intentFormat,
  intentReplyFormat,
  type IntentDocument,
  type IntentReply,
} from '../../shared/formats/intent.js';
import { dataFrames, endFrame, FrameReader, writePreamble } from '../../shared/formats/split-gpg.js';
import { spawnInVm, type CommandRunner } from '../qrexec/admin-client.js';
import type { Machine } from '../outside/machine.js';

export interface GateAnswer {
  status: number;
  /** stdout of the remote gpg: the signature */
  signature: Buffer;
  /** its stderr: the reason */
  reason: string;
}

/** One call of qubes.Gpg for a detached signature of `bytes`. */
export async function askForSignature(
  dom0: CommandRunner,
  buildVm: string,
  key: string,
  bytes: Buffer,
): Promise<GateAnswer> {
  const child = await spawnInVm(
    dom0,
    buildVm,
    { argv: ['/usr/bin/qrexec-client-vm', '@default', 'qubes.Gpg'], user: 'user' },
    ['pipe', 'pipe', 'ignore'],
  );
  const reader = new FrameReader(2);
  const parts: [Buffer[], Buffer[]] = [[], []];
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
    let answered = false;
    child.once('error', reject);
    child.once('close', (status) => {
      clearTimeout(timer);
      if (!answered) reject(new Error(`qubes.Gpg ended without an answer (${status})`));
    });
    child.stdin?.on('error', () => undefined);
    child.stdout?.on('data', (chunk: Buffer) => {
      for (const frame of reader.push(chunk)) {
        if (frame.kind === 'data') parts[frame.index]?.push(frame.data);
        if (frame.kind !== 'exit') continue;
        answered = true;
        // The client of split-gpg keeps its side open until now.
        child.stdin?.end();
        resolve({
          status: frame.status,
          signature: Buffer.concat(parts[0]),
          reason: Buffer.concat(parts[1]).toString().trim(),
        });
      }
    });
    child.stdin?.write(Buffer.concat([writePreamble(['-b', '-u', key]), dataFrames(0, bytes), endFrame(0)]));
  });
}

/**
 * Has an intent for `bytes`, and these with it, published, and returns the answer. @param bytes at most 1 MiB
 */
export async function publishIntent(
  build: Machine,
  key: string,
  bytes: Buffer,
  name: string,
): Promise<IntentReply> {
  const document: IntentDocument = {
    format: intentFormat,
    job: `gate-${Date.now()}`,
    component: 'gate',
    version: '1',
    dist: 'none',
    purpose: 'other',
    key,
    mode: 'detach',
    payload: { name, size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') },
    logs: [],
    artifacts: [],
  };
  const answer = await build.run(['/usr/bin/qrexec-client-vm', '@default', 'qubesbuilder.BuildLog+intent'], {
    input: Buffer.concat([Buffer.from(`${JSON.stringify(document)}\n`), bytes]),
  });
  const reply = JSON.parse(answer.stdout.trimEnd().split('\n').at(-1) || '{}') as IntentReply;
  if (reply.format !== intentReplyFormat)
    throw new Error(`BuildLog+intent answered ${answer.stdout.slice(0, 200) || 'nothing'}`);
  return reply;
}
