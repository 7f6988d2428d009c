// SPDX-License-Identifier: GPL-2.0-or-later
// One build VM that asks for signatures without end, the attacker: what it may use up, and what the others
// notice of it. And an honest one with a large release, which is never refused.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { WaitingIntent } from '../../agents/build-logs/intents-to-publish.js';
import { IntentsToPublish } from '../../agents/build-logs/intents-to-publish.js';
import { LogsToPublish } from '../../agents/build-logs/logs-to-publish.js';
import { IntentShares } from '../../agents/build-logs/intent-shares.js';
import { readGitCommit } from '../../agents/shared/formats/git-commit.js';
import type { IntentReply } from '../../agents/shared/formats/intent.js';
import { readPublicationMessage } from '../../agents/shared/formats/publication.js';
import { until } from '../support/until.js';
import { Rig, sha256, textOf } from './rig.js';
import { smallDisk } from '../support/small-disk.js';

const sources = ['build-debian', 'build-fedora'];

const code = (reply: IntentReply): string => (reply.result === 'refused' ? reply.code : reply.result);

/** A document of about so many bytes. */
function large(rig: Rig, bytes: number): Record<string, unknown> {
  const artifacts = Array.from({ length: Math.floor(bytes / 270) }, (_, i) => ({
    name: `${'x'.repeat(150)}${i}`,
    size: i,
    sha256: sha256(`${Math.random()}`),
  }));
  return rig.intent({ artifacts });
}

void t.test('turns', async (t) => {
  const make = (source: string, publishedBytes: number): WaitingIntent => ({
    source,
    publishedBytes,
    sha256: `${source}-${Math.random()}`,
    bytes: Buffer.alloc(0),
    day: '2026-11-21',
    payloads: [],
    grants: [],
    said: [],
    settled: false,
    confirmed: () => undefined,
    resolve: () => undefined,
    reject: () => undefined,
  });
  const round = (...waiting: WaitingIntent[]): WaitingIntent[] => {
    const intents = new IntentsToPublish();
    intents.add(...waiting);
    return intents.take();
  };
  const flood = Array.from({ length: 300 }, () => make('a', 100_000));
  const one = make('b', 1000);
  t.strictSame(
    round(...flood, one).filter(({ source }) => source === 'b'),
    [one],
    'a single intent behind a flood goes with the next publication',
  );
  t.equal(round(...flood, one).length, 6, 'and the flood takes its share of it only');
  t.equal(round(...Array.from({ length: 300 }, () => make('a', 10))).length, 200, 'of small ones too');
  t.equal(round(make('a', 5_000_000), make('a', 1)).length, 1, 'a large one is not passed over for ever');
  const vms = Array.from({ length: 40 }, (_, i) => `vm${i}`);
  const all = round(...vms.flatMap((vm) => Array.from({ length: 5 }, () => make(vm, 200_000))));
  t.strictSame(
    [...new Set(all.map(({ source }) => source))].sort(),
    [...vms].sort(),
    'everybody has a first one',
  );
  t.equal(all.length, 40 + 10, 'and a publication does not grow with the number of floods');
  const order = Array.from({ length: 4 }, (_, i) => make('a', i === 1 ? 600_000 : 10));
  t.strictSame(round(...order), order.slice(0, 1), 'nobody overtakes within a source');
});

void t.test('a log is due while something of it is unpublished, and no longer', async (t) => {
  const log = { record: { vm: 'a', path: 'a/x/log', state: 'open' }, readyBytes: 10, ended: false };
  const wakes: number[] = [];
  const logs = new LogsToPublish({
    store: { all: () => [log], of: () => [log] } as never,
    repository: undefined as never,
    report: () => undefined,
    publishMs: 0,
    wakeAt: (time) => wakes.push(time),
    wake: () => undefined,
  });
  const asLog = log as never;
  logs.changed(asLog);
  t.strictSame([wakes.length, logs.due(Infinity).length, logs.choose(Infinity, []).size], [1, 1, 1]);
  logs.begin(asLog);
  // A line comes while the publication is made, and goes into it.
  log.readyBytes = 20;
  logs.changed(asLog);
  logs.committed([
    { log: asLog, blob: { path: 'a/x/log', plainBytes: 20, id: '', size: 20, sha256: '' }, ended: false },
  ]);
  t.strictSame([logs.due(Infinity).length, logs.choose(Infinity, []).size], [0, 0], 'nothing is left to do');
  log.readyBytes = 30;
  logs.changed(asLog);
  t.equal(logs.due(Infinity).length, 1, 'the next line makes it due again');
});

