// SPDX-License-Identifier: GPL-2.0-or-later
// Two distributions of one job side by side in the real agent: killed with SIGKILL while both chains run, in
// each stage, and carried on; a distribution that is taken out of the configuration while jobs wait. The
// engine is a small one, the rest is real.
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Job } from '../../agents/build-vm/jobs/job-document.js';
import { until } from '../support/until.js';
import { BuildVm, endOutside, makeOutside, type Outside } from './build-vm.js';
import { tinyPackage } from './forge.js';
import { plainEngine } from './plain-engine.js';

const needsRoot =
  process.getuid?.() === 0 && availableParallelism() > 1 ? {} : { skip: 'wants root and two cores' };
const outside = await makeOutside();
t.teardown(() => endOutside(outside));

const dists = ['bookworm', 'trixie'];
const distributions = dists.map((name) => ({ name, engine: 'plain', packages: 'deb' }));

class TwoChains extends BuildVm {
  constructor(outside: Outside, repository: string) {
    super(outside, repository, { distributions });
    const engine = join(this.root, '/usr/lib/build-infra/engines/plain');
    writeFileSync(
      engine,
      plainEngine(`echo waiting here; while [ -e '${this.root}/hold-build-'$dist ]; do sleep 0.05; done`),
    );
    chmodSync(engine, 0o755);
    // A call of gpg whose caller was killed ends too.
    this.beforeSigning(`case "$BUILD_INFRA_JOB" in *trixie*) dist=trixie ;; *) dist=bookworm ;; esac
case "$*" in *--reprepro-sign*) step=publish ;; *--version*) step=none ;; *) step=sign ;; esac
while [ -e '${this.root}/hold-'$step-$dist ]; do [ -d /proc/$PPID ] || exit 1; sleep 0.05; done
`);
  }

  hold(...steps: string[]): void {
    for (const step of steps) writeFileSync(join(this.root, `hold-${step.replace(' ', '-')}`), '');
  }

  release(...steps: string[]): void {
    for (const step of steps) rmSync(join(this.root, `hold-${step.replace(' ', '-')}`));
  }

  /** Waits until exactly these steps run and have their logs. */
  async runs(id: string, ...steps: string[]): Promise<void> {
    const now = (): string[] =>
      (this.job(id)?.running ?? [])
        .filter((step) =>
          this.job(id)?.logs.some(
            (log) => log.commit === null && log.stage === step.stage && log.dist === step.dist,
          ),
        )
        .map((step) => `${step.stage} ${step.dist}`)
        .sort();
    await until(`${id} to run ${steps.join(' and ')}`, () => now().join() === steps.join(), 60).catch(
      (error: Error) => {
        throw new Error(
          `${error.message}: it runs ${now().join(' and ')}\n${this.output}\n${this.receiver.text().slice(-2000)}`,
        );
      },
    );
  }

  configure(change: Record<string, unknown>): void {
    const path = join(this.root, '/rw/config/build-infra/build.json');
    writeFileSync(path, JSON.stringify({ ...(JSON.parse(readFileSync(path, 'utf8')) as object), ...change }));
  }
}

function stand(t: Test, name: string): { vm: TwoChains; release: (version: string) => void } {
  const repository = outside.forge.create(name);
  const vm = new TwoChains(outside, name);
  t.teardown(() => vm.end());
  return {
    vm,
    release: (version) =>
      void repository.release(outside.keys, [outside.alice], `v${version}`, tinyPackage(version)),
  };
}

const generations = (name: string, dist: string): string[] =>
  readdirSync(join(outside.apt.folder, name, `${dist}.releases`));
const suites = (job: Job): string[] => job.uploaded.map((upload) => upload.suite).sort();

