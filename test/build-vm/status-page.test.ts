// SPDX-License-Identifier: GPL-2.0-or-later
// What the status page says, as data, HTML and badges, for farms in many states and for one whose every text
// is an attack.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import type { Job, RebuildOrder } from '../../agents/build-vm/jobs/job-document.js';
import type { AnySuite } from '../../agents/shared/formats/suites.js';
import {
  farmStatus,
  type ComponentStatus,
  type DistStatus,
  type FarmState,
} from '../../agents/build-vm/status-page/farm-status.js';
import { PageFiles } from '../../agents/build-vm/status-page/page-files.js';
import { ageOf } from '../../agents/build-vm/status-page/times.js';
import {
  ago,
  attackText,
  config,
  farm,
  hostile,
  job,
  over,
  many,
  manyStates,
  now,
  promotes,
  seen,
  steps,
  takesBack,
} from './farm-states.js';

const filesOf = (state: FarmState): Map<string, string> =>
  new Map(
    [...new PageFiles().of(farmStatus(state), state.jobs)].map(({ path, content }) => [path, content ?? '']),
  );
/** What a person reads of a page, words with single blanks. */
const textOf = (page: string | undefined): string =>
  (page ?? '')
    .replace(/<style>.*?<\/style>/s, '')
    .replace(/<[^>]*>/g, ' ')
    .replace(/&#39;/g, "'")
    .replace(/&quot;/g, '"')
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/&amp;/g, '&')
    .replace(/\s+/g, ' ')
    .replace(/ ([.,)])/g, '$1');
const states = manyStates();
const status = farmStatus(states);
const of = (name: string): ComponentStatus =>
  status.components.find((one) => one.name === name) as ComponentStatus;
const dist = (name: string, which: string): DistStatus =>
  of(name).dists.find((one) => one.dist === which) as DistStatus;
const files = filesOf(states);

function place(test: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'bi-page-'));
  test.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

void t.test('each repository shows the version that was put there last, and since when', async (t) => {
  t.match(dist('in-testing', 'trixie').published, [
    { repository: 'current-testing', version: '2.10-3', since: '2026-11-17T02:00:36Z' },
  ]);
  t.equal(dist('in-testing', 'trixie').published.length, 1);
  t.same(
    dist('promoted', 'trixie').published.map(({ repository, version }) => [repository, version]),
    [
      ['current-testing', '1.5-1'],
      ['current', '1.4-1'],
    ],
  );
  t.match(dist('security', 'trixie').published, [{ repository: 'security-testing', version: '3:1.0~rc1-1' }]);
  t.match(
    dist('in-testing', 'fc41').published,
    [{ repository: 'fc41', version: '2.10-3' }],
    'a repository without suites goes by its own name',
  );
});

void t.test('a repository that has suites now has nothing in its old place', async (t) => {
  const [before, after] = [
    job('one', { version: '1-1', hours: 90, done: steps('fc41'), suite: { fc41: 'fc41' } }),
    job('one', { version: '2-1', hours: 9, done: steps('fc41') }),
  ];
  const places = (jobs: Job[]): string[] | undefined =>
    farmStatus(farm(jobs))
      .components[0]?.dists.at(-1)
      ?.published.map(({ repository, version }) => `${repository} ${version}`);
  t.same([places([before]), places([before, after])], [['fc41 1-1'], ['current-testing 2-1']]);
});

void t.test(
  'what an engine published stands under the suite of ours that it is, as it is announced',
  async (t) => {
    const testing = job('one', {
      version: '1-1',
      hours: 9,
      done: steps('trixie'),
      suite: { trixie: 'trixie-testing' },
    });
    const named = job('one', { version: '1-1', hours: 9, done: steps('fc41'), suite: { fc41: 'fc41' } });
    const places = (one: Job, which: string): unknown =>
      farmStatus(farm([one]))
        .components[0]?.dists.find(({ dist }) => dist === which)
        ?.published.map(({ repository }) => repository);
    t.same(places(testing, 'trixie'), ['current-testing']);
    t.same(
      places(
        {
          ...named,
          uploaded: named.uploaded.map((upload) => ({ ...upload, repository: 'security-testing' })),
        },
        'fc41',
      ),
      ['security-testing'],
    );
  },
);

