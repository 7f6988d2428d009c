// SPDX-License-Identifier: GPL-2.0-or-later
// From built packages to a repository that dnf reads back: real rpmsign, rpmkeys, createrepo_c, ssh, rsync and dnf. A gpg that signs without
// asking anyone stands in for the gate, which has tests of its own.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync, rmSync, statSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makeRpmGeneration, refusePublished, type RpmGeneration, type SuiteChange } from '../../agents/build/dnf-repository/dnf-publication.js';
import { dnfConfiguration, readBackPackages } from '../../agents/build/dnf-repository/dnf-read-back.js';
import { publishPackagesFor, type RpmPublishOptions } from '../../agents/build/dnf-repository/publish-packages.js';
import { readRpmFile } from '../../agents/build/dnf-repository/rpm-file.js';
import { readJobPackages, signPackagesFor } from '../../agents/build/dnf-repository/sign-packages.js';
import { hashFile } from '../../agents/build/frozen-files.js';
import { readCommand } from '../../agents/build/gpg-client/command-line.js';
import { describePayload } from '../../agents/build/gpg-client/purpose.js';
import type { Job } from '../../agents/build/jobs/job-document.js';
import { suites, type Suite } from '../../agents/shared/formats/suites.js';
import type { SignOptions } from '../../agents/build/signed-files.js';
import { AptServer } from './build-vm.js';
import { Keys } from './forge.js';
import { buildHere, codeOf, epoch, Lines, makePlace, rpmJob, tinySpec } from './rpm-packages.js';

t.setTimeout(600_000);
const keys = new Keys();
const signer = keys.make('signer');
const other = keys.make('other');
const built = makePlace();
buildHere(tinySpec(), built.make('one'));
buildHere(tinySpec({ release: '2' }), built.make('two'));
buildHere(tinySpec(), built.make('one-otherwise'), { greeting: 'other bytes\n' });
buildHere(tinySpec({ name: 'second' }), built.make('second'));
t.teardown(() => {
  keys.end();
  built.end();
});

interface Vm {
  folder: string;
  job: Job;
  log: Lines;
  options: SignOptions;
  publicKey: string;
  gpgCalls: () => string[];
  sign: () => Promise<unknown>;
  frozen: string;
  signed: string;
}

/** A job's folder whose frozen packages are those of `from`. @param before what a shell does before each signature */
function setUp(test: Test, from = 'one', before = ':', key = signer): Vm {
  const place = makePlace();
  test.teardown(() => place.end());
  const frozen = join(place.folder, 'artifacts/fc41');
  mkdirSync(join(frozen, '..'), { recursive: true });
  cpSync(join(built.folder, from), frozen, { recursive: true });
  writeFileSync(join(place.folder, 'gpg'), `#!/bin/sh\necho "$BUILD_INFRA_JOB $*" >> '${place.folder}/gpg-calls'\n${before}\nexec gpg --homedir '${keys.home}' --batch --yes --pinentry-mode loopback --passphrase '' --local-user ${key.fingerprint} "$@"\n`, { mode: 0o755 });
  writeFileSync(join(place.folder, 'key.asc'), signer.armored);
  const job = rpmJob(place.folder, from === 'two' ? { version: '1.2-2', job: 'demo-rpm-1.2-2-bbbbbbbbbbbb' } : {});
  const options: SignOptions = { folder: place.folder, gpg: join(place.folder, 'gpg'), signingKey: signer.fingerprint, publicKey: signer.armored };
  const log = new Lines();
  return {
    folder: place.folder, job, log, options, frozen, signed: join(place.folder, 'signed/fc41'), publicKey: join(place.folder, 'key.asc'),
    gpgCalls: () => (existsSync(join(place.folder, 'gpg-calls')) ? readFileSync(join(place.folder, 'gpg-calls'), 'utf8').trim().split('\n') : []),
    sign: () => signPackagesFor(job, 'fc41', options, log),
  };
}

