// SPDX-License-Identifier: GPL-2.0-or-later
// A farm in many states at once, for tests of what is shown of it; and one whose every text is an attack.
import type { Component, Config } from '../../agents/build-vm/configuration/config.js';
import {
  newJob,
  type Job,
  type JobState,
  type PromotionJob,
  type Stage,
  type WithdrawalJob,
} from '../../agents/build-vm/jobs/job-document.js';
import type { AnySuite } from '../../agents/shared/formats/suites.js';
import type { Listing, SeenTag } from '../../agents/build-vm/triggers/newest-tags.js';
import type { FarmState } from '../../agents/build-vm/status-page/farm-status.js';

export const now = new Date('2026-11-22T12:00:00.000Z');
/** ISO time so many hours before now. */
export const ago = (hours: number): string => new Date(now.getTime() - hours * 3600_000).toISOString();
const hex = (n: number, length: number): string => n.toString(16).padStart(length, '0');

export const component = (name: string): Component => ({
  name,
  url: `https://forge.example/example/${name}.git`,
  tag: 'v{version}',
  maintainers: [{ name: 'alice', fingerprint: 'A'.repeat(40) }],
  requiredSignatures: 1,
});
export const config: Config = {
  vm: 'build-debian',
  env: 'debian',
  signingKey: 'F'.repeat(40),
  publication: null,
  components: [],
  pollSeconds: 600,
  buildSeconds: 3600,
  distributions: [
    { name: 'bookworm', engine: 'debian', packages: 'deb' },
    { name: 'trixie', engine: 'debian', packages: 'deb' },
    { name: 'fc41', engine: 'rpm', packages: 'rpm' },
  ],
  apt: {
    upload: 'ssh://forge.example/srv/apt',
    url: 'https://packages.example/apt/debian',
    origin: 'x',
    label: 'x',
  },
  dnf: { upload: 'ssh://forge.example/srv/dnf', url: 'https://packages.example/dnf/' },
  logsUrl: 'https://forge.example/example/build-logs/blob/main/{path}',
};

let number = 0;
export interface Made {
  version: string;
  hours: number;
  done?: readonly string[];
  suite?: Record<string, string>;
  change?: Partial<Job>;
}

/**
 * A job with its steps (`fetch`, `build trixie`, …) done so many hours ago, each with a log; a publish step
 * has its upload.
 */
export function job(
  name: string,
  { version, hours, done = [], suite = {}, change = {} }: Made,
  configuration = config,
): Job {
  const made = newJob(
    configuration,
    component(name),
    { tag: `v${version}`, tagObject: hex(++number, 40), version },
    number,
    new Date(ago(hours)),
  );
  const files = [
    { name: `${name}_${version}_all.deb`, size: 12_345, sha256: hex(number, 64) },
    { name: `${name}_${version}.dsc`, size: 901, sha256: hex(number + 1000, 64) },
  ];
  for (const step of done) {
    const [stage, dist = null] = step.split(' ') as [Stage, string?];
    const log = `build-debian/2026-11-21/log_2026-11-21_10-00-0${number % 10}.${made.logs.length + 1}`;
    made.logs.push({ stage, dist, path: log, commit: hex(number, 40) });
    made.finished.push({ stage, dist, started: ago(hours), ended: ago(hours - 0.01), commandSeconds: 33 });
    if (stage === 'fetch') {
      made.evidence = {
        url: made.url,
        tag: made.tag,
        tagObject: made.tagObject,
        commit: hex(number, 40),
        tree: hex(number, 40),
        tagger: 'Alice <alice@example.org>',
        signers: [{ name: 'alice', fingerprint: 'A'.repeat(40), signed: ago(hours) }],
        manifest: { files: 12, bytes: 34_567, sha256: hex(number, 64) },
      };
    }
    if (stage === 'build' && dist !== null) made.artifacts.push({ dist, files });
    if (stage === 'publish' && dist !== null) {
      made.uploaded.push({
        dist,
        url: `https://packages.example/apt/debian/${dist}`,
        suite: suite[dist] ?? `${dist}-current-testing`,
        release: `000001-${hex(number, 12)}`,
        files,
      });
    }
  }
  return Object.assign(made, change);
}

/** What a signed command of bob's makes of a job. */
export const promotes = (suite: AnySuite, of = ''): object =>
  ({
    kind: 'promotion',
    configuration: null,
    change: {
      of,
      suite,
      command: {
        sha256: 'b'.repeat(64),
        line: `Upload-component r4.3 one ${'c'.repeat(40)} ${suite} all`,
        signer: { name: 'bob', fingerprint: 'B'.repeat(40) },
        signed: ago(1),
      },
    },
  }) satisfies Partial<PromotionJob>;
export const takesBack: object = {
  kind: 'withdrawal',
  configuration: null,
  change: { of: 'one-2-1-000000000000', suite: null, command: null },
} satisfies Partial<WithdrawalJob>;

