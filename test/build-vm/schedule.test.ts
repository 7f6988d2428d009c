// SPDX-License-Identifier: GPL-2.0-or-later
// Which steps run at the same time, and which wait for which.
import t from 'tap';
import type { BuildJob, Job, Stage } from '../../agents/build-vm/jobs/job-document.js';
import { pauseKey, schedule } from '../../agents/build-vm/jobs/schedule.js';
import { configFor, jobOf } from './jobs.js';

const config = configFor(['bookworm', 'trixie', 'sid']);
const running = (...steps: string[]): Partial<BuildJob> => ({
  state: 'running',
  running: steps.map((step) => {
    const [stage, dist = null] = step.split(' ') as [Stage, string?];
    return { stage, dist, started: '' };
  }),
});
const built = ['fetch', 'build bookworm', 'build trixie', 'build sid'];
const chosen = (jobs: Job[], builds = 8, pauses = new Map<string, number>(), now = 0): string[] =>
  schedule(jobs, pauses, { builds }, now).start.map(
    ({ job, step }) =>
      `${job.component} ${job.version} ${step.stage}${step.dist === null ? '' : ` ${step.dist}`}`,
  );

void t.test('a job is fetched alone, then built for every distribution at once', async (t) => {
  t.strictSame(chosen([jobOf(config, 'one', '1', 1)]), ['one 1 fetch']);
  t.strictSame(chosen([jobOf(config, 'one', '1', 1, [], running('fetch'))]), []);
  t.strictSame(chosen([jobOf(config, 'one', '1', 1, ['fetch'])]), [
    'one 1 build bookworm',
    'one 1 build trixie',
    'one 1 build sid',
  ]);
  t.strictSame(
    chosen([jobOf(config, 'one', '1', 1, ['fetch'])], 2),
    ['one 1 build bookworm', 'one 1 build trixie'],
    'as many as there are cores',
  );
  t.strictSame(
    chosen([jobOf(config, 'one', '1', 1, ['fetch'], running('build bookworm'))], 2),
    ['one 1 build trixie'],
    'those that run count',
  );
});

void t.test('an upload never waits behind a build, of its own distribution or another', async (t) => {
  const building = jobOf(config, 'one', '1', 1, ['fetch'], running('build bookworm', 'build trixie'));
  const toSign = jobOf(config, 'two', '1', 2, built);
  t.strictSame(chosen([building, toSign], 2), ['two 1 sign bookworm', 'two 1 sign trixie', 'two 1 sign sid']);
  t.strictSame(
    chosen(
      [jobOf(config, 'one', '1', 1, ['fetch', 'build sid'], running('build bookworm', 'build trixie'))],
      2,
    ),
    ['one 1 sign sid'],
    'nor behind a build of its own job',
  );
});

void t.test('a distribution has one step of a lane at a time, and a job one fetch', async (t) => {
  t.strictSame(
    chosen([
      jobOf(config, 'one', '1', 1, ['fetch'], running('build bookworm')),
      jobOf(config, 'two', '1', 2, ['fetch']),
    ]),
    ['one 1 build trixie', 'one 1 build sid'],
  );
  t.strictSame(
    chosen([
      jobOf(config, 'one', '1', 1, built, running('publish bookworm', 'sign trixie', 'sign sid')),
      jobOf(config, 'two', '1', 2, built),
    ]),
    [],
  );
  t.strictSame(
    chosen([jobOf(config, 'one', '1', 1, [], running('fetch')), jobOf(config, 'two', '1', 2)]),
    [],
  );
});

