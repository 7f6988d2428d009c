// SPDX-License-Identifier: GPL-2.0-or-later
// Days on which Qubes' builder does not do what it shall: what is refused, and that the job goes on where it
// can.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Job } from '../../agents/build-vm/jobs/job-document.js';
import { until } from '../support/until.js';
import { BuilderVm, releaseComponent, type Kind } from './builder-vm.js';
import { endOutside, makeOutside } from './build-vm.js';
import type { TestRepository } from './forge.js';

const needsRoot =
  process.getuid?.() === 0
    ? {}
    : { skip: 'an engine gets a process space of its own, which needs root here' };
const outside = await makeOutside();
t.teardown(() => endOutside(outside));
let count = 0;

interface Day {
  vm: BuilderVm;
  repository: TestRepository;
  /** triggers, and waits until the job is over */
  run: () => Promise<Job>;
  /** why it is not done */
  why: (job: Job) => string;
}

/** A new component `hello-tiny` and a VM that builds it. */
async function day(t: Test, kind: Kind, change: Record<string, unknown> = {}): Promise<Day> {
  outside.forge.remove('hello-tiny');
  const repository = outside.forge.create('hello-tiny');
  releaseComponent(outside, repository, '1.0', '1');
  const component = {
    name: 'hello-tiny',
    url: outside.forge.url('hello-tiny'),
    tag: 'v{version}',
    maintainers: [{ name: 'alice', fingerprint: outside.alice.fingerprint }],
    requiredSignatures: 1,
  };
  const vm = new BuilderVm(outside, `day${++count}`, kind, { components: [component], ...change });
  t.teardown(() => vm.end());
  await vm.start();
  return {
    vm,
    repository,
    run: async () => await vm.over((await vm.trigger()).split(' ')[1] as string),
    why: (job) => `${JSON.stringify(job.reason)} ${vm.output}\n${vm.receiver.text().slice(-3000)}`,
  };
}

/** Renamed into its place: the agent may look at any moment. */
function retry(vm: BuilderVm, { job }: Job): void {
  const spool = join(vm.root, '/var/lib/build-infra/spool');
  writeFileSync(join(spool, '.again'), `retry ${job}\n`);
  renameSync(join(spool, '.again'), join(spool, 'again.cmd'));
}

const inState = '"$ARTIFACTS"';
const oneBuild: [what: string, kind: Kind, hook: string, script: string, code: string][] = [
  ['fails in fetch', 'deb', 'before-fetch', 'exit 1', 'FETCH_FAILED'],
  ['fails in prep', 'deb', 'before-prep', 'exit 1', 'BUILD_FAILED'],
  ['fails in build', 'rpm', 'before-build', 'exit 1', 'BUILD_FAILED'],
  ['hangs in build', 'rpm', 'before-build', 'sleep 300', 'TIMED_OUT'],
  [
    'fetched another commit',
    'deb',
    'after-fetch',
    `sed -i 's/^git-commit-hash: .*/git-commit-hash: ${'c'.repeat(40)}/' "$COMPONENT"/*/nodist/fetch/source.fetch.yml`,
    'OTHER_COMMIT',
  ],
  [
    'fetched other files under the same commit',
    'deb',
    'after-fetch',
    `echo 'echo more' >> ${inState}/sources/hello-tiny/hello-tiny.sh`,
    'OTHER_TREE',
  ],
  ['fetched one file more', 'rpm', 'after-fetch', `touch ${inState}/sources/hello-tiny/more`, 'OTHER_TREE'],
  [
    'fetched a program where a plain file was',
    'rpm',
    'after-fetch',
    `chmod +x ${inState}/sources/hello-tiny/version`,
    'OTHER_TREE',
  ],
  [
    'has another version',
    'deb',
    'after-fetch',
    'mv "$COMPONENT"/1.0-1 "$COMPONENT"/1.0-2',
    'VERSION_MISMATCH',
  ],
  ['has two versions', 'deb', 'after-build', 'cp -r "$COMPONENT"/1.0-1 "$COMPONENT"/0.9-1', 'BAD_METADATA'],
  ['built nothing and ended well', 'deb', 'after-build', 'rm "$COMPONENT"/*/*/build/*.yml', 'NOT_BUILT'],
  [
    'lost a package that it names',
    'rpm',
    'after-build',
    'rm "$COMPONENT"/*/*/build/rpm/*.noarch.rpm',
    'BAD_ARTIFACT',
  ],
  [
    'names a path',
    'rpm',
    'after-build',
    'sed -i "s,^srpm: .*,srpm: ../../../../../../etc/passwd," "$COMPONENT"/*/*/build/*.yml',
    'BAD_METADATA',
  ],
  [
    'has a package that is a link',
    'rpm',
    'after-build',
    'cd "$COMPONENT"/*/*/build/rpm; for i in *.noarch.rpm; do ln -sf /etc/passwd "$i"; done',
    'BAD_ARTIFACT',
  ],
  [
    'built from another source package than it prepared',
    'rpm',
    'after-build',
    'cd "$COMPONENT"/*/*/prep; for i in *.src.rpm; do cp "$i" x; printf x >> x; mv x "$i"; done',
    'BAD_ARTIFACT',
  ],
  [
    'makes an object of a tag in its YAML',
    'rpm',
    'after-build',
    'for i in "$COMPONENT"/*/*/build/*.yml; do echo "x: !!python/object/apply:os.system [id]" >> "$i"; done',
    'BAD_METADATA',
  ],
];

