// SPDX-License-Identifier: GPL-2.0-or-later
// The engine that drives Qubes' builder, from a tag to packages that apt and dnf read back: the real agent, and the builder as it is recorded,
// which builds, signs, publishes and uploads with the real tools.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { chrootCache } from '../support/clean-chroots.js';
import { BuilderVm, releaseComponent, type Kind } from './builder-vm.js';
import { endOutside, makeOutside } from './build-vm.js';

const needsRoot = process.getuid?.() === 0 ? {} : { skip: 'an engine gets a process space of its own, which needs root here' };
const outside = await makeOutside();
t.teardown(() => endOutside(outside));

const shapes: [what: string, kind: Kind, tag: string, files: string[]][] = [
  ['deb', 'deb', 'v1.0-1', ['hello-tiny_1.0-1+deb13u1.debian.tar.xz', 'hello-tiny_1.0-1+deb13u1.dsc', 'hello-tiny_1.0-1+deb13u1_all.deb', 'hello-tiny_1.0.orig.tar.gz']],
  ['a native deb', 'deb', 'v1.0', ['hello-tiny_1.0+deb13u1.dsc', 'hello-tiny_1.0+deb13u1.tar.xz', 'hello-tiny_1.0+deb13u1_all.deb']],
  ['rpm, of two specs', 'rpm', 'v1.0-1', ['hello-tiny-1.0-1.fc41.noarch.rpm', 'hello-tiny-1.0-1.fc41.src.rpm', 'hello-tiny-dom0-1.0-1.fc41.noarch.rpm', 'hello-tiny-dom0-1.0-1.fc41.src.rpm']],
];
const component = { name: 'hello-tiny', url: outside.forge.url('hello-tiny'), tag: 'v{version}', maintainers: [{ name: 'alice', fingerprint: outside.alice.fingerprint }], requiredSignatures: 1 };
const builderCache = join(chrootCache, 'qubesbuilderv2');

for (const [index, [what, kind, tag, files]] of shapes.entries()) {
  void t.test(`a component is built, signed, published and uploaded as ${what} by the builder, and read back by the agent`, needsRoot, async (t) => {
    const repository = outside.forge.create('hello-tiny');
    t.teardown(() => outside.forge.remove('hello-tiny'));
    const commit = releaseComponent(outside, repository, '1.0', '1', undefined, tag);
    const vm = new BuilderVm(outside, `shape${index}`, kind, { components: [component] });
    t.teardown(() => vm.end());
    await vm.start();
    const id = (await vm.trigger()).split(' ')[1] as string;
    const job = await vm.over(id);
    t.equal(job.state, 'done', `${vm.output}\n${vm.receiver.text().slice(-6000)}`);
    t.same(job.uploaded.flatMap((upload) => upload.files.map((file) => file.name)).filter((name) => !name.endsWith('.buildinfo')).sort(), files);
    t.match(job.uploaded, [{ repository: 'current-testing', suite: kind === 'deb' ? /-testing$/ : vm.dist }], 'and it is said which of our suites that is');
    t.same(vm.calls().map((line) => line.replace(/^.* package /, '')), ['fetch', 'init-cache', 'prep build', 'sign', 'publish', 'upload']);
    t.ok(vm.calls().every((line) => line.includes(` -o +components+hello-tiny:branch=${commit} `)), 'its branch has gone on');
    const folder = join(vm.root, '/var/lib/build-infra/jobs', id);
    t.notOk(existsSync(join(folder, 'signed', `${vm.dist}.part`)));
    t.same(readdirSync(join(vm.root, '/var/lib/build-infra/engines/qubesbuilderv2')).sort(), ['lock', 'repository-publish']);
    if (kind === 'deb') return;
    // What the builder signs once more while it publishes is not what was checked.
    const published = join(outside.apt.folder, `shape${index}/current-testing/vm/fc41/rpm`);
    const names = readdirSync(published).filter((name) => name.endsWith('.buildinfo'));
    t.equal(names.length, 2);
    for (const name of names) t.same(readFileSync(join(published, name)), readFileSync(join(folder, 'signed', vm.dist, name)), name);
  });
}

void t.test('of two builds that begin at once one makes the chroot, and the other one waits', needsRoot, async (t) => {
  const repository = outside.forge.create('hello-tiny');
  t.teardown(() => outside.forge.remove('hello-tiny'));
  releaseComponent(outside, repository, '1.0', '1');
  const vm = new BuilderVm(outside, 'twice', 'deb', { components: [component] });
  t.teardown(() => vm.end());
  const [distribution] = vm.config['distributions'] as Record<string, unknown>[];
  vm.reconfigure({ distributions: [distribution, { ...distribution, name: 'trixie-too' }] });
  rmSync(builderCache, { recursive: true, force: true });
  await vm.start();
  const id = (await vm.trigger()).split(' ')[1] as string;
  await vm.over(id);
  t.match(vm.receiver.text(), /Re-using existing cache/);
  t.equal(vm.calls().filter((line) => line.endsWith(' prep build')).length, 2, vm.receiver.text().slice(-3000));
});