void t.test('a line with suites of its own has a row of its own, and the main one another', async (t) => {
  const [main, old] = [
    job('one', { version: '2-1', hours: 9, done: steps('trixie') }),
    job('one', {
      version: '1.9-1',
      hours: 2,
      done: steps('trixie'),
      suite: { trixie: 'trixie-maint-current' },
      change: { suites: 'maint' },
    }),
  ];
  const state = farm([main, old]);
  const rows = farmStatus(state)
    .components[0]?.dists.filter((one) => one.dist === 'trixie')
    .map(({ suites, newest, published }) => [
      suites,
      newest?.version,
      published.map(({ repository, version }) => `${repository} ${version}`),
    ]);
  t.same(
    rows,
    [
      [undefined, '2-1', ['current-testing 2-1']],
      ['maint', '1.9-1', ['maint-current 1.9-1']],
    ],
    'the later one did not take the place of the higher one',
  );
  const made = filesOf(state);
  t.match(textOf(made.get('index.html')), /trixie maint 1\.9-1 published(?: log)? – 1\.9-1 1 hour/);
  t.match(made.get('components/one/badges/trixie/maint-current.svg'), 'one trixie maint-current: 1.9-1');
  t.match(made.get('components/one/badges/trixie/current-testing.svg'), ': 2-1');
});

void t.test(
  'a rebuild stands under the version of its packages, and goes with the version that it is of',
  async (t) => {
    const base = job('one', { version: '2-1', hours: 9, done: steps('trixie', 'bookworm') });
    const rebuild: RebuildOrder = {
      of: base.job,
      number: 1,
      sources: { trixie: { source: 'one', version: '2-1+deb13u1', packages: '2-1+deb13u1+b1' } },
      command: {
        sha256: 'd'.repeat(64),
        line: 'Rebuild-component r4.3 one 1 trixie',
        signer: { name: 'alice', fingerprint: 'A'.repeat(40) },
        signed: ago(2),
      },
    };
    const again = job('one', {
      version: '2-1',
      hours: 2,
      done: steps('trixie'),
      change: { rebuild, dists: ['trixie'] },
    });
    const rows = (jobs: Job[]): unknown =>
      farmStatus(farm(jobs))
        .components[0]?.dists.filter(({ dist }) => dist !== 'fc41')
        .map(({ newest, published }) => [
          newest?.version,
          newest?.state,
          published.map(({ repository, version }) => `${repository} ${version}`).join(),
        ])
        .sort();
    t.same(rows([base, again]), [
      ['2-1+deb13u1+b1', 'published', 'current-testing 2-1+deb13u1+b1'],
      ['2-1', 'published', 'current-testing 2-1'],
    ]);
    t.match(
      textOf(filesOf(farm([base, again])).get('components/one/index.html')),
      /2-1\+deb13u1\+b1 (?:queued|done).* kind build .*built by Rebuild-component r4\.3 one 1 trixie/,
    );
    const gone = job('one', {
      version: '2-1',
      hours: 1,
      done: ['withdraw trixie', 'withdraw bookworm'],
      change: { ...takesBack, dists: ['trixie', 'bookworm'] },
    });
    t.same(rows([base, again, gone]), [
      ['2-1+deb13u1+b1', 'withdrawn', ''],
      ['2-1', 'withdrawn', ''],
    ]);
    const open = job('one', {
      version: '2-1',
      hours: 2,
      done: ['fetch'],
      change: { rebuild, dists: ['trixie'], running: [{ stage: 'build', dist: 'trixie', started: ago(1) }] },
    });
    t.match(farmStatus(farm([base, open])).running, [{ version: '2-1+deb13u1+b1', dist: 'trixie' }]);
  },
);

void t.test('a promotion job needs no build of its own: the current repository shows it', async (t) => {
  t.match(dist('promoted', 'bookworm').published[1], {
    repository: 'current',
    version: '1.4-1',
    job: states.jobs.find((one) => one.uploaded[0]?.suite === 'bookworm-current')?.job,
  });
});

