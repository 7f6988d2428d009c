// SPDX-License-Identifier: GPL-2.0-or-later
// When something was published: from a real repository over git, whose server and whose other keys are the attacker's.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { PublishedRecord } from '../../agents/build/promotion/published-record.js';
import { Forge, Keys, type TestKey, type TestRepository } from './forge.js';

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

function publish(repository: TestRepository, seconds: number, text: string, by: TestKey, parent?: string): string {
  const tree = repository.tree([{ path: 'build-debian/log_a', content: text }]);
  const head = [`tree ${tree}`, ...(parent === undefined ? [] : [`parent ${parent}`]), 'author Logs <logs@example.org> 1 +0000', `committer Logs <logs@example.org> ${seconds} +0000`];
  const message = `\n\nA publication\n\nfile ${text} 3 sha256:${'0'.repeat(64)}\nseq: 1\n`;
  const signature = keys.sign([by], `${head.join('\n')}${message}`).trimEnd().replaceAll('\n', '\n ');
  const id = repository.git(['hash-object', '-w', '--stdin', '-t', 'commit', '--literally'], `${head.join('\n')}\ngpgsig ${signature}${message}`);
  repository.git(['update-ref', 'refs/heads/main', id]);
  return id;
}

function setUp(test: { teardown(fn: () => void): void }): { repository: TestRepository; record: PublishedRecord } {
  const name = `logs${++made}`;
  const repository = forge.create(name);
  repository.git(['symbolic-ref', 'HEAD', 'refs/heads/main']);
  repository.git(['config', 'uploadpack.allowFilter', 'true']);
  const folder = join(forge.folder, `${name}-record`);
  test.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return { repository, record: new PublishedRecord({ url: forge.url(name), logsKey: { armored: logs.armored, fingerprint: logs.fingerprint }, folder, forge: { sshConfig: '/dev/null', timeoutMs: 30_000 } }) };
}

void t.test('a publication has the time that its signed commit says', async (t) => {
  const { repository, record } = setUp(t);
  const first = publish(repository, 1_700_000_000, 'build-debian/log_a', logs);
  const second = publish(repository, 1_700_000_600, 'build-debian/log_b.xz', logs, first);
  t.same(await record.newest(), { commit: second, time: new Date(1_700_000_600_000) });
  t.same(await record.published(first, 'build-debian/log_a'), { commit: first, time: new Date(1_700_000_000_000) });
  t.same(await record.published(second, 'build-debian/log_b'), { commit: second, time: new Date(1_700_000_600_000) }, 'a packed log too');
  await t.rejects(record.published(second, 'build-debian/log_a'), { code: 'NOT_PUBLISHED' }, 'of another log');
  await t.rejects(record.published(first, 'build-debian/log'), { code: 'NOT_PUBLISHED' }, 'of a part of its name');
  const third = publish(repository, 1_700_001_000, 'build-debian/log_c', logs, second);
  await t.rejects(record.published(third, 'build-debian/log_c'), { code: 'NOT_PUBLISHED' }, 'not fetched yet');
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

void t.test('a server that cannot be reached is said to be so', async (t) => {
  const { record } = setUp(t);
  await t.rejects(record.newest(), { code: 'RECORD_UNREACHABLE' });
});
