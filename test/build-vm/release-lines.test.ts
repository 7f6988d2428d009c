// SPDX-License-Identifier: GPL-2.0-or-later
// Release lines: versions of a component that go up side by side, each for distributions of its own, and none
// of them ever back.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readConfig, type Component, type Config } from '../../agents/build-vm/configuration/config.js';
import type { BuildJob } from '../../agents/build-vm/jobs/job-document.js';
import { JobQueue } from '../../agents/build-vm/jobs/job-queue.js';
import { schedule } from '../../agents/build-vm/jobs/schedule.js';
import { Trigger, triggerLine } from '../../agents/build-vm/triggers/trigger.js';
import type { RemoteTag } from '../../agents/build-vm/source/git.js';
import {
  isInSeries,
  meaningOfTag,
  type ReleaseLine,
} from '../../agents/build-vm/configuration/release-lines.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';
import { configFor, evidenceOf } from './jobs.js';
import { codeOf } from './rpm-packages.js';

const series = (name: string, dist: string): ReleaseLine => ({ name, versions: name, distributions: [dist] });
const kernelLines = [
  series('6.6', 'fc37'),
  series('6.12', 'fc41'),
  { name: 'latest', distributions: ['fc42'] },
];

interface Farm {
  queue: JobQueue;
  ask: (...tags: string[]) => Promise<string>;
  verify: (job: BuildJob) => void;
  of: (lines: ReleaseLine[] | undefined) => Farm;
}

function farm(
  test: Test,
  lines: ReleaseLine[] | undefined,
  folder = mkdtempSync(join(tmpdir(), 'bi-lines-')),
): Farm {
  test.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const config: Config = configFor(['fc37', 'fc41', 'fc42']);
  const component = Object.assign(config.components[0] as Component, lines === undefined ? {} : { lines });
  const queue = new JobQueue(join(folder, 'jobs'), join(folder, 'highest'));
  return {
    queue,
    ask: async (...tags) => {
      const remote = tags.map((name): RemoteTag => ({
        name,
        object: Buffer.from(name).toString('hex').padEnd(40, '0').slice(0, 40),
        annotated: true,
      }));
      try {
        return triggerLine(
          await new Trigger({ config, queue, listTags: async () => remote }).trigger(component.name),
        )
          .trim()
          .replace(/-[0-9a-f]{12}$/, '');
      } catch (error) {
        return error instanceof AnyRefusal ? `refused ${error.code}` : String(error);
      }
    },
    // As the fetch does.
    verify: (job) => {
      job.evidence = evidenceOf();
      job.state = 'done';
      queue.save(job);
      queue.rememberHighest(
        job.component,
        {
          version: job.version,
          tagObject: job.tagObject,
          job: job.job,
          tag: job.tag,
          sources: { rpm: 'kernel' },
        },
        job.line,
      );
    },
    of: (changed) => farm(test, changed, folder),
  };
}

const all = (queue: JobQueue): BuildJob[] => queue.all().filter((job) => job.kind === 'build');
const jobs = (queue: JobQueue): string[] =>
  all(queue).map((job) => `${job.line ?? '-'} ${job.version} ${job.dists.join()}`);

void t.test('a version is of the line that says most of it', async (t) => {
  for (const [version, of, is] of [
    ['6.6', '6.6', true],
    ['6.6.54-1', '6.6', true],
    ['6.6~rc1', '6.6', true],
    ['6.6-2', '6.6', true],
    ['6.60', '6.6', false],
    ['6.1', '6.6', false],
    ['16.6', '6.6', false],
    ['6.6a', '6.6', false],
    ['1:6.6.1', '6.6', false],
    ['1:6.6.1', '1:6.6', true],
  ] as const)
    t.equal(isInSeries(version, of), is, `${version} of ${of}`);
  const component = {
    tag: 'v{version}',
    lines: [
      { name: 'rest', distributions: ['a'] },
      series('6', 'b'),
      series('6.6', 'c'),
      { name: 'long-term', tag: 'lts-{version}', distributions: ['d'] },
    ],
  };
  for (const [tag, line] of [
    ['v6.6.1-1', '6.6'],
    ['v6.12', '6'],
    ['v5.4', 'rest'],
    ['lts-5.4', 'long-term'],
    ['v6.6-rc1', '6.6'],
    ['w_1', undefined],
  ] as const)
    t.equal(meaningOfTag(component, tag)?.line, line, tag);
});

