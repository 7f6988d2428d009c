// SPDX-License-Identifier: GPL-2.0-or-later
// What strangers can hold of the way in, through the real nginx: never the forge's part of it, and nothing
// for longer than a body may take.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import tap from 'tap';
import { DeliverySpool } from '../../agents/sys-net/delivery-spool.js';
import { readConfig, type WebhookConfig } from '../../agents/sys-net/config.js';
import { createReceiver, listenForNginx } from '../../agents/sys-net/webhook-receiver.js';
import { smallDisk } from '../support/small-disk.js';
import { until } from '../support/until.js';
import { baseConfig, makeTree, type Tree } from './agent.js';
import { startNginx, type Nginx } from './nginx.js';
import { githubHeaders, pushPayload, secret } from './push-payload.js';
import { post } from './post.js';

interface Way {
  tree: Tree;
  nginx: Nginx;
  log: string[];
  /** a connection whose first line, if any, a proxy says; then what follows */
  send: (...parts: string[]) => Held;
}

interface Held {
  socket: Socket;
  heard: () => string;
  closed: () => boolean;
}

type Test = { teardown: (act: () => unknown) => void };

function held(port: number, ...parts: string[]): Held {
  const socket = connect(port, '127.0.0.1').setNoDelay();
  let text = '';
  socket.on('error', () => undefined);
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  for (const part of parts) socket.write(part);
  return { socket, heard: () => text, closed: () => socket.closed };
}

/** The receiver and the real nginx, with what `webhook:` of the pillar says. */
async function way(t: Test, webhook: object = {}, bodyTimeoutMs = 20_000): Promise<Way> {
  const tree = makeTree(t);
  const log: string[] = [];
  const spool = new DeliverySpool(join(tree.root, 'var/lib/build-infra/webhooks'));
  const config = readConfig(Buffer.from(JSON.stringify(baseConfig))) as WebhookConfig;
  const receiver = createReceiver({
    config,
    secret: Buffer.from(secret),
    spool,
    bodyTimeoutMs,
    report: (line) => log.push(line),
    onAccepted: () => undefined,
  });
  await listenForNginx(receiver, { path: tree.socketPath });
  const nginx = await startNginx(tree.root, webhook);
  const open: Held[] = [];
  t.teardown(() => {
    for (const { socket } of open) socket.destroy();
    nginx.child.kill('SIGTERM');
    receiver.closeAllConnections();
    receiver.close();
    spool.close();
  });
  const send = (...parts: string[]): Held => {
    const one = held(nginx.port, ...parts);
    open.push(one);
    return one;
  };
  return { tree, nginx, log, send };
}

let pushes = 0;
const body = (): Buffer => Buffer.from(JSON.stringify(pushPayload({ pushedAt: (pushes += 1) })));

