// SPDX-License-Identifier: GPL-2.0-or-later
// The page on disk and on its server: always whole, seldom more often than told, and nobody waits for it.
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Job } from '../../agents/build-vm/jobs/job-document.js';
import { JobQueue } from '../../agents/build-vm/jobs/job-queue.js';
import type { FarmState } from '../../agents/build-vm/status-page/farm-status.js';
import { PageGenerations } from '../../agents/build-vm/status-page/page-generations.js';
import { uploadPage } from '../../agents/build-vm/status-page/page-upload.js';
import { StatusPage, type StatusPageOptions } from '../../agents/build-vm/status-page/status-page.js';
import { Refusal } from '../../agents/build-vm/refusals.js';
import { until } from '../support/until.js';
import { AptServer } from './build-vm.js';
import { ago, farm, job, manyStates } from './farm-states.js';

interface Rig {
  page: StatusPage;
  folder: string;
  state: FarmState;
  reports: string[];
  releases: () => string[];
  current: () => string;
  shown: () => string;
  again: () => StatusPage;
}

function rig(test: Test, options: Partial<StatusPageOptions> = {}, state = manyStates()): Rig {
  const folder = mkdtempSync(join(tmpdir(), 'bi-written-'));
  const reports: string[] = [];
  const again = (): StatusPage => {
    const page = new StatusPage({
      folder,
      state: () => state,
      upload: undefined,
      report: (line) => reports.push(line),
      pauseMs: 1,
      share: 0,
      ...options,
    });
    test.teardown(async () => {
      await page.stop();
      rmSync(folder, { recursive: true, force: true });
    });
    return page;
  };
  return {
    page: again(),
    folder,
    state,
    reports,
    again,
    releases: () =>
      readdirSync(join(folder, 'generations'))
        .filter((name) => !name.startsWith('.'))
        .sort(),
    current: () => (existsSync(join(folder, 'current')) ? readlinkSync(join(folder, 'current')) : ''),
    shown: () =>
      existsSync(join(folder, 'current/status.json'))
        ? readFileSync(join(folder, 'current/status.json'), 'utf8')
        : '',
  };
}
const other = (state: FarmState, version: string): void =>
  void (state.jobs as Job[]).push(job('queued', { version, hours: 0 }));

void t.test('a change makes a new page, what is the same makes none', async (t) => {
  const { page, state, releases, current, shown, folder } = rig(t);
  page.changed();
  await until('the first page', () => shown().includes('in-testing'));
  const [first] = [current(), releases()];
  page.changed();
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.equal(current(), first, 'nothing changed');
  other(state, '99-1');
  page.changed();
  await until('the second page', () => shown().includes('99-1'));
  t.equal(releases().length, 2);
  t.ok(lstatSync(join(folder, 'current')).isSymbolicLink());
  const inode = (release: string, path: string): number => statSync(join(folder, release, path)).ino;
  t.equal(
    inode(first, 'components/promoted/index.html'),
    inode(current(), 'components/promoted/index.html'),
    'what did not change is one file',
  );
  t.not(inode(first, 'components/queued/index.html'), inode(current(), 'components/queued/index.html'));
});

void t.test('many changes at once make one page, and three pages are kept', async (t) => {
  const { page, state, releases, shown } = rig(t, { pauseMs: 100 });
  for (let i = 1; i <= 50; i++) {
    other(state, `${1000 + i}-1`);
    page.changed();
  }
  await until('the page', () => shown().includes('1050-1'));
  t.equal(releases().length, 1);
  for (let i = 1; i <= 5; i++) {
    other(state, `${2000 + i}-1`);
    page.changed();
    await until('the next page', () => shown().includes(`${2000 + i}-1`));
  }
  await until('the old ones to go', () => releases().length === 3);
});

void t.test('a reader sees a whole page at every moment', async (t) => {
  const { page, state, folder, shown } = rig(t);
  page.changed();
  await until('the first page', () => shown() !== '');
  for (let i = 1; i <= 8; i++) {
    other(state, `${3000 + i}-1`);
    page.changed();
    await until('the next page', () => {
      const release = readlinkSync(join(folder, 'current'));
      const text = readFileSync(join(folder, release, 'index.html'), 'utf8');
      if (!text.endsWith('</html>\n') || !existsSync(join(folder, release, 'components/waiting/badge.svg')))
        throw new Error('half a page');
      return shown().includes(`${3000 + i}-1`);
    });
  }
});

void t.test('the page is made again when nothing changes, so that a dead farm looks dead', async (t) => {
  let made = 0;
  const { page, shown } = rig(t, {
    refreshMs: 50,
    now: () => new Date(Date.UTC(2026, 0, 1) + 1000 * made++),
  });
  page.changed();
  await until('the first page', () => shown() !== '');
  const first = (JSON.parse(shown()) as { made: string }).made;
  await until('another one', () => (JSON.parse(shown()) as { made: string }).made !== first);
});

void t.test('an upload that fails is said once, tried again, and then the newest page goes up', async (t) => {
  let broken = true;
  const uploaded: string[] = [];
  let tries = 0;
  const { page, state, reports, shown, current } = rig(t, {
    retryMs: 1,
    upload: async ({ release }) => {
      tries++;
      if (broken) throw new Refusal('UPLOAD_FAILED', 'no route to host');
      uploaded.push(release);
    },
  });
  page.changed();
  await until('some tries', () => tries >= 4);
  other(state, '77-1');
  page.changed();
  await until('the page on disk does not wait', () => shown().includes('77-1'));
  broken = false;
  await until('the upload', () => uploaded.length > 0);
  await until('the newest one', () => uploaded.at(-1) === current().replace('generations/', ''));
  t.same(reports, [
    'status page: not uploaded, and tried again quietly: refused UPLOAD_FAILED no route to host',
    'status page: uploaded again',
  ]);
});

