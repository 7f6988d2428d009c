// SPDX-License-Identifier: GPL-2.0-or-later
// From a trigger to a package that apt-get reads back: the real agent, a real chroot, real debsign, reprepro,
// ssh and apt.
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { until } from '../support/until.js';
import { chrootCache } from '../support/clean-chroots.js';
import { BuildVm, endOutside, makeOutside } from './build-vm.js';
import { tinyPackage, tinyRules } from './forge.js';

// A first run makes the chroot, on a busy machine in minutes.
const needsRoot = process.getuid?.() === 0 ? {} : { skip: 'makes chroots, which needs root here' };
const outside = await makeOutside();
t.teardown(() => endOutside(outside));

void t.test('a tag becomes a signed, published package that is read back', needsRoot, async (t) => {
  const repository = outside.forge.create('main');
  repository.release(outside.keys, [outside.alice], 'v1.0-1', tinyPackage('1.0-1'));
  const vm = new BuildVm(outside, 'main');
  t.teardown(() => vm.end());
  await vm.start();
  const answer = await vm.trigger();
  t.match(answer, /^queued hello-tiny-1\.0-1-[0-9a-f]{12}$/);
  const id = answer.split(' ')[1] as string;
  t.equal(await vm.trigger(), `known ${id}`);
  const job = await vm.over(id);
  t.equal(job.state, 'done', `${vm.output}\n${vm.receiver.text().slice(-3000)}`);
  t.same(job.uploaded[0]?.files.map((file) => file.name).sort(), [
    'hello-tiny_1.0-1.debian.tar.xz',
    'hello-tiny_1.0-1.dsc',
    'hello-tiny_1.0-1_all.deb',
    'hello-tiny_1.0.orig.tar.xz',
  ]);
  t.same(
    job.artifacts[0]?.files
      .map((file) => file.name)
      .filter((name) => /buildinfo|changes/.test(name))
      .sort(),
    ['hello-tiny_1.0-1_amd64.buildinfo', 'hello-tiny_1.0-1_amd64.changes'],
  );
  t.same(
    vm.receiver.logs.map((log) => [log.header.stage, log.ended]),
    [
      ['fetch', true],
      ['build', true],
      ['sign', true],
      ['publish', true],
    ],
  );
  t.ok(job.logs.every((log) => log.commit === 'a'.repeat(40)));
  t.match(vm.receiver.text(), /building as 1234/);
  t.equal(vm.gpgCalls().length, 6, 'three signatures of debsign, one call of reprepro for each suite');
  // Written just after the job itself.
  const outbox = join(vm.root, '/var/lib/build-infra/outbox');
  await until('the outbox', () => readdirSync(outbox).filter((name) => name.endsWith('.json')).length === 3);
  const told = readdirSync(outbox)
    .sort()
    .map(
      (name) =>
        JSON.parse(readFileSync(join(outbox, name), 'utf8')) as {
          event: string;
          dist: string;
          repository: string | null;
          commit: string;
          job: string;
        },
    );
  t.same(
    told.map(({ event, repository }) => [event, repository]),
    [
      ['building', null],
      ['built', null],
      ['uploaded', 'current-testing'],
    ],
    'what the public is to hear',
  );
  t.ok(told.every((one) => one.commit === job.evidence?.commit && one.job === id));
  await until(
    'the status',
    () =>
      (
        JSON.parse(readFileSync(join(vm.root, '/var/lib/build-infra/status.json'), 'utf8')) as {
          recent: { job: string; state: string }[];
        }
      ).recent[0]?.state === 'done',
  );
  t.match(
    readlinkSync(join(outside.apt.folder, 'main/bookworm')),
    /^bookworm\.releases\/000001-[0-9a-f]{12}$/,
  );
  t.ok(existsSync(join(outside.apt.folder, 'main/bookworm/key.asc')));
  t.match(await vm.trigger(), `known ${id}`);

  await t.test('whoever follows a suite finds it signed, with its indices under their hashes too', (t) => {
    for (const suite of ['current-testing', 'current', 'security-testing']) {
      const folder = join(outside.apt.folder, 'main/bookworm/dists', `bookworm-${suite}`);
      const release = readFileSync(join(folder, 'InRelease'), 'utf8');
      t.match(release, `\nSuite: ${suite}\nCodename: bookworm-${suite}\nAcquire-By-Hash: yes\n`);
      const listed = [
        ...release
          .slice(release.indexOf('\nSHA256:'))
          .matchAll(/^ ([0-9a-f]{64}) +[1-9][0-9]* (main\/\S+\/)(\S+)$/gm),
      ].filter(([, , path, name]) => existsSync(join(folder, path as string, name as string)));
      t.ok(listed.length > 0 || suite !== 'current-testing');
      for (const [, hash, path] of listed)
        t.equal(
          createHash('sha256')
            .update(readFileSync(join(folder, path as string, 'by-hash/SHA256', hash as string)))
            .digest('hex'),
          hash,
        );
    }
    t.end();
  });

  await t.test('a lower version is refused afterwards', async (t) => {
    repository.git(['update-ref', '-d', 'refs/tags/v1.0-1']);
    repository.release(outside.keys, [outside.alice], 'v0.9-1', tinyPackage('0.9-1'));
    t.match(await vm.trigger(), /^refused ROLLBACK /);
  });

  await t.test('the next revision is built onto it, with the same upstream tarball', async (t) => {
    repository.release(outside.keys, [outside.alice], 'v1.0-2', tinyPackage('1.0-2'));
    const next = (await vm.trigger()).split(' ')[1] as string;
    const second = await vm.over(next);
    t.equal(second.state, 'done', `${vm.output}\n${vm.receiver.text().slice(-3000)}`);
    const orig = (files: { name: string; sha256: string }[] | undefined): string | undefined =>
      files?.find((file) => file.name.includes('orig'))?.sha256;
    t.equal(orig(second.artifacts[0]?.files), orig(job.artifacts[0]?.files));
    t.match(readlinkSync(join(outside.apt.folder, 'main/bookworm')), /^bookworm\.releases\/000002-/);
  });

  await t.test('an upstream tarball that is published is not overwritten with other bytes', async (t) => {
    repository.release(
      outside.keys,
      [outside.alice],
      'v1.0-3',
      tinyPackage('1.0-3', [{ path: 'new-upstream-file', content: 'x' }]),
    );
    const next = (await vm.trigger()).split(' ')[1] as string;
    const third = await vm.over(next);
    t.match(third, { state: 'refused', reason: { code: 'ALREADY_PUBLISHED' } });
    t.match(readlinkSync(join(outside.apt.folder, 'main/bookworm')), /^bookworm\.releases\/000002-/);
  });
});