void t.test('a version that was withdrawn is in no repository any more', async (t) => {
  const [first, second] = [
    job('one', { version: '1-1', hours: 90, done: steps('trixie') }),
    job('one', { version: '2-1', hours: 9, done: steps('trixie') }),
  ];
  const current = job('one', {
    version: '1-1',
    hours: 50,
    done: ['publish trixie'],
    suite: { trixie: 'trixie-current' },
    change: promotes('current'),
  });
  const withdrawal = (version: string, hours: number): Job =>
    job('one', { version, hours, done: ['withdraw trixie'], change: takesBack });
  const places = (jobs: Job[]): string[] =>
    farmStatus(farm(jobs))
      .components[0]?.dists.find((one) => one.dist === 'trixie')
      ?.published.map(({ repository, version }) => `${repository} ${version}`) ?? [];
  t.same(places([first, current, second]), ['current-testing 2-1', 'current 1-1']);
  t.same(
    places([first, current, second, withdrawal('2-1', 5)]),
    ['current 1-1'],
    'the one before had given its place to it',
  );
  t.same(places([first, current, second, withdrawal('1-1', 5)]), ['current-testing 2-1']);
  const newest = (jobs: Job[]): unknown =>
    farmStatus(farm(jobs)).components[0]?.dists.find((one) => one.dist === 'trixie')?.newest;
  t.match(newest([first, second]), { version: '2-1', state: 'published' });
  t.match(newest([first, second, withdrawal('2-1', 5)]), { version: '2-1', state: 'withdrawn' });
  t.match(newest([first, second, withdrawal('1-1', 5)]), { version: '2-1', state: 'published' });
  const early = job('one', {
    version: '2-1',
    hours: 4,
    change: {
      ...promotes('current'),
      ...over('refused', 4, {
        reasons: [{ stage: 'promote', dist: 'trixie', code: 'TOO_YOUNG', detail: '' }],
      }),
    },
  });
  t.match(
    newest([first, second, early]),
    { version: '2-1', state: 'published' },
    'a promotion that came too early is no state of the build',
  );
  const rpm = (one: Job): Job => ({
    ...one,
    uploaded: one.uploaded.map((upload) => ({
      ...upload,
      files: [{ name: `one-${one.version}.noarch.rpm`, size: 1, sha256: '0'.repeat(64) }],
    })),
  });
  t.same(
    places([rpm(first), rpm(second), withdrawal('2-1', 5)]),
    ['current-testing 1-1'],
    'a DNF repository still has the one before',
  );
});

void t.test(
  'a template is shown by its release and repositories, with the command that it was built by',
  async (t) => {
    const order = {
      name: 'debian-13',
      release: 'r4.3',
      timestamp: '202611221000',
      command: {
        sha256: 'b'.repeat(64),
        line: 'Build-template r4.3 debian-13 202611221000',
        signer: { name: 'alice', fingerprint: 'A'.repeat(40) },
        signed: '2026-11-22T10:00:00.000Z',
      },
    };
    const of: object = {
      component: 'qubes-template-debian-13',
      template: order,
      tag: '',
      tagObject: '',
      url: '',
      dists: ['templates-r4.3'],
      evidence: null,
      configuration: null,
    };
    const at = (suite: string): Record<string, string> => ({ 'templates-r4.3': `templates-r4.3-${suite}` });
    const built = job('x', {
      version: '4.3.0-202611221000',
      hours: 30,
      done: ['build templates-r4.3', 'sign templates-r4.3', 'publish templates-r4.3'],
      suite: at('templates-itl-testing'),
      change: { ...over('done', 29), ...of, ...({ kind: 'template' } as object) },
    });
    const moved = job('x', {
      version: '4.3.0-202611221000',
      hours: 2,
      done: ['publish templates-r4.3'],
      suite: at('templates-itl'),
      change: { ...over('done', 1), ...of, ...promotes('templates-itl') },
    });
    const state = farm(
      [built, moved],
      {},
      {
        components: [],
        templates: [
          {
            name: 'debian-13',
            releases: ['r4.3'],
            engine: 'mine',
            distribution: 'vm-trixie',
            repository: 'templates-itl',
          },
        ],
      },
    );
    t.match(farmStatus(state).components, [
      {
        name: 'qubes-template-debian-13',
        dists: [
          {
            dist: 'templates-r4.3',
            retired: false,
            newest: { version: '4.3.0-202611221000', state: 'published' },
            published: [{ repository: 'templates-itl' }, { repository: 'templates-itl-testing' }],
          },
        ],
      },
    ]);
    t.equal(farmStatus(state).components[0]?.dists.length, 1, 'it has no row for a distribution');
    const pages = filesOf(state);
    for (const page of ['index.html', 'components/qubes-template-debian-13/index.html']) {
      const text = textOf(pages.get(page));
      t.match(text, /in templates-itl-testing 4\.3\.0-202611221000/, page);
      t.notMatch(text, /not configured any more|retired|undefined/, page);
    }
    t.match(
      textOf(pages.get('components/qubes-template-debian-13/index.html')),
      /promoted by Upload-component .* commanded by bob .* built by Build-template r4\.3 debian-13 202611221000 commanded by alice/,
    );
  },
);

