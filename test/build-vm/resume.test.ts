// SPDX-License-Identifier: GPL-2.0-or-later
// SIGKILL of the agent in the middle of each stage, then a restart: the job goes on and ends as if nothing
// had been.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { until } from '../support/until.js';
import { BuildVm, endOutside, makeOutside } from './build-vm.js';
import { tinyPackage, tinyRules } from './forge.js';

// A first run makes the chroot, on a busy machine in minutes.
const needsRoot = process.getuid?.() === 0 ? {} : { skip: 'makes chroots, which needs root here' };
const outside = await makeOutside();
t.teardown(() => endOutside(outside));

void t.test('killed in every stage, the job still ends with one published package', needsRoot, async (t) => {
  const repository = outside.forge.create('kills');
  repository.release(
    outside.keys,
    [outside.alice],
    'v1.0-1',
    tinyPackage('1.0-1', [], tinyRules.replace('@echo building', '@sleep 4.321; echo building')),
  );
  const vm = new BuildVm(outside, 'kills');
  t.teardown(() => vm.end());
  await vm.start();

  // In the fetch: the receiver hangs up and the agent is killed before the stage can be noted as finished.
  const queued = vm.trigger();
  const id = (await queued).split(' ')[1] as string;
  await until('the fetch', () => vm.receiver.ofStage('fetch').length > 0);
  await vm.kill();
  t.not(vm.job(id)?.state, 'done');
  await vm.start();

  await until(
    'the build',
    () =>
      vm.receiver.ofStage('build').some((log) => log.lines.some((line) => line.includes('debian/rules b'))),
    120,
  );
  await vm.kill();
  await until(
    'the build to be gone with its agent',
    () => {
      try {
        execFileSync('pgrep', ['-f', 'sleep 4.321']);
        return false;
      } catch {
        return true;
      }
    },
    10,
  );

  // In the sign stage: the second of three signatures takes for ever, once.
  vm.beforeSigning(
    `case "$*" in *--reprepro-sign*|*--version*) ;; *) if [ "$(grep -vc -e --version '${vm.root}/gpg-calls')" = 2 ]; then exec sleep 77.7; fi ;; esac\n`,
  );
  await vm.start();
  await until('the second signature', () => vm.gpgCalls().length === 2, 180);
  const signed = readdirSync(join(vm.root, '/var/lib/build-infra/jobs', id, 'signed', 'bookworm.part')).find(
    (name) => name.endsWith('.dsc'),
  ) as string;
  const first = readFileSync(
    join(vm.root, '/var/lib/build-infra/jobs', id, 'signed', 'bookworm.part', signed),
    'utf8',
  );
  t.match(first, /BEGIN PGP SIGNATURE/, 'the first file is signed');
  await vm.kill();

  // In the publication: reprepro's signature takes for ever, once.
  vm.beforeSigning(
    `case "$*" in *--reprepro-sign*) if ! [ -e '${vm.root}/once' ]; then touch '${vm.root}/once'; exec sleep 77.7; fi ;; esac\n`,
  );
  await vm.start();
  await until('reprepro to sign', () => existsSync(join(vm.root, 'once')), 60);
  t.equal(
    readFileSync(join(vm.root, '/var/lib/build-infra/jobs', id, 'signed/bookworm', signed), 'utf8'),
    first,
    'what was signed before the kill is not signed again',
  );
  await vm.kill();
  await vm.start();

  const job = await vm.over(id);
  t.equal(job.state, 'done', `${vm.output}\n${vm.receiver.text().slice(-3000)}`);
  t.equal(
    vm.gpgCalls().filter((line) => line.includes('.dsc')).length,
    1,
    'one signature for the .dsc in all',
  );
  t.equal(
    vm.gpgCalls().filter((line) => line.includes('.buildinfo')).length,
    2,
    'the one that was broken off, and its repetition',
  );
  t.equal(vm.gpgCalls().filter((line) => line.includes('.changes')).length, 1);
  t.ok(
    vm.receiver.ofStage('build').some((log) => !log.ended),
    'the broken log has no end line',
  );
  t.match(await vm.trigger(), `known ${id}`);

  await t.test('killed after everything was signed and published, nothing is signed again', async (t) => {
    const calls = vm.gpgCalls().length;
    await vm.kill();
    const path = join(vm.root, '/var/lib/build-infra/jobs', id, 'job.json');
    const again = JSON.parse(readFileSync(path, 'utf8')) as { state: string; finished: { stage: string }[] };
    again.state = 'running';
    again.finished = again.finished.filter((step) => step.stage === 'fetch' || step.stage === 'build');
    writeFileSync(path, JSON.stringify(again));
    await vm.start();
    t.equal((await vm.over(id)).state, 'done');
    t.equal(vm.gpgCalls().length, calls);
  });
});

void t.test('an upload that cannot be reached is tried again and ends well', needsRoot, async (t) => {
  const repository = outside.forge.create('upload');
  repository.release(outside.keys, [outside.alice], 'v1.0-1', tinyPackage('1.0-1'));
  const vm = new BuildVm(outside, 'upload');
  t.teardown(() => vm.end());
  const ssh = join(vm.root, '/rw/config/build-infra/ssh_config');
  const good = readFileSync(ssh, 'utf8');
  writeFileSync(ssh, `${good}  ProxyCommand false\n`);
  await vm.start();
  const id = (await vm.trigger()).split(' ')[1] as string;
  await until('the job to wait', () => vm.job(id)?.waiting[0]?.code === 'UPLOAD_FAILED', 120);
  const calls = vm.gpgCalls().length;
  writeFileSync(ssh, good);
  t.equal((await vm.over(id)).state, 'done');
  t.equal(vm.gpgCalls().length, calls, 'the metadata was signed once');
});

void t.test('a refused signature is named in the job, and nothing is published', needsRoot, async (t) => {
  const repository = outside.forge.create('refused');
  repository.release(outside.keys, [outside.alice], 'v1.0-1', tinyPackage('1.0-1'));
  const vm = new BuildVm(outside, 'refused');
  t.teardown(() => vm.end());
  vm.beforeSigning(
    `case "$*" in *--version*) ;; *) echo 'build-infra: refused NO_GRANT no intent for these bytes' >&2; exit 2 ;; esac\n`,
  );
  await vm.start();
  const id = (await vm.trigger()).split(' ')[1] as string;
  const job = await until(
    'the job to wait',
    () => (vm.job(id)?.waiting[0]?.code === 'SIGN_FAILED' ? vm.job(id) : undefined),
    120,
  );
  t.match(job?.waiting[0]?.detail, /NO_GRANT no intent for these bytes/);
  t.notOk(existsSync(join(outside.apt.folder, 'refused')));
});