void t.test('a share is of a day, of each VM, and counts what waits', async (t) => {
  let day = '2026-11-21';
  const shares = new IntentShares({
    perDay: 3,
    bytesPerDay: 100,
    today: () => day,
    sources: ['a', 'b'],
    published: async (source) => (source === 'a' ? { intents: 2, bytes: 50 } : { intents: 0, bytes: 0 }),
  });
  await shares.start();
  const none = { intents: 0, bytes: 0 };
  shares.demand('a', 50, none);
  t.throws(() => shares.demand('a', 51, none), { code: 'DAY_SHARE_USED' }, 'bytes');
  t.throws(() => shares.demand('a', 1, { intents: 1, bytes: 0 }), { code: 'DAY_SHARE_USED' }, 'what waits');
  shares.add('a', 1, 10);
  t.throws(
    () => shares.demand('a', 1, none),
    { code: 'DAY_SHARE_USED', detail: /a has used its share of today: 3 of 3 intents, 60 of 100 bytes/ },
    'number',
  );
  shares.demand('b', 100, none);
  shares.add('a', -1, -10);
  shares.demand('a', 1, none);
  shares.add('a', 1, 50);
  day = '2026-11-22';
  shares.demand('a', 100, none);
});

for (const [what, options, size] of [
  ['number', { intentsPerDay: 5 }, 0],
  ['bytes', { intentBytesPerDay: 1_048_576 }, 200_000],
] as const) {
  void t.test(
    `a VM that used up its share of ${what} is refused with one line, after a restart too, and the other VM is not`,
    async (t) => {
      const rig = await Rig.started(t, { sources, ...options });
      const replies = await Promise.all(Array.from({ length: 12 }, () => rig.ask(large(rig, size))));
      t.strictSame(
        replies.map(code).sort(),
        [...Array(7).fill('DAY_SHARE_USED'), ...Array(5).fill('published')],
        'all at once',
      );
      t.match(
        replies.find((reply) => code(reply) === 'DAY_SHARE_USED'),
        { detail: /^build-debian has used its share of today: / },
      );
      await rig.kill();
      await rig.start();
      t.equal(code(await rig.ask(large(rig, size))), 'DAY_SHARE_USED');
      t.equal(code(await rig.ask(large(rig, size), 'build-fedora')), 'published');
      const commits = Number(rig.git(rig.remote('origin'), 'rev-list', '--count', 'main'));
      t.equal(
        rig
          .git(rig.remote('origin'), 'ls-tree', '-r', '--name-only', 'main', 'intents/build-debian/')
          .trim()
          .split('\n').length,
        5,
        'no more of it is published',
      );
      t.ok(commits > 0);
    },
  );
}

void t.test('what was refused for another reason uses nothing up', async (t) => {
  const rig = await Rig.started(t, { sources, intentsPerDay: 2 });
  for (let i = 0; i < 4; i++)
    t.equal(code(await rig.ask(rig.intent({ key: 'B'.repeat(40) }))), 'KEY_NOT_ALLOWED');
  for (let i = 0; i < 2; i++) t.equal(code(await rig.ask(rig.intent())), 'published');
  t.equal(code(await rig.ask(rig.intent())), 'DAY_SHARE_USED');
});

