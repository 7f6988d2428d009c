// SPDX-License-Identifier: GPL-2.0-or-later
// Two notifiers on one state would say everything twice. The kernel lends an abstract socket name to one
// process at a time and takes it back when that process ends, however it ends: no file that a kill leaves
// behind, no race to take one over.
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { Refusal } from './refusals.js';

/** Held until the process ends. @throws Refusal ALREADY_RUNNING */
export function holdState(folder: string): Promise<Server> {
  // By what the folder is, not by its path: VMs that share a network, as the local stand-in's do, share these
  // names too, and have the same paths.
  const { dev, ino } = statSync(folder, { bigint: true });
  const name = `build-infra-notifier-${createHash('sha256').update(`${dev} ${ino}`).digest('hex').slice(0, 32)}`;
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy());
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'EADDRINUSE'
          ? new Refusal('ALREADY_RUNNING', `another notifier works on ${folder}`)
          : error,
      ),
    );
    server.listen({ path: `\0${name}` }, () => {
      server.unref();
      resolve(server);
    });
  });
}
