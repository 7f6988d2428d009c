// SPDX-License-Identifier: GPL-2.0-or-later
// Two signing domains side by side, as `npm run local -- demo-rpm` raises them: what it does, and that neither can use the other's key.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { raiseFarm } from '../../agents/local/farm/farm.js';
import { LocalState } from '../../agents/local/farm/local-state.js';
import { publishIntent } from '../../agents/local/job/gate.js';
import { localCommand } from '../support/local-command.js';
import { dist } from './standing-farm.js';

const { folder, local } = localCommand(t, 'two-');
const state = new LocalState(folder);

interface KeysFile { signing: Record<string, { fingerprint: string }>; uploads?: unknown }

await t.test('a state folder of an earlier version, with one environment and its key alone, comes up as it was', async (t) => {
  t.equal((await local('up')).status, 0);
  const path = join(folder, 'keys.json');
  const keys = JSON.parse(readFileSync(path, 'utf8')) as KeysFile;
  const made = keys.signing['debian'];
  delete keys.uploads;
  writeFileSync(path, JSON.stringify({ ...keys, signing: made }));
  const { status, out } = await local('up');
  t.equal(status, 0, out);
  t.notMatch(out, /build-rpm/, 'and the second pair is not there before it is needed');
  const now = JSON.parse(readFileSync(path, 'utf8')) as KeysFile;
  t.equal(now.signing['debian']?.fingerprint, made?.fingerprint);
});

await t.test('demo-rpm ends with a program that real dnf installed, a rebuild with the same bytes, and a good audit', async (t) => {
  const { status, out } = await local('demo-rpm');
  if (status !== 0) t.comment(out.slice(-5000));
  t.equal(status, 0);
  t.match(out, /installed .*moonphase-1\.0-1\.\S+\.(?:x86_64|aarch64)/);
  t.match(out, /it says: 2026-08-12 .* new moon/);
  t.match(out, /one byte of repomd\.xml: .*signature/i);
  t.match(out, /one byte of a package: .*checksum/i);
  t.match(out, /one byte changed: +build-infra: refused NO_GRANT/);
  t.match(out, /the same bytes: moonphase-1\.0-1\.\S+\.src\.rpm moonphase-1\.0-1\.\S+ moonphase-names-1\.0-1\.\S+\.noarch\.rpm/);
  t.match(out, /ok +every signature in the DNF repository is in a journal +6 signatures/);
  t.match(out, /was built, signed, published, installed with dnf, rebuilt and audited/);
});

await t.test('the audit fails when a package is changed where it is published', async (t) => {
  const published = execFileSync('sh', ['-c', `find ${folder}/vms/forge/home/user/www/rpm/ -path '*current-testing*' -name 'moonphase-1*.rpm' | head -n 1`]).toString().trim();
  const before = readFileSync(published);
  const changed = Buffer.from(before);
  changed[changed.length - 20] = (changed[changed.length - 20] as number) ^ 1;
  writeFileSync(published, changed);
  const bad = await local('audit');
  t.equal(bad.status, 1);
  t.match(bad.out, /WRONG_PAYLOAD|WRONG_SHA256/);
  writeFileSync(published, before);
  t.equal((await local('audit')).status, 0);
});

await t.test('neither environment can use the key of the other', async (t) => {
  const farm = await raiseFarm(state, join(dist, 'local.mjs'), () => undefined, {}, undefined, ['debian', 'rpm']);
  t.teardown(() => farm.dom0.close());
  const keyOf = (env: string): string => farm.pillar['build-envs'][env]?.key as string;
  for (const [mine, other] of [['debian', 'rpm'], ['rpm', 'debian']] as const) {
    const build = farm.machine(`build-${mine}`);
    const reply = await publishIntent(build, keyOf(other), Buffer.from(`${mine} ${new Date().toISOString()}`), 'x');
    t.match(reply, { result: 'refused' }, `${build.name} cannot announce what keys-${other} is to sign`);
    const direct = await build.run(['/usr/bin/qrexec-client-vm', `keys-${other}`, 'qubes.Gpg'], { input: '' });
    t.not(direct.status, 0, `${build.name} cannot call keys-${other}`);
    t.equal(direct.stdout, '');
  }
});

await t.test('status and rebuild find the job in the VM that built it', async (t) => {
  const { out } = await local('status');
  const job = /done +(moonphase-1\.0-1-[0-9a-f]{12})/.exec(out)?.[1];
  t.ok(job, out);
  t.match(await local('trigger', 'moonphase'), { status: 0, out: /^known moonphase-/ });
  t.match(await local('rebuild', 'moonphase-9-1-aaaaaaaaaaaa'), { status: 1, out: /NO_SUCH_JOB/ });
});