void t.test('the state of the newest version is said for each distribution alone', async (t) => {
  t.match(dist('building', 'bookworm').newest, { version: '0.9-1', state: 'building', stage: 'sign' });
  t.match(dist('building', 'trixie').newest, { state: 'building', stage: 'build' });
  t.match(dist('building', 'fc41').newest, { state: 'queued', stage: 'build' });
  t.match(dist('waiting', 'bookworm').newest, { state: 'waiting', why: { code: 'NO_CHROOT' } });
  t.match(dist('waiting', 'trixie').newest, { state: 'queued', why: null });
  t.match(dist('refused', 'trixie').newest, {
    state: 'refused',
    stage: 'fetch',
    why: { code: 'BAD_SIGNATURE' },
    log: { path: 'build-debian/2026-11-22/log_2026-11-22_07-00-00' },
  });
  t.match(dist('failed-in-one', 'trixie').newest, {
    state: 'failed',
    stage: 'build',
    why: { code: 'BUILD_FAILED', since: ago(49) },
  });
  t.match(dist('failed-in-one', 'fc41').newest, { state: 'published', why: null });
  t.equal(dist('nothing-yet', 'trixie').newest, null);
});

void t.test('of several versions the highest counts, not the one that was begun last', async (t) => {
  const state = farm([
    job('one', { version: '1.10-1', hours: 9, done: steps('trixie') }),
    job('one', { version: '1.9-1', hours: 1, done: ['fetch'] }),
  ]);
  t.match(farmStatus(state).components[0]?.dists[1]?.newest, { version: '1.10-1' });
});

void t.test(
  'a retired distribution stays as long as something lies there, and says that it is retired',
  async (t) => {
    t.match(of('retired').dists.at(-1), { dist: 'buster', retired: true, published: [{ version: '0.1-1' }] });
    t.match(textOf(files.get('index.html')), /buster \(retired\)/);
    t.same(
      of('in-testing').dists.map((one) => one.dist),
      ['bookworm', 'trixie', 'fc41'],
    );
  },
);

void t.test('a component that is configured no more is shown as such', async (t) => {
  t.equal(of('not-configured').url, null);
  t.match(textOf(files.get('components/not-configured/index.html')), /not configured any more/);
});

void t.test('a tag that was seen and not built is shown with its time and its reason', async (t) => {
  const reasons = (name: string): unknown =>
    of(name).newestTag && [of(name).newestTag?.built, of(name).newestTag?.reason?.code];
  t.same(reasons('in-testing'), [true, undefined]);
  t.same(reasons('never-built'), [false, 'NOT_ANNOTATED']);
  t.same(reasons('promoted'), [false, 'NO_JOB']);
  t.same(reasons('refused'), [false, 'BAD_SIGNATURE']);
  t.match(
    textOf(files.get('index.html')),
    /never-built tag v1\.0 seen, not built since 2026-11-12 12:00 UTC \(10 days\) NOT_ANNOTATED it is not an annotated tag/,
  );
  t.match(
    textOf(files.get('components/promoted/index.html')),
    /tag v1\.6-1 seen, not built since 2026-11-21 10:00 UTC NO_JOB/,
  );
});

