// SPDX-License-Identifier: GPL-2.0-or-later
// What is withdrawn and promoted, as jobs in a queue: which are made, what they wait for, and what may be
// taken up again.
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { BuildJob, Job, PromotionJob, Stage } from '../../agents/build-vm/jobs/job-document.js';
import type { JobQueue } from '../../agents/build-vm/jobs/job-queue.js';
import { reopen } from '../../agents/build-vm/jobs/retry.js';
import { pauseKey, schedule } from '../../agents/build-vm/jobs/schedule.js';
import {
  refuseOlderThanSuite,
  refuseWithdrawn,
  SuiteJobs,
} from '../../agents/build-vm/promotion/suite-jobs.js';
import { promoteFor, type SuiteStageOptions } from '../../agents/build-vm/promotion/suite-stage.js';
import { WithdrawnVersions } from '../../agents/build-vm/promotion/withdrawn-versions.js';
import { configFor, evidenceOf, jobOf, queueFor } from './jobs.js';

const config = configFor(['bookworm', 'trixie']);
const files = [{ name: 'one_1.dsc', size: 1, sha256: 'a'.repeat(64) }];
const published = (...dists: string[]): Job['uploaded'] =>
  dists.map((dist) => ({
    dist,
    url: '',
    suite: `${dist}-current-testing`,
    release: '000001-aaaaaaaaaaaa',
    files,
  }));
const evidence = evidenceOf();
const steps = (dist: string): string[] => [`build ${dist}`, `sign ${dist}`, `publish ${dist}`];
const end = (job: Job, state: Job['state'], stage: Stage, code: string, ...dists: string[]): Job =>
  Object.assign(job, {
    state,
    ended: '2026-11-22T00:00:00Z',
    reasons: dists.map((dist) => ({ stage, dist, code, detail: '' })),
    reason: { code, detail: '' },
  });

interface Stand {
  queue: JobQueue;
  withdrawn: WithdrawnVersions;
  suiteJobs: SuiteJobs;
  add: <J extends Job>(job: J) => J;
  withdraw: (version?: string) => Job;
}

function stand(test: Test): Stand {
  const { queue, folder } = queueFor(test);
  const withdrawn = new WithdrawnVersions(join(folder, 'withdrawn'));
  const suiteJobs = new SuiteJobs({ config, queue, withdrawn });
  return {
    queue,
    withdrawn,
    suiteJobs,
    add: (job) => (queue.add(job), job),
    withdraw: (version = '1') => queue.get(suiteJobs.withdraw('one', version)) as Job,
  };
}

async function promote(
  place: Stand,
  job: BuildJob,
  suite: 'current' | 'security-testing' = 'current',
  command = 'd',
): Promise<PromotionJob> {
  const asked = {
    command: command.repeat(64),
    line: `Upload-component r4.3 one ${'c'.repeat(40)} ${suite} all`,
    signer: { name: 'alice', fingerprint: 'A'.repeat(40) },
    signed: '2026-11-22T00:00:00Z',
    release: 'r4.3',
  };
  return place.queue.get(
    await place.suiteJobs.start({
      ...asked,
      verb: 'Upload-component',
      job,
      dists: ['bookworm'],
      repository: suite,
    }),
  ) as PromotionJob;
}

void t.test(
  'a withdrawal that failed is done anew when it is asked for again, and an open one is the same',
  (t) => {
    const { add, withdraw } = stand(t);
    add(
      jobOf(config, 'one', '1', 1, ['fetch', ...steps('bookworm'), ...steps('trixie')], {
        state: 'done',
        evidence,
        uploaded: published('bookworm', 'trixie'),
      }),
    );
    const first = withdraw();
    t.equal(withdraw(), first, 'it is to be done: once is enough');
    end(first, 'failed', 'withdraw', 'UPLOAD_FAILED', 'bookworm', 'trixie');
    const second = withdraw();
    t.match(second, { kind: 'withdrawal', state: 'queued', dists: ['bookworm', 'trixie'], reasons: [] });
    second.reasons.push({ stage: 'withdraw', dist: 'bookworm', code: 'NOT_HERE', detail: '' });
    const third = withdraw();
    t.not(
      third,
      second,
      'one that gave a distribution up is not the answer, though it still works on another',
    );
    third.state = 'done';
    t.match(withdraw(), { state: 'queued' }, 'also after one that was done: then it is looked at once more');
    t.end();
  },
);

