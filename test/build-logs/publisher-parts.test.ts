// SPDX-License-Identifier: GPL-2.0-or-later
// The publisher on a real repository, with remotes and keys VMs that do as a test tells them: what goes out
// together, what waits, and what is refused.
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import type { BuildLogsConfig } from '../../agents/build-logs/config.js';
import type { GitRepository } from '../../agents/build-logs/git-repository.js';
import { LogStore } from '../../agents/build-logs/log-store.js';
import type { Log, Sender } from '../../agents/build-logs/log.js';
import { Publisher } from '../../agents/build-logs/publisher.js';
import type { Receipts } from '../../agents/build-logs/receipts.js';
import type { Remote, Target } from '../../agents/build-logs/remote.js';
import { readGitCommit } from '../../agents/shared/formats/git-commit.js';
import { readPublicationMessage } from '../../agents/shared/formats/publication.js';
import type { AnyRefusal } from '../../agents/shared/refusal.js';
import { folderOf } from '../support/folders.js';
import { until } from '../support/until.js';
import { git, headOf, logsKey, repositoryIn, strayCommit } from './git-pieces.js';
import { sha256 } from './rig.js';

const noon = Date.UTC(2026, 10, 21, 12) * 1000;
const mebibyte = 1024 ** 2;

interface Vm {
  folder: string;
  repository: GitRepository;
  publisher: Publisher;
  logs: LogStore;
  reported: string[];
  sent: { source: string; commit: string; intents: number }[];
  /** whether the one required remote confirms what it is aimed at */
  confirms: boolean;
  remote: {
    name: string;
    required: boolean;
    busy: boolean;
    confirmedSeq: number;
    diverged: boolean;
    trouble: string;
    stopped: boolean;
    aimed: Target[];
  };
  owed: boolean;
  publish: (
    text: string,
    more?: { publishedBytes?: number; source?: string; heard?: string[] },
  ) => Promise<string>;
  log: (text: string, end?: boolean) => Promise<Log>;
  files: (commit?: string) => string[];
}
async function vm(t: Test, config: Partial<BuildLogsConfig> = {}, folder = folderOf(t)): Promise<Vm> {
  const repository = await repositoryIn(t, folder);
  let publisher: Publisher | undefined = undefined;
  let now = noon;
  const reported: string[] = [];
  const logs = new LogStore({
    folder: join(folder, 'logs'),
    clock: () => now++,
    report: (line) => reported.push(line),
    limitBytes: 1 << 20,
    openLogs: 9,
    reopenMs: 60_000,
    changed: (log) => publisher?.changed(log),
    isPublished: async () => false,
  });
  const made: Vm = {
    folder,
    repository,
    logs,
    reported,
    sent: [],
    confirms: true,
    owed: false,
    publisher: undefined as unknown as Publisher,
    remote: {
      name: 'origin',
      required: true,
      busy: false,
      confirmedSeq: 0,
      diverged: false,
      trouble: '',
      stopped: false,
      aimed: [],
    },
    publish: async (text, { publishedBytes = text.length, source = 'build-debian', heard = [] } = {}) =>
      made.publisher
        .publish({
          source,
          sha256: sha256(text),
          bytes: Buffer.from(text),
          payloads: [],
          grants: [],
          publishedBytes,
          confirmed: (commit) => heard.push(commit),
        })
        .then(
          ({ commit, grantedUntil }) => `${grantedUntil} ${commit === headOf(repository.path)}`,
          (error: unknown) => (error as AnyRefusal).line(),
        ),
    log: async (text, end = true) => {
      const log = await logs.open('build-debian', '', null);
      const sender: Sender = { synced: () => undefined, room: () => undefined, stopped: () => undefined };
      await log.attach(sender, 'starting log');
      log.push(sender, Buffer.from(text));
      await log.flush();
      if (end) log.close(undefined);
      await log.settled();
      return log;
    },
    files: (commit = 'main') =>
      readPublicationMessage(
        readGitCommit(git(repository.path, ['cat-file', 'commit', commit])).message,
      ).files.map(({ path }) => path),
  };
  const remote = Object.assign(made.remote, {
    aim: (target: Target) => {
      made.remote.aimed.push(target);
      if (!made.confirms) return;
      made.remote.busy = true;
      setTimeout(() => {
        made.remote.busy = false;
        made.remote.confirmedSeq = target.seq;
        made.publisher.remoteChanged();
      }, 10);
    },
    stop: () => (made.remote.stopped = true),
  });
  const receiptsOf = (source: string): Receipts =>
    ({
      source: { keysVm: source.replace('build', 'keys') },
      get owed() {
        return made.owed;
      },
      journal: {
        entries: 0,
        hasUnpublished: false,
        unpublished: () => ({ files: [], committed: () => undefined }),
        tookOver: () => undefined,
        append: () => [],
      },
      send: async (commit: string, _names: string[], intents: unknown[]) => {
        made.sent.push({ source, commit, intents: intents.length });
        if (intents.length === 0) made.owed = false;
        return 'later';
      },
    }) as unknown as Receipts;
  made.publisher = publisher = new Publisher({
    config: {
      vm: 'build-logs',
      logsKey: 'F'.repeat(40),
      publishSeconds: 1,
      intentSeconds: 20,
      intentsPerDay: 100,
      intentBytesPerDay: 1000 * mebibyte,
      ...config,
    } as BuildLogsConfig,
    repository,
    signer: logsKey,
    logs,
    report: (line) => reported.push(line),
    clock: () => now++,
    remotes: [remote as unknown as Remote],
    receipts: new Map(['build-debian', 'build-fedora'].map((source) => [source, receiptsOf(source)])),
  });
  t.teardown(async () => {
    made.publisher.stop();
    await logs.stop();
  });
  return made;
}

