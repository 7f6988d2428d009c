// SPDX-License-Identifier: GPL-2.0-or-later
// Webhooks from the forge's socket to 202: the real nginx with the configuration that we ship, the agent as
// it is bundled, and a spool that is synced. Its peer is a Flask application under uWSGI behind the same
// nginx, as upstream deploys its own: five workers, and the build VMs are called while GitHub waits.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { baseConfig, makeTree, type Tree } from '../sys-net/agent.js';
import { startNginx } from '../sys-net/nginx.js';
import { githubHeaders, pushPayload, secret } from '../sys-net/push-payload.js';
import { until } from '../support/until.js';
import { drive, type Driven } from './webhook-load.js';

const top = fileURLToPath(new URL('../../..', import.meta.url));
const components = 200;
const github = '140.82.115.9';
/** As the units have it; where a container allows fewer, as many as it allows. */
const openFiles = ['sh', '-c', 'ulimit -n 131072 2>/dev/null || ulimit -n "$(ulimit -H -n)"; exec "$0" "$@"'];

/** A signed push of its own component and time, as it goes over the wire after a proxy's first line. */
function request(n: number): string {
  const name = `component-${n % components}`;
  const body = Buffer.from(
    JSON.stringify(pushPayload({ fullName: `example/${name}`, ref: `refs/tags/v2.${n}`, pushedAt: n })),
  );
  const headers = { ...githubHeaders(body, { 'X-GitHub-Delivery': randomUUID() }), Connection: 'close' };
  const lines = Object.entries(headers).map(([field, value]) => `${field}: ${value}\r\n`);
  return `PROXY TCP4 ${github} 127.0.0.1 40000 443\r\nPOST /github HTTP/1.1\r\nHost: hooks.example\r\n${lines.join('')}\r\n${body.toString()}`;
}

/** Highest resident memory so far, in MB: VmHWM, proc(5). */
const memory = (pid: number): number =>
  Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1000;
const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
const said = ({ answers }: Driven): string =>
  [...answers]
    .sort(([a], [b]) => a - b)
    .map(([status, count]) => `${count} × ${status === 0 ? 'no answer' : status}`)
    .join(', ');

/** Flask and uWSGI from PyPI, in a folder that stays: it is made once. */
function flask(): string {
  const folder = join(top, 'out/flask-peer');
  const program = join(folder, 'bin/uwsgi');
  if (existsSync(program)) return program;
  execFileSync('/usr/bin/python3', ['-m', 'venv', folder], { stdio: ['ignore', 'ignore', 'inherit'] });
  execFileSync(
    join(folder, 'bin/pip'),
    ['install', '--disable-pip-version-check', '--quiet', 'flask==3.1.3', 'uwsgi==2.0.31'],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  return program;
}

/** nginx's way to the agent leads to uWSGI instead. */
async function startPeer(tree: Tree): Promise<ChildProcess> {
  const socket = tree.socketPath;
  const child = spawn(
    flask(),
    [
      '--http-socket',
      socket,
      '--chmod-socket=660',
      '--master',
      '--processes',
      '5',
      '--listen',
      '1024',
      '--need-app',
      '--disable-logging',
      '--wsgi-file',
      join(top, 'test/bench/flask_peer.py'),
    ],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        PATH: process.env['PATH'],
        PEER_SECRET: secret,
        PEER_CLIENT: join(tree.root, 'usr/bin/qrexec-client-vm'),
        PEER_BUILD_VMS: baseConfig.buildVms.join(' '),
      },
    },
  );
  let log = '';
  child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
  await until(
    'uWSGI to listen',
    () => existsSync(socket) || (child.exitCode !== null && Promise.reject(new Error(log))),
  );
  return child;
}

/** A build VM that answers as fast as a program can be started. */
function quickClient(tree: Tree): void {
  writeFileSync(join(tree.root, 'usr/bin/qrexec-client-vm'), '#!/bin/sh\necho known component-1\n', {
    mode: 0o755,
  });
  mkdirSync(join(tree.root, 'run/build-infra'), { recursive: true });
}

