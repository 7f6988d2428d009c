// SPDX-License-Identifier: GPL-2.0-or-later
import t from 'tap';
import { checkConfig } from '../../agents/build-logs/config.js';

const fingerprint = 'A'.repeat(40);
const good = {
  format: 'build-infra/build-logs-config@1',
  vm: 'build-logs',
  logsKey: fingerprint,
  remotes: [{ name: 'origin', url: 'ssh://git@forge.example/build-logs.git', required: true }],
  sources: [
    {
      vm: 'build-debian',
      keysVm: 'keys-debian',
      keys: [fingerprint],
      journalKey: null,
      payloadBytes: 268435456,
    },
  ],
  publishSeconds: 60,
  intentSeconds: 120,
  reopenSeconds: 60,
  logBytes: 268435456,
  openLogs: 64,
  intentsPerDay: 20_000,
  intentBytesPerDay: 536870912,
};

void t.test('the configuration of docs/formats.md is taken', async (t) =>
  t.same(checkConfig(structuredClone(good)), good),
);

const source = good.sources[0] as (typeof good.sources)[0];
const remote = good.remotes[0] as (typeof good.remotes)[0];
for (const [what, change] of Object.entries({
  'an unknown field': { more: 1 },
  'another format': { format: 'build-infra/build-logs-config@2' },
  'a short fingerprint': { logsKey: 'ABCD' },
  'no required remote': { remotes: [{ ...remote, required: false }] },
  'a remote that runs a program': { remotes: [{ ...remote, url: 'ext::sh -c id' }] },
  'a remote that looks like an option': { remotes: [{ ...remote, url: '--upload-pack=x' }] },
  'a remote that stands twice': { remotes: [remote, { ...remote, url: '/other' }] },
  'a build VM that stands twice': { sources: [source, { ...source, keysVm: 'keys-other' }] },
  'a keys VM of two build VMs': { sources: [source, { ...source, vm: 'build-other' }] },
  'a build VM with the name of a top folder': { sources: [{ ...source, vm: 'journal' }] },
  'no limit': { logBytes: undefined },
})) {
  void t.test(`refused: ${what}`, async (t) => {
    t.throws(() => checkConfig({ ...structuredClone(good), ...change }), { code: 'BAD_DOCUMENT' });
  });
}
