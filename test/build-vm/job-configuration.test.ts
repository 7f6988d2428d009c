// SPDX-License-Identifier: GPL-2.0-or-later
// What of a changed configuration stops a job, a chain, or nothing.
import t from 'tap';
import type { Component, Config } from '../../agents/build-vm/configuration/config.js';
import {
  configurationDigests,
  refuseOtherConfiguration,
} from '../../agents/build-vm/jobs/job-configuration.js';
import { AnyRefusal } from '../../agents/shared/refusal.js';
import { configFor } from './jobs.js';

const config = configFor(['bookworm', 'trixie']);
const component = config.components[0] as Component;
const made = configurationDigests(config, component);
const answers = (now: Config, of: Component | undefined = component): Record<string, string> =>
  Object.fromEntries(
    [null, 'bookworm', 'trixie'].map((dist) => {
      try {
        refuseOtherConfiguration(made, now, of, ['bookworm', 'trixie'], dist);
        return [dist ?? 'fetch', 'goes on'];
      } catch (error) {
        return [dist ?? 'fetch', error instanceof AnyRefusal ? error.code : String(error)];
      }
    }),
  );
const all = (word: string): Record<string, string> => ({ fetch: word, bookworm: word, trixie: word });
const [bookworm, trixie] = config.distributions as [
  Config['distributions'][number],
  Config['distributions'][number],
];

const cases: [what: string, now: Config, expected: Record<string, string>][] = [
  ['the same configuration', { ...config }, all('goes on')],
  ['another poll interval or build time', { ...config, pollSeconds: 7, buildSeconds: 8 }, all('goes on')],
  [
    'another time for which a Release is valid',
    { ...config, apt: { upload: '', url: '', origin: '', label: '', validDays: 9 } },
    all('goes on'),
  ],
  ['a distribution more', configFor(['bookworm', 'trixie', 'sid']), all('goes on')],
  [
    'a distribution less',
    configFor(['bookworm']),
    { fetch: 'goes on', bookworm: 'goes on', trixie: 'DIST_RETIRED' },
  ],
  ['all distributions gone', configFor(['sid']), all('DIST_RETIRED')],
  [
    'another engine for one',
    { ...config, distributions: [bookworm, { ...trixie, engine: 'other' }] },
    { fetch: 'goes on', bookworm: 'goes on', trixie: 'CONFIG_CHANGED' },
  ],
  ['another signing key', { ...config, signingKey: 'E'.repeat(40) }, all('CONFIG_CHANGED')],
  [
    'another repository',
    { ...config, apt: { upload: 'x', url: '', origin: '', label: '' } },
    all('CONFIG_CHANGED'),
  ],
];
for (const [what, now, expected] of cases)
  void t.test(what, async (t) => t.strictSame(answers(now), expected));

void t.test('a fetch that is done once more after it found nothing to build goes on', async (t) => {
  t.doesNotThrow(() => refuseOtherConfiguration(made, config, component, [], null));
});

void t.test('other maintainers, or no such component', async (t) => {
  t.strictSame(answers(config, { ...component, requiredSignatures: 2 }), all('CONFIG_CHANGED'));
  t.throws(() => refuseOtherConfiguration(made, config, undefined, ['bookworm'], null), {
    code: 'CONFIG_CHANGED',
  });
});