void t.test(
  'what a line published goes on among the suites that it had then, and other lines are not in its way',
  async (t) => {
    const place = stand(t);
    const done = ['fetch', ...steps('bookworm')];
    const made = (version: string, number: number, suites?: string): BuildJob =>
      place.add(
        jobOf(config, 'one', version, number, done, {
          evidence,
          state: 'done',
          dists: ['bookworm'],
          uploaded: published('bookworm').map((upload) => ({
            ...upload,
            suite: `bookworm-${suites === undefined ? '' : `${suites}-`}current-testing`,
          })),
          ...(suites === undefined ? {} : { suites, line: suites }),
        }),
      );
    const [old, main] = [made('1.9', 1, 'maint'), made('2.0', 2)];
    const above = await promote(place, main);
    Object.assign(above, {
      state: 'done',
      uploaded: [{ ...published('bookworm')[0], suite: 'bookworm-current' }],
    });
    t.match(
      await promote(place, old),
      { change: { suite: 'maint-current' }, suites: 'maint', state: 'queued' },
      'the main line has a newer one',
    );
    t.match(await promote(place, old, 'security-testing', 'e'), {
      change: { suite: 'maint-security-testing' },
      priority: 10,
    });
    const newer = await promote(place, made('1.10', 3, 'maint'), 'current', 'f');
    Object.assign(newer, {
      state: 'done',
      uploaded: [{ ...published('bookworm')[0], suite: 'bookworm-maint-current' }],
    });
    t.equal(
      await promote(place, old, 'current', '1').then(
        () => 'accepted',
        (error: { code: string }) => error.code,
      ),
      'NEWER_IN_SUITE',
      'within the line it never goes back',
    );
    t.match(place.withdraw('1.9'), { kind: 'withdrawal', suites: 'maint', dists: ['bookworm'] });
  },
);

void t.test(
  'what is withdrawn is withdrawn for every distribution, also where nothing of it was published yet',
  (t) => {
    const { add, withdraw, withdrawn } = stand(t);
    add(
      end(
        jobOf(config, 'one', '1', 1, ['fetch', ...steps('bookworm'), 'build trixie'], {
          evidence,
          artifacts: [{ dist: 'trixie', files }],
          uploaded: published('bookworm'),
        }),
        'failed',
        'sign',
        'SIGN_FAILED',
        'trixie',
      ),
    );
    t.match(withdraw(), { dists: ['bookworm', 'trixie'] }, 'what was built may be somewhere');
    for (const dist of ['bookworm', 'trixie', 'sid'])
      t.throws(() => refuseWithdrawn(withdrawn, 'one', '1', dist), { code: 'WITHDRAWN' }, dist);
    refuseWithdrawn(withdrawn, 'one', '2', 'trixie');
    t.end();
  },
);

void t.test(
  'a version is withdrawn while another distribution still builds, before it is published, and not where nobody knows it',
  (t) => {
    const { add, withdraw, withdrawn } = stand(t);
    add(
      jobOf(config, 'one', '1', 1, ['fetch', ...steps('bookworm')], {
        evidence,
        state: 'running',
        running: [{ stage: 'build', dist: 'trixie', started: '' }],
        uploaded: published('bookworm'),
      }),
    );
    t.match(withdraw(), { dists: ['bookworm', 'trixie'] });
    t.throws(() => refuseWithdrawn(withdrawn, 'one', '1', 'trixie'), { code: 'WITHDRAWN' });
    add(jobOf(config, 'one', '2', 3));
    t.match(withdraw('2'), { dists: ['bookworm', 'trixie'] });
    add(end(jobOf(config, 'one', '3', 4), 'refused', 'fetch', 'BAD_SIGNATURE'));
    for (const version of ['3', '4']) t.throws(() => withdraw(version), { code: 'UNKNOWN_VERSION' }, version);
    t.end();
  },
);

