// SPDX-License-Identifier: GPL-2.0-or-later
// A web server that answers in bad ways: each gets a finding, or exit 2 and a line that says what; none makes
// the audit wait or take what apt would not.
import { spawnSync, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import tap from 'tap';
import { folderOf } from '../support/folders.js';
import { good, keys } from './attack.js';
import type { Farm } from './farm.js';
import { audit } from '../../agents/audit/audit.js';
import { readOptions } from '../../agents/audit/options.js';
import { until } from '../support/until.js';
import { argumentsFor, runAudit } from './run-audit.js';

tap.setTimeout(300_000);

type Answer = (response: ServerResponse, body: Buffer) => void;

/** The farm behind a web server of which one file is answered otherwise, in each of its pieces to the end. */
async function serve(farm: Farm, path: string, answer: Answer): Promise<{ url: string; close: () => void }> {
  const web = createServer((request, response) => {
    const asked = decodeURIComponent(request.url ?? '').replace(/\?.*/, '');
    response.on('error', () => undefined);
    if (asked === '/loop') return void response.writeHead(302, { location: '/loop' }).end();
    let body: Buffer | undefined;
    try {
      body = readFileSync(join(farm.top, asked.replace('/moved', '')));
    } catch {
      body = undefined;
    }
    if (asked === `/apt/${path}`) return answer(response, body ?? Buffer.alloc(0));
    if (body === undefined) response.writeHead(404).end();
    else response.end(body);
  });
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(web.address() as AddressInfo).port}`,
    close: () => {
      web.closeAllConnections();
      web.close();
    },
  };
}

const overHttp = (farm: Farm, url: string): string[] =>
  argumentsFor(farm).map((arg) => (arg === farm.apt ? `${url}/apt` : arg));

/** "check CODE" of each finding, or the line that goes with exit 2. */
async function outcome(farm: Farm, url: string): Promise<string[] | string> {
  const options = readOptions([...overHttp(farm, url), '--max-seconds', '4', '--max-read', '64']);
  try {
    const { findings } = await audit(options);
    return [
      ...new Set(findings.rows.flatMap((row) => row.findings.map(({ code }) => `${row.name} ${code}`))),
    ].sort();
  } catch (error) {
    if ((error as Error).name !== 'Unreadable') throw error;
    return (error as Error).message;
  }
}

/** Sends pieces for ever, one each so many ms. */
const forEver = (response: ServerResponse, piece: Buffer, eachMs: number): void => {
  const more = (): void => {
    if (response.destroyed) return;
    if (eachMs > 0) setTimeout(more, eachMs).unref();
    else if (response.writable) setImmediate(more);
    if (response.writableLength < 1 << 22) response.write(piece);
  };
  more();
};

/** Bytes on the wire, whatever a server would make of them. */
const raw = (response: ServerResponse, bytes: Buffer | string): void => void response.socket?.end(bytes);

const inRelease = 'dists/bookworm/InRelease';
const packages = 'dists/bookworm/main/binary-amd64/Packages';
const deb = 'pool/main/h/hello/hello_2.10-3_amd64.deb';

const cases: readonly [name: string, path: string, answer: Answer, expected: string[] | RegExp][] = [
  [
    'that moved a file and says where',
    inRelease,
    (response) => void response.writeHead(301, { location: `/moved/apt/${inRelease}` }).end(),
    [],
  ],
  [
    'that sends readers round and round',
    inRelease,
    (response) => void response.writeHead(302, { location: '/loop' }).end(),
    /InRelease: redirect count exceeded/,
  ],
  [
    'that sends readers to a file of theirs',
    inRelease,
    (response) => void response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    /InRelease: /,
  ],
  [
    'that sends readers to a file that is not theirs',
    deb,
    (response) => void response.writeHead(302, { location: `/apt/${packages}` }).end(),
    ['apt-files WRONG_SIZE'],
  ],
  [
    'that ends before the length that it tells',
    inRelease,
    (response, body) =>
      raw(
        response,
        Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length + 1}\r\n\r\n`), body]),
      ),
    /InRelease: /,
  ],
  [
    'that ends a package before the length that it tells',
    deb,
    (response, body) =>
      raw(
        response,
        Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length + 9}\r\n\r\n`), body]),
      ),
    /hello_2\.10-3_amd64\.deb: /,
  ],
  [
    'that ends in the middle of a piece',
    inRelease,
    (response, body) =>
      raw(
        response,
        Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n'), body]),
      ),
    /InRelease: /,
  ],
  [
    'that tells two lengths',
    inRelease,
    (response, body) =>
      raw(
        response,
        Buffer.concat([
          Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\ncontent-length: 5\r\n\r\n`),
          body,
        ]),
      ),
    /InRelease: /,
  ],
  [
    'that tells a shorter length than it sends',
    inRelease,
    (response, body) =>
      raw(
        response,
        Buffer.concat([
          Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length - 40}\r\nconnection: close\r\n\r\n`),
          body,
        ]),
      ),
    /InRelease: |apt-signatures/,
  ],
  [
    'that sends more than is listed',
    deb,
    (response, body) => void response.end(Buffer.concat([body, Buffer.from('more')])),
    ['apt-files WRONG_SIZE'],
  ],
  [
    'that sends less than is listed',
    deb,
    (response, body) => void response.end(body.subarray(1)),
    ['apt-files WRONG_SIZE'],
  ],
  [
    'that packs its answer',
    inRelease,
    (response, body) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(body)),
    /InRelease: an answer packed with gzip/,
  ],
  [
    'that packs an index',
    packages,
    (response, body) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(body)),
    /Packages: an answer packed with gzip/,
  ],
  [
    'that says that it packs and does not',
    inRelease,
    (response, body) => void response.writeHead(200, { 'content-encoding': 'br' }).end(body),
    /InRelease: an answer packed with br/,
  ],
  [
    'whose InRelease never ends',
    inRelease,
    (response) => forEver(response, Buffer.alloc(1 << 20, 'x\n'), 0),
    /InRelease is larger than \d+ bytes|--max-read of 64 MiB is met/,
  ],
  [
    'whose package never ends',
    deb,
    (response) => forEver(response, Buffer.alloc(1 << 16), 0),
    ['apt-files WRONG_SIZE'],
  ],
  [
    'whose page for what is not there never ends',
    `${inRelease.replace('InRelease', 'Release')}`,
    (response) => {
      response.writeHead(404);
      forEver(response, Buffer.alloc(1 << 16), 0);
    },
    ['apt-signatures FILE_MISSING'],
  ],
  [
    'that sends a byte now and then',
    inRelease,
    (response) => forEver(response, Buffer.from('x'), 100),
    /--max-seconds of 4 s is met: http:.* was not checked to its end/,
  ],
  ['that never answers', inRelease, () => undefined, /--max-seconds of 4 s is met/],
  [
    'that answers and then sends nothing',
    packages,
    (response) => void response.writeHead(200, { 'content-length': '100' }).flushHeaders(),
    /--max-seconds of 4 s is met/,
  ],
  [
    'that sends a page in place of InRelease',
    inRelease,
    (response) =>
      void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>please sign in</html>'),
    ['apt-signatures NOT_SIGNED'],
  ],
  [
    'that sends a page in place of an index',
    packages,
    (response) =>
      void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>please sign in</html>'),
    ['apt-files WRONG_SIZE'],
  ],
  [
    'that sends a part of a file',
    inRelease,
    (response, body) =>
      void response
        .writeHead(206, { 'content-range': `bytes 0-99/${body.length}` })
        .end(body.subarray(0, 100)),
    /InRelease: HTTP 206/,
  ],
  [
    'that says that it is busy',
    inRelease,
    (response) => void response.writeHead(503).end(),
    /InRelease: HTTP 503/,
  ],
  [
    'that asks for a password',
    inRelease,
    (response) => void response.writeHead(401).end(),
    /InRelease: HTTP 401/,
  ],
  ['that sends no HTTP', inRelease, (response) => raw(response, 'SSH-2.0-x\r\n'), /InRelease: /],
  ['that closes the connection', inRelease, (response) => void response.socket?.destroy(), /InRelease: /],
  [
    'that sends headers without end',
    inRelease,
    (response) => raw(response, `HTTP/1.1 200 OK\r\n${'x-header: y\r\n'.repeat(10_000)}\r\n`),
    /InRelease: /,
  ],
];

for (const [name, path, answer, expected] of cases) {
  void tap.test(`a server ${name}`, async (t) => {
    const { url, close } = await serve(good, path, answer);
    t.teardown(close);
    const got = await outcome(good, url);
    if (expected instanceof RegExp) t.match(String(got), expected);
    else t.same(got, expected);
  });
}

void tap.test(
  'a server that says nothing holds the audit up no longer than its budget, as a process of its own',
  async (t) => {
    for (const answer of [
      (): void => undefined,
      (response: ServerResponse): void => forEver(response, Buffer.from('x'), 100),
    ]) {
      const { url, close } = await serve(good, inRelease, answer);
      t.teardown(close);
      const { status, err } = await runAudit([...overHttp(good, url), '--max-seconds', '3']);
      t.equal(status, 2);
      t.match(err, /--max-seconds of 3 s is met: .*was not checked to its end/);
      const ofLogs = await serve(good, 'logs.git/info/refs', answer);
      t.teardown(ofLogs.close);
      const logs = await runAudit([
        '--logs',
        `${ofLogs.url}/apt/logs.git`,
        '--logs-key',
        keys.fingerprint.logs,
        '--max-seconds',
        '3',
      ]);
      t.equal(logs.status, 2);
      t.match(logs.err, /logs\.git was not read, and nothing was checked|logs\.git: git fetch/);
    }
  },
);

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  void tap.test(`an audit that ${signal} ends leaves neither its git nor what it fetched`, async (t) => {
    const { url, close } = await serve(good, 'logs.git/info/refs', () => undefined);
    t.teardown(close);
    const place = folderOf(t);
    const runs = (what: string): boolean => spawnSync('pgrep', ['-f', what]).status === 0;
    let child: ChildProcess | undefined;
    const ran = runAudit(
      ['--logs', `${url}/apt/logs.git`, '--logs-key', keys.fingerprint.logs],
      { TMPDIR: place },
      (started) => (child = started),
    );
    await until('git fetches', () => runs(`${place}/.* fetch`));
    child?.kill(signal);
    t.equal((await ran).status, 2);
    t.strictSame(readdirSync(place), []);
    await until('its git has ended', () => !runs(place));
  });
}
