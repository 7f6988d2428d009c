// SPDX-License-Identifier: GPL-2.0-or-later
// The two services on real sockets, without a repository: what a sender of logs and a caller with an intent
// are told, line by line.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { buildLogHandler } from '../../agents/build-logs/build-log-service.js';
import { intentHandler } from '../../agents/build-logs/intent-service.js';
import { LogStore } from '../../agents/build-logs/log-store.js';
import type { Log } from '../../agents/build-logs/log.js';
import type { Publisher } from '../../agents/build-logs/publisher.js';
import type { Receipts } from '../../agents/build-logs/receipts.js';
import { serveSockets } from '../../agents/shared/calls/socket-service.js';
import type { Intent } from '../../agents/shared/formats/intent.js';
import type { AnyRefusal } from '../../agents/shared/refusal.js';
import { Refusal } from '../../agents/build-logs/refusals.js';
import { until } from '../support/until.js';
import { Caller, sha256, signingKey } from './rig.js';

const header = (more: object = {}): string =>
  `> build-infra log@1 ${JSON.stringify({ job: 'hello-1', component: 'hello', stage: 'build', ...more })}\n`;
const [commit, hash] = ['c'.repeat(40), 'd'.repeat(64)];
const published = `published ${commit} sha256:${hash}`;
const patience = 20;

interface Logs {
  store: LogStore;
  call: (argument?: string, source?: string) => Caller;
  words: (log: Log) => string[];
  newest: () => Log;
  reported: string[];
}
async function logs(
  t: Test,
  {
    reopenMs = 60_000,
    limitBytes = 1 << 20,
    publication = async (log: Log) => (await log.settled(), { path: log.record.path, commit, sha256: hash }),
  } = {},
): Promise<Logs> {
  const folder = mkdtempSync(join(tmpdir(), 'sv-'));
  const reported: string[] = [];
  const store = new LogStore({
    folder: join(folder, 'logs'),
    clock: () => Date.UTC(2026, 10, 21, 12) * 1000,
    report: (line) => reported.push(line),
    limitBytes,
    openLogs: 3,
    reopenMs,
    changed: () => undefined,
    isPublished: async () => false,
  });
  const server = await serveSockets(
    [
      {
        name: 'qubesbuilder.BuildLog',
        argument: '^[a-z]*$',
        handle: buildLogHandler({ store, sources: new Set(['build-debian', 'build-fedora']), publication }),
      },
    ],
    { folder, report: (line) => reported.push(line) },
  );
  const callers: Caller[] = [];
  t.teardown(async () => {
    for (const { socket } of callers) socket.destroy();
    await server.close();
    await store.stop();
    rmSync(folder, { recursive: true });
  });
  return {
    store,
    reported,
    call: (argument = '', source = 'build-debian') => {
      const caller = new Caller(
        join(folder, 'qubesbuilder.BuildLog.sock'),
        `qubesbuilder.BuildLog+${argument}`,
        source,
      );
      callers.push(caller);
      return caller;
    },
    words: (log) =>
      readFileSync(log.file, 'latin1')
        .split('\n')
        .slice(0, -1)
        .map((line) => line.slice(33)),
    newest: () => store.all().at(-1) as Log,
  };
}

await t.test('a raw sender gets the answer alone, and everything it sent is in its log', async (t) => {
  const one = await logs(t);
  for (const text of ['one\ntwo\n', '> build-infra log\none\n', '> b', '', 'x']) {
    const lines = await one.call('own').end(text, patience);
    const log = one.newest();
    t.same(lines, [log.record.path, published]);
    t.same(one.words(log), [
      '> starting log',
      ...text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => `build-debian: ${line}`),
      '> closing log',
    ]);
    t.match(log.record, { header: null, state: 'ended', truncated: false });
    t.match(log.record.path, /^build-debian\/own\/log_/);
  }
  t.match(await one.call('', 'sys-net').end('x\n', patience), [/^refused UNKNOWN_SOURCE/]);
});