void t.test('packages are signed by the configured key, and only their signature differs', async (t) => {
  const vm = setUp(t);
  t.equal(await codeOf(vm.sign), 'none', vm.log.text());
  t.same(readdirSync(vm.signed).sort(), ['demo-rpm-1.2-1.noarch.rpm', 'demo-rpm-1.2-1.src.rpm']);
  for (const name of readdirSync(vm.signed)) {
    const [before, after] = [readRpmFile(vm.frozen, name), readRpmFile(vm.signed, name)];
    t.same([before.signatures.length, after.signatures.length], [0, 1]);
    t.equal(before.unsigned, after.unsigned);
    t.not(hashFile(vm.frozen, name).sha256, hashFile(vm.signed, name).sha256);
  }
  const [call = ''] = vm.gpgCalls();
  t.match(call, `${vm.folder}/gpg-job-fc41.json `);
  t.equal(vm.gpgCalls().length, 2, 'one signature for each package');
  t.match(JSON.parse(readFileSync(join(vm.folder, 'gpg-job-fc41.json'), 'utf8')), { job: vm.job.job, dist: 'fc41', artifacts: vm.job.artifacts[0]?.files });

  await t.test('the words of rpmsign are understood by the gpg client, and the intent says what they are for', async (t) => {
    const command = readCommand(call.split(' ').slice(1));
    t.match(command, { kind: 'sign', mode: 'detach', armor: false, user: signer.fingerprint, input: 0, digest: 'sha256' });
    const file = readFileSync(join(vm.frozen, 'demo-rpm-1.2-1.noarch.rpm'));
    const header = file.subarray(file.indexOf(Buffer.from('8eade801', 'hex'), 200));
    t.same(describePayload(0, header), { name: 'rpm-header', purpose: 'rpm-header' });
  });

  await t.test('a second run keeps what is signed', async (t) => {
    t.equal(await codeOf(vm.sign), 'none');
    t.equal(vm.gpgCalls().length, 2);
  });

  await t.test('a signed package whose payload was changed is noticed', async (t) => {
    const path = join(vm.signed, 'demo-rpm-1.2-1.noarch.rpm');
    const good = readFileSync(path);
    const bad = Buffer.from(good);
    bad[bad.length - 20] = (bad[bad.length - 20] as number) ^ 1;
    writeFileSync(path, bad);
    t.equal(await codeOf(vm.sign), 'BAD_ARTIFACT');
    writeFileSync(path, good);
    t.equal(await codeOf(vm.sign), 'none');
  });

  await t.test('a signed package in place of which another good one lies is noticed', async (t) => {
    const again = setUp(t, 'one-otherwise');
    await again.sign();
    copyFileSync(join(again.signed, 'demo-rpm-1.2-1.noarch.rpm'), join(vm.signed, 'demo-rpm-1.2-1.noarch.rpm'));
    t.equal(await codeOf(vm.sign), 'BAD_ARTIFACT');
  });
});

void t.test('a kill in the middle of signing costs no second signature', async (t) => {
  const vm = setUp(t, 'one', '[ "$(wc -l < "$0-calls")" != 2 ] || exit 2');
  t.equal(await codeOf(vm.sign), 'SIGN_FAILED');
  writeFileSync(`${vm.signed}.part/demo-rpm-1.2-1.src.rpm.AbCdEf`, 'left by a kill');
  t.equal(await codeOf(vm.sign), 'none', vm.log.text());
  t.equal(vm.gpgCalls().length, 3);
  t.equal(readdirSync(vm.signed).length, 2);
});

void t.test('why a signature was refused is said', async (t) => {
  const vm = setUp(t, 'one', 'echo "build-infra: refused NOT_PUBLISHED no remote has it" >&2; exit 2');
  t.equal(await codeOf(vm.sign), 'SIGN_FAILED');
  await t.rejects(vm.sign(), { message: /refused NOT_PUBLISHED no remote has it$/ });
});

void t.test('a signature by another key is noticed', async (t) => {
  const vm = setUp(t, 'one', 'set -- $(echo "$@" | sed s/[0-9A-F]\\\\{40\\\\}/$OTHER/g)'.replace('$OTHER', other.fingerprint), other);
  t.equal(await codeOf(vm.sign), 'BAD_SIGNATURE', vm.log.text());
  t.notOk(existsSync(vm.signed));
});

void t.test('a public key file with a second key in it is not believed', async (t) => {
  const vm = setUp(t);
  vm.options.publicKey = keys.gpg(['--armor', '--export', signer.fingerprint, other.fingerprint]).toString();
  t.equal(await codeOf(vm.sign), 'BAD_SIGNATURE');
});