for (const [what, kind, hook, script, code] of oneBuild) {
  void t.test(`a builder that ${what}: ${code}`, needsRoot, async (t) => {
    const { vm, run, why } = await day(t, kind, { buildSeconds: code === 'TIMED_OUT' ? 3 : 300 });
    vm.hook(hook, `${script}\n`);
    const job = await run();
    t.equal(job.reason?.code, code, why(job));
    t.same(
      vm.gpgCalls().filter((line) => !line.includes('--export')),
      [],
      'nothing was signed',
    );
  });
}

void t.test(
  'what the builder changes between build and signature is not taken, and signed in the end is what was built',
  needsRoot,
  async (t) => {
    for (const [kind, script] of [
      ['rpm', 'cd "$COMPONENT"/*/*/build/rpm; for i in *.noarch.rpm; do printf x >> "$i"; done'],
      ['rpm', 'cd "$COMPONENT"/*/*/prep; for i in *.src.rpm; do printf x >> "$i"; done'],
      ['deb', 'cd "$COMPONENT"/*/*/build; for i in *_all.deb; do printf x >> "$i"; done'],
    ] as const) {
      const { vm, run, why } = await day(t, kind);
      vm.hook('after-sign', `${script}\n`);
      const job = await run();
      t.equal(job.reason?.code, 'BAD_ARTIFACT', why(job));
      t.same(job.uploaded, []);
      vm.hook('after-sign', '');
      // Before the signature the builder's own folder counts for nothing: the frozen files are put back.
      vm.hook('before-sign', '');
      retry(vm, job);
      const again = await until('the job to be done', () => {
        const now = vm.job(job.job);
        return now?.state === 'done' ? now : undefined;
      });
      t.equal(again.uploaded.length, 1);
    }
  },
);

void t.test(
  "what lies in the builder's folder before a signature counts for nothing: the frozen files are put back",
  needsRoot,
  async (t) => {
    const { vm, why } = await day(t, 'rpm');
    vm.hook(
      'before-sign',
      `[ -e '${vm.builder}/held' ] || { touch '${vm.builder}/held'; exec sleep 77.8; }\nfor i in "$COMPONENT"/*/*/build/rpm/*; do cmp "$i" "$ARTIFACTS/../../../artifacts/fc41/\${i##*/}" || exit 1; done\n`,
    );
    const id = (await vm.trigger()).split(' ')[1] as string;
    await until('the signing', () => existsSync(join(vm.builder, 'held')));
    await vm.kill();
    const built = join(
      vm.root,
      '/var/lib/build-infra/jobs',
      id,
      'engine/fc41/artifacts/components/hello-tiny/1.0-1/vm-fc41/build/rpm',
    );
    for (const name of readdirSync(built)) {
      rmSync(join(built, name));
      writeFileSync(join(built, name), 'left by another build\n');
    }
    await vm.start();
    const job = await vm.over(id);
    t.equal(job.state, 'done', why(job));
  },
);