const built = job('one', {
  version: '2-1',
  hours: 5,
  done: steps('bookworm', 'trixie', 'fc41'),
  change: { state: 'done', ended: ago(4) },
});
const withTag = (
  tag: ReturnType<typeof seen>,
  jobs = [built],
): { built: boolean; reason: { code: string; detail: string } | null } => {
  const state = {
    ...farm(jobs, { one: { newest: tag } }),
    highest: () => ({
      version: '2-1',
      tagObject: built.tagObject,
      job: built.job,
      tag: built.tag,
      sources: {},
    }),
  };
  return farmStatus(state).components[0]?.newestTag as never;
};
for (const [name, tag, code] of [
  ['lower than what was built', seen('v1-1', 'e'.repeat(40), 1), 'ROLLBACK'],
  ['of the version that was built, but another one', seen('v2-1', 'e'.repeat(40), 1), 'ROLLBACK'],
  ['that nobody looked at yet', seen('v3-1', 'e'.repeat(40), 1), 'NO_JOB'],
] as const) {
  void t.test(`a tag ${name} is not built because of ${code}`, async (t) =>
    t.match(withTag(tag), { built: false, reason: { code } }),
  );
}
void t.test('a tag whose job runs, waits or is queued says so', async (t) => {
  const open = (change: object): string | undefined => {
    const one = job('one', { version: '3-1', hours: 1, change });
    return withTag(seen('v3-1', one.tagObject, 1), [built, one]).reason?.code;
  };
  t.equal(open({}), 'QUEUED');
  t.equal(open({ running: [{ stage: 'build', dist: 'trixie', started: ago(1) }] }), 'RUNNING');
  t.equal(open({ waiting: [{ dist: null, code: 'NO_LOG_SINK', detail: '', since: ago(1) }] }), 'NO_LOG_SINK');
});

void t.test('what a forge does not answer is shown with its reason', async (t) => {
  t.match(of('unreachable').unlisted, { code: 'FORGE_UNREACHABLE', since: '2026-11-21T22:00:00Z' });
  t.match(
    textOf(files.get('index.html')),
    /unreachable tags cannot be listed FORGE_UNREACHABLE fatal: unable to access 'https:\/\/forge\.example\/'/,
  );
});

void t.test('the front page says what runs, what waits and what to look at', async (t) => {
  const text = textOf(files.get('index.html'));
  t.match(
    text,
    /Made by build-debian at 2026-11-22 12:00 UTC\. 15 components, 2 running, 2 waiting, 7 to look at/,
  );
  t.match(text, /building 0\.9-1 build trixie since 2026-11-22 11:48 UTC/);
  t.match(text, /queued 1-1 urgent queued 2026-11-22 11:54 UTC/);
  t.ok(text.indexOf('queued 1-1 urgent') < text.indexOf('waiting 7-1 queued'), 'what is urgent goes first');
  t.match(text, /waiting bookworm NO_CHROOT the mirror does not answer/);
  t.equal(
    text.split('a signature of v6.6.6-1 is not valid').length - 1,
    4,
    'what ended the fetch is said once, and in its three rows',
  );
});

void t.test("a component's page tells everything about its jobs", async (t) => {
  const text = textOf(files.get('components/failed-in-one/index.html'));
  const one = states.jobs.find((candidate) => candidate.component === 'failed-in-one');
  for (const word of [
    one?.job,
    one?.tagObject,
    one?.evidence?.commit,
    one?.evidence?.tree,
    'A'.repeat(40),
    one?.configuration?.common,
    one?.artifacts[0]?.files[0]?.sha256,
    'bookworm-current-testing',
    one?.uploaded[0]?.release,
  ])
    t.ok(word && text.includes(word), String(word));
  t.match(text, /build trixie: BUILD_FAILED dpkg-buildpackage ended with 2/);
  t.match(text, /build bookworm: 2026-11-20 10:00 UTC, 36\.0 s, overhead 3\.0 s/);
  t.same(
    (JSON.parse(files.get('components/failed-in-one/jobs.json') as string) as { jobs: unknown[] }).jobs,
    [JSON.parse(JSON.stringify(one))],
  );
});

