// SPDX-License-Identifier: GPL-2.0-or-later
// A template by Qubes' builder as it is recorded: fetched, prepared and built by it, signed and published by
// the agent. And what it may do wrong.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { Job } from '../../agents/build-vm/jobs/job-document.js';
import { BuilderVm, releaseComponent } from './builder-vm.js';
import { until } from '../support/until.js';
import { endOutside, makeOutside } from './build-vm.js';
import { minute } from './template-engine.js';

const needsRoot =
  process.getuid?.() === 0
    ? {}
    : { skip: 'an engine gets a process space of its own, which needs root here' };
const outside = await makeOutside();
t.teardown(() => endOutside(outside));
releaseComponent(outside, outside.forge.create('hello-tiny'), '1.0', '1');
const commands = {
  releases: ['r4.3'],
  windowSeconds: 86_400,
  distributionWords: [],
  people: [
    { name: 'alice', fingerprint: outside.alice.fingerprint, verbs: ['Build-template'], templates: 'all' },
  ],
};
const vm = new BuilderVm(outside, 'by-builder', 'rpm', { commands });
t.teardown(() => vm.end());
const template = {
  name: 'debian-13',
  releases: ['r4.3'],
  engine: 'qubesbuilderv2',
  distribution: 'vm-trixie',
  repository: 'templates-community',
  buildSeconds: 60,
  options: { builder: vm.builder, conf: join(vm.builder, 'builder.yml') },
};
vm.reconfigure({ templates: [template, { ...template, name: 'unknown' }] });
await vm.start();

let ahead = -50;
async function build(name = 'debian-13'): Promise<{ job: Job; at: string }> {
  const at = minute(ahead++);
  const answer = await vm.command(
    outside.keys
      .gpg(['--clearsign', '--local-user', outside.alice.fingerprint], `Build-template r4.3 ${name} ${at}\n`)
      .toString(),
  );
  return { job: await vm.over(answer.slice('accepted '.length)), at };
}

void t.test(
  'the builder fetches every component, prepares and builds the minute that was commanded, and the agent does the rest',
  needsRoot,
  async (t) => {
    const { job, at } = await build();
    const rpm = `qubes-template-debian-13-4.3.0-${at}.noarch.rpm`;
    t.match(
      job,
      {
        state: 'done',
        uploaded: [{ suite: 'templates-r4.3-templates-community-testing', files: [{ name: rpm }] }],
      },
      `${vm.output}\n${vm.receiver.text().slice(-6000)}`,
    );
    t.same(
      vm.calls().map((line) => line.replace(/^.*(?=(?:-t debian-13 template| package) )/, '').trim()),
      ['package fetch', `-t debian-13 template prep --template-timestamp ${at} build`],
    );
    for (const line of vm.calls()) t.match(line, /-o qubes-release=r4\.3 /);
    t.match(vm.receiver.ofStage('build')[0]?.lines.join('\n'), /Running stages: prep, build/);
    await until(
      'no image to be left',
      () => !existsSync(join(vm.root, '/var/lib/build-infra/jobs', job.job, 'engine')),
    );
  },
);

for (const [what, hook, script, code] of [
  ['cannot fetch', 'before-fetch', 'exit 1', 'FETCH_FAILED'],
  ['fails in prep', 'before-template-prep', 'exit 1', 'BUILD_FAILED'],
  ['fails in build', 'before-template-build', 'exit 1', 'BUILD_FAILED'],
  ['built nothing and ended well', 'after-template-build', 'rm "$TEMPLATES"/*.build.yml', 'NOT_BUILT'],
  [
    'built another minute',
    'before-template-build',
    'sed -i "s/[0-9]\\{12\\}/202601010000/" "$TEMPLATES"/*.prep.yml',
    'VERSION_MISMATCH',
  ],
  [
    'names another package',
    'after-template-build',
    'sed -i "s/debian-13/debian-12/" "$TEMPLATES"/*.build.yml',
    'BAD_METADATA',
  ],
  [
    'has a package that is a link',
    'after-template-build',
    'cd "$TEMPLATES/rpm"; for i in *.rpm; do ln -sf /etc/passwd "$i"; done',
    'BAD_ARTIFACT',
  ],
] as const) {
  void t.test(`a builder that ${what} is ${code}`, needsRoot, async (t) => {
    vm.hook(hook, script);
    const { job } = code === 'FETCH_FAILED' ? await firstReason() : await build();
    vm.hook(hook, '');
    t.equal(job.reason?.code ?? job.waiting[0]?.code, code, vm.receiver.text().slice(-3000));
    t.same(job.uploaded, []);
  });
}

/** A fetch is tried again. */
async function firstReason(): Promise<{ job: Job }> {
  const answer = await vm.command(
    outside.keys
      .gpg(
        ['--clearsign', '--local-user', outside.alice.fingerprint],
        `Build-template r4.3 debian-13 ${minute(ahead++)}\n`,
      )
      .toString(),
  );
  const id = answer.slice('accepted '.length);
  return {
    job: await until('a reason', () => {
      const job = vm.job(id);
      return (job?.waiting.length ?? 0) > 0 ? job : undefined;
    }),
  };
}

void t.test(
  'a template that the builder does not have is not built, and where there is no builder, that is said',
  needsRoot,
  async (t) => {
    t.match((await build('unknown')).job, { state: 'failed', reason: { code: 'BUILD_FAILED' } });
    await vm.kill();
    vm.reconfigure({
      templates: [{ ...template, options: { builder: '/nonexistent', conf: '/nonexistent/builder.yml' } }],
    });
    await vm.start();
    t.match((await build()).job, { state: 'refused', reason: { code: 'NO_BUILDER' } });
  },
);
