// SPDX-License-Identifier: GPL-2.0-or-later
// What wants a person stands first on the front page, in status.json and on the badge, whatever kind of job
// it is of, until it is settled.
import t from 'tap';
import type { Job, Stage } from '../../agents/build-vm/jobs/job-document.js';
import { farmStatus, type FarmState } from '../../agents/build-vm/status-page/farm-status.js';
import { PageFiles } from '../../agents/build-vm/status-page/page-files.js';
import { ago, config, farm, job, over, promotes, steps, takesBack } from './farm-states.js';

const lookAt = (page: string): string =>
  (/<section id="look">(.*?)<\/section>/s.exec(page)?.[1] ?? '')
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ');
interface Shown {
  /** kind, state and distributions of each */
  told: string[];
  look: string;
  badge: string;
}
function shown(state: FarmState): Shown {
  const status = farmStatus(state);
  const files = new Map(
    [...new PageFiles().of(status, state.jobs)].map(({ path, content }) => [path, content]),
  );
  return {
    told: [...status.components.flatMap(({ attention }) => attention), ...status.renewals].map(
      ({ kind, state: is, dists }) => `${kind} ${is} ${dists.join(' ')}`,
    ),
    look: lookAt(files.get('index.html') ?? ''),
    badge: /<title>one: (.*)<\/title>/.exec(files.get('components/one/badge.svg') ?? '')?.[1] ?? '',
  };
}

const made: Record<string, [stage: Stage, change: object]> = {
  build: ['build', {}],
  promotion: ['promote', promotes('current')],
  withdrawal: ['withdraw', takesBack],
};
const failed = (stage: Stage, code: string, state: 'failed' | 'refused', dist = 'trixie'): Partial<Job> =>
  over(state, 5, { reasons: [{ stage, dist, code, detail: 'why' }], reason: { code, detail: 'why' } });
const waits = (hours: number): Partial<Job> => ({
  waiting: [{ dist: 'trixie', code: 'NO_LOG_SINK', detail: 'why', since: ago(hours) }],
});
const base = (): Job =>
  job('one', {
    version: '2-1',
    hours: 90,
    done: steps('trixie'),
    change: { ...over('done', 89), dists: ['trixie'] },
  });
const another = (kind: string, change: object, version = '2-1', done: string[] = []): Job =>
  job('one', { version, hours: 9, done, change: { dists: ['trixie'], ...made[kind]?.[1], ...change } });

for (const kind of Object.keys(made)) {
  const [stage] = made[kind] as [Stage, object];
  const version = kind === 'build' ? '3-1' : '2-1';
  const words = { build: '3-1', promotion: 'promotion of 2-1 to current', withdrawal: 'withdrawal of 2-1' }[
    kind
  ];
  const badge = kind === 'build' ? version : `${version} ${kind}`;
  for (const state of ['failed', 'refused'] as const)
    void t.test(`a ${state} ${kind} is told first, and the badge says it`, async (t) => {
      const now = shown(farm([base(), another(kind, failed(stage, 'X_CODE', state), version)]));
      t.strictSame(now.told, [`${kind} ${state} trixie`]);
      t.match(now.look, `one ${words} for trixie ${state}: ${stage} X_CODE why`);
      t.equal(now.badge, `${badge} ${state}`);
    });
  void t.test(
    `a ${kind} that waits for very long is told first, and one that waits for an hour is not`,
    async (t) => {
      const long = shown(farm([base(), another(kind, waits(99), version)]));
      t.strictSame(long.told, [`${kind} waiting trixie`]);
      t.match(
        long.look,
        `one ${words} for trixie waiting: ${stage === 'build' ? 'fetch' : stage} NO_LOG_SINK why`,
      );
      t.equal(long.badge, `${badge} waiting`);
      t.strictSame(shown(farm([base(), another(kind, waits(1), version)])).told, []);
    },
  );
}

const no = (kind: string, version = '2-1', code = 'X_CODE'): Job =>
  another(kind, failed((made[kind] as [Stage, object])[0], code, 'failed'), version);
const yes = (kind: string, version = '2-1', done = [`${made[kind]?.[0]} trixie`]): Job =>
  another(kind, over('done', 4), version, done);