void t.test('each line has its job, for its distributions', async (t) => {
  const { queue, ask } = farm(t, kernelLines);
  t.equal(await ask('v6.6.54-1', 'v6.6.53-1', 'v6.12.3-1', 'v6.17-rc1', 'v6.16.1-1'), 'queued one-6.6.54-1');
  t.same(jobs(queue), ['6.6 6.6.54-1 fc37', '6.12 6.12.3-1 fc41', 'latest 6.17~rc1 fc42']);
  t.equal(await ask('v6.6.54-1', 'v6.12.3-1', 'v6.17-rc1'), 'known one-6.6.54-1');
});

void t.test('within a line a version never goes back, whatever the other lines do', async (t) => {
  const { queue, ask, verify } = farm(t, kernelLines);
  await ask('v6.6.54-1', 'v6.12.3-1');
  for (const job of all(queue)) verify(job);
  t.equal(await ask('v6.6.53-1', 'v6.12.2-1'), 'refused ROLLBACK');
  t.equal(await ask('v6.6.53-1', 'v6.12.4-1'), 'queued one-6.12.4-1', 'one line goes on');
  t.equal(await ask('v6.6.55-1', 'v6.12.4-1'), 'queued one-6.6.55-1', 'and so does the lower one');
  t.same(jobs(queue).slice(2), ['6.12 6.12.4-1 fc41', '6.6 6.6.55-1 fc37']);
});

void t.test('what a lost webhook left out is made up for within its line', async (t) => {
  const { queue, ask, verify } = farm(t, [
    { name: 'latest', distributions: ['fc42'] },
    series('6.12', 'fc41'),
  ]);
  await ask('v6.12.5-1', 'v6.11-1');
  for (const job of all(queue)) verify(job);
  await ask('v6.12.4-1', 'v6.12.5-1', 'v6.13-1', 'v6.14-1');
  t.same(
    jobs(queue).slice(2),
    ['latest 6.13-1 fc42', 'latest 6.14-1 fc42'],
    '6.12.4 lies between two of the others, and is none of theirs',
  );
});

void t.test('a candidate goes before its release, in its line', async (t) => {
  const { queue, ask, verify } = farm(t, [series('4.2', 'fc37'), series('4.3', 'fc41')]);
  await ask('v4.2.0-rc3', 'v4.3.0');
  for (const job of all(queue)) verify(job);
  t.equal(await ask('v4.2.0', 'v4.2.0-rc3', 'v4.3.0-rc9'), 'queued one-4.2.0');
  t.same(jobs(queue).slice(2), ['4.2 4.2.0 fc37'], 'and none after it');
});

void t.test('lines that are named anew, taken apart or put together go back no further', async (t) => {
  const one = farm(t, undefined);
  await one.ask('v6.6.54-1');
  for (const job of all(one.queue)) one.verify(job);
  await one.ask('v6.12.3-1');
  for (const job of all(one.queue)) one.verify(job);
  const apart = one.of(kernelLines);
  t.equal(await apart.ask('v6.6.53-1', 'v6.12.2-1'), 'refused ROLLBACK', 'taken apart');
  t.equal(await apart.ask('v6.6.55-1'), 'queued one-6.6.55-1');
  for (const job of all(apart.queue)) apart.verify(job);
  t.same(apart.queue.highest('one')?.version, '6.12.3-1', "the component's highest stays");
  const renamed = one.of([
    { ...series('6.6', 'fc37'), name: 'old' },
    { ...series('6.12', 'fc41'), name: 'new' },
  ]);
  t.equal(await renamed.ask('v6.6.54-2', 'v6.12.3-0.1'), 'refused ROLLBACK', 'named anew');
  t.same(
    renamed.queue.highestOf({ name: 'one', tag: 'v{version}', lines: [series('6.6', 'fc37')] }, '6.6')
      ?.sources,
    { rpm: 'kernel' },
    "what it calls itself is the component's",
  );
  t.equal(
    await one.of([{ name: 'all', distributions: ['fc37'] }]).ask('v6.12.2-1', 'v6.6.99'),
    'refused ROLLBACK',
    'put together',
  );
  t.equal(await one.of(undefined).ask('v6.6.99'), 'refused ROLLBACK', 'without lines again');
  t.same(one.queue.componentsOf('rpm', 'kernel'), ['one'], 'a line is no component of its own');
});

