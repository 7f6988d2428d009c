// SPDX-License-Identifier: GPL-2.0-or-later
// The engine that drives Qubes' builder, from a tag to packages that apt and dnf read back: the real agent,
// and the builder as it is recorded, which builds, signs, publishes and uploads with the real tools.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Job } from '../../agents/build-vm/jobs/job-document.js';
import { chrootCache } from '../support/clean-chroots.js';
import { BuilderVm, qubesComponent, releaseComponent, type Kind } from './builder-vm.js';
import { endOutside, makeOutside } from './build-vm.js';

const needsRoot =
  process.getuid?.() === 0
    ? {}
    : { skip: 'an engine gets a process space of its own, which needs root here' };
const outside = await makeOutside();
t.teardown(() => endOutside(outside));

const shapes: [what: string, kind: Kind, tag: string, files: string[]][] = [
  [
    'deb',
    'deb',
    'v1.0-1',
    [
      'hello-tiny_1.0-1+deb13u1.debian.tar.xz',
      'hello-tiny_1.0-1+deb13u1.dsc',
      'hello-tiny_1.0-1+deb13u1_all.deb',
      'hello-tiny_1.0.orig.tar.gz',
    ],
  ],
  [
    'a native deb',
    'deb',
    'v1.0',
    ['hello-tiny_1.0+deb13u1.dsc', 'hello-tiny_1.0+deb13u1.tar.xz', 'hello-tiny_1.0+deb13u1_all.deb'],
  ],
  [
    'rpm, of two specs',
    'rpm',
    'v1.0-1',
    [
      'hello-tiny-1.0-1.fc41.noarch.rpm',
      'hello-tiny-1.0-1.fc41.src.rpm',
      'hello-tiny-dom0-1.0-1.fc41.noarch.rpm',
      'hello-tiny-dom0-1.0-1.fc41.src.rpm',
    ],
  ],
];
const component = {
  name: 'hello-tiny',
  url: outside.forge.url('hello-tiny'),
  tag: 'v{version}',
  maintainers: [{ name: 'alice', fingerprint: outside.alice.fingerprint }],
  requiredSignatures: 1,
};
const builderCache = join(chrootCache, 'qubesbuilderv2');

for (const [index, [what, kind, tag, files]] of shapes.entries()) {
  void t.test(
    `a component is built, signed, published and uploaded as ${what} by the builder, and read back by the agent`,
    needsRoot,
    async (t) => {
      const repository = outside.forge.create('hello-tiny');
      t.teardown(() => outside.forge.remove('hello-tiny'));
      const commit = releaseComponent(outside, repository, '1.0', '1', undefined, tag);
      const vm = new BuilderVm(outside, `shape${index}`, kind, { components: [component] });
      t.teardown(() => vm.end());
      await vm.start();
      const id = (await vm.trigger()).split(' ')[1] as string;
      const job = await vm.over(id);
      t.equal(job.state, 'done', `${vm.output}\n${vm.receiver.text().slice(-6000)}`);
      t.same(
        job.uploaded
          .flatMap((upload) => upload.files.map((file) => file.name))
          .filter((name) => !name.endsWith('.buildinfo'))
          .sort(),
        files,
      );
      t.match(
        job.uploaded,
        [{ repository: 'current-testing', suite: kind === 'deb' ? /-testing$/ : vm.dist }],
        'and it is said which of our suites that is',
      );
      t.same(
        vm.calls().map((line) => line.replace(/^.* package /, '')),
        ['fetch', 'init-cache', 'prep build', 'sign', 'publish', 'upload'],
      );
      t.ok(
        vm.calls().every((line) => line.includes(` -o +components+hello-tiny:branch=${commit} `)),
        'its branch has gone on',
      );
      const folder = join(vm.root, '/var/lib/build-infra/jobs', id);
      t.notOk(existsSync(join(folder, 'signed', `${vm.dist}.part`)));
      t.same(readdirSync(join(vm.root, '/var/lib/build-infra/engines/qubesbuilderv2')).sort(), [
        'lock',
        'repository-publish',
      ]);
      if (kind === 'deb') return;
      // What the builder signs once more while it publishes is not what was checked.
      const published = join(outside.apt.folder, `shape${index}/current-testing/vm/fc41/rpm`);
      const names = readdirSync(published).filter((name) => name.endsWith('.buildinfo'));
      t.equal(names.length, 2);
      for (const name of names)
        t.same(
          readFileSync(join(published, name)),
          readFileSync(join(folder, 'signed', vm.dist, name)),
          name,
        );
    },
  );
}

void t.test(
  'a component is built with the packages of another one that were published here, and with no others',
  needsRoot,
  async (t) => {
    rmSync(join(chrootCache, 'qubesbuilderv2-published'), { recursive: true, force: true });
    const second = (text: string): string =>
      text
        .replaceAll('hello-tiny', 'hello-second')
        .replace('Rules-Requires-Root', 'Build-Depends: hello-tiny\nRules-Requires-Root');
    for (const name of ['hello-tiny', 'hello-second']) t.teardown(() => outside.forge.remove(name));
    releaseComponent(outside, outside.forge.create('hello-tiny'), '1.0', '1');
    const files = qubesComponent('1.0', '1').map((file) => ({
      ...file,
      path: second(file.path),
      content: second(file.content ?? ''),
    }));
    const repository = outside.forge.create('hello-second');
    repository.release(outside.keys, [outside.alice], 'v1.0-1', files);
    const vm = new BuilderVm(outside, 'both', 'deb', {
      components: [component, { ...component, name: 'hello-second', url: outside.forge.url('hello-second') }],
    });
    t.teardown(() => vm.end());
    vm.reconfigureBuilder({ components: [{ 'hello-tiny': {} }, { 'hello-second': {} }] });
    await vm.start();
    const run = async (name: string): Promise<Job> =>
      vm.over((await vm.trigger(name)).split(' ')[1] as string);
    const early = await run('hello-second');
    t.match(early.reason, { code: 'BUILD_FAILED' }, vm.receiver.text().slice(-1000));
    t.match(vm.receiver.text(), /unmet build dependencies: hello-tiny/);
    t.equal((await run('hello-tiny')).state, 'done');
    repository.release(
      outside.keys,
      [outside.alice],
      'v1.0-2',
      qubesComponent('1.0', '2').map((file) => ({
        ...file,
        path: second(file.path),
        content: second(file.content ?? ''),
      })),
    );
    const job = await run('hello-second');
    t.equal(job.state, 'done', vm.receiver.text().slice(-3000));
    t.match(
      vm.receiver.text(),
      /the builder may take build dependencies from hello-tiny_1\.0, as published here/,
    );
  },
);

void t.test(
  'of two builds that begin at once one makes the chroot, and the other one waits',
  needsRoot,
  async (t) => {
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
    t.equal(
      vm.calls().filter((line) => line.endsWith(' prep build')).length,
      2,
      vm.receiver.text().slice(-3000),
    );
  },
);