void t.test('a component that is not configured is refused', needsRoot, async (t) => {
  const vm = new BuildVm(outside, 'main');
  t.teardown(() => vm.end());
  await vm.start();
  t.match(await vm.trigger('other'), /^refused UNKNOWN_COMPONENT /);
  t.match(await vm.trigger('..'), /^refused BAD_ARGUMENT /);
  t.match(await vm.trigger(''), /^refused BAD_ARGUMENT /);
});

void t.test('a command of a person is taken from the spool and answered', needsRoot, async (t) => {
  outside.forge.create('spool');
  const vm = new BuildVm(outside, 'spool');
  t.teardown(() => vm.end());
  await vm.start();
  const spool = join(vm.root, '/var/lib/build-infra/spool');
  const answerTo = async (name: string, command: string): Promise<string> => {
    writeFileSync(join(spool, `.${name}.tmp`), command);
    renameSync(join(spool, `.${name}.tmp`), join(spool, `${name}.cmd`));
    return until(
      name,
      () =>
        existsSync(join(spool, 'answers', `${name}.answer`)) &&
        readFileSync(join(spool, 'answers', `${name}.answer`), 'utf8'),
    );
  };
  t.match(await answerTo('one', 'trigger hello-tiny\n'), /^refused NO_VERSION_TAG /);
  t.match(await answerTo('two', 'rm -rf /\n'), /^refused BAD_COMMAND /);
  t.match(await answerTo('three', 'retry no-such-job\n'), /^refused UNKNOWN_JOB /);
  await until('the commands to be gone', () => readdirSync(spool).join() === 'answers');
});