void t.test(
  'a publication that nobody read back can be withdrawn, and counts where versions are compared',
  async (t) => {
    const place = stand(t);
    const { add, queue, withdrawn, withdraw } = place;
    const done = ['fetch', ...steps('bookworm')];
    const old = add(
      jobOf(config, 'one', '1', 1, done, {
        evidence,
        uploaded: published('bookworm'),
        dists: ['bookworm'],
        state: 'done',
      }),
    );
    const built = add(
      jobOf(config, 'one', '2', 2, done, {
        evidence,
        uploaded: published('bookworm'),
        dists: ['bookworm'],
        state: 'done',
      }),
    );
    const promoted = await promote(place, built);
    end(promoted, 'failed', 'promote', 'READ_BACK_FAILED', 'bookworm');
    refuseOlderThanSuite(queue, withdrawn, 'one', '1', 'bookworm', 'current');
    promoted.switched = published('bookworm');
    t.throws(() => refuseOlderThanSuite(queue, withdrawn, 'one', '1', 'bookworm', 'current'), {
      code: 'NEWER_IN_SUITE',
    });
    await t.rejects(promote(place, old), { code: 'NEWER_IN_SUITE' });
    add(
      end(
        jobOf(config, 'one', '3', 9, ['fetch', 'build bookworm'], {
          evidence,
          dists: ['bookworm'],
          switched: published('bookworm'),
        }),
        'refused',
        'publish',
        'CONFIG_CHANGED',
        'bookworm',
      ),
    );
    t.match(withdraw('3'), { dists: ['bookworm'], switched: [], uploaded: [] });
  },
);

void t.test('a withdrawal waits for nothing, goes before a security fix, and holds nothing up', async (t) => {
  const place = stand(t);
  const { add, withdraw } = place;
  const all = ['fetch', ...steps('bookworm')];
  const [first, second] = ['1', '2'].map((version, i) =>
    add(
      jobOf(config, 'one', version, i + 1, all, {
        evidence,
        uploaded: published('bookworm'),
        dists: ['bookworm'],
        state: 'done',
      }),
    ),
  ) as [BuildJob, BuildJob];
  const other = add(
    jobOf(config, 'two', '1', 3, all, {
      evidence,
      uploaded: published('bookworm'),
      dists: ['bookworm'],
      state: 'done',
    }),
  );
  const security = await promote(place, other, 'security-testing');
  const paused = await promote(place, first, 'current', 'e');
  const withdrawal = withdraw('2');
  const start = (jobs: Job[], pauses: Map<string, number>): string[] =>
    schedule(jobs, pauses, { builds: 4 }, 0).start.map(
      ({ job, step }) => `${job.component} ${job.version} ${step.stage}`,
    );
  t.strictSame(
    start([paused, withdrawal], new Map([[pauseKey(paused, 'bookworm'), 1000]])),
    ['one 2 withdraw'],
    'not for a promotion of a lower version that pauses',
  );
  t.strictSame(
    start([security, withdrawal], new Map()),
    ['one 2 withdraw'],
    'of two in one lane it is the first',
  );
  const fix = jobOf(config, 'one', '3', 9, ['fetch', 'build bookworm', 'sign bookworm'], {
    dists: ['bookworm'],
  });
  t.strictSame(
    start([withdrawal, fix], new Map([[pauseKey(withdrawal, 'bookworm'), 1000]])),
    ['one 3 publish'],
    'while it pauses, what is to replace it goes on',
  );
  t.match(second, { state: 'done' });
});

