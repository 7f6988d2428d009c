// SPDX-License-Identifier: GPL-2.0-or-later
// From suite to suite by signed commands, and out of all of them: the real agent, reprepro, apt-get, and a public record over git.
import { execFileSync } from 'node:child_process';
import { writeFileSync, existsSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import type { Job } from '../../agents/build/jobs/job-document.js';
import { until } from '../support/until.js';
import { BuildVm, endOutside, makeOutside } from './build-vm.js';
import { tinyPackage, writeKeys } from './forge.js';
import { publishRecord } from './logs-record.js';

const needsRoot = process.getuid?.() === 0 ? {} : { skip: 'makes chroots, which needs root here' };
const outside = await makeOutside();
t.teardown(() => endOutside(outside));
const logsKey = outside.keys.make('logs');
const publish = publishRecord(outside.keys);
const people = [{
  name: 'alice', fingerprint: outside.alice.fingerprint, verbs: ['Upload-component', 'Build-component', 'Retry', 'Build-template'], components: 'all', distributions: 'all', repositories: ['current', 'security-testing'], templates: 'all',
}];
let signedBefore = 0;
/** Each a second later than the last: the same words signed in the same second are the same command. */
async function clearsign(line: string): Promise<string> {
  await until('the next second', () => Math.floor(Date.now() / 1000) > signedBefore);
  signedBefore = Math.floor(Date.now() / 1000);
  return outside.keys.gpg(['--clearsign', '--local-user', outside.alice.fingerprint], `${line}\n`).toString();
}

/** Versions of the package that a suite of the public repository offers. */
function offered(name: string, suite: string): string[] {
  const folder = join(outside.apt.folder, name, 'bookworm/dists', `bookworm-${suite}`, 'main/binary-amd64');
  const text = existsSync(join(folder, 'Packages')) ? readFileSync(join(folder, 'Packages'), 'utf8') : gunzipSync(readFileSync(join(folder, 'Packages.gz'))).toString();
  return [...text.matchAll(/^Version: (.*)$/gm)].map((line) => line[1] as string);
}

void t.test('a version waits in testing, goes on by a signed command, once, and never comes back when it was withdrawn', needsRoot, async (t) => {
  const source = outside.forge.create('promoted');
  const record = outside.forge.create('record');
  record.git(['symbolic-ref', 'HEAD', 'refs/heads/main']);
  const start = 1_790_000_000;
  let clock = start;
  let head: string | undefined;
  const tell = (log: string): string => (head = publish(record, clock++, log, logsKey, head));
  const commands = { releases: ['r4.3'], windowSeconds: 86_400, distributionWords: [], people };
  const vm = new BuildVm(outside, 'promoted', {
    // A package's version is not its tag's.
    distributions: [{ name: 'bookworm', engine: 'debian', packages: 'deb', options: { suffix: '+deb12u1' } }], commands, publication: { url: outside.forge.url('record'), logsKey: logsKey.fingerprint }, promotion: { minAgeDays: 5 } });
  writeKeys(join(vm.root, '/rw/config/build-infra/public-keys'), [logsKey]);
  t.teardown(() => vm.end());
  await vm.start();
  vm.receiver.publish = (log) => tell(log.path);

  const build = async (version: string): Promise<{ job: Job; upload: (suite: string) => string }> => {
    const { commit } = source.release(outside.keys, [outside.alice], `v${version}`, tinyPackage(version));
    const job = await vm.over((await vm.trigger()).split(' ')[1] as string);
    t.equal(job.state, 'done', vm.receiver.text().slice(-3000));
    return { job, upload: (suite) => `Upload-component r4.3 hello-tiny ${commit} ${suite} all` };
  };
  const ask = async (line: string): Promise<Job | string> => {
    const answer = await vm.command(await clearsign(line));
    return answer.startsWith('accepted ') ? await vm.over(answer.slice('accepted '.length)) : answer;
  };

  const first = await build('1.0-1');
  t.same([offered('promoted', 'current-testing'), offered('promoted', 'current')], [['1.0-1+deb12u1'], []]);
  t.match(await ask(first.upload('current')), { kind: 'promotion', state: 'refused', reason: { code: 'TOO_YOUNG' } });
  t.same(offered('promoted', 'current'), []);

  await t.test('five days later by the public record, and the local clock has no say', async (t) => {
    clock += 5 * 86_400;
    tell('build-debian/log_of_others');
    const comment = await clearsign(first.upload('current'));
    const answer = await vm.command(comment);
    const job = await vm.over(answer.slice('accepted '.length));
    t.match(job, { kind: 'promotion', state: 'done', dists: ['bookworm'], uploaded: [{ suite: 'bookworm-current' }], change: { of: first.job.job, suite: 'current', command: { signer: { name: 'alice' } } } }, vm.receiver.text().slice(-3000));
    t.same([offered('promoted', 'current-testing'), offered('promoted', 'current'), offered('promoted', 'security-testing')], [['1.0-1+deb12u1'], ['1.0-1+deb12u1'], []]);
    t.same(job.uploaded[0]?.files, first.job.uploaded[0]?.files, 'the same bytes came back');
    const log = vm.receiver.ofStage('promote').at(-1)?.lines.join('\n') ?? '';
    for (const said of [/command [0-9a-f]{64} of alice [0-9A-F]{40}, signed .*Upload-component/, /in current-testing since 2026-.*: 5\.\d\d days/, /read back \d files/]) t.match(log, said);
    t.equal(await vm.command(comment), 'refused COMMAND_USED');
  });

  const second = await build('1.0-2');
  await t.test('a security fix does not wait', async (t) => {
    t.match(await ask(second.upload('security-testing')), { state: 'done', priority: 10, uploaded: [{ suite: 'bookworm-security-testing' }] });
    t.same([offered('promoted', 'current'), offered('promoted', 'security-testing')], [['1.0-1+deb12u1'], ['1.0-2+deb12u1']]);
  });

  await t.test('killed while it signs, it goes on', async (t) => {
    clock += 5 * 86_400;
    tell('build-debian/log_of_others2');
    vm.beforeSigning(`case "$*" in *--reprepro-sign*) if ! [ -e '${vm.root}/once' ]; then touch '${vm.root}/once'; exec sleep 77.8; fi ;; esac\n`);
    const answer = await vm.command(await clearsign(second.upload('current')));
    await until('reprepro to sign', () => existsSync(join(vm.root, 'once')), 60);
    await vm.kill();
    t.same(offered('promoted', 'current'), ['1.0-1+deb12u1']);
    await vm.start();
    vm.receiver.publish = (log) => tell(log.path);
    t.match(await vm.over(answer.slice('accepted '.length)), { state: 'done' });
    t.same(offered('promoted', 'current'), ['1.0-2+deb12u1']);
  });

  await t.test('an older version does not come back over a newer one', async (t) => {
    t.equal(await ask(first.upload('current')), 'refused NEWER_IN_SUITE');
    t.equal(await ask(first.upload('security-testing')), 'refused NEWER_IN_SUITE');
  });

  await t.test('what was withdrawn is gone from every suite and no command brings it back', async (t) => {
    const spool = join(vm.root, '/var/lib/build-infra/spool');
    const kept = await clearsign(second.upload('current'));
    const order = async (name: string, line: string): Promise<string> => {
      writeFileSync(join(spool, `.${name}`), `${line}\n`);
      renameSync(join(spool, `.${name}`), join(spool, `${name}.cmd`));
      return await until('the answer', () => (existsSync(join(spool, 'answers', `${name}.answer`)) ? readFileSync(join(spool, 'answers', `${name}.answer`), 'utf8').trim() : undefined));
    };
    t.match(await order('a', 'withdraw hello-tiny 9.9-9'), /UNKNOWN_VERSION/);
    const answer = await order('b', 'withdraw hello-tiny 1.0-2');
    t.match(answer, /^queued withdrawal-hello-tiny-1\.0-2-[0-9a-f]{12}$/);
    t.match(await vm.over(answer.slice('queued '.length)), { kind: 'withdrawal', state: 'done' }, vm.receiver.text().slice(-3000));
    t.same([offered('promoted', 'current-testing'), offered('promoted', 'current'), offered('promoted', 'security-testing')], [[], [], []]);
    t.equal(await vm.command(kept), 'refused WITHDRAWN');
    t.equal(await ask(second.upload('security-testing')), 'refused WITHDRAWN');
    t.match(vm.receiver.ofStage('withdraw').at(-1)?.lines.join('\n'), /is offered by no suite/);
    t.match(await ask(first.upload('current')), { state: 'refused', reason: { code: 'NOT_IN_SUITE' } }, 'the one before gave its place in testing to the withdrawn one');
  });

  await t.test('a record that was rewritten, or lies elsewhere, promotes nothing', async (t) => {
    const third = await build('1.0-3');
    clock += 6 * 86_400;
    const good = head;
    tell('build-debian/log_x');
    record.git(['update-ref', 'refs/heads/main', publish(record, clock + 100, 'build-debian/log_y', logsKey)]);
    t.match(await ask(third.upload('current')), { state: 'refused', reason: { code: 'RECORD_REWRITTEN' } });
    t.not(good, undefined);
  });
  t.equal(execFileSync('find', [join(vm.root, '/var/lib/build-infra/apt'), '-name', 'lockfile'], { encoding: 'utf8' }), '', 'no lock is left');
});