await t.test(
  'our sender is told where its log is, how far it is on disk, and where it is published',
  async (t) => {
    const one = await logs(t);
    const call = one.call().send(header());
    await call.line(/^opened /, patience);
    const log = one.newest();
    t.same(call.lines, [`opened ${log.record.path} 0`]);
    t.match(log.record.header, { job: 'hello-1', component: 'hello', stage: 'build' });
    call.send('one\ntwo\nbegun');
    await call.line(/^synced 2$/, patience);
    t.same(
      await call
        .end(' and done\n> end status=0\n', patience)
        .then((lines) => [lines.at(-3), lines.at(-2), lines.at(-1)]),
      ['synced 4', log.record.path, published],
    );
    t.same(one.words(log), [
      '> starting log',
      `build-debian: ${header().trimEnd()}`,
      'build-debian: one',
      'build-debian: two',
      'build-debian: begun and done',
      'build-debian: > end status=0',
      '> closing log',
    ]);
    const numbers = call.lines.flatMap((line) => (line.startsWith('synced ') ? [Number(line.slice(7))] : []));
    t.same(
      numbers,
      [...new Set(numbers)].sort((a, b) => a - b),
      'each number once, and growing',
    );
    // All of it at once, and byte by byte.
    t.match(await one.call().end(`${header()}x\n> end status=0\n`, patience), [
      /^opened .* 0$/,
      /^synced 2$/,
      /^build-debian\//,
      published,
    ]);
    const slow = one.call();
    for (const byte of `${header()}x\n> end status=0\n`) slow.send(byte);
    t.same((await slow.end('', patience)).slice(-1), [published]);
    t.same(one.words(one.newest()).slice(1, 3), [`build-debian: ${header().trimEnd()}`, 'build-debian: x']);
  },
);

await t.test('a header that is none is refused before there is a log', async (t) => {
  const one = await logs(t);
  const prefix = '> build-infra log@1 ';
  for (const bad of [
    `${prefix}{\n`,
    `${prefix}{}\n`,
    header({ more: 1 }),
    header({ job: '../x' }),
    `${prefix}${'x'.repeat(9000)}\n`,
    `${prefix}${'x'.repeat(9000)}`,
  ])
    t.match(await one.call().send(bad).end('', patience), [/^refused BAD_HEADER /], bad.slice(0, 40));
  t.equal(one.store.all().length, 0);
  const long = `${prefix}${' '.repeat(8192 - prefix.length - header().length + prefix.length + 1)}${header().slice(prefix.length)}`;
  t.equal(long.indexOf('\n'), 8192);
  t.match(
    await one
      .call()
      .send(long)
      .line(/^opened/, patience),
    /^opened/,
    'of 8192 bytes it may be',
  );
  t.match(await one.call().send(long.replace('@1 ', '@1  ')).end('', patience), [/^refused BAD_HEADER /]);
});

await t.test('who comes back goes on where it was, also after its log has ended', async (t) => {
  const one = await logs(t);
  const first = one.call().send(`${header()}one\ntwo\nhal`);
  await first.line(/^synced 2$/, patience);
  const log = one.newest();
  const { path } = log.record;
  t.match(await first.end('', patience), { length: 3, 2: /^refused NO_END / });
  const back = (lines: number, more: object = {}): Caller =>
    one.call().send(header({ continues: { path, lines }, ...more }));
  const second = back(2);
  t.match(await second.line(/^opened/, patience), /^opened .* 2$/);
  t.equal(one.words(log).at(-1), '> the sender came back, going on after its line 2');
  second.send('three\n');
  await second.line(/^synced 3$/, patience);
  second.socket.destroy();
  await until('it has gone', () => !log.hasSender);
  t.equal(log.ended, false);
  t.match(await back(5).end('', patience), [/^refused LINES_LOST/]);
  t.match(await back(1, { job: 'other-1' }).end('', patience), [/^refused LOG_UNKNOWN/]);
  const third = await back(3).end('> end status=0\n', patience);
  t.same(third.slice(-2), [path, published]);
  t.same(third[0], `opened ${path} 3`);
  t.same(
    one.words(log).filter((line) => line.startsWith('build-debian: ')).length,
    6,
    'the header of a second connection is none of its lines',
  );
  t.same(await back(4).end('', patience), [`opened ${path} 4`, path, published], 'its answer is given again');
});