void t.test(
  'a promotion that still works on another distribution is taken up whatever was verified meanwhile, a build is not',
  async (t) => {
    const place = stand(t);
    const { add, queue } = place;
    const built = add(
      jobOf(config, 'one', '1', 1, ['fetch', ...steps('bookworm')], {
        evidence,
        uploaded: published('bookworm'),
        dists: ['bookworm'],
        state: 'done',
      }),
    );
    const promoted = await promote(place, built);
    promoted.dists = ['bookworm', 'trixie'];
    promoted.reasons = [{ stage: 'promote', dist: 'trixie', code: 'UPLOAD_FAILED', detail: '' }];
    queue.rememberHighest('one', {
      version: '2',
      tagObject: 'f'.repeat(40),
      job: 'other',
      tag: 'v2',
      sources: {},
    });
    reopen(promoted, queue);
    t.strictSame(promoted.reasons, []);
    const build = jobOf(config, 'one', '1', 1, ['fetch'], {
      reasons: [{ stage: 'build', dist: 'trixie', code: 'BUILD_FAILED', detail: '' }],
    });
    t.throws(() => reopen(build, queue), { code: 'ROLLBACK' });
  },
);

for (const code of ['TOO_YOUNG', 'WITHDRAWN', 'NEWER_IN_SUITE', 'NOT_ALLOWED']) {
  void t.test(
    `a promotion that ended with ${code} is not taken up again: that was the answer to its command`,
    async (t) => {
      const place = stand(t);
      const { add, queue } = place;
      const built = add(
        jobOf(config, 'one', '1', 1, ['fetch', ...steps('bookworm')], {
          evidence,
          uploaded: published('bookworm'),
          dists: ['bookworm'],
          state: 'done',
        }),
      );
      const promoted = await promote(place, built);
      end(promoted, 'refused', 'promote', code, 'bookworm');
      t.throws(() => reopen(promoted, queue), { code: 'COMMAND_USED' });
      t.equal(promoted.state, 'refused');
      promoted.dists = ['bookworm', 'trixie'];
      promoted.reasons.push({ stage: 'promote', dist: 'trixie', code: 'UPLOAD_FAILED', detail: '' });
      reopen(promoted, queue);
      t.match(
        promoted,
        { state: 'queued', ended: null, reasons: [{ dist: 'bookworm', code }] },
        'the distribution that had another reason is',
      );
      t.equal(promoted.reasons.length, 1);
    },
  );
}

void t.test('a promotion is not made for somebody who may not ask for it any more', async (t) => {
  const place = stand(t);
  const { add, queue, withdrawn } = place;
  const built = add(
    jobOf(config, 'one', '1', 1, ['fetch', ...steps('bookworm')], {
      evidence,
      uploaded: published('bookworm'),
      dists: ['bookworm'],
      state: 'done',
    }),
  );
  const promoted = await promote(place, built);
  const alice = {
    name: 'alice',
    fingerprint: 'A'.repeat(40),
    verbs: ['Upload-component' as const],
    components: 'all' as const,
    distributions: ['bookworm'],
    repositories: ['current'],
  };
  const asked = (people: object[]): Promise<unknown> =>
    promoteFor(
      promoted,
      config.distributions[0] as (typeof config.distributions)[number],
      { say: () => undefined } as never,
      {
        config: { ...config, commands: { releases: [], windowSeconds: 60, distributionWords: [], people } },
        queue,
        withdrawn,
      } as unknown as SuiteStageOptions,
    );
  await t.rejects(asked([alice]), { code: 'NO_RECORD' }, 'the next question');
  await t.rejects(asked([]), { code: 'NOT_ALLOWED' });
  await t.rejects(asked([{ ...alice, repositories: ['security-testing'] }]), { code: 'NOT_ALLOWED' });
  await t.rejects(asked([{ ...alice, distributions: ['trixie'] }]), { code: 'NOT_ALLOWED' });
  await t.rejects(asked([{ ...alice, verbs: ['Retry'] }]), { code: 'NOT_ALLOWED' });
});