/** A whole signed push as the forge writes it. */
function signedPush(more: Record<string, string> = {}): string {
  const bytes = body();
  const lines = Object.entries({ ...githubHeaders(bytes), ...more }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  return `POST /github HTTP/1.1\r\nHost: hooks.example\r\n${lines.join('')}\r\n${bytes.toString()}`;
}

const slowHead = (bytes: number, more = ''): string =>
  `POST /github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${bytes}\r\nX-Hub-Signature-256: sha256=${'0'.repeat(64)}\r\n${more}\r\n`;
const isAnswered = (one: Held, status: number): Promise<true> =>
  until(
    `${status}`,
    () =>
      one.heard().startsWith(`HTTP/1.1 ${status} `) ||
      (one.closed() && Promise.reject(new Error(`closed: ${one.heard()}`))),
  );
/** The first line of the PROXY protocol, as haproxy and the tunnels say it. */
const proxied = (address: string): string => `PROXY TCP4 ${address} 127.0.0.1 40000 443\r\n`;
const github = '140.82.115.9';

void tap.test('a body that comes byte by byte has an end', async (t) => {
  const { nginx, send, log } = await way(t, {}, 700);
  for (const announced of [1000, 1_900_000]) {
    const slow = send(slowHead(announced));
    const drip = setInterval(() => slow.socket.write(' '), 50);
    await isAnswered(slow, 408);
    t.match(slow.heard(), /refused TOO_SLOW /);
    clearInterval(drip);
  }
  t.match(
    log.join('\n'),
    /127\.0\.0\.1 POST \/github .*408 refused TOO_SLOW .*\((?:[67][0-9]{2}|8[0-9]{2}|9[0-9]{2}) ms\)/,
    'and is not waited for twice',
  );
  const bytes = body();
  t.equal((await post({ port: nginx.port }, bytes, githubHeaders(bytes))).status, 202);
});

void tap.test(
  'a tunnel that says nothing of its callers: three hundred slow senders do not shut the forge out',
  async (t) => {
    const { nginx, send, log } = await way(t);
    for (let n = 0; n < 300; n++) send(slowHead(100_000), 'x');
    send('P');
    const bytes = body();
    t.equal((await post({ port: nginx.port }, bytes, githubHeaders(bytes))).status, 202);
    t.notMatch(log.join('\n'), /429/);
  },
);

for (const { tells, first, header } of [
  { tells: 'PROXY', first: proxied, header: (): string => '' },
  {
    tells: 'X-Forwarded-For',
    first: (): string => '',
    header: (address: string): string => `X-Forwarded-For: ${github}, ${address}\r\n`,
  },
  {
    tells: 'CF-Connecting-IP',
    first: (): string => '',
    header: (address: string): string => `CF-Connecting-IP: ${address}\r\n`,
  },
]) {
  void tap.test(
    `behind a proxy that tells by ${tells} each stranger has limits of its own, and the forge none`,
    async (t) => {
      const { send, log } = await way(t, { proxy: { addresses: ['127.0.0.1'], tells } });
      const from = (address: string): Held => send(first(address), slowHead(100_000, header(address)), 'x');
      const forge = (): Held => {
        const [name, value] = header(github).trim().split(': ');
        return send(first(github), signedPush(value === undefined ? {} : { [name as string]: value }));
      };
      const slow = Array.from({ length: 25 }, () => from('203.0.113.7'));
      await until(
        'the limit of one address',
        () => slow.filter((one) => one.heard().startsWith('HTTP/1.1 429 ')).length === 5,
      );
      const other = from('203.0.113.8');
      // The places of all strangers are gone after this, whatever address one more has.
      for (let host = 1; host <= 55; host++) for (let n = 0; n < 20; n++) from(`198.51.100.${host}`);
      const late = from('203.0.113.9');
      await isAnswered(late, 429);
      t.equal(other.heard(), '', 'one who came before still has its place');
      const pushed = Array.from({ length: 200 }, forge);
      for (const one of pushed) await isAnswered(one, 202);
      t.match(
        log.join('\n'),
        new RegExp(`webhook: ${github.replaceAll('.', '\\.')} POST /github push`),
        'the log has the true address',
      );
    },
  );
}

void tap.test('an address is believed from the configured proxy only', async (t) => {
  for (const webhook of [{}, { proxy: { addresses: ['192.0.2.1'], tells: 'X-Forwarded-For' } }]) {
    const { nginx, log } = await way(t, webhook);
    const bytes = body();
    await post(
      { port: nginx.port },
      bytes,
      githubHeaders(bytes, { 'X-Forwarded-For': github, 'X-Real-IP': github, 'X-Forge': '1' }),
    );
    t.match(log.join('\n'), /webhook: 127\.0\.0\.1 POST/);
  }
});

void tap.test('the addresses of the forge are those of the configuration', async (t) => {
  const { send } = await way(t, {
    proxy: { addresses: ['127.0.0.1'], tells: 'PROXY' },
    'forge-addresses': ['192.0.2.0/24', '2001:db8::/32'],
  });
  const all = (first: string): Held[] => Array.from({ length: 150 }, () => send(first, signedPush()));
  const [mine, mine6, githubs] = [
    all(proxied('192.0.2.77')),
    all('PROXY TCP6 2001:db8::7 ::1 40000 443\r\n'),
    all(proxied(github)),
  ];
  for (const one of [...mine, ...mine6]) await isAnswered(one, 202);
  await until('a limit', () => githubs.some((one) => one.heard().startsWith('HTTP/1.1 429 ')));
});

const sizeOf = (folder: string): number =>
  readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name !== 'nginx.pid')
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);

