// SPDX-License-Identifier: GPL-2.0-or-later
// The real nginx with the configuration that we ship, on a port of its own.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { post } from './post.js';

const shipped = join(dirname(fileURLToPath(import.meta.url)), '../../../qrexec-services/sys-net/nginx.conf');

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

export async function startNginx(
  root: string,
): Promise<{ port: number; child: ChildProcess; log: () => string }> {
  const port = await freePort();
  mkdirSync(join(root, 'etc'), { recursive: true });
  writeFileSync(join(root, 'rw/config/build-infra/nginx-listen.conf'), `listen 127.0.0.1:${port};\n`);
  const moved = readFileSync(shipped, 'utf8').replace(/(?<= |unix:)\/(?=var\/lib|run|rw)/g, `${root}/`);
  // As root nginx would hand its folders to nobody; on a VM it is started as user.
  const user = process.getuid?.() === 0 ? 'user root;\n' : '';
  writeFileSync(join(root, 'etc/nginx.conf'), user + moved);
  const child = spawn('/usr/sbin/nginx', ['-c', join(root, 'etc/nginx.conf'), '-e', 'stderr'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let text = '';
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  for (let i = 0; i < 6000; i++) {
    if (
      await post({ port }, Buffer.alloc(0), {}, '/').then(
        () => true,
        () => false,
      )
    )
      return { port, child, log: () => text };
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`nginx did not start: ${text}`);
}