/** By a command of its own for each letter. */
async function rebuild(
  { suiteJobs, queue }: Pick<Stand, 'suiteJobs' | 'queue'>,
  job: BuildJob,
  number: number,
  command: string,
  ...dists: string[]
): Promise<BuildJob> {
  const asked = {
    command: command.repeat(64),
    line: `Rebuild-component r4.3 one ${'c'.repeat(40)} ${number} ${dists.join(',')}`,
    signer: { name: 'alice', fingerprint: 'A'.repeat(40) },
    signed: '2026-11-22T00:00:00Z',
    release: 'r4.3',
  };
  return queue.get(
    await suiteJobs.start({ ...asked, verb: 'Rebuild-component', job, dists, number }),
  ) as BuildJob;
}

void t.test(
  "a rebuild is a job of its own with the published source's version, and a number is used once",
  async (t) => {
    const place = stand(t);
    const { add, queue, withdraw } = place;
    const named = (dist: string, version: string): Job['uploaded'][number] => ({
      dist,
      url: '',
      suite: `${dist}-current-testing`,
      release: '',
      files: [
        { name: `one_${version}_amd64.deb`, size: 1, sha256: 'b'.repeat(64) },
        { name: `one_${version}.dsc`, size: 1, sha256: 'a'.repeat(64) },
      ],
    });
    const built = add(
      jobOf(config, 'one', '1:1.0', 1, ['fetch', ...steps('bookworm'), ...steps('trixie')], {
        state: 'done',
        evidence,
        uploaded: [named('bookworm', '1.0-1+deb12u1'), named('trixie', '1.0-1+deb13u1')],
      }),
    );
    const first = await rebuild(place, built, 1, '1', 'bookworm');
    t.match(first, {
      kind: 'build',
      state: 'queued',
      dists: ['bookworm'],
      version: '1:1.0',
      finished: [],
      evidence: null,
      uploaded: [],
      rebuild: {
        of: built.job,
        number: 1,
        sources: { bookworm: { source: 'one', version: '1:1.0-1+deb12u1' } },
      },
    });
    t.match(first.job, /^one-1_1\.0\+b1-[0-9a-f]{12}$/);
    t.equal(await rebuild(place, built, 1, '1', 'bookworm'), first, 'the same command is the same job');
    await t.rejects(rebuild(place, built, 1, '2', 'bookworm', 'trixie'), { code: 'ALREADY_BUILT' });
    t.match(
      await rebuild(place, built, 1, '3', 'trixie'),
      { rebuild: { number: 1 } },
      'another distribution has numbers of its own',
    );
    const third = await rebuild(place, built, 3, '4', 'bookworm');
    await t.rejects(
      rebuild(place, built, 2, '5', 'bookworm'),
      { code: 'ALREADY_BUILT' },
      'nor does a number go back',
    );
    t.equal(queue.all().length, 4);
    // Each waits for the one before, as versions do.
    t.strictSame(
      schedule(queue.all(), new Map(), { builds: 4 }, 0).start.map(({ job }) => job.job),
      [first.job],
    );
    queue.rememberHighest('one', {
      version: '1:1.1',
      tagObject: 'f'.repeat(40),
      job: 'x',
      tag: 'v2',
      sources: {},
    });
    await t.rejects(rebuild(place, built, 4, '6', 'bookworm'), { code: 'ROLLBACK' });
    t.match(withdraw('1:1.0'), { dists: ['bookworm', 'trixie'] });
    await t.rejects(rebuild(place, built, 4, '7', 'bookworm'), { code: 'WITHDRAWN' });
    t.equal(third.rebuild?.number, 3);
  },
);

