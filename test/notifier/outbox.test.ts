// SPDX-License-Identifier: GPL-2.0-or-later
// What the build agent leaves for the notifier, and that nothing of it can be in a build's way.
import { readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { PackageJob } from '../../agents/build-vm/jobs/job-document.js';
import { earnedBy, notificationOf } from '../../agents/build-vm/outbox/notifications.js';
import { LogTails } from '../../agents/build-vm/logs/log-tails.js';
import { Outbox } from '../../agents/build-vm/outbox/outbox.js';
import { checkNotification, type Notification } from '../../agents/shared/formats/notification.js';
import type { LineSink } from '../../agents/shared/programs/logged-program.js';
import { folderOf } from '../support/folders.js';

const job = (change: object = {}): PackageJob =>
  ({
    kind: 'build',
    job: 'hello-1.2-3-0123456789ab',
    component: 'hello',
    version: '1.2-3',
    tag: 'v1.2-3',
    url: 'https://github.example/example/hello.git',
    env: 'debian',
    dists: ['bookworm', 'trixie'],
    state: 'running',
    finished: [],
    running: [],
    logs: [],
    evidence: { commit: 'c'.repeat(40) },
    uploaded: [],
    reasons: [],
    reason: null,
    ended: null,
    ...change,
  }) as unknown as PackageJob;
const finished = (...steps: string[]): object[] =>
  ['fetch', ...steps].map((step) => ({
    stage: step.split(' ')[0] as string,
    dist: step.split(' ')[1] ?? null,
  }));
const log = (stage: string, dist: string | null): object => ({
  stage,
  dist,
  path: 'build-debian/2026-11-22/log_2026-11-22_05-00-00',
  commit: null,
});

interface Place {
  folder: string;
  lines: string[];
  outbox: () => Outbox;
  documents: () => Notification[];
}
function place(t: Test): Place {
  const folder = folderOf(t);
  const lines: string[] = [];
  const made: Place = {
    folder,
    lines,
    outbox: () =>
      new Outbox({
        outbox: join(folder, 'outbox'),
        told: join(folder, 'told'),
        report: (line) => lines.push(line),
      }),
    documents: () =>
      readdirSync(join(folder, 'outbox'))
        .sort()
        .map((name) => checkNotification(JSON.parse(readFileSync(join(folder, 'outbox', name), 'utf8')))),
  };
  made.outbox().consider([]);
  return made;
}
const events = (documents: readonly Notification[]): string[] =>
  documents.map(({ event, dist, repository }) =>
    [event, dist ?? '*', ...(repository === null ? [] : [repository])].join(' '),
  );

void t.test('a job that goes well is told at each of its moments, once', (t) => {
  const { outbox, documents } = place(t);
  const one = outbox();
  const moments: PackageJob[] = [
    job({ running: [{ stage: 'fetch', dist: null }] }),
    job({ finished: finished(), running: [{ stage: 'build', dist: 'bookworm' }] }),
    job({ finished: finished('build bookworm'), running: [{ stage: 'sign', dist: 'bookworm' }] }),
    job({
      finished: finished('build bookworm', 'sign bookworm', 'publish bookworm'),
      running: [{ stage: 'build', dist: 'trixie' }],
      uploaded: [{ dist: 'bookworm', suite: 'bookworm-current-testing' }],
    }),
    job({
      finished: finished(
        'build bookworm',
        'sign bookworm',
        'publish bookworm',
        'build trixie',
        'sign trixie',
        'publish trixie',
      ),
      state: 'done',
      ended: '2026-11-22T05:00:00.000Z',
      uploaded: [
        { dist: 'bookworm', suite: 'bookworm-current-testing' },
        { dist: 'trixie', suite: 'trixie-current-testing' },
      ],
    }),
  ];
  for (const moment of moments) for (let times = 0; times < 3; times++) one.consider([moment]);
  const expected = [
    'building bookworm',
    'built bookworm',
    'uploaded bookworm current-testing',
    'building trixie',
    'built trixie',
    'uploaded trixie current-testing',
  ];
  t.strictSame(events(documents()), expected);
  outbox().consider(moments.slice(-1));
  t.strictSame(events(documents()), expected, 'also after a restart');
  t.end();
});

void t.test('a template is told of as upstream names it, from its build to its stable repository', (t) => {
  const { outbox, documents } = place(t);
  const one = outbox();
  const of: object = {
    kind: 'template',
    template: { name: 'debian-13', release: 'r4.3' },
    component: 'qubes-template-debian-13',
    version: '4.3.0-202611221200',
    tag: '',
    url: '',
    evidence: null,
    dists: ['templates-r4.3'],
    reasons: [],
  };
  const steps = (...stages: string[]): object[] => stages.map((stage) => ({ stage, dist: 'templates-r4.3' }));
  const job1 = 'qubes-template-debian-13-4.3.0-202611221200-0123456789ab';
  one.consider([job({ ...of, job: job1, running: [{ stage: 'build', dist: 'templates-r4.3' }] })]);
  one.consider([
    job({
      ...of,
      job: job1,
      finished: steps('build', 'sign', 'publish'),
      state: 'done',
      ended: '2026-11-22T05:00:00.000Z',
      uploaded: [{ dist: 'templates-r4.3', suite: 'templates-r4.3-templates-itl-testing' }],
    }),
  ]);
  one.consider([
    job({
      ...of,
      kind: 'promotion',
      job: 'promotion-qubes-template-debian-13-4.3.0-202611221200-0123456789ab',
      finished: steps('promote'),
      state: 'done',
      ended: '2026-11-22T05:00:00.000Z',
      uploaded: [{ dist: 'templates-r4.3', suite: 'templates-r4.3-templates-itl' }],
    }),
  ]);
  t.strictSame(events(documents()), [
    'building templates-r4.3',
    'built templates-r4.3',
    'uploaded templates-r4.3 templates-itl-testing',
    'uploaded templates-r4.3 templates-itl',
  ]);
  for (const document of documents())
    t.match(document, {
      kind: 'template',
      component: 'debian-13',
      version: '4.3.0-202611221200',
      release: 'r4.3',
      tag: null,
      commit: null,
      sourceUrl: null,
    });
  t.end();
});

void t.test('chains that run side by side are told as each goes', (t) => {
  const { outbox, documents } = place(t);
  const one = outbox();
  const running = [
    { stage: 'build', dist: 'bookworm' },
    { stage: 'build', dist: 'trixie' },
  ];
  one.consider([job({ finished: finished(), running, reasons: [] })]);
  const reasons = [{ stage: 'build', dist: 'trixie', code: 'BUILD_FAILED', detail: 'it ended with 2' }];
  one.consider([
    job({ finished: finished(), running: running.slice(0, 1), reasons, logs: [log('build', 'trixie')] }),
  ]);
  one.consider([
    job({ finished: finished('build bookworm'), running: [], reasons, logs: [log('build', 'trixie')] }),
  ]);
  t.strictSame(events(documents()), [
    'building bookworm',
    'building trixie',
    'failed trixie',
    'built bookworm',
  ]);
  t.end();
});

void t.test('a second failure after a retry is told, and the new beginning before it', (t) => {
  const { outbox, documents } = place(t);
  const one = outbox();
  const building = { finished: finished(), running: [{ stage: 'build', dist: 'bookworm' }] };
  const reasons = [{ stage: 'build', dist: 'bookworm', code: 'BUILD_FAILED', detail: 'it ended with 2' }];
  one.consider([job({ ...building, logs: [log('build', 'bookworm')] })]);
  one.consider([
    job({
      finished: finished(),
      logs: [log('build', 'bookworm')],
      state: 'failed',
      reasons,
      ended: '2026-11-22T05:00:00.000Z',
    }),
  ]);
  one.consider([job({ ...building, logs: [log('build', 'bookworm'), log('build', 'bookworm')] })]);
  one.consider([
    job({
      finished: finished(),
      logs: [log('build', 'bookworm'), log('build', 'bookworm')],
      state: 'failed',
      reasons,
      ended: '2026-11-22T06:00:00.000Z',
    }),
  ]);
  t.strictSame(events(documents()), [
    'building bookworm',
    'failed bookworm',
    'building bookworm',
    'failed bookworm',
  ]);
  t.equal(new Set(documents().map((document) => document.key)).size, 4);
  t.end();
});

void t.test('what fails in fetching is told of the whole job, what fails in publishing as an upload', (t) => {
  const over = { state: 'failed', ended: '2026-11-22T05:00:00.000Z' };
  t.strictSame(
    earnedBy(
      job({
        ...over,
        reasons: [{ stage: 'fetch', dist: null, code: 'TAG_MOVED', detail: 'x' }],
        evidence: null,
      }),
      new Set(),
    ).map(({ event, dist }) => [event, dist]),
    [['failed', null]],
  );
  t.strictSame(
    earnedBy(
      job({
        ...over,
        reasons: [{ stage: 'publish', dist: 'bookworm', code: 'UPLOAD_FAILED', detail: 'x' }],
        finished: finished('build bookworm', 'sign bookworm'),
      }),
      new Set(['building bookworm 0', 'built bookworm']),
    ).map(({ event }) => event),
    ['built', 'upload-failed'],
  );
  t.end();
});

for (const [upload, repository] of [
  [{ dist: 'trixie', suite: 'trixie-current-testing' }, 'current-testing'],
  [{ dist: 'trixie', suite: 'trixie-current' }, 'current'],
  [{ dist: 'trixie', suite: 'trixie-security-testing' }, 'security-testing'],
  [{ dist: 'trixie', suite: 'trixie-testing' }, 'current-testing'],
  [{ dist: 'trixie', suite: 'trixie-securitytesting' }, 'security-testing'],
  [{ dist: 'trixie', suite: 'trixie-unstable' }, 'unstable'],
  [{ dist: 'trixie', suite: 'trixie' }, 'trixie'],
  [{ dist: 'fc41', suite: 'fc41' }, 'fc41'],
  [{ dist: 'trixie', suite: 'bookworm-testing' }, 'bookworm-testing'],
  [{ dist: 'templates-r4.3', suite: 'templates-r4.3-templates-itl' }, 'templates-itl'],
  [
    { dist: 'templates-r4.3', suite: 'templates-r4.3-templates-community-testing' },
    'templates-community-testing',
  ],
  [{ dist: 'fc41', suite: 'fc41', repository: 'current-testing' }, 'current-testing'],
  [{ dist: 'trixie', suite: 'trixie-testing', repository: 'unstable' }, 'unstable'],
] as const) {
  t.test(
    `an upload for ${upload.dist} to ${upload.suite}${'repository' in upload ? `, said to be ${upload.repository},` : ''} is told as one to ${repository}`,
    (t) => {
      t.strictSame(
        earnedBy(
          job({ dists: [upload.dist], finished: finished(`publish ${upload.dist}`), uploaded: [upload] }),
          new Set(),
        )
          .filter(({ event }) => event === 'uploaded')
          .map((one) => one.repository),
        [repository],
      );
      t.end();
    },
  );
}

void t.test('a suite with a name that no notification can hold holds up nothing', (t) => {
  const { outbox, documents, lines } = place(t);
  const over = {
    dists: ['trixie'],
    finished: finished('publish trixie'),
    state: 'done',
    ended: '2026-11-22T05:00:00.000Z',
  };
  const jobs = ['Main_X', 'x'.repeat(100), '', '../x'].map((suite, n) =>
    job({ ...over, job: `odd-${n}`, uploaded: [{ dist: 'trixie', suite }] }),
  );
  outbox().consider([...jobs, job({ ...over, uploaded: [{ dist: 'trixie', suite: 'trixie-testing' }] })]);
  t.strictSame(
    documents().map(({ event, repository }) => [event, repository]),
    [...jobs.map(() => ['uploaded', 'elsewhere']), ['uploaded', 'current-testing']],
  );
  t.strictSame(lines, []);
  t.end();
});

void t.test('a promotion is an upload and nothing else', (t) => {
  const uploaded = [{ dist: 'bookworm', suite: 'bookworm-current' }];
  t.strictSame(
    earnedBy(
      job({ kind: 'promotion', dists: ['bookworm'], running: [], reasons: [], finished: [], uploaded }),
      new Set(),
    ).map(({ event, repository }) => [event, repository]),
    [['uploaded', 'current']],
  );
  t.end();
});

const promotion = (code: string, change: object = {}): PackageJob =>
  job({
    kind: 'promotion',
    change: { suite: 'current' },
    dists: ['bookworm'],
    running: [],
    reasons: [{ stage: 'promote', dist: 'bookworm', code, detail: 'on ssh://git@forge.example/x' }],
    logs: [log('promote', 'bookworm')],
    state: 'refused',
    ended: '2026-11-22T05:00:00.000Z',
    ...change,
  });

for (const code of ['TOO_YOUNG', 'NEWER_IN_SUITE', 'WITHDRAWN', 'NOT_BUILT', 'NOT_IN_SUITE']) {
  t.test(`a promotion that ends with ${code} was refused, and did not fail`, (t) => {
    t.match(earnedBy(promotion(code), new Set()), [
      { event: 'refused', dist: 'bookworm', repository: 'current', reason: { code } },
    ]);
    t.end();
  });
}

for (const code of ['UPLOAD_FAILED', 'READ_BACK_FAILED', 'RECORD_UNREACHABLE', 'SIGN_FAILED', 'FAULT']) {
  t.test(`a promotion that ends with ${code} failed, and was not refused`, (t) => {
    t.match(earnedBy(promotion(code), new Set()), [{ event: 'upload-failed', repository: 'current' }]);
    t.end();
  });
}

void t.test('a document of a refusal holds no lines of a log', (t) => {
  const { folder, documents } = place(t);
  new Outbox({
    outbox: join(folder, 'outbox'),
    told: join(folder, 'told'),
    report: () => undefined,
    excerptOf: () => 'lines of a log',
  }).consider([promotion('TOO_YOUNG'), promotion('UPLOAD_FAILED', { job: 'another' })]);
  t.strictSame(
    documents().map(({ event, excerpt }) => [event, excerpt]),
    [
      ['refused', null],
      ['upload-failed', 'lines of a log'],
    ],
  );
  t.end();
});

void t.test('a withdrawal says what left which suite, once', (t) => {
  const { outbox, documents } = place(t);
  const built = job({
    finished: finished('build bookworm', 'sign bookworm', 'publish bookworm'),
    dists: ['bookworm'],
    uploaded: [{ dist: 'bookworm', suite: 'bookworm-current-testing' }],
    state: 'done',
    ended: '2026-11-22T05:00:00.000Z',
  });
  const promoted = job({
    ...built,
    job: 'promotion-hello-1',
    kind: 'promotion',
    finished: [],
    uploaded: [{ dist: 'bookworm', suite: 'bookworm-current' }],
  });
  const other = job({
    ...promoted,
    job: 'promotion-hello-2',
    version: '1.1-1',
    uploaded: [{ dist: 'bookworm', suite: 'bookworm-security-testing' }],
  });
  const withdrawal = job({
    job: 'withdrawal-hello-1',
    kind: 'withdrawal',
    change: { suite: null },
    dists: ['bookworm'],
    running: [],
    reasons: [],
    finished: [],
  });
  const done = job({
    ...withdrawal,
    finished: [{ stage: 'withdraw', dist: 'bookworm' }],
    logs: [log('withdraw', 'bookworm')],
    state: 'done',
    ended: '2026-11-22T06:00:00.000Z',
  });
  for (const moment of [withdrawal, done, done]) outbox().consider([built, promoted, other, moment]);
  const told = documents().filter((document) => document.job === withdrawal.job);
  t.strictSame(
    told.map(({ event, dist, repository, repositories }) => [event, dist, repository, repositories]),
    [['withdrawn', 'bookworm', null, ['current-testing', 'current']]],
  );
  t.end();
});

void t.test('where nothing was published a withdrawal takes nothing away, and says nothing', (t) => {
  const withdrawal = job({
    kind: 'withdrawal',
    change: { suite: null },
    dists: ['bookworm'],
    running: [],
    reasons: [],
    finished: [{ stage: 'withdraw', dist: 'bookworm' }],
    state: 'done',
  });
  t.strictSame(earnedBy(withdrawal, new Set(), [withdrawal]), []);
  t.end();
});

void t.test('a withdrawal that fails says so, and not that a build failed', (t) => {
  const reasons = [{ stage: 'withdraw', dist: 'bookworm', code: 'UPLOAD_FAILED', detail: 'x' }];
  t.match(
    earnedBy(
      job({
        kind: 'withdrawal',
        dists: ['bookworm'],
        running: [],
        reasons,
        logs: [log('withdraw', 'bookworm')],
      }),
      new Set(),
    ),
    [{ event: 'withdraw-failed', dist: 'bookworm', reason: { code: 'UPLOAD_FAILED' } }],
  );
  t.end();
});

void t.test('the key of a fact is the same after a kill, and another in another environment', (t) => {
  const [earned] = earnedBy(job({ running: [{ stage: 'build', dist: 'bookworm' }] }), new Set());
  if (earned === undefined) return t.end();
  const key = (change: object): string => notificationOf(job(change), earned, new Date()).key;
  t.equal(key({}), key({ logs: [log('build', 'bookworm')] }));
  t.not(key({}), key({ env: 'fedora' }));
  t.end();
});

void t.test('a farm that gets its first notifier does not announce its past', (t) => {
  const { folder, outbox, documents } = place(t);
  rmSync(join(folder, 'told'), { recursive: true });
  const past = job({
    job: 'hello-1.0-1-aaaaaaaaaaaa',
    state: 'failed',
    reasons: [{ stage: 'build', dist: 'bookworm', code: 'BUILD_FAILED', detail: 'x' }],
    ended: '2026-11-01T05:00:00.000Z',
  });
  outbox().consider([past, job({ running: [{ stage: 'build', dist: 'bookworm' }] })]);
  outbox().consider([past]);
  t.strictSame(events(documents()), ['building bookworm']);
  t.end();
});

void t.test('an outbox that cannot be written fails nothing, is said once, and is made good', (t) => {
  const { folder, outbox, lines, documents } = place(t);
  rmSync(join(folder, 'outbox'), { recursive: true });
  writeFileSync(join(folder, 'outbox'), 'in the way');
  const one = outbox();
  const moment = job({ running: [{ stage: 'build', dist: 'bookworm' }] });
  for (let times = 0; times < 5; times++) one.consider([moment]);
  t.equal(lines.length, 1);
  t.match(lines[0], /^outbox: /);
  rmSync(join(folder, 'outbox'));
  one.consider([moment]);
  t.strictSame(events(documents()), ['building bookworm']);
  t.end();
});

void t.test('old documents go after thirty days', (t) => {
  const { folder, outbox, documents } = place(t);
  const one = outbox();
  one.consider([
    job({
      finished: finished(),
      running: [
        { stage: 'build', dist: 'bookworm' },
        { stage: 'build', dist: 'trixie' },
      ],
      reasons: [],
    }),
  ]);
  const [first] = readdirSync(join(folder, 'outbox')).sort();
  const old = new Date(Date.now() - 31 * 24 * 3600_000);
  utimesSync(join(folder, 'outbox', first ?? ''), old, old);
  one.prune();
  t.strictSame(events(documents()), ['building trixie']);
  t.end();
});

void t.test('the last lines of a failed step go along', (t) => {
  const said: string[] = [];
  const sink: LineSink = {
    say: (text) => void said.push(text),
    tool: (line) => said.push(line.toString()) > 0,
    drained: async () => undefined,
    whenFailed: new Promise(() => undefined),
  };
  const tails = new LogTails();
  const remembered = tails.remember(sink, 'a', 'build', 'bookworm');
  for (let n = 0; n < 100; n++) remembered.tool(Buffer.from(`line ${n}`));
  remembered.say('the end');
  t.equal(said.length, 101);
  t.equal(tails.of('a', 'build', 'bookworm')?.split('\n').length, 30);
  t.match(tails.of('a', 'build', 'bookworm'), /^line 71\n[^]*line 99\nthe end$/);
  t.equal(tails.of('a', 'build', 'trixie'), null);
  t.end();
});