const proxy = { proxy: { addresses: ['127.0.0.1'], tells: 'PROXY' } };

/** What `work` began is ended when it is over, the last thing first. */
async function endingAll<T>(work: (t: { teardown: (act: () => unknown) => void }) => Promise<T>): Promise<T> {
  const ends: (() => unknown)[] = [];
  try {
    return await work({ teardown: (act) => void ends.unshift(act) });
  } finally {
    for (const end of ends) await end();
  }
}

const ours = (count: number): Promise<Driven & { agent: number; nginx: number }> =>
  endingAll(async (t) => {
    const tree = makeTree(t, {
      ...baseConfig,
      repositories: Array.from({ length: components }, (_, n) => ({
        fullName: `example/component-${n}`,
        component: `component-${n}`,
        tag: 'v{version}',
      })),
    });
    quickClient(tree);
    const agent = await tree.start({ under: openFiles, program: join(top, 'dist/sys-net-agent.mjs') });
    const nginx = await startNginx(tree.root, proxy, openFiles);
    t.teardown(() => nginx.child.kill('SIGTERM'));
    const requests = Array.from({ length: count }, (_, n) => request(n));
    const driven = await drive({ port: nginx.port, requests, atOnce: count });
    const spooled = new Set(
      readFileSync(join(tree.root, 'var/lib/build-infra/webhooks/deliveries'), 'utf8').match(
        /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g,
      ),
    );
    const lost = requests.filter(
      (text) => !spooled.has(/X-GitHub-Delivery: (\S+)/.exec(text)?.[1] ?? ''),
    ).length;
    if (lost > 0) process.stdout.write(`webhooks                        ${lost} ARE LOST\n`);
    return {
      ...driven,
      agent: memory(agent.pid),
      nginx: Math.max(...childrenOf(nginx.child.pid as number).map(memory)),
    };
  });

const peers = (count: number, atOnce: number): Promise<Driven & { workers: number }> =>
  endingAll(async (t) => {
    const tree = makeTree(t);
    quickClient(tree);
    const uwsgi = await startPeer(tree);
    t.teardown(() => uwsgi.kill('SIGKILL'));
    // uWSGI's own socket keeps no connections.
    const nginx = await startNginx(tree.root, proxy, openFiles, (config) =>
      config.replace(/^ *keepalive .*$/m, ''),
    );
    t.teardown(() => nginx.child.kill('SIGTERM'));
    const driven = await drive({
      port: nginx.port,
      requests: Array.from({ length: count }, (_, n) => request(n)),
      atOnce,
    });
    return {
      ...driven,
      workers: childrenOf(uwsgi.pid as number)
        .map(memory)
        .reduce((a, b) => a + b, 0),
    };
  });

export async function benchWebhooks(count = 10_000): Promise<void> {
  const here = await ours(count);
  const steady = await peers(count / 5, 50);
  const flood = await peers(count, count);
  const rate = count / here.seconds;
  const peerRate = count / 5 / steady.seconds;
  const line = (name: string, text: string): void => void process.stdout.write(`${name.padEnd(32)}${text}\n`);
  line(
    'Flask under uWSGI',
    `${peerRate.toFixed(0)} webhooks/s with 50 at once (${said(steady)}), p99 ${steady.p99.toFixed(0)} ms, five workers with ${steady.workers.toFixed(0)} MB`,
  );
  line(
    '',
    `${count} at once: ${said(flood)}, in ${flood.seconds.toFixed(1)} s, p99 ${flood.p99.toFixed(0)} ms`,
  );
  line(
    'webhooks',
    `${count} at once: ${said(here)}, in ${here.seconds.toFixed(1)} s, p99 ${here.p99.toFixed(0)} ms (GitHub waits 10 s); the agent has ${here.agent.toFixed(0)} MB at most, nginx ${here.nginx.toFixed(0)} MB`,
  );
  line('', `${rate.toFixed(0)} webhooks/s: ${(rate / peerRate).toFixed(1)} times Flask (goal 20)`);
}