void t.test('a builder that signs nothing and ends well is not believed', needsRoot, async (t) => {
  const { vm, run, why } = await day(t, 'deb');
  vm.hook(
    'after-sign',
    'cd "$COMPONENT"/*/*/build; for i in *.dsc *.changes *.buildinfo; do gpg -q -d "$i" > "$i.x" 2>/dev/null; mv "$i.x" "$i"; done\n',
  );
  const job = await run();
  t.equal(job.reason?.code, 'BAD_SIGNATURE', why(job));
});

void t.test('signatures by another key are not taken', needsRoot, async (t) => {
  const { vm, run, why } = await day(t, 'rpm');
  const other = outside.keys.make('other');
  vm.beforeSigning(`set -- $(echo "$@" | sed 's/-u ${outside.signer.fingerprint}/-u ${other.fingerprint}/')`);
  const job = await run();
  t.equal(job.reason?.code, 'BAD_SIGNATURE', why(job));
  t.same(job.uploaded, []);
});

for (const [what, hook, script, code] of [
  [
    'says that it published and did not',
    'after-publish',
    'rm "$COMPONENT"/*/*/publish/*.yml',
    'PUBLISH_FAILED',
  ],
  ['fails to publish', 'before-publish', 'exit 1', 'PUBLISH_FAILED'],
  ['fails to upload', 'before-upload', 'exit 1', 'UPLOAD_FAILED'],
] as const) {
  void t.test(`a builder that ${what} is tried again: ${code}`, needsRoot, async (t) => {
    const { vm, run, why } = await day(t, 'deb');
    // Only once.
    vm.hook(hook, `[ -e "$ARTIFACTS/once" ] || { touch "$ARTIFACTS/once"; ${script}; }\n`);
    const job = await run();
    t.equal(job.state, 'done', why(job));
    t.match(vm.receiver.text(), new RegExp(`refused ${code} `));
    t.equal(vm.gpgCalls().filter((line) => line.includes('.dsc')).length, 1, 'the packages were signed once');
  });
}

void t.test('an upload that does not reach the world is not called one', needsRoot, async (t) => {
  const { vm, run } = await day(t, 'rpm');
  vm.hook(
    'after-upload',
    `rm -f '${outside.apt.folder}/day${count}/current-testing/vm/fc41/rpm/'*.noarch.rpm\n`,
  );
  const running = run();
  await until('the refusal', () => vm.receiver.text().includes('refused READ_BACK_FAILED'), 120);
  vm.hook('after-upload', '');
  const job = await running;
  t.equal(job.state, 'done', 'and it is tried again');
});

void t.test(
  'a version that is published with other bytes is an alarm, never an overwrite',
  needsRoot,
  async (t) => {
    for (const kind of ['rpm', 'deb'] as const) {
      const { vm, run, why } = await day(t, kind);
      const first = await run();
      t.equal(first.state, 'done', why(first));
      const before = vm.calls().length;
      await vm.kill();
      // A new tag object of the same version with another greeting, as if the highest version had been
      // forgotten.
      outside.forge.remove('hello-tiny');
      releaseComponent(outside, outside.forge.create('hello-tiny'), '1.0', '1', 'other');
      rmSync(join(vm.root, '/var/lib/build-infra/highest'), { recursive: true });
      await vm.start();
      const job = await run();
      t.not(job.job, first.job);
      t.equal(job.reason?.code, 'ALREADY_PUBLISHED', why(job));
      t.notOk(
        vm
          .calls()
          .slice(before)
          .some((line) => line.endsWith('publish') || line.endsWith('upload')),
      );
      // The builder's own folder knows it too, where no job of ours does.
      await vm.kill();
      rmSync(join(vm.root, '/var/lib/build-infra/jobs', first.job), { recursive: true });
      await vm.start();
      retry(vm, job);
      const again = await until('the second refusal', () => {
        const now = vm.job(job.job);
        return now !== undefined && now.ended !== null && now.ended !== job.ended ? now : undefined;
      });
      t.equal(again.reason?.code, 'ALREADY_PUBLISHED');
      t.match(vm.receiver.text(), /engine for (?:fc41|trixie), publish/);
    }
  },
);

