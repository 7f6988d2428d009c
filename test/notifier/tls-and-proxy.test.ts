// SPDX-License-Identifier: GPL-2.0-or-later
// The notifier as a process with the environment that notify-environment gives it: GitHub behind TLS with an
// authority of one's own, directly and through a proxy that does CONNECT, and both on their bad days. Its
// clock goes by itself, so that pauses take no time.
import { spawn } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { GitHubServer } from '../../agents/local/outside/github-server/server.js';
import { folderOf } from '../support/folders.js';
import { certify, ConnectProxy, type ProxyMood } from './connect-proxy.js';
import { account, bodies, notification, place, token, type Place } from './notifying.js';

const here = dirname(fileURLToPath(import.meta.url));
const top = join(here, '../../..');
const name = 'api.github.test';
const folder = folderOf(t);
const ours = certify(join(folder, 'ours'), name);
const local = certify(join(folder, 'local'), 'localhost');
const stranger = certify(join(folder, 'stranger'), name);
const story = [notification({ event: 'building' }), notification({ event: 'uploaded' })];

/** Until nothing waits, or a line of the journal matches `until`. */
function run(place: Place, environment: Record<string, string>, until?: RegExp): Promise<string> {
  const start = new Date(place.clock.time).toISOString();
  const child = spawn(
    process.execPath,
    [join(here, 'killed-notifier.js'), place.folder, JSON.stringify(place.config), start],
    {
      env: { PATH: process.env['PATH'], TEST_TOKEN: token, ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (part: Buffer) => {
      said += part.toString();
      if (until?.test(said) === true) child.kill('SIGKILL');
    });
  }
  // With a clock that goes by itself it would try for ever, and the test with it.
  const limit = setTimeout(() => child.kill('SIGKILL'), 300_000);
  return new Promise((resolve) =>
    child.once('close', () => {
      clearTimeout(limit);
      resolve(said);
    }),
  );
}

interface Tunnelled extends Place {
  proxy: ConnectProxy;
  environment: Record<string, string>;
  saidOnce: (said: string) => void;
}

async function tunnelled(t: Test): Promise<Tunnelled> {
  const made = await place(t, {}, { tls: { ...ours, name } });
  const proxy = await ConnectProxy.start(made.github.port);
  t.teardown(() => proxy.stop());
  return {
    ...made,
    proxy,
    environment: { https_proxy: proxy.url, NODE_EXTRA_CA_CERTS: ours.authority },
    saidOnce: (said) => {
      t.match(said, /all said/);
      t.strictSame(
        bodies(made.onlyIssue()).map((body) => /was uploaded/.exec(body)?.[0]),
        ['was uploaded'],
      );
      t.strictSame([made.onlyIssue().labels, made.aside()], [['r4.3-vm-bookworm-cur-test'], []]);
      t.notMatch(said + proxy.seen, token);
    },
  };
}

void t.test("an API behind TLS with an authority of one's own is spoken to", async (t) => {
  const made = await place(t, {}, { tls: { ...local, name: 'localhost' } });
  made.put(...story);
  t.match(await run(made, { NODE_EXTRA_CA_CERTS: local.authority }), /all said/);
  t.equal(made.onlyIssue().comments.length, 1);
});

for (const [what, server, authority, code] of [
  [
    'of another authority',
    local,
    stranger.authority,
    /UNABLE_TO_VERIFY_LEAF_SIGNATURE|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_GET_ISSUER_CERT_LOCALLY/,
  ],
  ['for another name', ours, ours.authority, /ERR_TLS_CERT_ALTNAME_INVALID/],
] as const) {
  t.test(`a certificate ${what} is not spoken to, is said, and loses nothing`, async (t) => {
    const made = await place(t, {}, { tls: { ...server, name: 'localhost' } });
    made.put(...story);
    const said = await run(made, { NODE_EXTRA_CA_CERTS: authority }, /again in 16 s/);
    t.match(
      said,
      new RegExp(
        `again in 2 s, GITHUB_UNREACHABLE: the certificate of localhost:[0-9]+ is not trusted: (?:${code.source})[^]*again in 4 s[^]*again in 8 s`,
      ),
    );
    t.strictSame([made.github.requests, made.aside()], [[], []], 'nothing was asked of it');
  });
}

void t.test(
  'through a proxy only the name of the API is told, and everything else is between us and GitHub',
  async (t) => {
    const here = await tunnelled(t);
    const { proxy, github } = here;
    here.put(...story);
    here.saidOnce(await run(here, here.environment));
    t.strictSame([...new Set(proxy.connects)], [`CONNECT ${name}:${github.port}`]);
    t.equal(proxy.connects.length, github.requests.length);
    t.notMatch(proxy.seen, /updates-status|hello|authorization/i);
  },
);

void t.test('a proxy with a name and password gets them, and no line holds them', async (t) => {
  const here = await tunnelled(t);
  here.proxy.login = 'farm:p@ss word';
  here.put(...story);
  const address = here.proxy.url.replace('http://', 'http://farm:p%40ss%20word@');
  const said = await run(here, { ...here.environment, https_proxy: address });
  here.saidOnce(said);
  t.notMatch(said, /p@ss|p%40ss/);
});

const moods: [string, ProxyMood, RegExp][] = [
  [
    'answers 407',
    { kind: 'answer', status: '407 Proxy Authentication Required' },
    /the proxy answered 407: it needs a name and password, or other ones/,
  ],
  ['answers 502', { kind: 'answer', status: '502 Bad Gateway' }, /the proxy answered 502\n/],
  ['answers 403', { kind: 'answer', status: '403 Forbidden' }, /the proxy answered 403\n/],
  ['never answers', { kind: 'silent' }, /no answer within 2 s/],
  ['makes a tunnel that leads nowhere', { kind: 'hang' }, /no answer within 2 s/],
  ['makes a tunnel and closes it', { kind: 'close' }, /ECONNRESET|the proxy closed the connection/],
  ['says something into the tunnel', { kind: 'junk' }, /WRONG_VERSION_NUMBER|EPROTO|PACKET_LENGTH/],
  ['breaks off', { kind: 'drop' }, /the proxy: ECONNRESET/],
];
for (const [what, mood, line] of moods) {
  t.test(`a proxy that ${what} delays, with longer and longer pauses, and loses nothing`, async (t) => {
    const here = await tunnelled(t);
    here.put(...story);
    const times = what.startsWith('never') || what.endsWith('nowhere') ? 2 : 4;
    here.proxy.moods.push(...Array.from({ length: times }, () => mood));
    const said = await run(here, { ...here.environment, ...(times === 2 ? { TEST_TIMEOUT: '2000' } : {}) });
    t.match(
      said,
      new RegExp(
        `building hello 1\\.2-3 bookworm: again in 2 s, GITHUB_UNREACHABLE: [^\\n]*(?:${line.source.replace('\\n', '')})`,
      ),
    );
    t.match(said, times === 2 ? /again in 4 s/ : /again in 4 s[^]*again in 8 s[^]*again in 16 s/);
    here.saidOnce(said);
  });
}

void t.test('a proxy that answers with a certificate of its own authority hears nothing', async (t) => {
  const here = await tunnelled(t);
  const listener = await GitHubServer.start({ token, account, tls: { ...stranger, name } });
  t.teardown(() => listener.stop());
  here.proxy.moods.push(
    ...Array.from({ length: 3 }, () => ({ kind: 'elsewhere', port: listener.port }) as const),
  );
  here.put(...story);
  const said = await run(here, here.environment);
  t.match(
    said,
    new RegExp(
      `again in 2 s, GITHUB_UNREACHABLE: the certificate of ${name}:[0-9]+ is not trusted: [^]*again in 8 s`,
    ),
  );
  t.strictSame(listener.requests, []);
  here.saidOnce(said);
});

void t.test('a proxy in the middle of the work is lost, and everything is said once', async (t) => {
  const calm = await tunnelled(t);
  calm.put(...story);
  await run(calm, calm.environment);
  for (let n = 0; n < calm.github.requests.length; n++) {
    const here = await tunnelled(t);
    here.put(...story);
    const behaves = { kind: 'elsewhere', port: here.github.port } as const;
    here.proxy.moods.push(
      ...Array.from({ length: n }, () => behaves),
      { kind: 'answer', status: '502 Bad Gateway' },
      { kind: 'close' },
    );
    here.saidOnce(await run(here, here.environment));
  }
});

for (const [what, address, line] of [
  ['is not there', 'http://127.0.0.1:1', /the proxy: ECONNREFUSED/],
  [
    'has an address that is none',
    'https://proxy.example',
    /the address of the proxy does not begin with http:\/\//,
  ],
] as const) {
  t.test(`a proxy that ${what} is said`, async (t) => {
    const here = await tunnelled(t);
    here.put(...story);
    const said = await run(here, { ...here.environment, https_proxy: address }, /again in 8 s/);
    t.match(said, new RegExp(`again in 2 s, GITHUB_UNREACHABLE: ${line.source}`));
    t.strictSame([here.github.requests, here.aside()], [[], []]);
    here.saidOnce(await run(here, here.environment));
  });
}

void t.test(
  'the program as it is installed takes proxy and authority from its environment file',
  async (t) => {
    const made = await tunnelled(t);
    const unit = readFileSync(join(top, 'salt/build-infra/units/build-infra-notifier.service'), 'utf8');
    t.match(unit, /^EnvironmentFile=-\/rw\/config\/build-infra\/notify-environment$/m);
    const root = join(made.folder, 'root');
    for (const below of ['rw/config/build-infra', 'var/lib/build-infra/outbox', 'usr/lib/build-infra'])
      mkdirSync(join(root, below), { recursive: true });
    const program = join(root, 'usr/lib/build-infra/build-infra-notifier.mjs');
    copyFileSync(join(top, 'dist/build-infra-notifier.mjs'), program);
    writeFileSync(join(root, 'rw/config/build-infra/notify.json'), JSON.stringify(made.config));
    writeFileSync(join(root, 'rw/config/build-infra/notify-token'), `${token}\n`);
    chmodSync(join(root, 'rw/config/build-infra/notify-token'), 0o400);
    writeFileSync(
      join(root, `var/lib/build-infra/outbox/000000000001-${story[1]?.key}.json`),
      JSON.stringify(story[1]),
    );
    const child = spawn(process.execPath, [program], {
      cwd: root,
      env: { PATH: '/usr/bin:/bin', BUILD_INFRA_ROOT: root, ...made.environment },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const said = await new Promise<string>((resolve) => {
      let text = '';
      child.stderr.on('data', (part: Buffer) => {
        text += part.toString();
        // It is told what went wrong too, and would try again.
        if (/: said\n|again in/.test(text)) child.kill('SIGTERM');
      });
      child.once('close', () => resolve(text));
    });
    t.match(said, /uploaded hello 1\.2-3 bookworm current-testing: said/);
    t.strictSame(made.onlyIssue().labels, ['r4.3-vm-bookworm-cur-test']);
    t.equal(made.proxy.connects.length, made.github.requests.length);
  },
);