for (const [what, change, code] of [
  ['a package whose name is another than its header\'s', (frozen: string) => renameSync(join(frozen, 'demo-rpm-1.2-1.noarch.rpm'), join(frozen, 'demo-rpm-1.2-9.noarch.rpm')), 'BAD_ARTIFACT'],
  ['a package of another source', (frozen: string) => copyFileSync(join(built.folder, 'second/second-1.2-1.noarch.rpm'), join(frozen, 'second-1.2-1.noarch.rpm')), 'BAD_ARTIFACT'],
  ['two source packages', (frozen: string) => copyFileSync(join(built.folder, 'second/second-1.2-1.src.rpm'), join(frozen, 'second-1.2-1.src.rpm')), 'BAD_ARTIFACT'],
  ['no source package', (frozen: string) => unlinkSync(join(frozen, 'demo-rpm-1.2-1.src.rpm')), 'BAD_ARTIFACT'],
  ['something that is no package', (frozen: string) => writeFileSync(join(frozen, 'demo-rpm-1.2-1.noarch.rpm'), 'x'.repeat(5000)), 'BAD_ARTIFACT'],
  ['a package that is cut in its header', (frozen: string) => writeFileSync(join(frozen, 'demo-rpm-1.2-1.noarch.rpm'), readFileSync(join(built.folder, 'one/demo-rpm-1.2-1.noarch.rpm')).subarray(0, 2000)), 'BAD_ARTIFACT'],
] as [string, (frozen: string) => void, string][]) {
  void t.test(`an engine that announces ${what} is refused before anything is signed`, async (t) => {
    const vm = setUp(t);
    change(vm.frozen);
    const job = rpmJob(vm.folder);
    t.equal(await codeOf(() => signPackagesFor(job, 'fc41', vm.options, vm.log)), code);
    t.same(vm.gpgCalls(), []);
  });
}

void t.test('packages are of the job\'s version', async (t) => {
  const vm = setUp(t);
  for (const version of ['1.2-1', '1.2']) t.equal(await codeOf(() => readJobPackages({ ...vm.job, version }, 'fc41', vm.frozen)), 'none');
  for (const version of ['1.2-2', '1.3', '1:1.2-1', '1.2-', '1']) t.equal(await codeOf(() => readJobPackages({ ...vm.job, version }, 'fc41', vm.frozen)), 'VERSION_MISMATCH', version);
});

async function publishing(test: Test, state: string, server: AptServer, from = 'one'): Promise<{ vm: Vm; publish: () => Promise<Job['uploaded'][number]>; options: RpmPublishOptions }> {
  const vm = setUp(test, from);
  await vm.sign();
  writeFileSync(join(vm.folder, 'ssh_config'), server.sshConfig());
  const options: RpmPublishOptions = {
    folder: state, suite: 'current-testing', gpg: vm.options.gpg, signingKey: signer.fingerprint, publicKey: vm.publicKey, dnf: { upload: `ssh://127.0.0.1:${server.sshPort}${server.folder}/rpm`, url: `http://127.0.0.1:${server.httpPort}/rpm` },
    jobFolder: vm.folder, work: join(vm.folder, 'work'), sshConfig: join(vm.folder, 'ssh_config'),
  };
  return { vm, options, publish: () => publishPackagesFor(vm.job, 'fc41', options, vm.log) };
}