void tap.test(
  'bodies of strangers are written to no disk, and leave room in memory for the others',
  async (t) => {
    const { tree, nginx, send, log } = await way(t, {}, 5000);
    const most = 'x'.repeat(1_900_000);
    const large = Array.from({ length: 60 }, () => send(slowHead(1_900_001), most));
    await until('all that they sent to be read', () =>
      large.every(({ socket }) => socket.writableLength === 0),
    );
    t.ok(sizeOf(join(tree.root, 'var')) < 10_000, 'no file holds any of it');
    const bytes = body();
    t.equal(
      (await post({ port: nginx.port }, bytes, githubHeaders(bytes))).status,
      202,
      'an ordinary webhook comes in',
    );
    const heard = (words: string): number => large.filter((one) => one.heard().includes(words)).length;
    await until('an answer to each', () => heard('refused ') === large.length);
    t.ok(heard('503 Service Unavailable') > 20 && heard('refused BUSY') > 20, 'for some there was no room');
    t.ok(heard('refused TOO_SLOW') > 20, 'the others had their time');
    const gone = send(slowHead(1000), 'x');
    await until('it to be read', () => gone.socket.writableLength === 0);
    gone.socket.destroy();
    await until('the line', () => log.some((line) => line.includes('refused CUT_OFF')));
    t.notMatch(log.join('\n'), /fault/, 'somebody who goes away is no fault');
    const padded = Buffer.concat([body(), Buffer.alloc(1_900_000, 0x20)]);
    t.equal(
      (await post({ port: nginx.port }, padded, githubHeaders(padded))).status,
      202,
      'the room is free again',
    );
  },
);

const disk = smallDisk(1);

void tap.test(
  'without room on the disk a webhook is answered 503, and taken when it comes again',
  { skip: disk === undefined ? 'needs to mount a tmpfs' : false },
  async (t) => {
    const folder = disk as string;
    const tree = makeTree(t);
    const spool = new DeliverySpool(join(folder, 'webhooks'));
    const config = readConfig(Buffer.from(JSON.stringify(baseConfig))) as WebhookConfig;
    const receiver = createReceiver({
      config,
      secret: Buffer.from(secret),
      spool,
      report: () => undefined,
      onAccepted: () => undefined,
    });
    await listenForNginx(receiver, { path: tree.socketPath });
    t.teardown(() => {
      receiver.closeAllConnections();
      receiver.close();
      spool.close();
      execFileSync('umount', [folder]);
      rmSync(folder, { recursive: true });
    });
    const first = body();
    t.equal((await post({ socketPath: tree.socketPath }, first, githubHeaders(first))).status, 202);
    fill(join(folder, 'full'));
    const before = readFileSync(join(folder, 'webhooks/deliveries'));
    const bytes = Array.from({ length: 40 }, body);
    const answers = await Promise.all(
      bytes.map((one) => post({ socketPath: tree.socketPath }, one, githubHeaders(one))),
    );
    const refused = bytes.filter((_, n) => answers[n]?.status === 503);
    t.ok(refused.length > 0);
    t.ok(answers.every(({ status, body: line }) => status === 202 || /^refused DISK_FULL /.test(line)));
    t.same(readFileSync(join(folder, 'webhooks/deliveries')).subarray(0, before.length), before);
    // An agent that starts now has everything that was accepted.
    const restarted = new DeliverySpool(join(folder, 'webhooks'));
    t.equal(restarted.pending, spool.pending);
    restarted.close();
    rmSync(join(folder, 'full'), { recursive: true });
    for (const one of refused)
      t.equal((await post({ socketPath: tree.socketPath }, one, githubHeaders(one))).status, 202);
  },
);

function fill(path: string): void {
  mkdirSync(path);
  for (const size of [100_000, 1000, 10]) {
    try {
      for (let n = 0; ; n++) writeFileSync(join(path, `${size}-${n}`), Buffer.alloc(size));
    } catch {
      // full, for this size
    }
  }
}
