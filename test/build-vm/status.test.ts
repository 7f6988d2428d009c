// SPDX-License-Identifier: GPL-2.0-or-later
// What `build-infra status` shows of a build VM in which several things go on.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Job } from '../../agents/build-vm/jobs/job-document.js';
import { statusOf, writeStatus } from '../../agents/build-vm/jobs/status-file.js';
import { readStatus } from '../../agents/vm-commands/build-commands.js';
import { configFor, jobOf } from './jobs.js';

const config = configFor(['bookworm', 'trixie']);

function rootFor(test: Test): string {
  const root = mkdtempSync(join(tmpdir(), 'bi-status-'));
  test.teardown(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'var/lib/build-infra'), { recursive: true });
  return root;
}

function shown(test: Test, jobs: Job[]): string[] {
  const root = rootFor(test);
  writeStatus(join(root, 'var/lib/build-infra/status.json'), statusOf(jobs, new Date(0), new Date(0)));
  return readStatus(root).lines;
}

void t.test('every step that runs has a line, and every chain that waits its reason', async (t) => {
  const running = jobOf(config, 'one', '1', 1, ['fetch'], {
    state: 'running',
    running: [{ stage: 'build', dist: 'bookworm', started: '' }],
    waiting: [{ dist: 'trixie', code: 'UPLOAD_FAILED', detail: 'no route', since: '' }],
    logs: [
      { stage: 'build', dist: 'trixie', path: 'other', commit: null },
      { stage: 'build', dist: 'bookworm', path: 'mine', commit: null },
    ],
  });
  const queued = jobOf(config, 'two', '1', 2);
  t.strictSame(shown(t, [running, queued]), [
    `running  ${running.job}  build bookworm`,
    `queued   ${running.job}  trixie:  UPLOAD_FAILED no route`,
    `queued   ${queued.job}`,
  ]);
  t.equal(statusOf([running], new Date(0), new Date(0)).running[0]?.log, 'mine');
});

void t.test('of a job that is over it says how each chain ended, and where the time went', async (t) => {
  const at = (seconds: number): string => new Date(seconds * 1000).toISOString();
  const over = jobOf(config, 'one', '1', 1, [], {
    state: 'failed',
    ended: at(60),
    reason: { code: 'BUILD_FAILED', detail: 'no' },
    reasons: [
      { stage: 'publish', dist: 'trixie', code: 'ALREADY_PUBLISHED', detail: 'yes' },
      { stage: 'build', dist: 'bookworm', code: 'BUILD_FAILED', detail: 'no' },
    ],
    finished: [
      { stage: 'fetch', dist: null, started: at(0), ended: at(2), commandSeconds: 0.5 },
      { stage: 'build', dist: 'trixie', started: at(2), ended: at(12), commandSeconds: null },
    ],
  });
  t.strictSame(shown(t, [over]), [
    `failed   ${over.job}  1970-01-01T00:01:00.000Z  BUILD_FAILED no`,
    '         publish trixie:  ALREADY_PUBLISHED yes',
    '         build bookworm:  BUILD_FAILED no',
    '         fetch 2.0 s (overhead 1.5 s), build trixie 10.0 s',
  ]);
});

void t.test('a status of another release is not read', async (t) => {
  const root = rootFor(t);
  writeFileSync(
    join(root, 'var/lib/build-infra/status.json'),
    '{"format":"build-infra/build-status@1","queue":[],"running":null,"recent":[]}',
  );
  t.throws(() => readStatus(root), { code: 'NO_STATUS' });
});