void t.test('who promoted stands beside what moved, and whose tag it was is another thing', async (t) => {
  const built = job('one', { version: '2-1', hours: 90, done: steps('trixie'), change: over('done', 89) });
  const moved = (suite: AnySuite): Job => ({
    ...job('one', { version: '2-1', hours: 9, done: ['fetch'], change: promotes(suite, built.job) }),
  });
  for (const [suite, from] of [
    ['current', 'current-testing'],
    ['security-testing', 'current-testing'],
    ['lts-current', 'lts-current-testing'],
    ['templates-itl', 'templates-itl-testing'],
    ['templates-community', 'templates-community-testing'],
  ] as const) {
    const text = textOf(filesOf(farm([built, moved(suite)])).get('components/one/index.html'));
    t.match(
      text,
      new RegExp(
        `promotion of 2-1 to ${suite} queued .*kind promotion .*moves ${built.job} from ${from} to ${suite} promoted by Upload-component r4\\.3 one c{40} ${suite} all commanded by bob B{40}, 2026-11-22 11:00 UTC tag .* tag signed by alice A{40}`,
      ),
      suite,
    );
  }
  const gone = job('one', { version: '2-1', hours: 9, change: takesBack });
  t.match(
    textOf(filesOf(farm([built, gone])).get('components/one/index.html')),
    /withdrawal of 2-1 queued .*kind withdrawal .*out of every suite, as a person in debian's build VM wanted tag/,
  );
});

void t.test('logs are links where their address is configured, and paths where not', async (t) => {
  const path = 'build-debian/2026-11-20/log_2026-11-20_10-00-00';
  t.match(
    files.get('index.html'),
    `<a href="https://forge.example/example/build-logs/blob/main/${path}">build</a>`,
  );
  const without = { ...states, config: { ...states.config } };
  delete without.config.logsUrl;
  t.match(filesOf(without).get('components/failed-in-one/index.html'), `<code>${path}</code>`);
  t.notMatch(filesOf(without).get('index.html'), 'build-logs/blob');
});

void t.test('an empty farm has a page that says so', async (t) => {
  const empty = filesOf(farm([]));
  t.same([...empty.keys()], ['index.html', 'status.json']);
  t.match(
    textOf(empty.get('index.html')),
    /0 components, 0 running, 0 waiting, 0 to look at.*Nothing failed.*Nothing runs\. Queue Nothing waits\..*No component is configured/,
  );
});

void t.test(
  "the same state makes the same bytes, and a component's page does not change with the time",
  async (t) => {
    t.same(filesOf(states), files);
    const later = filesOf({ ...states, made: new Date(now.getTime() + 20 * 86_400_000) });
    t.match(textOf(later.get('index.html')), /30 days/);
    for (const [path, content] of files)
      if (path.startsWith('components/')) t.equal(later.get(path), content, path);
  },
);

void t.test('ages are coarse', async (t) => {
  const age = (hours: number): string => ageOf(ago(hours), now.toISOString());
  t.same([0, 0.99, 1, 47.9, 48, 71.9, 24 * 100].map(age), [
    'under an hour',
    'under an hour',
    '1 hour',
    '47 hours',
    '2 days',
    '2 days',
    '100 days',
  ]);
});

void t.test('only components in which something changed are made again', async (t) => {
  const pages = new PageFiles();
  const made = (state: FarmState): string[] =>
    [...pages.of(farmStatus(state), state.jobs)]
      .filter(({ content }) => content !== undefined)
      .map(({ path }) => path);
  t.equal(made(states).length, files.size);
  t.same(made({ ...states, made: new Date(now.getTime() + 1000) }), ['index.html', 'status.json']);
  const changed = states.jobs.map((one) => (one.component === 'queued' ? { ...one, priority: 3 } : one));
  t.ok(
    made({ ...states, jobs: changed }).every(
      (path) => !path.includes('/') || path.startsWith('components/queued/'),
    ),
  );
  pages.forget();
  t.equal(made(states).length, files.size);
});

