// SPDX-License-Identifier: GPL-2.0-or-later
// The engine that drives Qubes' builder, from a tag to packages that apt and dnf read back: the real agent, and the builder as it is recorded,
// which builds, signs, publishes and uploads with the real tools.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BuilderVm, releaseComponent, type Kind } from './builder-vm.js';
import { endOutside, makeOutside } from './build-vm.js';

const needsRoot = process.getuid?.() === 0 ? {} : { skip: 'an engine gets a process space of its own, which needs root here' };
const outside = await makeOutside();
t.teardown(() => endOutside(outside));

const expected = {
  deb: ['hello-tiny_1.0-1+deb13u1.debian.tar.xz', 'hello-tiny_1.0-1+deb13u1.dsc', 'hello-tiny_1.0-1+deb13u1_all.deb', 'hello-tiny_1.0.orig.tar.gz'],
  rpm: ['hello-tiny-1.0-1.fc41.noarch.rpm', 'hello-tiny-1.0-1.fc41.src.rpm'],
};

for (const kind of ['deb', 'rpm'] as Kind[]) {
  void t.test(`a component is built, signed, published and uploaded as ${kind} by the builder, and read back by the agent`, needsRoot, async (t) => {
    const repository = outside.forge.create(`hello-tiny`);
    t.teardown(() => outside.forge.remove('hello-tiny'));
    releaseComponent(outside, repository, '1.0', '1');
    const vm = new BuilderVm(outside, kind, kind, { components: [{ name: 'hello-tiny', url: outside.forge.url('hello-tiny'), tag: 'v{version}', maintainers: [{ name: 'alice', fingerprint: outside.alice.fingerprint }], requiredSignatures: 1 }] });
    t.teardown(() => vm.end());
    await vm.start();
    const id = (await vm.trigger()).split(' ')[1] as string;
    const job = await vm.over(id);
    t.equal(job.state, 'done', `${vm.output}\n${vm.receiver.text().slice(-6000)}`);
    t.same(job.uploaded[0]?.files.map((file) => file.name).sort(), expected[kind]);
    t.match(job.uploaded, [{ repository: 'current-testing', suite: kind === 'deb' ? /-testing$/ : vm.dist }], 'and it is said which of our suites that is');
    t.same(vm.calls().map((line) => line.replace(/^.* package /, '')), ['fetch', 'prep build', 'sign', 'publish', 'upload']);
    t.notOk(existsSync(join(vm.root, '/var/lib/build-infra/jobs', id, 'signed', `${vm.dist}.part`)));
    t.same(readdirSync(join(vm.root, '/var/lib/build-infra/engines/qubesbuilderv2')).sort(), ['lock', 'repository-publish']);
  });
}