void t.test('a second version comes to the first in one repository', needsRoot, async (t) => {
  const { vm, run, why, repository } = await day(t, 'deb');
  t.equal((await run()).state, 'done');
  releaseComponent(outside, repository, '1.1', '1');
  const job = await run();
  t.equal(job.state, 'done', why(job));
  const pool = join(outside.apt.folder, `day${count}/vm/pool/main/h/hello-tiny`);
  t.ok(
    existsSync(join(pool, 'hello-tiny_1.0-1+deb13u1_all.deb')) &&
      existsSync(join(pool, 'hello-tiny_1.1-1+deb13u1_all.deb')),
  );
  t.ok(
    readFileSync(join(outside.apt.folder, `day${count}/vm/dists/trixie-testing/InRelease`), 'utf8').includes(
      'BEGIN PGP SIGNED MESSAGE',
    ),
  );
  t.ok(vm.calls().every((line) => !line.includes('nonexistent')));
});

for (const [kind, hooks] of [
  [
    'deb',
    [
      'before-fetch',
      'before-init-cache',
      'before-build',
      'after-build',
      'before-sign',
      'after-sign',
      'before-publish',
      'after-publish',
      'before-upload',
      'after-upload',
    ],
  ],
  // What it signs anew each time it publishes.
  ['rpm', ['after-sign', 'after-publish', 'after-upload']],
] as const) {
  void t.test(
    `killed in every stage of the builder, the job of ${kind}s goes on and ends with one published upload`,
    needsRoot,
    async (t) => {
      const { vm, why } = await day(t, kind);
      const once = (name: string): string =>
        `[ -e '${vm.builder}/killed-${name}' ] || { touch '${vm.builder}/killed-${name}'; exec sleep 77.8; }\n`;
      for (const hook of hooks) vm.hook(hook, once(hook));
      const id = (await vm.trigger()).split(' ')[1] as string;
      for (const hook of hooks) {
        await until(hook, () => existsSync(join(vm.builder, `killed-${hook}`)), 60);
        await vm.kill();
        await vm.start();
      }
      const job = await vm.over(id);
      t.equal(job.state, 'done', why(job));
      t.equal(await vm.trigger(), `known ${id}`);
    },
  );
}

void t.test(
  'an artifacts-dir full of another build is emptied before a build begins',
  needsRoot,
  async (t) => {
    const { vm, why } = await day(t, 'rpm');
    vm.hook('before-fetch', 'test ! -e "$ARTIFACTS"/components && test ! -e "$ARTIFACTS"/sources\n');
    vm.hook(
      'before-build',
      `[ -e '${vm.builder}/held' ] || { touch '${vm.builder}/held'; exec sleep 77.8; }\n`,
    );
    const id = (await vm.trigger()).split(' ')[1] as string;
    await until('the build', () => existsSync(join(vm.builder, 'held')));
    await vm.kill();
    const artifacts = join(vm.root, '/var/lib/build-infra/jobs', id, 'engine/fc41/artifacts');
    t.ok(existsSync(join(artifacts, 'sources/hello-tiny')));
    mkdirSync(join(artifacts, 'components/hello-tiny/1.0-1/vm-fc41/build/rpm'), { recursive: true });
    writeFileSync(
      join(artifacts, 'components/hello-tiny/1.0-1/vm-fc41/build/old.build.yml'),
      'srpm: old.src.rpm\n',
    );
    await vm.start();
    const job = await vm.over(id);
    t.equal(job.state, 'done', why(job));
  },
);