void t.test(
  'beside a flood of large intents another VM waits for no more than the publication that is being made and its own',
  async (t) => {
    const rig = await Rig.started(t, { sources });
    t.equal(code(await rig.ask(rig.intent(), 'build-fedora')), 'published');
    const alone: number[] = [];
    const timed = async (): Promise<number> => {
      const begun = performance.now();
      t.equal(code(await rig.ask(rig.intent(), 'build-fedora')), 'published');
      return performance.now() - begun;
    };
    for (let i = 0; i < 5; i++) alone.push(await timed());
    let flooding = true;
    let published = 0;
    const flood = Promise.all(
      Array.from({ length: 12 }, async () => {
        while (flooding) if (code(await rig.ask(large(rig, 194_000))) === 'published') published++;
      }),
    );
    const commits = (): number => Number(rig.git(rig.remote('origin'), 'rev-list', '--count', 'main'));
    const beside: number[] = [];
    for (let i = 0; i < 8; i++) {
      const before = commits();
      beside.push(await timed());
      t.ok(commits() - before <= 3, `${commits() - before} publications`);
    }
    flooding = false;
    await flood;
    const median = (values: number[]): number =>
      [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;
    t.comment(
      `alone ${median(alone).toFixed(0)} ms, beside the flood ${median(beside).toFixed(0)} ms (${published} of 194 kB published meanwhile)`,
    );
  },
);

/** Lines that xz takes long over and gains nothing from. */
function entropy(bytes: number): Buffer {
  return Buffer.from(
    randomBytes(Math.floor(bytes * 0.74))
      .toString('base64')
      .replace(/(.{1000})/g, '$1\n'),
  );
}

void t.test(
  "while a large log is packed, another VM's intents are published; the VM's own come with all that it had said",
  async (t) => {
    const rig = await Rig.started(t, { sources, intentSeconds: 400 });
    const log = rig.call();
    const sent = log.end(entropy(11_000_000), 400_000);
    const packing = (): string | undefined =>
      readdirSync(join(rig.state, 'logs/build-debian'), { recursive: true })
        .map(String)
        .find((name) => name.endsWith('.xz'));
    await until(
      'xz is at work',
      () => existsSync(join(rig.state, 'logs/build-debian')) && packing() !== undefined,
    );
    const path = `build-debian/${packing() as string}`;
    const own = rig.ask(rig.intent(), 'build-debian', 400_000);
    const commits: string[] = [];
    for (let i = 0; i < 3; i++) {
      const reply = await rig.ask(rig.intent(), 'build-fedora');
      if (reply.result !== 'published') return t.fail(`refused: ${reply.code}`);
      commits.push(reply.commit);
    }
    t.equal(log.answer, '', 'the log was not published by then');
    for (const commit of commits)
      t.equal(
        rig.git(rig.remote('origin'), 'ls-tree', '-r', '--name-only', commit, '--', path),
        '',
        'nor is it in a commit of these',
      );
    const [named, published] = await sent;
    t.equal(named, path);
    const reply = await own;
    if (reply.result !== 'published') return t.fail(`refused: ${reply.code}`);
    t.equal(
      sha256(rig.file(path, 'origin', reply.commit)),
      /sha256:(\w+)/.exec(published as string)?.[1],
      "the whole log is in the commit of the VM's own intent",
    );
    rig.checkHistory();
  },
);

void t.test(
  'of many logs at once each publication has a share, and whoever waits is in the next one',
  async (t) => {
    const rig = await Rig.started(t, { sources, publishSeconds: 1 });
    const logs = Array.from({ length: 5 }, (_, n) =>
      rig
        .call()
        .send(rig.header({ stage: `s${n}` }))
        .send(`${'a long line of a build '.repeat(40)}\n`.repeat(9_000)),
    );
    await Promise.all(logs.map((log) => log.line(/^synced 9000$/)));
    const own = rig.ask(rig.intent());
    const other = await rig.ask(rig.intent(), 'build-fedora');
    const all = await Promise.all(logs.map((log) => log.end('> end status=0\n')));
    t.ok(all.every((lines) => lines.at(-1)?.startsWith('published ')));
    t.match([other, await own], [{ result: 'published' }, { result: 'published' }]);
    const ids = rig.git(rig.remote('origin'), 'rev-list', '--reverse', 'main').trim().split('\n');
    const shares = ids.map((id) =>
      readPublicationMessage(readGitCommit(rig.object(id)).message)
        .files.filter(({ path }) => path.startsWith('build-debian/'))
        .map(({ size }) => size),
    );
    t.ok(
      shares.every(
        (sizes) => sizes.length <= 1 || sizes.reduce((sum, size) => sum + size, 0) <= 16 * 1024 * 1024,
      ),
      JSON.stringify(shares),
    );
    t.ok(
      shares.filter((sizes) => sizes.some((size) => size > 8_000_000)).length >= 5,
      'the logs went out in several publications',
    );
    const mine = ((await own) as { commit: string }).commit;
    for (const log of logs)
      t.equal(
        textOf(rig.file(log.lines[0]?.split(' ')[1] as string, 'origin', mine)).length >= 9000,
        true,
        "every line that was said is in the commit of the VM's own intent",
      );
    rig.checkHistory();
  },
);

const mounted = smallDisk(40);
void t.test(
  'intents leave the reserve of the disk alone, and what was acknowledged is published from it',
  { skip: mounted === undefined ? 'needs to mount a tmpfs' : false },
  async (t) => {
    const disk = mounted as string;
    mkdirSync(join(disk, 'r'));
    const rig = await Rig.make({ root: join(disk, 'r'), intentSeconds: 20 });
    t.teardown(async () => {
      await rig.stop();
      execFileSync('umount', [disk]);
      rmSync(disk, { recursive: true });
    });
    await rig.start();
    const log = rig.call().send(`${rig.header()}acknowledged\n`);
    const path = (await log.line(/^opened /)).split(' ')[1] as string;
    await log.line(/^synced 1$/);
    // All but a little beyond the reserve, which is a twentieth: 2 MB.
    const free = (): number =>
      Number(execFileSync('stat', ['-f', '-c', '%a', disk], { encoding: 'utf8' })) * 4096;
    writeFileSync(join(disk, 'filler'), Buffer.alloc(free() - 3_500_000));
    let refused: IntentReply | undefined;
    for (let i = 0; i < 30 && refused === undefined; i++) {
      for (const reply of await Promise.all(Array.from({ length: 6 }, () => rig.ask(large(rig, 200_000)))))
        if (reply.result === 'refused') refused = reply;
    }
    t.match(refused, { code: 'DISK_FULL' });
    t.ok(free() > 1_500_000, `the reserve is there: ${free()} bytes`);
    t.match((await log.end('> end status=0\n')).at(-1), /^published |^refused DISK_FULL/);
    t.match(textOf(rig.file(path))[0], 'acknowledged');
  },
);
