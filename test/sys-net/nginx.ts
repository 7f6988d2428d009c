// SPDX-License-Identifier: GPL-2.0-or-later
// The real nginx with the configuration that we ship, made for a webhook of the pillar, on a port of its own.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../support/free-port.js';

const top = join(dirname(fileURLToPath(import.meta.url)), '../../..');
const shipped = join(top, 'qrexec-services/sys-net/nginx.conf');
const templates = join(top, 'salt/build-infra/templates');

/** As Salt renders a managed file. */
function render(template: string, infra: object): Buffer {
  const program =
    'import json, sys, jinja2; print(jinja2.Template(open(sys.argv[1]).read(), undefined=jinja2.StrictUndefined).render(infra=json.load(sys.stdin)))';
  return execFileSync('/usr/bin/python3', ['-c', program, template], { input: JSON.stringify(infra) });
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

export interface Nginx {
  port: number;
  child: ChildProcess;
  log: () => string;
}

/**
 * @param webhook what `webhook:` of the pillar says beside address and port
 * @param under a program that nginx is started by
 * @param change what is made of the configuration, where something else than the agent is behind it
 */
export async function startNginx(
  root: string,
  webhook: object = {},
  under: readonly string[] = [],
  change = (config: string): string => config,
): Promise<Nginx> {
  const port = await freePort();
  mkdirSync(join(root, 'etc'), { recursive: true });
  for (const name of ['nginx-listen.conf', 'nginx-forge.conf']) {
    writeFileSync(
      join(root, 'rw/config/build-infra', name),
      render(join(templates, `${name}.jinja`), { webhook: { address: '127.0.0.1', port, ...webhook } }),
    );
  }
  const moved = readFileSync(shipped, 'utf8').replace(/(?<= |unix:)\/(?=var\/lib|run|rw)/g, `${root}/`);
  // As root nginx would hand its folders to nobody; on a VM it is started as user.
  const user = process.getuid?.() === 0 ? 'user root;\n' : '';
  writeFileSync(join(root, 'etc/nginx.conf'), user + change(moved));
  const [command, ...args] = [
    ...under,
    '/usr/sbin/nginx',
    '-c',
    join(root, 'etc/nginx.conf'),
    '-e',
    'stderr',
  ];
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  for (let i = 0; i < 6000; i++) {
    if (await accepts(port)) return { port, child, log: () => text };
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`nginx did not start: ${text}`);
}