await t.test(
  'what waits goes into one commit, and its callers are answered once that is confirmed',
  async (t) => {
    const one = await vm(t);
    t.equal(one.publisher.started, false);
    const before = one.publish('early');
    await sleep(50);
    t.equal(headOf(one.repository.path), '', 'nothing before it is known on which history');
    await one.publisher.start(null);
    t.equal(one.publisher.started, true);
    t.equal(await before, 'later true');
    const heard: string[] = [];
    one.remote.busy = true;
    const three = Promise.all([
      one.publish('a', { heard }),
      one.publish('b'),
      one.publish('c', { source: 'build-fedora' }),
    ]);
    await sleep(100);
    one.remote.busy = false;
    one.publisher.remoteChanged();
    t.same(await three, ['later true', 'later true', 'later true']);
    t.same(heard, [headOf(one.repository.path)]);
    t.same(
      [one.files().map((path) => path.split('/').slice(0, 3).join('/')), one.remote.aimed.length],
      [
        [
          'intents/build-debian/2026-11-21',
          'intents/build-debian/2026-11-21',
          'intents/build-fedora/2026-11-21',
        ],
        2,
      ],
    );
    t.same(
      one.sent.map(({ source, intents }) => [source, intents]),
      [
        ['build-debian', 1],
        ['build-debian', 2],
        ['build-fedora', 1],
      ],
    );
    const path = one.files()[0] as string;
    t.same(
      [await one.publisher.isPublished(path), await one.publisher.isPublished('intents/x')],
      [true, false],
    );
    t.same(
      [
        await one.publisher.isKnownIntent('build-debian', sha256('a')),
        await one.publisher.isKnownIntent('build-fedora', sha256('a')),
        await one.publisher.isKnownIntent('build-debian', sha256('d')),
      ],
      [true, false, false],
    );
    t.equal((await one.publisher.commitsAfter(null, headOf(one.repository.path)))?.length, 2);
    t.equal(one.publisher.newestCommits(headOf(one.repository.path), 100_000).length, 2);
    t.same(one.reported, []);
  },
);

await t.test(
  'an ended log is published at once and an open one some time after its line, with what else goes',
  async (t) => {
    const one = await vm(t);
    await one.publisher.start(null);
    const log = await one.log('all of it\n');
    const published = await one.publisher.publication(log);
    t.match(published, { path: log.record.path, commit: headOf(one.repository.path) });
    t.match(
      git(one.repository.path, ['cat-file', 'blob', `main:${log.record.path}`]).toString(),
      /build-debian: all of it\n/,
    );
    t.same([await one.publisher.publication(log), log.record.state], [log.record.published, 'published']);
    const begun = performance.now();
    const open = await one.log('a line\n', false);
    await until('it is published', () => one.files().includes(open.record.path));
    t.ok(performance.now() - begun >= 1000);
    const other = await one.log('with an intent\n', false);
    t.equal(await one.publish('x'), 'later true');
    t.ok(one.files().includes(other.record.path), 'what its VM had said goes with an intent');
  },
);

await t.test(
  'while a remote is pushed to more gathers, and what is not confirmed in time is refused and named',
  async (t) => {
    const one = await vm(t, { intentSeconds: 1 });
    one.confirms = false;
    await one.publisher.start(null);
    const first = one.publish('a');
    await until('it is committed', () => one.remote.aimed.length === 1);
    one.remote.busy = true;
    const second = one.publish('b');
    await sleep(100);
    t.equal(one.remote.aimed.length, 1);
    one.remote.trouble = 'away';
    t.same(
      [await first, await second],
      [
        'refused NOT_PUBLISHED not confirmed within 1 s on remote origin (away)',
        'refused NOT_PUBLISHED not confirmed within 1 s on remote origin (away)',
      ],
    );
    t.equal(one.sent.length, 0);
    one.remote.busy = false;
    one.remote.confirmedSeq = 1;
    one.publisher.remoteChanged();
    await sleep(50);
    t.same(
      [one.sent, one.remote.aimed.length],
      [[], 1],
      'nobody waits for a grant, or for that intent, any more',
    );
    const log = await one.log('x\n');
    await t.rejects(one.publisher.publication(log), { code: 'NOT_PUBLISHED' });
  },
);