void t.test('a line waits for no other one', async (t) => {
  const { queue, ask } = farm(t, kernelLines);
  await ask('v6.6.54-1', 'v6.12.3-1');
  const [low, high] = all(queue) as [BuildJob, BuildJob];
  const pauses = new Map([[`${low.job} `, Number.MAX_SAFE_INTEGER]]);
  t.same(
    schedule([low, high], pauses, { builds: 2 }, 0).start.map(({ job }) => job.version),
    ['6.12.3-1'],
    'whose forge does not answer',
  );
  const same = { ...high, dists: ['fc37'] };
  t.same(schedule([low, same], pauses, { builds: 2 }, 0).start, [], 'as versions of one line do');
});

void t.test('lines with suites of their own go side by side in one distribution', async (t) => {
  const { queue, ask, verify } = farm(t, [
    { ...series('6.6', 'fc41'), suites: 'lts' },
    { name: 'latest', distributions: ['fc41'] },
  ]);
  await ask('v6.6.54-1', 'v6.12.3-1');
  const [low, high] = all(queue) as [BuildJob, BuildJob];
  t.same(
    [low.suites, high.suites, low.dists, high.dists],
    ['lts', undefined, ['fc41'], ['fc41']],
    'the job says where it goes',
  );
  t.same(
    schedule([low, high], new Map([[`${low.job} `, Number.MAX_SAFE_INTEGER]]), { builds: 2 }, 0).start.map(
      ({ job }) => job.version,
    ),
    ['6.12.3-1'],
    'and waits for no other one',
  );
  for (const job of all(queue)) verify(job);
  t.equal(
    await ask('v6.6.53-1', 'v6.12.3-1'),
    'known one-6.12.3-1',
    'the maintained line goes back no further',
  );
  t.same(queue.all().length, 2);
});

void t.test('lines that would share tags or a repository are refused', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'bi-lines-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const code = async (lines: unknown): Promise<string> => {
    const config = configFor(['fc37', 'fc41', 'fc41-old']);
    Object.assign(config.distributions[0] as object, { publisher: 'engine' });
    writeFileSync(
      join(folder, 'build.json'),
      JSON.stringify({
        ...config,
        format: 'build-infra/build-config@1',
        publication: null,
        apt: { upload: 'ssh://host/apt', url: 'http://host/apt', origin: 'x', label: 'x' },
        components: [{ ...config.components[0], lines }],
      }),
    );
    return codeOf(() => readConfig(join(folder, 'build.json')));
  };
  t.equal(await code([series('6.6', 'fc37'), series('6.12', 'fc41')]), 'none');
  t.equal(
    await code([
      series('6.6', 'fc41'),
      { ...series('6.12', 'fc41'), suites: 'lts' },
      { ...series('6.1', 'fc41'), suites: 'maint' },
    ]),
    'none',
  );
  for (const [what, lines, expected] of [
    [
      'suites of two',
      [
        { ...series('6.6', 'fc41'), suites: 'lts' },
        { ...series('6.12', 'fc41'), suites: 'lts' },
      ],
      'BAD_CONFIG',
    ],
    ['suites of another distribution', [{ ...series('6.6', 'fc41'), suites: 'old' }], 'BAD_CONFIG'],
    ['suites of an engine', [{ ...series('6.6', 'fc37'), suites: 'lts' }], 'BAD_CONFIG'],
    ['suites that are no word', [{ ...series('6.6', 'fc41'), suites: 'lts-6' }], 'BAD_DOCUMENT'],
    ['one name', [series('6.6', 'fc37'), { ...series('6.12', 'fc41'), name: '6.6' }], 'BAD_CONFIG'],
    ['one series', [series('6.6', 'fc37'), { ...series('6.6', 'fc41'), name: 'x' }], 'BAD_CONFIG'],
    ['one distribution', [series('6.6', 'fc37'), series('6.12', 'fc37')], 'BAD_CONFIG'],
    ['no distribution of this VM', [series('6.6', 'fc38')], 'BAD_CONFIG'],
    ['a tag without a version', [{ ...series('6.6', 'fc37'), tag: 'v{version}{version}' }], 'BAD_DOCUMENT'],
    ['a series that is none', [{ ...series('6.6', 'fc37'), versions: '6.*' }], 'BAD_DOCUMENT'],
    ['no lines', [], 'BAD_DOCUMENT'],
  ] as const)
    t.equal(await code(lines), expected, what);
});