void t.test('signed packages become a repository that dnf reads back and installs from', async (t) => {
  const server = new AptServer();
  await server.start();
  const state = makePlace();
  t.teardown(async () => {
    await server.end();
    state.end();
  });
  const first = await publishing(t, state.folder, server);
  const uploaded = await first.publish().catch((error: unknown) => t.fail(String(error), { log: first.vm.log.lines.slice(-40) }));
  if (typeof uploaded !== 'object') return;
  t.match(uploaded, { dist: 'fc41', url: `${first.options.dnf.url}/fc41/current-testing`, suite: 'fc41-current-testing', files: [{ name: 'demo-rpm-1.2-1.noarch.rpm' }, { name: 'demo-rpm-1.2-1.src.rpm' }] });
  const link = join(server.folder, 'rpm/fc41');
  const top = join(link, 'current-testing');
  t.match(readlinkSync(link), /^fc41\.releases\/000001-[0-9a-f]{12}$/);
  for (const name of ['packages', 'repodata/repomd.xml', 'repodata/repomd.xml.asc', '../key.asc', '../current/repodata/repomd.xml.asc', '../security-testing/repodata/repomd.xml.asc']) t.ok(existsSync(join(top, name)), name);
  t.match(first.vm.gpgCalls().at(-1), /--detach-sign .*repomd\.xml$/);
  t.match(readCommand((first.vm.gpgCalls().at(-1) ?? '').split(' ').slice(1)), { kind: 'sign', mode: 'detach', armor: true, user: signer.fingerprint, input: /repomd\.xml$/, output: /repomd\.xml\.asc$/ });

  await t.test('dnf installs the package into an installroot, with the published key alone', async (t) => {
    const place = makePlace();
    t.teardown(() => place.end());
    const root = place.make('root');
    writeFileSync(join(place.folder, 'dnf.conf'), dnfConfiguration(root, uploaded.url, join(link, 'key.asc')));
    // The web server is in this process: it must not wait.
    await promisify(execFile)('dnf', ['-y', '--config', join(place.folder, 'dnf.conf'), '--installroot', root, '--releasever=0', '--disableplugin=*', 'install', 'demo-rpm']);
    t.equal(readFileSync(join(root, 'usr/share/demo-rpm/greeting'), 'utf8'), 'hello from an rpm\n');
  });

  await t.test('the same job once more changes nothing', async (t) => {
    await first.publish();
    t.match(readlinkSync(link), /^fc41\.releases\/000001-/);
  });

  await t.test('the next release is added to it', async (t) => {
    const earlier = readdirSync(join(top, 'repodata')).filter((name) => name.endsWith('.gz'));
    const second = await publishing(t, state.folder, server, 'two');
    await second.publish();
    t.match(readlinkSync(link), /^fc41\.releases\/000002-/);
    t.same(readdirSync(join(top, 'packages')).sort(), ['demo-rpm-1.2-1.noarch.rpm', 'demo-rpm-1.2-1.src.rpm', 'demo-rpm-1.2-2.noarch.rpm', 'demo-rpm-1.2-2.src.rpm']);
    for (const name of earlier) t.ok(existsSync(join(top, 'repodata', name)), 'a client in the middle of the metadata before finds the rest of it');
    t.equal(statSync(join(top, 'packages/demo-rpm-1.2-1.noarch.rpm')).ino, statSync(join(server.folder, 'rpm/fc41.releases', readdirSync(join(server.folder, 'rpm/fc41.releases')).sort()[0] ?? '', 'current-testing/packages/demo-rpm-1.2-1.noarch.rpm')).ino);

    await t.test('the same name, version and release with other bytes is refused, and nothing is switched', async (t) => {
      const forged = await publishing(t, state.folder, server, 'one-otherwise');
      forged.vm.job.job = 'demo-rpm-1.2-1-cccccccccccc';
      t.equal(await codeOf(forged.publish), 'ALREADY_PUBLISHED');
      t.match(readlinkSync(link), /^fc41\.releases\/000002-/);
    });

    await t.test('a mirror that serves the metadata of before is noticed', async (t) => {
      const releases = readdirSync(join(server.folder, 'rpm/fc41.releases')).filter((name) => /^[0-9]/.test(name)).sort();
      const place = makePlace();
      t.teardown(() => place.end());
      const back = (): Promise<unknown> => readBackPackages(second.vm.signed, second.vm.job.artifacts[0]?.files.map((file) => hashFile(second.vm.signed, file.name)) ?? [], {
        url: `${second.options.dnf.url}/fc41/current-testing`, publicKey: second.vm.publicKey, repomd: join(state.folder, 'fc41/generations', releases[1] ?? '', 'current-testing/repodata/repomd.xml'), folder: join(place.folder, 'back'),
      }, second.vm.log);
      t.equal(await codeOf(back), 'none');
      unlinkSync(link);
      symlinkSync(`fc41.releases/${releases[0]}`, link);
      t.equal(await codeOf(back), 'READ_BACK_FAILED');
      t.equal(second.vm.log.lines.filter((line) => line.includes('read back: dnf')).at(-1), '== read back: dnf makecache', 'noticed by the metadata itself');
      unlinkSync(link);
      symlinkSync(`fc41.releases/${releases[1]}`, link);

      await t.test('a mirror with another package under the name is noticed', async (t) => {
        const path = join(top, 'packages/demo-rpm-1.2-2.noarch.rpm');
        const good = readFileSync(path);
        chmodSync(path, 0o644);
        writeFileSync(path, Buffer.concat([good, Buffer.from('x')]));
        t.equal(await codeOf(back), 'READ_BACK_FAILED');
        writeFileSync(path, good);
        t.equal(await codeOf(back), 'none');
      });
      await t.test('metadata signed by another key is noticed', async (t) => {
        const path = join(top, 'repodata/repomd.xml.asc');
        const good = readFileSync(path);
        writeFileSync(path, keys.sign([other], readFileSync(join(top, 'repodata/repomd.xml'), 'utf8')));
        t.equal(await codeOf(back), 'READ_BACK_FAILED');
        rmSync(path);
        t.equal(await codeOf(back), 'READ_BACK_FAILED', 'and metadata without a signature');
        writeFileSync(path, good);
        t.equal(await codeOf(back), 'none');
      });
    });
  });
});