void t.test(
  'killed while two chains run, in every stage, the job still ends with one publication for each',
  needsRoot,
  async (t) => {
    const { vm, release } = stand(t, 'kills');
    release('1.0-1');
    vm.hold(
      'build bookworm',
      'build trixie',
      'sign bookworm',
      'sign trixie',
      'publish bookworm',
      'publish trixie',
    );
    await vm.start();
    const id = (await vm.trigger()).split(' ')[1] as string;
    await vm.runs(id, 'build bookworm', 'build trixie');
    await vm.kill();
    await vm.start();
    await vm.runs(id, 'build bookworm', 'build trixie');
    vm.release('build trixie');
    await vm.runs(id, 'build bookworm', 'sign trixie');
    await vm.kill();
    await vm.start();
    await vm.runs(id, 'build bookworm', 'sign trixie');
    vm.release('build bookworm', 'sign trixie');
    await vm.runs(id, 'publish trixie', 'sign bookworm');
    await vm.kill();
    vm.release('sign bookworm');
    await vm.start();
    await vm.runs(id, 'publish bookworm', 'publish trixie');
    await vm.kill();
    vm.release('publish bookworm', 'publish trixie');
    await vm.start();
    const job = await vm.over(id, 90);
    t.match(
      job,
      { state: 'done', reasons: [], running: [] },
      `${vm.output}\n${vm.receiver.text().slice(-3000)}`,
    );
    t.strictSame(suites(job), ['bookworm-current-testing', 'trixie-current-testing']);
    for (const dist of dists) {
      t.equal(generations('kills', dist).length, 1, dist);
      const finished = job.finished.filter((step) => step.dist === dist).map((step) => step.stage);
      t.strictSame(finished, ['build', 'sign', 'publish'], 'each step ended once');
      t.equal(
        job.logs.filter((log) => log.dist === dist && log.stage === 'build' && log.commit !== null).length,
        1,
      );
    }
    t.ok(job.finished.every((step) => step.commandSeconds !== null));
  },
);

void t.test(
  'an upload does not wait for a build that takes for ever, and a later version not for another distribution',
  needsRoot,
  async (t) => {
    const { vm, release } = stand(t, 'forever');
    release('1.0-1');
    vm.hold('build bookworm');
    await vm.start();
    const first = (await vm.trigger()).split(' ')[1] as string;
    await until('trixie to be published', () => vm.job(first)?.uploaded.length === 1, 60);
    release('1.0-2');
    const second = (await vm.trigger()).split(' ')[1] as string;
    await until('the next one for trixie', () => vm.job(second)?.uploaded.length === 1, 60);
    t.strictSame(
      vm
        .job(second)
        ?.finished.map((step) => step.dist)
        .filter((dist) => dist === 'bookworm'),
      [],
      'it does not overtake where the first one is built',
    );
    vm.release('build bookworm');
    t.match(await vm.over(first, 60), { state: 'done' });
    t.match(await vm.over(second, 60), { state: 'done' });
  },
);

/** A farm whose configuration becomes another one while its first job builds for both distributions. */
async function changedWhileBuilding(
  test: Test,
  name: string,
  change: Record<string, unknown>,
): Promise<{ vm: ReturnType<typeof stand>['vm']; id: string }> {
  const { vm, release } = stand(test, name);
  release('1.0-1');
  vm.hold('build bookworm', 'build trixie');
  await vm.start();
  const id = (await vm.trigger()).split(' ')[1] as string;
  await vm.runs(id, 'build bookworm', 'build trixie');
  await vm.kill();
  vm.configure(change);
  vm.release('build bookworm', 'build trixie');
  await vm.start();
  return { vm, id };
}

void t.test(
  'a distribution that is retired while jobs wait ends its own chains, and says so',
  needsRoot,
  async (t) => {
    const { vm, id } = await changedWhileBuilding(t, 'retired', {
      distributions: distributions.filter(({ name }) => name !== 'trixie'),
    });
    t.equal(await vm.trigger(), `known ${id}`, "the tag's job is the one that waits");
    const job = await vm.over(id, 60);
    t.match(job, {
      state: 'refused',
      reason: { code: 'DIST_RETIRED', detail: /^trixie: not a distribution/ },
      reasons: [{ stage: 'build', dist: 'trixie' }],
    });
    t.strictSame(suites(job), ['bookworm-current-testing']);
    t.match(await vm.trigger(), /^refused ROLLBACK /, 'what was published is not built again');
    t.notOk(existsSync(join(outside.apt.folder, 'retired/trixie')));
  },
);

void t.test(
  'another signing key stops every chain of a job that was made for the first',
  needsRoot,
  async (t) => {
    const { vm, id } = await changedWhileBuilding(t, 'changed', { signingKey: outside.alice.fingerprint });
    const job = await vm.over(id, 60);
    t.match(job, { state: 'refused', reason: { code: 'CONFIG_CHANGED' }, uploaded: [] });
    t.strictSame(job.reasons.map((reason) => reason.dist).sort(), dists);
  },
);