void t.test('an rpm is rebuilt with a raised release, once its release has a suffix', async (t) => {
  const { queue, folder } = queueFor(t);
  const stand_ = (
    options?: Record<string, unknown>,
  ): { suiteJobs: SuiteJobs; queue: JobQueue; with_: typeof config } => {
    const with_ = {
      ...config,
      distributions: [
        { name: 'bookworm', engine: 'rpm', packages: 'rpm', ...(options === undefined ? {} : { options }) },
      ],
    } as typeof config;
    return {
      with_,
      queue,
      suiteJobs: new SuiteJobs({
        config: with_,
        queue,
        withdrawn: new WithdrawnVersions(join(folder, 'withdrawn')),
      }),
    };
  };
  const uploadOf = (...names: string[]): Job['uploaded'] => [
    {
      ...(published('bookworm')[0] as Job['uploaded'][number]),
      files: names.map((name) => ({ name, size: 1, sha256: 'a'.repeat(64) })),
    },
  ];
  const place = stand_({ distTag: '.fc41' });
  const built = (...names: string[]): BuildJob =>
    jobOf(place.with_, 'one', '1.2-1', 1, [], { evidence, uploaded: uploadOf(...names) });
  const one = built('one-x-1.2-1.fc41.noarch.rpm', 'one-x-1.2-1.fc41.src.rpm');
  t.match(await rebuild(place, one, 2, '1', 'bookworm'), {
    version: '1.2-1',
    rebuild: {
      number: 2,
      sources: { bookworm: { source: 'one-x', version: '1.2-1.fc41', packages: '1.2-1.fc41.2' } },
    },
  });
  await t.rejects(rebuild(place, one, 1, '2', 'bookworm'), { code: 'ALREADY_BUILT' });
  t.match(
    await rebuild(place, built('a-1.2-1.fc41.src.rpm', 'b-1.2-1.fc41.src.rpm'), 3, '3', 'bookworm'),
    { rebuild: { number: 3 } },
    'the specs of a tree',
  );
  await t.rejects(rebuild(place, built('a-1.2-1.fc41.src.rpm', 'b-1.2-1.src.rpm'), 4, '4', 'bookworm'), {
    code: 'NO_REBUILD',
    detail: /1\.2-1\.fc41 and 1\.2-1/,
  });
  await t.rejects(rebuild(place, built('a-1.2-1.fc41.noarch.rpm'), 4, '5', 'bookworm'), {
    code: 'NOT_IN_SUITE',
  });
  await t.rejects(rebuild(stand_(), one, 4, '6', 'bookworm'), { code: 'NO_REBUILD', detail: /distTag/ });
  await t.rejects(rebuild(stand_({}), one, 4, '7', 'bookworm'), { code: 'NO_REBUILD', detail: /distTag/ });
});

void t.test('what another engine builds is not rebuilt, and it is named', async (t) => {
  const { queue, folder } = queueFor(t);
  for (const change of [
    { engine: 'mine', packages: 'rpm' },
    { engine: 'rpm', packages: 'rpm', publisher: 'engine', options: { distTag: '.fc41' } },
    { engine: 'qubesbuilderv2', packages: 'deb', publisher: 'engine' },
    { engine: 'qubesbuilderv2', packages: 'deb' },
    { engine: 'debian', packages: 'deb', publisher: 'engine' },
  ] as const) {
    const other = { ...config, distributions: [{ ...config.distributions[0], ...change }] } as typeof config;
    const suiteJobs = new SuiteJobs({
      config: other,
      queue,
      withdrawn: new WithdrawnVersions(join(folder, 'withdrawn')),
    });
    const built = jobOf(other, 'one', '1', 1, [], { evidence, uploaded: published('bookworm') });
    await t.rejects(rebuild({ suiteJobs, queue }, built, 1, '1', 'bookworm'), {
      code: 'NO_REBUILD',
      detail: new RegExp(`^bookworm is built by ${change.engine},`),
    });
  }
  t.strictSame(queue.all(), []);
});