void t.test('an upload that is cut changes nothing for readers, and goes on without a second signature', async (t) => {
  const server = new AptServer();
  await server.start();
  const state = makePlace();
  t.teardown(async () => {
    await server.end();
    state.end();
  });
  const { vm, publish } = await publishing(t, state.folder, server);
  // What ssh talks through: the connection of that number ends in its middle.
  const door = join(vm.folder, 'door.mjs');
  writeFileSync(door, `import { appendFileSync, readFileSync, mkdirSync } from 'node:fs';
import { connect } from 'node:net';
appendFileSync('${vm.folder}/connections', 'x');
const cut = readFileSync('${vm.folder}/connections').length === Number(readFileSync('${vm.folder}/cut', 'utf8'));
const far = connect(Number(process.argv[2]), '127.0.0.1');
process.stdin.pipe(far).pipe(process.stdout);
if (cut) setTimeout(() => process.exit(1), 50);
`);
  writeFileSync(join(vm.folder, 'ssh_config'), `${server.sshConfig()}  ProxyCommand ${process.execPath} ${door} %p\n`);
  // Making the folder, packages, metadata, the switch.
  for (const cut of [1, 2, 3, 4]) {
    writeFileSync(join(vm.folder, 'connections'), '');
    writeFileSync(join(vm.folder, 'cut'), String(cut));
    t.equal(await codeOf(publish), 'UPLOAD_FAILED', `connection ${cut}`);
    t.notOk(existsSync(join(server.folder, 'rpm/fc41')), 'no reader sees anything of it');
  }
  writeFileSync(join(vm.folder, 'cut'), '0');
  t.equal(await codeOf(publish), 'none', vm.log.text().slice(-3000));
  t.match(readlinkSync(join(server.folder, 'rpm/fc41')), /^fc41\.releases\/000001-/);
  t.equal(vm.gpgCalls().length, 5, 'two packages and the metadata of three suites, each once');
});

void t.test('metadata of the same packages is the same bytes, and its revision never goes back', async (t) => {
  const vm = setUp(t);
  await vm.sign();
  const files = readdirSync(vm.signed).map((name) => hashFile(vm.signed, name));
  const make = (state: string, job: string, sourceDateEpoch: number): Promise<RpmGeneration> => makeRpmGeneration({ job, dist: 'fc41', sourceDateEpoch }, { kind: 'include', signed: vm.signed, files }, join(vm.folder, 'gpg-job-fc41.json'),
    { folder: join(vm.folder, state), suite: 'current-testing', gpg: vm.options.gpg, signingKey: signer.fingerprint, publicKey: vm.publicKey }, vm.log);
  const repomd = (generation: RpmGeneration): string => readFileSync(join(generation.folder, 'current-testing/repodata/repomd.xml'), 'utf8');
  const [one, again] = [await make('a', 'x', epoch), await make('b', 'x', epoch)];
  t.equal(repomd(one), repomd(again));
  t.equal(one.release, again.release);
  t.match(repomd(one), `<revision>${epoch}</revision>`);
  t.match(repomd(await make('a', 'y', epoch - 1000)), `<revision>${epoch + 1}</revision>`);
});