for (const [what, jobs, told] of [
  ['a withdrawal', () => [no('withdrawal'), yes('withdrawal')], []],
  [
    'a withdrawal by one that failed too',
    () => [no('withdrawal'), no('withdrawal')],
    ['withdrawal failed trixie'],
  ],
  [
    'no withdrawal by that of another version',
    () => [no('withdrawal'), yes('withdrawal', '1-1')],
    ['withdrawal failed trixie'],
  ],
  [
    'no withdrawal by a newer version',
    () => [no('withdrawal'), yes('build', '3-1', steps('trixie'))],
    ['withdrawal failed trixie'],
  ],
  [
    'no withdrawal by its promotion',
    () => [no('withdrawal'), yes('promotion')],
    ['withdrawal failed trixie'],
  ],
  ['a promotion', () => [no('promotion'), yes('promotion')], []],
  ['a promotion by that of a newer version', () => [no('promotion'), yes('promotion', '3-1')], []],
  [
    'a promotion that came when a newer version was there',
    () => [yes('promotion', '3-1'), no('promotion')],
    [],
  ],
  [
    'no promotion by that of an older version',
    () => [no('promotion'), yes('promotion', '1-1')],
    ['promotion failed trixie'],
  ],
  ['a promotion by its withdrawal', () => [no('promotion'), yes('withdrawal')], []],
  [
    'no promotion by a withdrawal that failed',
    () => [no('promotion'), no('withdrawal')],
    ['withdrawal failed trixie', 'promotion failed trixie'],
  ],
  ['a promotion that a person ended', () => [no('promotion', '2-1', 'CANCELLED')], []],
  ['a build by a newer version', () => [no('build', '3-1'), yes('build', '4-1', steps('trixie'))], []],
  [
    'no build by an older version',
    () => [no('build', '3-1'), yes('build', '1-1', steps('trixie'))],
    ['build failed trixie'],
  ],
  ['a build by its withdrawal', () => [no('build', '3-1'), yes('withdrawal', '3-1')], []],
] as const satisfies readonly [string, () => Job[], readonly string[]][])
  void t.test(`what settles ${what}`, async (t) => t.strictSame(shown(farm([base(), ...jobs()])).told, told));

void t.test('a promotion to another suite or of another distribution settles nothing', async (t) => {
  const other = { ...yes('promotion'), ...promotes('security-testing') } as Job;
  t.strictSame(shown(farm([base(), no('promotion'), other])).told, ['promotion failed trixie']);
  const elsewhere = { ...yes('promotion', '2-1', ['promote bookworm']), dists: ['bookworm'] };
  t.strictSame(shown(farm([base(), no('promotion'), elsewhere])).told, ['promotion failed trixie']);
});

void t.test(
  'what could not be taken back comes before what could not be built, and before what waits',
  async (t) => {
    const state = farm([
      job('aaa', { version: '1-1', hours: 9, change: waits(50) }),
      job('bbb', { version: '1-1', hours: 9, change: failed('build', 'BUILD_FAILED', 'failed') }),
      job('zzz', {
        version: '1-1',
        hours: 9,
        change: { ...takesBack, dists: ['trixie'], ...failed('withdraw', 'UPLOAD_FAILED', 'failed') },
      }),
    ]);
    t.match(shown(state).look, /zzz withdrawal of .* aaa .* bbb /);
  },
);

void t.test('what cannot be taken back from a retired distribution is told', async (t) => {
  const gone = another('withdrawal', {
    dists: ['buster'],
    ...failed('withdraw', 'UPLOAD_FAILED', 'failed', 'buster'),
  });
  t.strictSame(shown(farm([base(), gone])).told, ['withdrawal failed buster']);
});

void t.test('a repository whose Release could not be signed anew is told until one was', async (t) => {
  const renewal = (change: object): Job =>
    job('apt-repository', {
      version: '1',
      hours: 3,
      change: { kind: 'renewal', dists: ['trixie'], ...change } as object,
    });
  const bad = renewal(failed('renew', 'GATE_UNREACHABLE', 'failed'));
  const state = { ...farm([base()]), renewals: [bad] };
  t.match(
    shown(state).look,
    'APT repository renewal of what is signed for trixie failed: renew GATE_UNREACHABLE',
  );
  t.strictSame(shown(state).told, ['renewal failed trixie']);
  t.strictSame(shown({ ...state, renewals: [bad, renewal(over('done', 1))] }).told, []);
});

void t.test('where nothing wants a person the page says so, and the badge is of the version', async (t) => {
  const distributions = config.distributions.filter(({ name }) => name === 'trixie');
  const now = shown(farm([base(), yes('promotion')], {}, { distributions }));
  t.match(now.look, 'Nothing failed');
  t.equal(now.badge, '2-1 current-testing');
});