export const steps = (...dists: string[]): string[] => [
  'fetch',
  ...dists.flatMap((dist) => [`build ${dist}`, `sign ${dist}`, `publish ${dist}`]),
];
const all = steps('bookworm', 'trixie', 'fc41');
export const over = (state: JobState, hours: number, change: Partial<Job> = {}): Partial<Job> => ({
  state,
  ended: ago(hours),
  ...change,
});

export function seen(tag: string, object: string, hours: number, annotated = true): SeenTag {
  return { tag, tagObject: object, version: tag.slice(1), annotated, firstSeen: ago(hours) };
}

export function farm(
  jobs: Job[],
  listings: Record<string, Partial<Listing>> = {},
  change: Partial<Config> = {},
): FarmState {
  const names = [...new Set([...jobs.map((one) => one.component), ...Object.keys(listings)])];
  const listing = (name: string): Listing | undefined =>
    listings[name] === undefined
      ? undefined
      : {
          format: 'build-infra/newest-tag@1',
          component: name,
          newest: null,
          failed: null,
          ...listings[name],
        };
  return {
    config: { ...config, components: names.map(component), ...change },
    keys: [],
    jobs,
    renewals: [],
    listing,
    highest: () => undefined,
    made: now,
  };
}

/** Every state that there is, one component each. */
export function manyStates(): FarmState {
  const inTesting = job('in-testing', {
    version: '2.10-3',
    hours: 130,
    done: all,
    suite: { fc41: 'fc41' },
    change: over('done', 129.9),
  });
  const promoted = job('promoted', { version: '1.4-1', hours: 400, done: all, change: over('done', 399) });
  const promotion = job('promoted', {
    version: '1.4-1',
    hours: 200,
    done: ['publish bookworm', 'publish trixie'],
    suite: { bookworm: 'bookworm-current', trixie: 'trixie-current' },
    change: over('done', 200),
  });
  const later = job('promoted', { version: '1.5-1', hours: 30, done: all, change: over('done', 29) });
  const security = job('security', {
    version: '3:1.0~rc1-1',
    hours: 20,
    done: steps('trixie'),
    suite: { trixie: 'trixie-security-testing' },
    change: { ...over('done', 19), dists: ['trixie'] },
  });
  const building = job('building', {
    version: '0.9-1',
    hours: 0.5,
    done: ['fetch', 'build bookworm'],
    change: {
      state: 'running',
      running: [
        { stage: 'build', dist: 'trixie', started: ago(0.2) },
        { stage: 'sign', dist: 'bookworm', started: ago(0.1) },
      ],
    },
  });
  const waiting = job('waiting', {
    version: '7-1',
    hours: 3,
    done: ['fetch'],
    change: {
      waiting: [
        {
          dist: 'bookworm',
          code: 'NO_CHROOT',
          detail: 'the mirror does not answer: http://deb.example/debian',
          since: ago(2.5),
        },
      ],
    },
  });
  const queued = job('queued', { version: '1-1', hours: 0.1, change: { priority: 10 } });
  const refused = job('refused', {
    version: '6.6.6-1',
    hours: 5,
    change: over('refused', 5, {
      reasons: [
        { stage: 'fetch', dist: null, code: 'BAD_SIGNATURE', detail: 'a signature of v6.6.6-1 is not valid' },
      ],
      reason: { code: 'BAD_SIGNATURE', detail: 'a signature of v6.6.6-1 is not valid' },
    }),
  });
  refused.logs.push({
    stage: 'fetch',
    dist: null,
    path: 'build-debian/2026-11-22/log_2026-11-22_07-00-00',
    commit: hex(5, 40),
  });
  const partly = job('failed-in-one', {
    version: '2-1',
    hours: 50,
    done: [...steps('bookworm', 'fc41')],
    change: over('failed', 49, {
      reasons: [
        { stage: 'build', dist: 'trixie', code: 'BUILD_FAILED', detail: 'dpkg-buildpackage ended with 2' },
      ],
      reason: { code: 'BUILD_FAILED', detail: 'dpkg-buildpackage ended with 2' },
    }),
  });
  partly.logs.push({
    stage: 'build',
    dist: 'trixie',
    path: 'build-debian/2026-11-20/log_2026-11-20_10-00-00',
    commit: hex(6, 40),
  });
  const old = { ...config, distributions: [{ name: 'buster', engine: 'debian', packages: 'deb' as const }] };
  const retired = job(
    'retired',
    { version: '0.1-1', hours: 9000, done: steps('buster'), change: over('done', 8999) },
    old,
  );
  const gone = job('not-configured', { version: '0.2-1', hours: 800, done: all, change: over('done', 799) });
  const asked = job('asked-for', { version: '4-1', hours: 80, done: all, change: over('done', 79) });
  const tooEarly = job('asked-for', {
    version: '4-1',
    hours: 60,
    change: {
      ...promotes('current', asked.job),
      ...over('refused', 60, {
        dists: ['trixie'],
        reasons: [
          {
            stage: 'promote',
            dist: 'trixie',
            code: 'TOO_YOUNG',
            detail: 'in current-testing for 0.80 days; 5 are needed, which is from 2026-11-24T04:36Z on',
          },
        ],
        reason: {
          code: 'TOO_YOUNG',
          detail: 'in current-testing for 0.80 days; 5 are needed, which is from 2026-11-24T04:36Z on',
        },
      }),
    },
  });
  const bad = job('still-public', { version: '5-1', hours: 70, done: all, change: over('done', 69) });
  const notGone = job('still-public', {
    version: '5-1',
    hours: 8,
    done: ['withdraw bookworm', 'withdraw fc41'],
    change: {
      ...takesBack,
      ...over('failed', 7, {
        reasons: [
          {
            stage: 'withdraw',
            dist: 'trixie',
            code: 'READ_BACK_FAILED',
            detail: 'the server shows it still',
          },
        ],
        reason: { code: 'READ_BACK_FAILED', detail: 'the server shows it still' },
      }),
    },
  });
  const state = farm(
    [
      asked,
      tooEarly,
      bad,
      notGone,
      inTesting,
      promoted,
      promotion,
      later,
      security,
      building,
      waiting,
      queued,
      refused,
      partly,
      retired,
      gone,
    ],
    {
      'in-testing': { newest: seen('v2.10-3', inTesting.tagObject, 131) },
      refused: { newest: seen('v6.6.6-1', refused.tagObject, 5) },
      'never-built': { newest: seen('v1.0', hex(77, 40), 240, false) },
      'nothing-yet': {},
      unreachable: {
        newest: null,
        failed: {
          code: 'FORGE_UNREACHABLE',
          detail: "fatal: unable to access 'https://forge.example/': Could not resolve host",
          since: ago(14),
        },
      },
      promoted: { newest: seen('v1.6-1', hex(78, 40), 26) },
    },
  );
  state.config.components = state.config.components.filter(({ name }) => name !== 'not-configured');
  return state;
}