void t.test(
  'without a log sink nothing is built, and the status says so; it goes on when the sink is back',
  needsRoot,
  async (t) => {
    const repository = outside.forge.create('nolog');
    repository.release(outside.keys, [outside.alice], 'v1.0-1', tinyPackage('1.0-2'));
    const vm = new BuildVm(outside, 'nolog');
    t.teardown(() => vm.end());
    await vm.start();
    vm.receiver.refuse = 'refused DISK_FULL no room';
    const id = (await vm.trigger()).split(' ')[1] as string;
    await until('the job to wait', () => vm.job(id)?.waiting[0]?.code === 'NO_LOG_SINK');
    t.notOk(existsSync(join(vm.root, '/var/lib/build-infra/jobs', id, 'source')));
    const queued = (): { job: string; waiting: { code: string }[] } | undefined =>
      (
        JSON.parse(readFileSync(join(vm.root, '/var/lib/build-infra/status.json'), 'utf8')) as {
          queue: { job: string; waiting: { code: string }[] }[];
        }
      ).queue[0];
    await until('the status', () => queued()?.job === id && queued()?.waiting[0]?.code === 'NO_LOG_SINK');
    vm.receiver.refuse = undefined;
    t.match(await vm.over(id), { state: 'refused', reason: { code: 'VERSION_MISMATCH' } });
  },
);

void t.test(
  'a build cannot reach the network, cannot write outside its folder, and sees no other job',
  needsRoot,
  async (t) => {
    const repository = outside.forge.create('nonet');
    const vm = new BuildVm(outside, 'nonet');
    t.teardown(() => vm.end());
    const rules = tinyRules.replace(
      '@echo building as $$(id -u)',
      [
        '@ls /sys/class/net /proc/net/dev 2>/dev/null; cat /proc/net/route | wc -l',
        `@if perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(PeerAddr=>"127.0.0.1",PeerPort=>${outside.forge.port},Timeout=>2)'; then echo REACHED; else echo UNREACHED; fi`,
        '@if touch /usr/planted 2>/dev/null; then echo WRITTEN; else echo UNWRITTEN; fi',
        `@if ls -d '${vm.root}' '${chrootCache}' /var/lib/build-infra /rw/config 2>/dev/null || cat /proc/[0-9]*/comm | grep -x node; then echo SEES; else echo SEESNOT; fi`,
        '@if kill -0 1 2>/dev/null; then echo KILLS; else echo KILLSNOT; fi',
      ].join('\n\t'),
    );
    repository.release(outside.keys, [outside.alice], 'v1.0-1', tinyPackage('1.0-1', [], `${rules}`));
    await vm.start();
    const job = await vm.over((await vm.trigger()).split(' ')[1] as string);
    t.equal(job.state, 'done', vm.receiver.text().slice(-3000));
    const text = vm.receiver
      .ofStage('build')
      .flatMap((log) => log.lines)
      .join('\n');
    for (const word of ['UNREACHED', 'UNWRITTEN', 'KILLSNOT', 'SEESNOT'])
      t.match(text, new RegExp(`^${word}$`, 'm'));
  },
);

void t.test('a build that never ends is stopped, and nothing of it stays', needsRoot, async (t) => {
  const repository = outside.forge.create('endless');
  repository.release(
    outside.keys,
    [outside.alice],
    'v1.0-1',
    tinyPackage(
      '1.0-1',
      [],
      tinyRules.replace('@echo building as $$(id -u)', '@setsid sleep 98765 & sleep 98765'),
    ),
  );
  const vm = new BuildVm(outside, 'endless', { buildSeconds: 5 });
  t.teardown(() => vm.end());
  await vm.start();
  const job = await vm.over((await vm.trigger()).split(' ')[1] as string);
  t.match(job, { state: 'failed', reason: { code: 'TIMED_OUT' } });
  t.throws(() => execFileSync('pgrep', ['-f', 'sleep 98765']), 'no process of it is left');
  t.match(vm.receiver.ofStage('build')[0]?.lines.at(-1), '> end status=1');
  t.same(readdirSync(join(vm.root, '/var/lib/build-infra/work', job.job)), []);
});