await t.test('a log that takes no more says so, a publication that fails too', async (t) => {
  const one = await logs(t, { limitBytes: 2000 });
  const lines = await one
    .call()
    .send(header())
    .end(`${'x'.repeat(3000)}\n`, patience);
  t.match(lines.at(-1), /^refused LOG_TOO_LARGE/);
  t.match(await one.call().end(`${'x'.repeat(3000)}\n`, patience), [/^refused LOG_TOO_LARGE/]);
  const other = await logs(t, {
    publication: async (log) => {
      await log.settled();
      throw new Refusal('NOT_PUBLISHED', 'away');
    },
  });
  t.match(await other.call().end('x\n', patience), ['refused NOT_PUBLISHED away']);
  const calls = [1, 2, 3].map(() => other.call().send(header()));
  for (const call of calls) await call.line(/^opened/, patience);
  t.match(await other.call().end(header(), patience), [/^refused TOO_MANY_LOGS/]);
});

await t.test('more than fits a buffer arrives whole', async (t) => {
  const one = await logs(t, { limitBytes: 1 << 26 });
  const text = `${'x'.repeat(999)}\n`.repeat(3000);
  t.same(await one.call().end(text, patience), [one.newest().record.path, published]);
  t.equal(one.words(one.newest()).filter((line) => line === `build-debian: ${'x'.repeat(999)}`).length, 3000);
});

interface Asked {
  ask: (document: object | string, payloads?: string, source?: string) => Promise<Record<string, unknown>[]>;
  published: {
    sha256: string;
    publishedBytes: number;
    payloads: { sha256: string; bytes: Buffer }[];
    grants: unknown[];
    source: string;
  }[];
  reported: string[];
  demanded: [string, number][];
  shareOf: (error: AnyRefusal | undefined) => void;
  trust: (error: AnyRefusal | undefined) => void;
  publishing: (work: () => Promise<void>) => void;
  known: Set<string>;
}
async function intents(t: Test): Promise<Asked> {
  const folder = mkdtempSync(join(tmpdir(), 'sv-'));
  const [published, reported, demanded, known]: [
    Asked['published'],
    string[],
    [string, number][],
    Set<string>,
  ] = [[], [], [], new Set()];
  let [share, trust]: (AnyRefusal | undefined)[] = [];
  let publishing = async (): Promise<void> => undefined;
  const publisher = {
    demandShare: (source: string, bytes: number) => {
      demanded.push([source, bytes]);
      if (share !== undefined) throw share;
    },
    isKnownIntent: async (source: string, sha: string) => known.has(`${source} ${sha}`),
    newestCommits: (from: string, limit: number) => [Buffer.from(`${from} ${limit}`)],
    publish: async (intent: Asked['published'][0] & { confirmed: (commit: string) => void }) => {
      published.push(intent);
      await publishing();
      intent.confirmed(commit);
      return { commit, grantedUntil: 'later' };
    },
  } as unknown as Publisher;
  const receipts = {
    demandTrust: () => {
      if (trust !== undefined) throw trust;
    },
  } as unknown as Receipts;
  const sources = new Map([
    [
      'build-debian',
      {
        vm: 'build-debian',
        keysVm: 'keys-debian',
        keys: [signingKey],
        journalKey: null,
        payloadBytes: 64 * 1024 ** 2,
      },
    ],
    [
      'build-fedora',
      { vm: 'build-fedora', keysVm: 'keys-fedora', keys: [], journalKey: null, payloadBytes: 10 },
    ],
  ]);
  const handle = intentHandler({
    sources,
    receipts: new Map([
      ['build-debian', receipts],
      ['build-fedora', receipts],
      ['sys-net', receipts],
    ]),
    publisher,
    report: (line) => reported.push(line),
    logExists: async (path) => path.endsWith('20-00-00'),
  });
  const server = await serveSockets([{ name: 'qubesbuilder.BuildLog', argument: '^intent$', handle }], {
    folder,
    report: (line) => reported.push(line),
  });
  t.teardown(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });
  return {
    published,
    reported,
    demanded,
    known,
    shareOf: (error) => (share = error),
    trust: (error) => (trust = error),
    publishing: (work) => (publishing = work),
    ask: async (document, payloads = '', source = 'build-debian') => {
      const call = new Caller(
        join(folder, 'qubesbuilder.BuildLog.sock'),
        'qubesbuilder.BuildLog+intent',
        source,
      );
      return (
        await call.end(
          `${typeof document === 'string' ? document : JSON.stringify(document)}\n${payloads}`,
          patience,
        )
      ).map((line) => JSON.parse(line) as Record<string, unknown>);
    },
  };
}
const intent = (payload: string, changes: Partial<Intent> = {}): object => ({
  job: 'hello-1.0-abc',
  component: 'hello',
  version: '1.0',
  dist: 'bookworm',
  purpose: 'other',
  key: signingKey,
  mode: 'detach',
  payload: { name: 'p', size: payload.length, sha256: sha256(payload) },
  logs: [],
  artifacts: [],
  ...changes,
});
const document = (payload: string, changes: Partial<Intent> = {}): object => ({
  format: 'build-infra/intent@1',
  ...intent(payload, changes),
});

