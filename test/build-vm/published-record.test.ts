// SPDX-License-Identifier: GPL-2.0-or-later
// When something was published: from a real repository over git, whose server and whose other keys are the
// attacker's.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { PublishedRecord, type RecordOptions } from '../../agents/build-vm/publication/published-record.js';
import { until } from '../support/until.js';
import { Forge, Keys, type TestRepository } from './forge.js';
import { publishRecord as publisher } from './logs-record.js';

const forge = new Forge();
const keys = new Keys();
await forge.start();
t.teardown(() => {
  forge.end();
  keys.end();
});
const logs = keys.make('logs');
const stranger = keys.make('stranger');
let made = 0;
const publish = publisher(keys);

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}

function setUp(test: { teardown: (fn: () => void) => void }): {
  repository: TestRepository;
  record: PublishedRecord;
  options: RecordOptions;
} {
  const name = `logs${++made}`;
  const repository = forge.create(name);
  repository.git(['symbolic-ref', 'HEAD', 'refs/heads/main']);
  repository.git(['config', 'uploadpack.allowFilter', 'true']);
  const folder = join(forge.folder, `${name}-record`);
  test.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const options = {
    url: forge.url(name),
    logsKey: { armored: logs.armored, fingerprint: logs.fingerprint },
    folder,
    forge: { sshConfig: '/dev/null', timeoutMs: 30_000 },
  };
  return { repository, record: new PublishedRecord(options), options };
}

void t.test('a publication has the time that its signed commit says', async (t) => {
  const { repository, record } = setUp(t);
  const first = publish(repository, 1_700_000_000, 'build-debian/log_a', logs);
  const second = publish(repository, 1_700_000_600, 'build-debian/log_b.xz', logs, first);
  t.same(await record.newest(), { commit: second, time: new Date(1_700_000_600_000) });
  t.same(await record.published(first, 'build-debian/log_a'), {
    commit: first,
    time: new Date(1_700_000_000_000),
  });
  t.same(
    await record.published(second, 'build-debian/log_b'),
    { commit: second, time: new Date(1_700_000_600_000) },
    'a packed log too',
  );
  await t.rejects(
    record.published(second, 'build-debian/log_a'),
    { code: 'NOT_PUBLISHED' },
    'of another log',
  );
  await t.rejects(
    record.published(first, 'build-debian/log'),
    { code: 'NOT_PUBLISHED' },
    'of a part of its name',
  );
  const third = publish(repository, 1_700_001_000, 'build-debian/log_c', logs, second);
  await t.rejects(
    record.published(third, 'build-debian/log_c'),
    { code: 'NOT_PUBLISHED' },
    'not fetched yet',
  );
  t.equal((await record.newest()).commit, third);
});

void t.test('what is on the server beside the history is not published', async (t) => {
  const { repository, record } = setUp(t);
  const beside = publish(repository, 1_000_000_000, 'build-debian/log_a', logs);
  publish(repository, 1_700_000_000, 'build-debian/log_b', logs);
  await record.newest();
  await t.rejects(record.published(beside, 'build-debian/log_a'), { code: 'NOT_PUBLISHED' });
  await t.rejects(record.published('--all', 'build-debian/log_a'), { code: 'NOT_PUBLISHED' });
});

void t.test('a history that was put in the place of another is refused', async (t) => {
  const { repository, record } = setUp(t);
  const first = publish(repository, 1_700_000_000, 'build-debian/log_a', logs);
  publish(repository, 1_700_000_600, 'build-debian/log_b', logs, first);
  await record.newest();
  publish(repository, 1_700_000_900, 'build-debian/log_c', logs, first);
  await t.rejects(record.newest(), { code: 'RECORD_REWRITTEN' });
  repository.git(['update-ref', 'refs/heads/main', first]);
  await t.rejects(record.newest(), { code: 'RECORD_REWRITTEN' }, 'cut short');
});

void t.test('a commit of anybody else is refused', async (t) => {
  const { repository, record } = setUp(t);
  publish(repository, 1_700_000_000, 'build-debian/log_a', stranger);
  await t.rejects(record.newest(), { code: 'BAD_RECORD' });
});

void t.test('reports a server that cannot be reached', async (t) => {
  const { record } = setUp(t);
  await t.rejects(record.newest(), { code: 'RECORD_UNREACHABLE' });
});

