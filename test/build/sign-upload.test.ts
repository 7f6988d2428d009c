// SPDX-License-Identifier: GPL-2.0-or-later
// From a built upload to a signed one: real debsign, and what kills and power cuts leave behind. A gpg that signs without asking anyone stands in for the gate.
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { signUploadFor } from '../../agents/build/apt-repository/sign-upload.js';
import type { Job } from '../../agents/build/jobs/job-document.js';
import { Keys, tinyPackage } from './forge.js';
import { codeOf, epoch, Lines, makePlace, rpmJob, writeTree } from './rpm-packages.js';

const keys = new Keys();
const signer = keys.make('signer');
const built = makePlace();
t.teardown(() => {
  keys.end();
  built.end();
});
const tree = writeTree(built.make('tree'), Object.fromEntries(tinyPackage('1.2-1').map((file) => [file.path, file.content ?? ''])));
chmodSync(join(tree, 'debian/rules'), 0o755);
execFileSync('tar', ['--create', '--gzip', '--file', join(built.folder, 'hello-tiny_1.2.orig.tar.gz'), '--exclude=debian', '--directory', tree, '.']);
execFileSync('dpkg-buildpackage', ['-us', '-uc', '-F', '-d'], { cwd: tree, stdio: 'ignore', env: { ...process.env, SOURCE_DATE_EPOCH: String(epoch) } });
rmSync(tree, { recursive: true });

interface Vm { sign: () => Promise<unknown>; signed: string; part: string; frozen: string; calls: () => number; log: Lines }

/** @param before what a shell does before each signature */
function setUp(test: Test, before = ':'): Vm {
  const place = makePlace();
  test.teardown(() => place.end());
  const frozen = join(place.folder, 'artifacts/bookworm');
  mkdirSync(join(frozen, '..'), { recursive: true });
  cpSync(built.folder, frozen, { recursive: true });
  const gpg = join(place.folder, 'gpg');
  writeFileSync(gpg, `#!/bin/sh\necho "$*" >> '${place.folder}/calls'\n${before}\nexec gpg --homedir '${keys.home}' --batch --yes --pinentry-mode loopback --passphrase '' "$@"\n`, { mode: 0o755 });
  const job = { ...rpmJob(place.folder, {}, 'bookworm'), version: '1.2-1' } as Job;
  const log = new Lines();
  return {
    sign: () => signUploadFor(job, 'bookworm', { folder: place.folder, gpg, signingKey: signer.fingerprint, publicKey: signer.armored }, log), log, frozen, signed: join(place.folder, 'signed/bookworm'), part: join(place.folder, 'signed/bookworm.part'),
    calls: () => (existsSync(join(place.folder, 'calls')) ? readFileSync(join(place.folder, 'calls'), 'utf8').trim().split('\n').filter((line) => line.includes('sign')).length : 0),
  };
}

void t.test('a kill while files were copied costs nothing: what is no copy is copied again', async (t) => {
  for (const ending of ['.deb', '.tar.xz', '.orig.tar.gz', '.dsc', '.changes', '.buildinfo']) {
    const vm = setUp(t);
    const name = readdirSync(vm.frozen).find((one) => one.endsWith(ending)) ?? '';
    if (name === '') continue;
    mkdirSync(vm.part, { recursive: true });
    writeFileSync(join(vm.part, name), readFileSync(join(vm.frozen, name)).subarray(0, 20));
    t.equal(await codeOf(vm.sign), 'none', `${ending}\n${vm.log.text()}`);
  }
});

void t.test('what was signed before a kill is not signed again, and what was left half is made anew', async (t) => {
  const vm = setUp(t, '[ "$(grep -c sign "${0%/*}/calls")" != 2 ] || exit 2');
  t.equal(await codeOf(vm.sign), 'SIGN_FAILED');
  const dsc = readdirSync(vm.part).find((name) => name.endsWith('.dsc')) as string;
  const first = readFileSync(join(vm.part, dsc), 'utf8');
  t.match(first, /BEGIN PGP SIGNATURE/);
  t.equal(await codeOf(vm.sign), 'none', vm.log.text());
  t.equal(readFileSync(join(vm.signed, dsc), 'utf8'), first);
  t.equal(vm.calls(), 4, 'three texts, and one that failed');
});

void t.test('a signed text that a power cut left empty or cut is signed anew', async (t) => {
  for (const cut of [0, 200]) {
    const vm = setUp(t, '[ "$(grep -c sign "${0%/*}/calls")" != 2 ] || exit 2');
    t.equal(await codeOf(vm.sign), 'SIGN_FAILED');
    const dsc = readdirSync(vm.part).find((name) => name.endsWith('.dsc')) as string;
    writeFileSync(join(vm.part, dsc), readFileSync(join(vm.part, dsc)).subarray(0, cut));
    t.equal(await codeOf(vm.sign), 'none', vm.log.text());
  }
});

void t.test('signed files that a power cut damaged are made anew, and nobody has to retry', async (t) => {
  for (const ending of ['.deb', '.dsc', '.changes']) {
    const vm = setUp(t);
    t.equal(await codeOf(vm.sign), 'none', vm.log.text());
    const path = join(vm.signed, readdirSync(vm.signed).find((one) => one.endsWith(ending)) as string);
    writeFileSync(path, '');
    t.equal(await codeOf(vm.sign), 'none', `${ending}\n${vm.log.text()}`);
    t.match(vm.log.text(), /are not what was signed .*: they are signed anew/);
    t.ok(readFileSync(path).length > 0);
  }
});
