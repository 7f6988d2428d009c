// SPDX-License-Identifier: GPL-2.0-or-later
// GitHub is down, slow, full, wrong, or says no.
import fs, { readFileSync, symlinkSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import t from 'tap';
import type { Misbehaviour } from '../../agents/local/outside/github-server/server.js';
import { serveWeb } from '../support/web-server.js';
import { account, bodies, notification, patientLimits, place, token, type Place } from './notifying.js';

const minute = 60_000;
const story = [
  notification({ event: 'building' }),
  notification({ event: 'built' }),
  notification({ event: 'uploaded' }),
];

/** Whatever happened on the way: each thing once, in order. */
function toldOnce(
  { onlyIssue }: Place,
  t: { strictSame: (a: unknown, b: unknown, why: string) => unknown },
): void {
  t.strictSame(
    bodies(onlyIssue()).map((body) => /was (built|uploaded)/.exec(body)?.[1]),
    ['built', 'uploaded'],
    'each comment once and in order',
  );
  t.strictSame(onlyIssue().labels, ['r4.3-vm-bookworm-cur-test'], 'the labels of the last moment');
}

void t.test('an outage of two hours loses nothing and doubles nothing', async (t) => {
  const here = await place(t);
  const { put, github, clock, open } = here;
  put(...story);
  github.down = { kind: 'status', status: 503 };
  const end = clock.time + 120 * minute;
  const notifier = await open();
  for (
    let pause = await notifier.deliveries.work();
    pause !== undefined;
    pause = await notifier.deliveries.work()
  ) {
    clock.time += pause;
    if (clock.time >= end) github.down = undefined;
  }
  notifier.close();
  t.ok(clock.time - end < 11 * minute, 'heard of at most one longest pause later');
  t.ok(github.requests.filter((request) => request.status === 503).length < 40, 'without hammering');
  toldOnce(here, t);
});

/** Each of these at each request in turn, once. */
const hiccups: [string, Misbehaviour][] = [
  ['a 502 before the work', { kind: 'bad-gateway' }],
  ['a 502 after the work', { kind: 'bad-gateway', after: true }],
  ['a connection that breaks before the work', { kind: 'drop' }],
  ['a connection that breaks after the work', { kind: 'drop', after: true }],
  ['a 429 with retry-after', { kind: 'too-many', retryAfter: 30 }],
  ['a 429 without', { kind: 'too-many' }],
  ['a secondary limit', { kind: 'secondary-limit' }],
  ['a secondary limit with retry-after', { kind: 'secondary-limit', retryAfter: 90 }],
  ['a primary limit', { kind: 'primary-limit', resetInSeconds: 1800 }],
  ['a 500', { kind: 'status', status: 500 }],
  [
    'a page of HTML that says 200',
    { kind: 'answer', contentType: 'text/html', body: '<html>captive</html>' },
  ],
  [
    'JSON that is none of this API',
    { kind: 'answer', contentType: 'application/json', body: '{"number":"1"}' },
  ],
  ['half of a JSON', { kind: 'answer', contentType: 'application/json', body: '{"number":' }],
  ['a request that is worked on two requests later', { kind: 'late', requests: 1 }],
  ['a 403 that passes', { kind: 'status', status: 403 }],
  ['a 404 that passes', { kind: 'status', status: 404 }],
  ['a token that is not accepted for a while', { kind: 'status', status: 401 }],
];
for (const [name, how] of hiccups) {
  t.test(`${name}, at any one request, changes nothing in the end`, async (t) => {
    const calm = await place(t);
    await calm.tell(...story);
    for (let n = 0; n < calm.github.requests.length; n++) {
      const here = await place(t);
      const { method, path } = calm.github.requests[n] as { method: string; path: string };
      const same = calm.github.requests
        .slice(0, n)
        .filter((request) => request.method === method && request.path === path).length;
      const pass: Parameters<typeof here.github.plan>[0] = {
        method,
        path: new RegExp(`^${path}$`),
        times: same,
        how: { kind: 'slow', ms: 0 },
      };
      here.github.plan(pass, { method, path: new RegExp(`^${path}$`), how });
      await here.tell(...story);
      t.equal(here.github.stillPlanned, 0, `request ${n}, ${method} ${path}`);
      t.strictSame(here.aside(), []);
      toldOnce(here, t);
    }
  });
}

void t.test("GitHub's lists lag behind after a lost answer", async (t) => {
  const here = await place(t);
  here.github.lag = 2;
  here.github.plan(
    { method: 'POST', path: /\/issues$/, how: { kind: 'drop', after: true } },
    { method: 'POST', path: /\/comments$/, how: { kind: 'bad-gateway', after: true } },
  );
  await here.tell(...story);
  toldOnce(here, t);
});

void t.test('an answer that is too slow is given up and asked for again', async (t) => {
  const calm = await place(t);
  await calm.tell(...story);
  const here = await place(t);
  here.github.plan({ method: 'POST', path: /\/comments$/, how: { kind: 'slow', ms: 600_000 } });
  here.put(...story);
  // Of the planned request alone: the requests before it are those of a calm day.
  const planned = calm.github.requests.findIndex(
    ({ method, path }) => method === 'POST' && path.endsWith('/comments'),
  );
  await here.drain({
    limits: {
      ...patientLimits,
      get timeoutMs() {
        return here.github.requests.length === planned ? 300 : patientLimits.timeoutMs;
      },
    },
  });
  toldOnce(here, t);
  t.match(here.lines.join('\n'), /GITHUB_UNREACHABLE: no answer within 0\.3 s/);
});

void t.test('an endless answer is cut off', async (t) => {
  const here = await place(t);
  here.github.plan({ method: 'GET', how: { kind: 'endless' } });
  await here.tell(...story);
  toldOnce(here, t);
  t.match(here.lines.join('\n'), /ANSWER_TOO_LARGE/);
});

void t.test('the same document many times, in any order of delivery, is said once', async (t) => {
  const here = await place(t);
  await here.tell(...story, ...story);
  await here.tell(...story.toReversed());
  toldOnce(here, t);
});

void t.test('retry-after is kept to, and no request leaves before', async (t) => {
  const here = await place(t);
  here.github.plan({ method: 'POST', how: { kind: 'secondary-limit', retryAfter: 700 } });
  await here.tell(...story);
  const limited = here.github.requests.findIndex((request) => request.status === 403);
  t.ok(
    (here.github.requests[limited + 1]?.at.getTime() ?? 0) -
      (here.github.requests[limited]?.at.getTime() ?? 0) >=
      700_000,
  );
});

void t.test('the silence that GitHub asked for outlives a restart', async (t) => {
  const here = await place(t);
  here.github.plan({ how: { kind: 'too-many', retryAfter: 600 } });
  here.put(...story);
  const notifier = await here.open();
  await notifier.deliveries.work();
  notifier.close();
  const again = await here.open();
  t.ok(((await again.deliveries.work()) ?? 0) > 500_000);
  again.close();
  t.equal(here.github.requests.length, 1);
});

void t.test('a silence of a hundred years is an hour', async (t) => {
  const here = await place(t);
  here.github.plan({ how: { kind: 'too-many', retryAfter: 999_999_999 } });
  here.put(...story);
  t.ok((await here.drain()) < 2 * 3600_000);
});

void t.test('requests that write are a second apart', async (t) => {
  const here = await place(t);
  await here.tell(...story);
  const writes = here.github.requests
    .filter((request) => request.method !== 'GET')
    .map((request) => request.at.getTime());
  t.ok(writes.length >= 4);
  for (let n = 1; n < writes.length; n++) t.ok((writes[n] as number) - (writes[n - 1] as number) >= 1000);
});

void t.test('a document that GitHub refuses for good is set aside, and the others go on', async (t) => {
  const here = await place(t);
  here.github.plan({
    method: 'POST',
    path: /\/issues$/,
    how: { kind: 'status', status: 422, message: 'Validation Failed' },
  });
  await here.tell(notification({ component: 'poison' }), ...story);
  toldOnce(here, t);
  t.strictSame(
    here.aside().map(({ reason }) => reason),
    ['GITHUB_REFUSED: GitHub answered 422: Validation Failed'],
  );
  t.match(here.lines.join('\n'), /set aside, GITHUB_REFUSED: GitHub answered 422/);
});

void t.test('404 for good is believed after two hours, and does not hold up other components', async (t) => {
  const here = await place(t);
  here.github.plan({ method: 'POST', path: /\/issues$/, times: 1000, how: { kind: 'status', status: 404 } });
  here.put(notification({ component: 'gone' }));
  const took = await here.drain();
  t.ok(took >= 2 * 3600_000, 'a repository that is away for an hour loses nothing');
  t.equal(here.aside().length, 1);
});

void t.test('one component of which GitHub wants to hear nothing leaves the others in time', async (t) => {
  const here = await place(t);
  await here.tell(notification({ component: 'bad' }));
  here.github.plan({
    method: 'POST',
    path: /\/issues\/1\//,
    times: 1000,
    how: { kind: 'status', status: 403 },
  });
  here.put(notification({ component: 'bad', event: 'built' }), ...story);
  const began = here.clock.time;
  await here.drain();
  const good = here.status.issues[1];
  t.ok(new Date(good?.comments[1]?.at ?? '').getTime() - began < minute);
  t.equal(here.aside().length, 1);
});

void t.test('what was set aside is said when a person wants it', async (t) => {
  const here = await place(t);
  const { OutboxReader } = await import('../../agents/notifier/outbox-reader.js');
  here.github.plan({ method: 'POST', path: /\/issues$/, how: { kind: 'status', status: 422 } });
  await here.tell(notification({ event: 'built' }));
  t.equal(here.status.issues.length, 0);
  t.equal(OutboxReader.wantAgain(here.state, 'all').length, 1);
  await here.drain();
  await here.drain();
  t.equal(here.onlyIssue().comments.length, 1);
});

void t.test('a document that is none is set aside and holds up nothing', async (t) => {
  const here = await place(t);
  const bad = { ...notification(), version: '../../etc', key: 'f'.repeat(64) };
  await here.tell(bad, { ...notification(), key: 'e'.repeat(64), extra: 1 } as never, ...story);
  toldOnce(here, t);
  t.strictSame(
    here
      .aside()
      .map(({ reason }) => reason.slice(0, 23))
      .toSorted(),
    ['BAD_DOCUMENT: /extra: i', 'BAD_DOCUMENT: /version:'],
  );
});

const failing = (code: string) => (): never => {
  throw Object.assign(new Error(`${code}: the disk`), { code });
};
/** While `act` goes on, this step of every file operation fails. */
async function whileFails(
  step: 'readSync' | 'fdatasyncSync' | 'renameSync',
  code: string,
  act: () => Promise<void>,
): Promise<void> {
  const real = fs[step];
  Object.assign(fs, { [step]: failing(code) });
  syncBuiltinESMExports();
  try {
    await act();
  } finally {
    Object.assign(fs, { [step]: real });
    syncBuiltinESMExports();
  }
}

for (const code of ['EIO', 'EMFILE']) {
  t.test(`a document that cannot be read for ${code} is said when it can be`, async (t) => {
    const here = await place(t);
    here.put(...story);
    const notifier = await here.open();
    await whileFails('readSync', code, async () => {
      t.equal(await notifier.deliveries.work(), undefined);
      t.equal(await notifier.deliveries.work(), undefined);
    });
    t.strictSame(here.aside(), []);
    t.strictSame(here.lines.filter((line) => line.includes(code)).length, story.length, 'once each');
    notifier.close();
    await here.drain();
    toldOnce(here, t);
  });
}

for (const [what, step, code] of [
  ['the ledger cannot be written', 'fdatasyncSync', 'ENOSPC'],
  ['nothing can be kept', 'renameSync', 'EROFS'],
] as const) {
  t.test(
    `where ${what}, a document that is none is set aside when it can be, and the notifier goes on`,
    async (t) => {
      const here = await place(t);
      here.put({ ...notification(), version: '../../etc', key: 'f'.repeat(64) });
      const notifier = await here.open();
      await whileFails(step, code, async () => {
        t.equal(await notifier.deliveries.work(), undefined);
        t.equal(await notifier.deliveries.work(), undefined);
      });
      t.equal(here.lines.filter((line) => line.includes(code)).length, 1);
      here.put(...story);
      t.equal(await notifier.deliveries.work(), undefined);
      notifier.close();
      toldOnce(here, t);
      t.strictSame(
        here.aside().map(({ reason }) => reason.slice(0, 23)),
        ['BAD_DOCUMENT: /version:'],
      );
      await here.drain();
      t.equal(here.aside().length, 1);
    },
  );
}

void t.test(
  'where the disk is full, a document that GitHub refuses is set aside when there is room',
  async (t) => {
    const here = await place(t);
    here.github.plan({
      method: 'POST',
      path: /\/issues$/,
      times: 3,
      how: { kind: 'status', status: 422, message: 'Validation Failed' },
    });
    here.put(notification({ component: 'poison' }));
    const notifier = await here.open();
    await whileFails('fdatasyncSync', 'ENOSPC', async () => {
      for (let rounds = 0; rounds < 2; rounds++) {
        const pause = await notifier.deliveries.work();
        t.ok(pause);
        here.clock.time += pause ?? 0;
      }
    });
    t.equal(await notifier.deliveries.work(), undefined);
    notifier.close();
    t.match(here.lines.join('\n'), /not set aside: Error: ENOSPC: the disk; GITHUB_REFUSED/);
    t.strictSame(
      here.aside().map(({ reason }) => reason),
      ['GITHUB_REFUSED: GitHub answered 422: Validation Failed'],
    );
  },
);

void t.test('a ledger of which a full disk took half a line knows afterwards what was said', async (t) => {
  const here = await place(t);
  here.put(notification({ event: 'built' }), notification({ event: 'uploaded' }));
  const real = fs.writeSync as (fd: number, data: Uint8Array, ...more: unknown[]) => number;
  let torn = 0;
  const half = (fd: number, data: Uint8Array, ...more: unknown[]): number => {
    if (torn > 0 || !Buffer.from(data).toString().endsWith(' done\n')) return real(fd, data, ...more);
    torn += real(fd, data.subarray(0, 70));
    throw Object.assign(new Error('ENOSPC: the disk'), { code: 'ENOSPC' });
  };
  Object.assign(fs, { writeSync: half });
  syncBuiltinESMExports();
  try {
    await here.drain();
  } finally {
    Object.assign(fs, { writeSync: real });
    syncBuiltinESMExports();
  }
  t.equal(torn, 70);
  await here.drain();
  t.equal(here.onlyIssue().comments.length, 2);
  for (const line of readFileSync(join(here.state, 'ledger'), 'utf8').trimEnd().split('\n'))
    t.match(line, /^[0-9a-f]{64} [^ ]+Z done$/);
});

void t.test('a link in the outbox is set aside, wherever it leads', async (t) => {
  const here = await place(t);
  symlinkSync('/etc/passwd', join(here.outbox, `000000000000-${'f'.repeat(64)}.json`));
  await here.tell(...story);
  toldOnce(here, t);
  t.match(here.lines.join('\n'), /set aside, BAD_DOCUMENT: it is no plain file/);
});

void t.test('a distribution that the configuration does not know is set aside and says so', async (t) => {
  const here = await place(t);
  await here.tell(notification({ dist: 'sid', dists: ['sid'] }));
  t.match(here.aside()[0]?.reason, /UNKNOWN_DISTRIBUTION: dist: notify\.json has no distribution sid/);
});

void t.test('a redirect to another host is not followed, and the token stays', async (t) => {
  const here = await place(t);
  const seen: unknown[] = [];
  const elsewhere = await serveWeb(t, (request, response) => {
    seen.push(request.headers);
    response.end('{}');
  });
  here.github.plan({ times: 2, how: { kind: 'redirect', to: `${elsewhere}/` } });
  await here.tell(...story);
  t.strictSame(seen, []);
  toldOnce(here, t);
});

void t.test('GitHub Enterprise has a path before every call', async (t) => {
  const here = await place(t, {}, { prefix: '/api/v3' });
  await here.tell(...story);
  t.ok(here.github.requests.every((request) => request.path.startsWith('/api/v3/')));
  toldOnce(here, t);
});

void t.test('a proxy of the VM is used', async (t) => {
  const here = await place(t);
  const through: string[] = [];
  const { request: ask } = await import('node:http');
  const address = await serveWeb(t, (request, response) => {
    through.push(request.url ?? '');
    const onward = ask(
      request.url ?? '',
      { method: request.method ?? 'GET', headers: request.headers },
      (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(response);
      },
    );
    request.pipe(onward);
  });
  here.put(...story);
  await here.drain({ limits: { ...patientLimits, proxy: { http: address } } });
  toldOnce(here, t);
  t.equal(through.length, here.github.requests.length);
  const before = through.length;
  here.put(notification({ event: 'built', dist: 'trixie' }));
  await here.drain({ limits: { ...patientLimits, proxy: { http: address, no: 'example.org, 127.0.0.1' } } });
  t.equal(through.length, before, 'but not for what is spared');
});

void t.test('a second notifier on the same state does not start', async (t) => {
  const here = await place(t);
  const first = await here.open();
  await t.rejects(here.open(), { code: 'ALREADY_RUNNING' });
  first.close();
  await new Promise((resolve) => setImmediate(resolve));
  (await here.open()).close();
});

void t.test('a dry run asks GitHub nothing, says all, and uses nothing up', async (t) => {
  const here = await place(t, { dryRun: true });
  await here.tell(...story);
  t.equal(here.github.requests.length, 0);
  t.match(
    here.lines.join('\n'),
    /dry run: would open an issue in example\/updates-status: hello 1\.2-3 \(r4\.3\) \[r4\.3-vm-bookworm-building\]/,
  );
  here.config.dryRun = false;
  await here.drain();
  toldOnce(here, t);
});

void t.test('no file of the state holds the token', async (t) => {
  const here = await place(t);
  here.github.plan({ how: { kind: 'status', status: 401, message: `Bad credentials ${token}` } });
  await here.tell(...story);
  const { readdirSync } = await import('node:fs');
  for (const name of readdirSync(here.state, { recursive: true, withFileTypes: true }))
    if (name.isFile()) t.notMatch(readFileSync(join(name.parentPath, name.name), 'latin1'), token);
  t.equal(here.onlyIssue().author, account);
});