await t.test(
  'an intent is published with its payloads, and its caller hears when it is public and when it is granted',
  async (t) => {
    const one = await intents(t);
    const both = {
      format: 'build-infra/intent@1',
      intents: [
        intent('first', { logs: ['build-debian/log_2026-11-21_20-00-00'] }),
        intent('second', { mode: 'clearsign' }),
        intent('a header', { purpose: 'rpm-header' }),
      ],
    };
    const text = `${JSON.stringify(both)}\n`;
    t.same(await one.ask(both, 'firstsecond'), [
      {
        format: 'build-infra/intent-reply@1',
        result: 'public',
        intent: sha256(text),
        commit,
        commits: [Buffer.from(`${commit} 32768`).toString('base64')],
      },
      {
        format: 'build-infra/intent-reply@1',
        result: 'published',
        intent: sha256(text),
        commit,
        grantedUntil: 'later',
      },
    ]);
    const grant = (payload: string, mode = 'detach'): object => ({
      sha256: sha256(payload),
      size: payload.length,
      key: signingKey,
      mode,
      intent: sha256(text),
    });
    t.match(one.published, [
      {
        source: 'build-debian',
        sha256: sha256(text),
        publishedBytes: text.length + 11,
        grants: [grant('first'), grant('second', 'clearsign'), grant('a header')],
      },
    ]);
    t.same(
      one.published[0]?.payloads.map(({ bytes }) => bytes.toString()),
      ['first', 'second'],
    );
    t.same(
      [one.demanded, one.reported],
      [
        [
          ['build-debian', 0],
          ['build-debian', text.length + 11],
        ],
        [],
      ],
    );
  },
);