void t.test('what is published is compared by bytes', async (t) => {
  const vm = setUp(t);
  const generation = { release: '000001-aaaaaaaaaaaa', folder: vm.folder, publicKeyName: 'key.asc' };
  for (const suite of suites) mkdirSync(join(vm.folder, suite, 'packages'), { recursive: true });
  cpSync(vm.frozen, join(vm.folder, 'current/packages'), { recursive: true });
  const files = vm.job.artifacts[0]?.files ?? [];
  t.equal(await codeOf(() => refusePublished(generation, files)), 'none');
  t.equal(await codeOf(() => refusePublished(undefined, files)), 'none');
  t.equal(await codeOf(() => refusePublished(generation, files.map((file) => ({ ...file, sha256: '0'.repeat(64) })))), 'ALREADY_PUBLISHED');
});

void t.test('metadata without a good signature is not published', async (t) => {
  const vm = setUp(t);
  await vm.sign();
  const files = readdirSync(vm.signed).map((name) => hashFile(vm.signed, name));
  const make = (script: string): Promise<string> => {
    writeFileSync(join(vm.folder, 'bad-gpg'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return codeOf(() => makeRpmGeneration({ job: 'x', dist: 'fc41', sourceDateEpoch: epoch }, { kind: 'include', signed: vm.signed, files }, '', { folder: join(vm.folder, 'state'), suite: 'current-testing', gpg: join(vm.folder, 'bad-gpg'), signingKey: signer.fingerprint, publicKey: vm.publicKey }, vm.log));
  };
  t.equal(await make('echo "build-infra: refused NO_GRANT none" >&2; exit 2'), 'PUBLISH_FAILED');
  t.equal(await make(`exec gpg --homedir '${keys.home}' --batch --yes --local-user ${other.fingerprint} $(echo "$@" | sed 's/--local-user [0-9A-F]*//')`), 'BAD_SIGNATURE');
  t.same(readdirSync(join(vm.folder, 'state/fc41/generations')), []);
});

void t.test('a version goes from suite to suite with the same bytes, and out again', async (t) => {
  const vm = setUp(t);
  await vm.sign();
  const files = readdirSync(vm.signed).map((name) => hashFile(vm.signed, name));
  const options = { folder: join(vm.folder, 'state'), gpg: vm.options.gpg, signingKey: signer.fingerprint, publicKey: vm.publicKey };
  const make = (job: string, suite: Suite, change: SuiteChange): Promise<RpmGeneration> => makeRpmGeneration({ job, dist: 'fc41', sourceDateEpoch: epoch }, change, join(vm.folder, 'gpg-job-fc41.json'), { ...options, suite }, vm.log);
  const inSuite = (generation: RpmGeneration, suite: Suite): string[] => readdirSync(join(generation.folder, suite, 'packages')).sort();
  const repomd = (generation: RpmGeneration, suite: Suite): string => readFileSync(join(generation.folder, suite, 'repodata/repomd.xml'), 'utf8');
  const names = files.map((file) => file.name).sort();
  const first = await make('a', 'current-testing', { kind: 'include', signed: vm.signed, files });
  t.same([inSuite(first, 'current-testing'), inSuite(first, 'current')], [names, []]);
  t.match(repomd(first, 'current'), /<content>fc41-current<\/content>/, 'the signed metadata says whose it is');
  const calls = vm.gpgCalls().length;
  const second = await make('b', 'current', { kind: 'copy', from: 'current-testing', files });
  t.equal(vm.gpgCalls().length, calls + 1, 'one signature, of the suite that changed');
  t.same([inSuite(second, 'current-testing'), inSuite(second, 'current')], [names, names]);
  t.equal(repomd(second, 'current-testing'), repomd(first, 'current-testing'));
  t.equal(await codeOf(() => make('c', 'security-testing', { kind: 'copy', from: 'current', files: files.map((file) => ({ ...file, sha256: '0'.repeat(64) })) })), 'NOT_IN_SUITE', 'other bytes than those');
  const third = await make('d', 'current', { kind: 'remove', files });
  t.same([inSuite(third, 'current-testing'), inSuite(third, 'current')], [[], []], 'out of every suite');
  t.equal(await codeOf(() => make('e', 'security-testing', { kind: 'copy', from: 'current', files })), 'NOT_IN_SUITE');
});