void t.test('a page that is being uploaded is not taken away, however slow that is', async (t) => {
  let release: () => void = () => undefined;
  const slow = new Promise<void>((resolve) => (release = resolve));
  const folders: string[] = [];
  const { page, state, shown } = rig(t, {
    upload: async (generation) => (folders.push(generation.folder), folders.length === 1 ? slow : undefined),
  });
  page.changed();
  await until('the upload', () => folders.length === 1);
  for (let i = 1; i <= 5; i++) {
    other(state, `${4000 + i}-1`);
    page.changed();
    await until('the next page', () => shown().includes(`${4000 + i}-1`));
  }
  t.ok(existsSync(join(folders[0] as string, 'index.html')));
  t.equal(folders.length, 1, 'one upload at a time');
  release();
  await until('the newest one', () => folders.length === 2);
});

void t.test('a disk that fails is said once, the last page stays, and the next one is whole', async (t) => {
  const { page, state, reports, shown, folder } = rig(t, { retryMs: 1 });
  page.changed();
  await until('the first page', () => shown() !== '');
  const [generations, aside] = [join(folder, 'generations'), join(folder, 'aside')];
  renameSync(generations, aside);
  writeFileSync(generations, '');
  other(state, '88-1');
  page.changed();
  await until('the complaint', () => reports.length > 0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  rmSync(generations);
  renameSync(aside, generations);
  await until('the next page', () => shown().includes('88-1'));
  t.ok(readFileSync(join(folder, 'current/components/promoted/index.html'), 'utf8').endsWith('</html>\n'));
  t.match(reports, [
    /^status page: not made, and tried again quietly: Error: ENOTDIR/,
    'status page: made again',
  ]);
  t.equal(reports.length, 2);
});

void t.test('a new start goes on above what was there, and links nothing of it', async (t) => {
  const { page, current, shown, again, folder, reports } = rig(t);
  page.changed();
  await until('the first page', () => shown() !== '');
  const before = current();
  await page.stop();
  writeFileSync(join(folder, before, 'components/promoted/index.html'), '');
  again().changed();
  await until('the page of the new start', () => current() !== before);
  t.ok(current() > before, `${current()} after ${before}`);
  t.ok(
    readFileSync(join(folder, 'current/components/promoted/index.html'), 'utf8').endsWith('</html>\n'),
    'a file that a power cut left empty is made again',
  );
  t.same(reports, []);
});

void t.test('numbers never go back, whatever the clock says', async (t) => {
  const { folder } = rig(t);
  const generations = new PageGenerations(folder);
  const made = [];
  for (const time of [2_000_000_000_000, 1_000_000_000_000, 3_000_000_000_000])
    made.push(
      (await generations.make([{ path: 'index.html', content: '' }], new Date(time))).release.split('-')[0],
    );
  t.same(made, ['2000000000', '2000000001', '3000000000']);
});

void t.test(
  'the page is on the web root after each change, with at most five of the earlier ones',
  async (t) => {
    const server = new AptServer();
    await server.start();
    t.teardown(() => server.end());
    const sshConfig = join(server.folder, 'ssh_config');
    writeFileSync(sshConfig, server.sshConfig());
    const target = {
      upload: `ssh://127.0.0.1:${server.sshPort}${server.folder}/status`,
      url: `http://127.0.0.1:${server.httpPort}/status`,
    };
    const { page, state, shown, reports } = rig(
      t,
      { upload: (generation) => uploadPage(generation, target, sshConfig) },
      farm([]),
    );
    const online = async (path: string): Promise<string> => {
      const answer = await fetch(`${target.url}/${path}`).catch(() => undefined);
      return answer?.status === 200 ? await answer.text() : '';
    };
    page.changed();
    for (let i = 0; i <= 6; i++) {
      if (i > 0) other(state, `${5000 + i}-1`);
      page.changed();
      await until('the page on disk', () => shown() !== '' && (i === 0 || shown().includes(`${5000 + i}-1`)));
      await until('the page online', async () => (await online('status.json')) === shown());
      t.equal(await online('status.json'), shown(), `page ${i}`);
    }
    t.match(await online('components/queued/index.html'), '5006-1');
    t.match(await online('components/queued/badge.svg'), '<svg');
    await until('the earlier ones to go', () => readdirSync(`${server.folder}/status.releases`).length === 5);
    t.same(reports, []);
  },
);

void t.test("the agent's own queue tells the page of each step", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bi-queue-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const queue = new JobQueue(join(folder, 'jobs'), join(folder, 'highest'));
  const { config } = farm([], { one: {} });
  const { page, shown } = rig(t, {
    state: () => ({
      config,
      keys: [],
      jobs: queue.all(),
      renewals: [],
      listing: () => undefined,
      highest: (name) => queue.highest(name),
    }),
  });
  queue.onChange(() => page.changed());
  const mine = job('one', { version: '1-1', hours: 1 });
  queue.add(mine);
  await until('the queue', () => shown().includes('"state": "queued"'));
  mine.running = [{ stage: 'fetch', dist: null, started: ago(1) }];
  queue.save(mine);
  await until('the step', () => shown().includes('"state": "building"'));
});