const attack =
  '"><script>alert(1)</script><img src=x onerror=alert(1)>\'`${7*7}</style></title>&lt;\u202egnp.exe\u0000\u001b[31m javascript:alert(1)';
/** Every text that comes from outside, and then some, is this. */
export const attackText = attack;

export function hostile(): FarmState {
  const bad = job('victim', { version: '1.0-1', hours: 3, done: ['fetch', 'build bookworm'] });
  const reason = { code: attack, detail: attack };
  Object.assign(bad, {
    state: 'failed',
    version: attack,
    tag: attack,
    tagObject: attack,
    url: `javascript:alert(1)${attack}`,
    ended: attack,
    created: attack,
    dists: ['bookworm', attack],
    reason,
    reasons: [
      { stage: 'build', dist: 'bookworm', ...reason },
      { stage: attack, dist: attack, ...reason },
    ],
    waiting: [{ dist: attack, ...reason, since: attack }],
    running: [{ stage: attack, dist: attack, started: attack }],
    logs: [
      { stage: 'build', dist: 'bookworm', path: attack, commit: attack },
      { stage: attack, dist: null, path: '../../../etc/passwd', commit: null },
      {
        stage: 'sign',
        dist: 'bookworm',
        path: 'build-debian/2026-11-20/log_2026-11-20_10-00-00)](x',
        commit: null,
      },
    ],
    finished: [{ stage: attack, dist: attack, started: attack, ended: attack, commandSeconds: 1 }],
    artifacts: [{ dist: attack, files: [{ name: attack, size: 1, sha256: attack }] }],
    uploaded: [
      {
        dist: 'bookworm',
        url: 'javascript:alert(1)',
        suite: attack,
        release: attack,
        files: [{ name: attack, size: 1, sha256: attack }],
      },
      { dist: 'bookworm', url: 'data:text/html,x', suite: '../../../../x', release: '', files: [] },
    ],
    evidence: {
      url: attack,
      tag: attack,
      tagObject: attack,
      commit: attack,
      tree: attack,
      tagger: attack,
      signers: [{ name: attack, fingerprint: attack, signed: attack }],
      manifest: { files: 1, bytes: 1, sha256: attack },
    },
  });
  const open = {
    ...job('victim', { version: '2.0-1', hours: 2 }),
    job: attack,
    waiting: [{ dist: attack, ...reason, since: attack }],
    state: 'queued' as const,
  };
  const state = farm([bad, open], {
    victim: {
      newest: { tag: attack, tagObject: attack, version: attack, annotated: true, firstSeen: attack },
      failed: { code: attack, detail: attack, since: attack },
    },
  });
  state.config.components[0] = { ...component('victim'), url: 'javascript:alert(1)' };
  return state;
}

export function many(components: number): FarmState {
  const names = Array.from({ length: components }, (_, i) => `component-${i}`);
  return farm(
    names.flatMap((name) => [
      job(name, { version: '1.0-1', hours: 300, done: all, change: over('done', 299) }),
      job(name, { version: '1.1-1', hours: 40, done: all, change: over('done', 39) }),
    ]),
  );
}