void t.test('promotions of several distributions at once all see it', async (t) => {
  const { repository, options } = setUp(t);
  const first = publish(repository, 1_700_000_000, 'build-debian/log_a', logs);
  for (let round = 1; round <= 5; round++) {
    const head = publish(
      repository,
      1_700_000_000 + round,
      `build-debian/log_${round}`,
      logs,
      round === 1 ? first : repository.git(['rev-parse', 'HEAD']),
    );
    const seen = await Promise.all(
      ['bookworm', 'trixie', 'fc41'].map(async () => {
        const record = new PublishedRecord(options);
        const newest = await record.newest();
        await record.published(first, 'build-debian/log_a');
        return newest.commit;
      }),
    );
    t.strictSame(seen, [head, head, head]);
  }
});

void t.test('what a kill or a bad disk left of the copy here is no answer: it is made anew', async (t) => {
  const {
    repository,
    record,
    options: { folder },
  } = setUp(t);
  mkdirSync(folder);
  const first = publish(repository, 1_700_000_000, 'build-debian/log_a', logs);
  t.equal((await record.newest()).commit, first, 'a folder that is no repository yet');
  const head = publish(repository, 1_700_000_600, 'build-debian/log_b', logs, first);
  for (const ref of ['fetched', 'record']) {
    writeFileSync(join(folder, 'refs/build-infra', `${ref}.lock`), '');
    t.equal((await record.newest()).commit, head, `a lock of ${ref}`);
    t.notOk(existsSync(join(folder, 'refs/build-infra', `${ref}.lock`)));
  }
  for (const name of readdirSync(join(folder, 'objects/pack')))
    writeFileSync(join(folder, 'objects/pack', name), 'not a pack');
  t.equal((await record.newest()).commit, head, 'damaged packs are no rewritten history');
  t.equal((await record.published(first, 'build-debian/log_a')).commit, first);
});

void t.test('a copy that was made anew still knows what the one before had seen', async (t) => {
  const {
    repository,
    record,
    options: { folder },
  } = setUp(t);
  const first = publish(repository, 1_700_000_000, 'build-debian/log_a', logs);
  publish(repository, 1_700_000_600, 'build-debian/log_b', logs, first);
  await record.newest();
  publish(repository, 1_700_000_900, 'build-debian/log_c', logs, first);
  writeFileSync(join(folder, 'refs/build-infra/fetched.lock'), '');
  await t.rejects(record.newest(), { code: 'RECORD_REWRITTEN' });
  await t.rejects(record.newest(), { code: 'RECORD_REWRITTEN' }, 'and again');
});

void t.test('killed in the middle of two fetches, with the server away and back, it goes on', async (t) => {
  const { repository, record, options } = setUp(t);
  const first = publish(repository, 1_700_000_000, 'build-debian/log_a', logs);
  const module = fileURLToPath(
    new URL('../../agents/build-vm/publication/published-record.js', import.meta.url),
  );
  const killed = async (): Promise<void> => {
    forge.pause();
    const script = `const { PublishedRecord } = await import(${JSON.stringify(module)}); const options = ${JSON.stringify(options)}; await Promise.allSettled([1, 2].map(() => new PublishedRecord(options).newest()));`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], { stdio: 'ignore' });
    const over = new Promise((resolve) => child.once('exit', resolve));
    const fetching = (): boolean =>
      readdirSync('/proc').some(
        (pid) =>
          /^[0-9]+$/.test(pid) &&
          commandOf(pid).includes(`--git-dir=${options.folder}`) &&
          commandOf(pid).includes('fetch'),
      );
    await until('the fetch to have begun', fetching, 30);
    child.kill('SIGKILL');
    await over;
    forge.resume();
  };
  await killed();
  t.equal((await record.newest()).commit, first);
  await killed();
  const away = `${repository.folder}.away`;
  repository.moveTo(away);
  await t.rejects(record.newest(), { code: 'RECORD_UNREACHABLE' });
  t.equal(
    (await record.published(first, 'build-debian/log_a')).commit,
    first,
    'what was fetched is there all the same',
  );
  repository.moveTo(away.replace(/\.away$/, ''));
  const head = publish(repository, 1_700_000_600, 'build-debian/log_b', logs, first);
  t.equal((await record.newest()).commit, head);
});