void t.test('a later version does not overtake an earlier one of its component', async (t) => {
  const fetched = jobOf(config, 'one', '1', 1, ['fetch'], running('build bookworm', 'build trixie'));
  t.strictSame(chosen([jobOf(config, 'one', '1', 1), jobOf(config, 'one', '2', 2)]), ['one 1 fetch']);
  t.strictSame(
    chosen([jobOf(config, 'one', '2', 1), jobOf(config, 'one', '1', 2)]),
    ['one 1 fetch'],
    'in version order, not in the order of arrival',
  );
  t.strictSame(
    chosen([fetched, jobOf(config, 'one', '2', 2)], 2),
    ['one 2 fetch'],
    'it is fetched while the earlier one is built',
  );
  const half = jobOf(
    config,
    'one',
    '1',
    1,
    ['fetch', 'build bookworm', 'build sid', 'sign sid', 'publish sid'],
    running('sign bookworm', 'build trixie'),
  );
  t.strictSame(
    chosen([half, jobOf(config, 'one', '2', 2, ['fetch'])]),
    ['one 2 build bookworm', 'one 2 build sid'],
    'built where the earlier one is built',
  );
  t.strictSame(
    chosen([half, jobOf(config, 'one', '2', 2, built)]),
    ['one 2 sign sid'],
    'signed and published where the earlier one is published',
  );
  const reasons = [{ stage: 'build', dist: 'trixie', code: 'BUILD_FAILED', detail: '' }] as Job['reasons'];
  t.strictSame(
    chosen([{ ...half, running: [], reasons }, jobOf(config, 'one', '2', 2, built)]),
    ['one 1 sign bookworm', 'one 2 sign trixie', 'one 2 sign sid'],
    'or where it was given up',
  );
  t.strictSame(
    chosen([jobOf(config, 'one', '1', 1, built), jobOf(config, 'two', '2', 2)]),
    ['one 1 sign bookworm', 'one 1 sign trixie', 'one 1 sign sid', 'two 2 fetch'],
    'other components are not held up',
  );
});

void t.test('a later version waits while the earlier one pauses, others go on', async (t) => {
  const first = jobOf(config, 'one', '1', 1);
  const paused = new Map([[pauseKey(first, null), 1000]]);
  const jobs = [first, jobOf(config, 'one', '2', 2), jobOf(config, 'two', '1', 3)];
  t.strictSame(chosen(jobs, 8, paused, 400), ['two 1 fetch']);
  t.equal(schedule(jobs, paused, { builds: 8 }, 400).waitMs, 600);
  t.strictSame(chosen(jobs, 8, paused, 1000), ['one 1 fetch']);
  const chains = jobOf(config, 'one', '1', 1, built);
  t.strictSame(
    chosen([chains], 8, new Map([[pauseKey(chains, 'trixie'), 1000]])),
    ['one 1 sign bookworm', 'one 1 sign sid'],
    'a pause is of one chain',
  );
});

void t.test(
  'a chain that is given up leaves the others alone, a fetch that is given up ends them all',
  async (t) => {
    const reason = (dist: string | null): Partial<BuildJob> => ({
      reasons: [{ stage: dist === null ? 'fetch' : 'build', dist, code: 'X', detail: '' }],
    });
    t.strictSame(chosen([jobOf(config, 'one', '1', 1, ['fetch'], reason('bookworm'))]), [
      'one 1 build trixie',
      'one 1 build sid',
    ]);
    t.strictSame(chosen([jobOf(config, 'one', '1', 1, [], reason(null))]), []);
  },
);

void t.test(
  'what is urgent goes first in the upload lane and before waiting builds, and takes along what it has to wait for',
  async (t) => {
    const urgent = { priority: 10 };
    t.strictSame(
      chosen([jobOf(config, 'one', '1', 1, built), jobOf(config, 'two', '1', 2, built, urgent)])[0],
      'two 1 sign bookworm',
    );
    t.strictSame(
      chosen([jobOf(config, 'one', '1', 1, ['fetch']), jobOf(config, 'two', '1', 2, ['fetch'], urgent)], 1),
      ['two 1 build bookworm'],
    );
    t.strictSame(
      chosen(
        [
          jobOf(config, 'two', '1', 1, ['fetch']),
          jobOf(config, 'one', '1', 2, ['fetch']),
          jobOf(config, 'one', '2', 3, ['fetch'], urgent),
        ],
        1,
      ),
      ['one 1 build bookworm'],
    );
    t.strictSame(chosen([jobOf(config, 'one', '1', 1), jobOf(config, 'two', '1', 2, [], urgent)]), [
      'two 1 fetch',
    ]);
  },
);

void t.test('jobs that are over are nothing to it', async (t) => {
  t.strictSame(
    schedule([jobOf(config, 'one', '1', 1, [], { state: 'failed' })], new Map(), { builds: 2 }, 0),
    { start: [], waitMs: undefined },
  );
});