await t.test('a second history on a required remote refuses what waits and what comes', async (t) => {
  const one = await vm(t);
  one.confirms = false;
  await one.publisher.start(null);
  const waiting = one.publish('a');
  await until('it is committed', () => one.remote.aimed.length === 1);
  one.remote.busy = true;
  const next = one.publish('b');
  await sleep(20);
  one.remote.diverged = true;
  one.publisher.remoteChanged();
  t.match(
    [await waiting, await next, await one.publish('c')],
    [/^refused HISTORY_DIVERGED/, /^refused HISTORY_DIVERGED/, /^refused HISTORY_DIVERGED/],
  );
});

await t.test(
  'a start goes on with what is there: it is pushed again, its intents are known and counted, its logs are published',
  async (t) => {
    const folder = folderOf(t);
    const one = await vm(t, { intentSeconds: 5 }, folder);
    await one.publisher.start(null);
    t.equal(await one.publish('a'), 'later true');
    await one.logs.stop();
    one.publisher.stop();
    t.equal(one.remote.stopped, true);
    void one.publish('never');
    await sleep(50);
    t.equal(one.remote.aimed.length, 1, 'nothing goes out after a stop');
    const again = await vm(t, { intentsPerDay: 2, intentBytesPerDay: mebibyte }, folder);
    const log = await again.log('waits\n');
    again.owed = true;
    await again.publisher.start(headOf(one.repository.path));
    t.equal(again.remote.aimed[0]?.seq, 1);
    t.equal((await again.publisher.publication(log)).commit, headOf(again.repository.path));
    await until('the last entries are asked for', () => again.sent.length === 2);
    t.match(again.sent, [
      { source: 'build-debian', intents: 0 },
      { source: 'build-fedora', intents: 0 },
    ]);
    t.equal(await again.publisher.isKnownIntent('build-debian', sha256('a')), true);
    t.throws(() => again.publisher.demandShare('build-debian', mebibyte), { code: 'DAY_SHARE_USED' });
    t.doesNotThrow(() => again.publisher.demandShare('build-debian', mebibyte - 1));
    t.doesNotThrow(() => again.publisher.demandShare('build-fedora', mebibyte));
    t.equal(await again.publish('b'), 'later true');
    t.match(await again.publish('c'), /^refused DAY_SHARE_USED/);
    t.equal(await again.publish('c', { source: 'build-fedora' }), 'later true');
  },
);

await t.test('so many bytes of one build VM wait, and no more', async (t) => {
  const one = await vm(t);
  const waiting = one.publish('a', { publishedBytes: 40 * mebibyte });
  await sleep(50);
  t.throws(() => one.publisher.demandShare('build-debian', 24 * mebibyte + 1), { code: 'TOO_MANY_INTENTS' });
  t.doesNotThrow(() => one.publisher.demandShare('build-debian', 24 * mebibyte));
  t.doesNotThrow(() => one.publisher.demandShare('build-fedora', 40 * mebibyte));
  t.equal(await one.publisher.isKnownIntent('build-debian', sha256('a')), true, 'it waits');
  t.match(await one.publish('b', { publishedBytes: 25 * mebibyte }), /^refused TOO_MANY_INTENTS/);
  await one.publisher.start(null);
  t.equal(await waiting, 'later true');
});

await t.test(
  'a publication that fails is said to whoever waits, costs no share, and its logs go with the next attempt',
  async (t) => {
    const one = await vm(t, { intentsPerDay: 1 });
    await one.publisher.start(null);
    const move = one.repository.moveBranch.bind(one.repository);
    one.repository.moveBranch = () => Promise.reject(new Error('no\nbranch'));
    const log = await one.log('x\n');
    const published = one.publisher.publication(log);
    t.match(await one.publish('a'), /^refused PUBLICATION_FAILED/);
    t.equal(headOf(one.repository.path), '');
    t.match(one.reported.slice(0, 2), [
      'what was to be published waits for the next attempt',
      /^publication failed: Error: no\.branch/,
    ]);
    one.repository.moveBranch = move;
    t.equal((await published).path, log.record.path);
    t.equal(await one.publish('b'), 'later true', 'the share of that day is not used up');
    one.repository.moveBranch = () => Promise.reject(Object.assign(new Error('x'), { code: 'ENOSPC' }));
    const full = await vm(t);
    full.repository.moveBranch = () => Promise.reject(Object.assign(new Error('x'), { code: 'ENOSPC' }));
    await full.publisher.start(null);
    t.match(await full.publish('a'), /^refused DISK_FULL/);
  },
);

await t.test('where the branch moved on to a commit of ours, the publication follows on that', async (t) => {
  const one = await vm(t);
  await one.publisher.start(null);
  t.equal(await one.publish('a'), 'later true');
  const moved = await strayCommit(one.repository.path, { parent: headOf(one.repository.path), seq: 2 });
  git(one.repository.path, ['update-ref', 'refs/heads/main', moved]);
  t.equal(await one.publish('b'), 'later true');
  t.same(readGitCommit(git(one.repository.path, ['cat-file', 'commit', 'main'])).parents, [moved]);
  t.match(one.reported.at(-1), new RegExp(`^the branch had moved to ${moved}`));
});