void t.test('badges say what is where, in words too', async (t) => {
  const badge = (path: string): string | undefined =>
    /<title>(.*)<\/title>/.exec(files.get(`components/${path}.svg`) ?? '')?.[1];
  t.equal(badge('promoted/badges/trixie/current'), 'promoted trixie current: 1.4-1');
  t.equal(badge('in-testing/badges/trixie/security-testing'), 'in-testing trixie security-testing: none');
  t.equal(badge('in-testing/badges/fc41/fc41'), 'in-testing fc41 fc41: 2.10-3');
  t.same(
    [
      'in-testing',
      'building',
      'waiting',
      'queued',
      'refused',
      'failed-in-one',
      'never-built',
      'nothing-yet',
      'promoted',
    ].map((name) => badge(`${name}/badge`)),
    [
      'in-testing: 2.10-3 current-testing',
      'building: 0.9-1 building',
      'waiting: 7-1 waiting',
      'queued: 1-1 queued',
      'refused: 6.6.6-1 refused',
      'failed-in-one: 2-1 failed',
      'never-built: 1.0 not built',
      'nothing-yet: none',
      'promoted: 1.6-1 not built',
    ],
  );
});

void t.test('a farm of a thousand components is made', async (t) => {
  const large = many(1000);
  const made = filesOf(large);
  t.equal(made.size, 2 + 1000 * (3 + 9));
  t.match(textOf(made.get('index.html')), /1000 components/);
});

void t.test('no text from outside is markup, an address or a path', async (t) => {
  const made = filesOf(hostile());
  t.same(
    [...made.keys()],
    [
      'index.html',
      'status.json',
      'components/victim/index.html',
      'components/victim/jobs.json',
      'components/victim/badge.svg',
      ...['trixie', 'fc41'].flatMap((one) =>
        ['current-testing', 'current', 'security-testing'].map(
          (suite) => `components/victim/badges/${one}/${suite}.svg`,
        ),
      ),
    ],
    'a repository of no name has no badge',
  );
  for (const [path, content] of made) {
    if (path.endsWith('.json')) continue;
    t.notMatch(
      content,
      /<script|<img|javascript:alert\(1\)"|href="(?!https:\/\/|index\.html|\.\.\/\.\.\/index\.html|#|jobs\.json|badge\.svg|status\.json|components\/victim\/index\.html)/,
      path,
    );
    t.notMatch(content, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/, path);
    t.equal(content.split('<style>').length, path.endsWith('.html') ? 2 : 1, path);
  }
  t.ok(
    textOf(made.get('components/victim/index.html')).includes(attackText.replace(/[\u202e\0\u001b]/g, '.')),
    'it is there, as text',
  );
});

void t.test(
  'HTML and SVG are valid',
  existsSync('/usr/bin/tidy') ? {} : { skip: 'there is no tidy here' },
  async (t) => {
    const folder = place(t);
    for (const [name, state] of Object.entries({
      many: states,
      hostile: hostile(),
      empty: farm([]),
      bare: farm([], { one: {} }, { logsUrl: undefined as never }),
    })) {
      for (const [path, content] of filesOf(state)) {
        const file = join(folder, name, path);
        mkdirSync(dirname(file), { recursive: true });
        writeFileSync(file, content);
        if (path.endsWith('.html')) {
          const { status: code, stderr } = spawnSync('/usr/bin/tidy', ['-errors', '-quiet', '-utf8', file], {
            encoding: 'utf8',
          });
          t.equal(code, 0, `${name} ${path}: ${stderr}`);
        }
      }
    }
    execFileSync('python3', [
      '-c',
      'import sys, pathlib, xml.dom.minidom\nfor path in pathlib.Path(sys.argv[1]).rglob("*.svg"): xml.dom.minidom.parse(str(path))',
      folder,
    ]);
  },
);

void t.test('status.json is what docs/formats.md says, and says no more than that', async (t) => {
  t.strictSame(Object.keys(status), [
    'format',
    'made',
    'refreshSeconds',
    'vm',
    'env',
    'logsUrl',
    'distributions',
    'keys',
    'renewals',
    'running',
    'queue',
    'components',
  ]);
  t.equal(status.format, 'build-infra/status-page@1');
  t.same(JSON.parse(files.get('status.json') as string), JSON.parse(JSON.stringify(status)));
  t.notMatch(files.get('status.json'), /ssh:\/\//, "where it is uploaded to is nobody's business");
  t.match(status.distributions, [
    { name: 'bookworm', repository: `${config.apt?.url}/bookworm` },
    {},
    { name: 'fc41', repository: 'https://packages.example/dnf/fc41' },
  ]);
});
