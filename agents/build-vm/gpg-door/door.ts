// SPDX-License-Identifier: GPL-2.0-or-later
// Where /usr/lib/build-infra/gpg asks the agent that runs anyway to do a call for it, in place of starting a
// Node for each signature. The door lies in a folder that only root of this VM can enter, and root of this VM
// may ask for signatures: what it gets is decided by the keys VM.
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { makeFolder } from '../../shared/durable-files.js';
import { printable } from '../../shared/refusal.js';
import type { Reporter } from '../../shared/calls/socket-service.js';
import { farmCallBegins } from '../jobs/command-clock.js';
import { answerCall } from '../gpg-client/answer.js';
import { KeptReadBack, type ReadBack } from '../publication/read-back.js';
import { payloadMemoryBytes } from '../gpg-client/caller.js';
import { DistantCaller } from './distant-caller.js';
import { CallerGone, Messages } from './messages.js';
import { Room } from '../../shared/room.js';

const askLimitBytes = 4 * 1024 * 1024;
const askTimeoutMs = 10_000;
/** The next one is let go at once, and does its call in a Node of its own. */
const callsAtOnce = 128;

interface Ask {
  program: string;
  startedMs: number | undefined;
  jobFile: string | undefined;
  args: string[];
}

/** @returns undefined for words that are not UTF-8, which a Node cannot give back as they were */
function readAsk(untrustedBody: Buffer): Ask | undefined {
  let fields: string[];
  try {
    fields = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(untrustedBody).split('\0');
  } catch {
    return undefined;
  }
  const [program = '', started = '', jobFile = '', ...args] = fields;
  return {
    program,
    // The caller's clock is ours, but performance.now() does not jump with it.
    startedMs: started === '' ? undefined : performance.now() - (Date.now() - Number(started) * 1000),
    jobFile: jobFile === '' ? undefined : jobFile,
    args,
  };
}

async function serve(socket: Socket, room: Room, root: string, readBack: ReadBack): Promise<void> {
  const messages = new Messages(socket);
  socket.setTimeout(askTimeoutMs, () => socket.destroy());
  const { verb, body } = await messages.next(askLimitBytes);
  socket.setTimeout(0);
  if (verb !== 'ask') throw new CallerGone('no question');
  const ask = readAsk(body);
  if (ask === undefined) return messages.send('node', 0);
  const answered = farmCallBegins(ask.jobFile);
  const caller = new DistantCaller(messages, room, ask.jobFile, ask.startedMs);
  try {
    const status = await answerCall(ask.program, ask.args, root, caller, readBack);
    messages.send('exit', status);
  } finally {
    caller.leave();
    answered();
  }
}

/** Opens the door under `root`; one that a killed agent left is replaced. */
export async function openGpgDoor(root: string, report: Reporter): Promise<Server> {
  const folder = `${root}/run/build-infra-gpg`;
  makeFolder(folder, 0o700);
  const path = `${folder}/door.sock`;
  rmSync(path, { force: true });
  const room = new Room(payloadMemoryBytes);
  const readBack = new KeptReadBack(root);
  const server = createServer((socket) => {
    serve(socket, room, root, readBack)
      .catch((error: unknown) => {
        if (!(error instanceof CallerGone)) report(`gpg door: fault: ${printable(String(error))}`);
      })
      .finally(() => socket.end());
  });
  server.maxConnections = callsAtOnce;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path, backlog: 511 }, resolve);
  });
  return server;
}