await t.test(
  'an intent that may not be is refused before it is published, in the words of its field',
  async (t) => {
    const one = await intents(t);
    const refusal = async (...asked: Parameters<Asked['ask']>): Promise<string> => {
      const lines = await one.ask(...asked);
      t.equal(lines.length, 1);
      t.match(
        one.reported.at(-1),
        new RegExp(`^intent from ${asked[2] ?? 'build-debian'}: refused ${String(lines[0]?.['code'])}`),
      );
      return `${String(lines[0]?.['result'])} ${String(lines[0]?.['code'])} ${String(lines[0]?.['detail']).split(':')[0]}`;
    };
    const log = 'build-debian/log_2026-11-21_20-00-00';
    const cases: [string, ...Parameters<Asked['ask']>][] = [
      ['UNKNOWN_SOURCE this VM signs nothing here', document('a'), 'a', 'sys-net'],
      ['UNKNOWN_SOURCE this VM signs nothing here', document('a'), 'a', 'other'],
      ['KEY_NOT_ALLOWED /key', document('a', { key: 'B'.repeat(40) }), 'a'],
      ['KEY_NOT_ALLOWED /key', document('a'), 'a', 'build-fedora'],
      ['LOG_UNKNOWN /logs', document('a', { logs: [log.replace('debian', 'fedora')] }), 'a'],
      ['LOG_UNKNOWN /logs', document('a', { logs: [log, log.replace(/00$/, '01')] }), 'a'],
      ['LOG_UNKNOWN /logs', document('a', { logs: [log.replace('debian', 'debian2')] }), 'a'],
      ['NOT_JSON the document is not JSON', '{', ''],
      ['BAD_DOCUMENT /more', { ...document('a'), more: 1 }, 'a'],
      [
        'AMBIGUOUS_JSON a field is there twice, or a value is spelled in an unusual way',
        JSON.stringify(document('a'))
          .replace('"version"', '"job":"x-1","version"')
          .replace('"job":"x-1","version"', '"version":"1.0","version"'),
        'a',
      ],
      ['PAYLOAD_DIFFERS /payload', document('a'), 'b'],
      ['PAYLOAD_MISSING /payload', document('a'), ''],
      ['TOO_LARGE more came than the document and its payloads', document('a'), 'ab'],
      [
        'TOO_LARGE /payload',
        document('a', { payload: { name: 'p', size: 64 * 1024 ** 2 + 1, sha256: hash } }),
      ],
      [
        'TOO_LARGE /payload',
        document('a', { mode: 'clearsign', payload: { name: 'p', size: 32 * 1024 ** 2 + 1, sha256: hash } }),
      ],
    ];
    for (const [wanted, ...asked] of cases) t.equal(await refusal(...asked), `refused ${wanted}`);
    t.same(one.published, []);
    for (const change of [
      { payload: { name: 'p', size: 64 * 1024 ** 2, sha256: hash } },
      { mode: 'clearsign' as const, payload: { name: 'p', size: 32 * 1024 ** 2, sha256: hash } },
    ])
      t.match((await one.ask(document('a', change))).at(-1), { result: 'published' }, 'at its limit');
    one.known.add(`build-debian ${sha256(`${JSON.stringify(document('a'))}\n`)}`);
    t.match(await refusal(document('a'), 'a'), /^refused INTENT_KNOWN /);
    one.known.clear();
    one.shareOf(new Refusal('DAY_SHARE_USED', 'x'));
    t.match(await refusal('not even read', ''), /^refused DAY_SHARE_USED /);
    one.shareOf(undefined);
    one.trust(new Refusal('KEYS_VM_ALARM', 'x'));
    t.match(await refusal('not even read', ''), /^refused KEYS_VM_ALARM /);
    one.trust(undefined);
    one.publishing(() => Promise.reject(new Error('no\ngit')));
    t.match(await one.ask(document('a'), 'a'), [
      { result: 'refused', code: 'FAULT', detail: 'the build-logs VM failed; its own log says why' },
    ]);
    t.match(one.reported.at(-1), /^intent from build-debian: Error: no\.git/);
  },
);

await t.test('the same document is asked for once at a time, and again after a refusal', async (t) => {
  const one = await intents(t);
  let go: (error?: Error) => void = () => undefined;
  one.publishing(
    () =>
      new Promise((resolve, reject) => (go = (error) => (error === undefined ? resolve() : reject(error)))),
  );
  const first = one.ask(document('a'), 'a');
  await until('it is under way', () => one.published.length === 1);
  t.match(await one.ask(document('a'), 'a'), [{ code: 'INTENT_KNOWN' }]);
  go(new Refusal('NOT_PUBLISHED', 'away'));
  t.match(await first, [{ code: 'NOT_PUBLISHED' }]);
  const again = one.ask(document('a'), 'a');
  await until('it is under way', () => one.published.length === 2);
  go();
  t.match((await again).at(-1), { result: 'published' });
});
