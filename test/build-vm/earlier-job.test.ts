// SPDX-License-Identifier: GPL-2.0-or-later
// Job documents that an earlier release left on the disk.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { nextStep, type Job } from '../../agents/build-vm/jobs/job-document.js';
import { schedule } from '../../agents/build-vm/jobs/schedule.js';
import { configFor, jobOf, queueFor } from './jobs.js';

const config = configFor(['bookworm', 'trixie']);
/** As the earlier release wrote it. */
function earlier(test: Test, number: number, change: Record<string, unknown>): { read: () => Job; path: string } {
  const { folder, again } = queueFor(test);
  const { priority: _p, configuration: _c, running: _r, reasons: _s, ...kept } = jobOf(config, 'one', String(number), number);
  const document = { ...kept, format: 'build-infra/job@1', current: null, waiting: null, ...change };
  const path = join(folder, 'jobs', document.job);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'job.json'), JSON.stringify(document));
  return { path, read: () => again().get(document.job) as Job };
}
const step = (stage: string, dist: string | null): object => ({ stage, dist, started: '2026-11-01T10:00:00.000Z', ended: '2026-11-01T10:00:01.000Z' });
const waiting = { code: 'UPLOAD_FAILED', detail: 'no route', since: '2026-11-01T10:00:00.000Z' };

void t.test('a job that ran when the earlier release was stopped goes on at its step', async (t) => {
  const { read, path } = earlier(t, 1, { state: 'running', current: { stage: 'sign', dist: 'bookworm', started: '2026-11-01T10:00:00.000Z' }, finished: [step('fetch', null), step('build', 'bookworm')], waiting });
  const job = read();
  t.match(job, { format: 'build-infra/job@2', state: 'queued', priority: 0, configuration: null, running: [], waiting: [{ dist: 'bookworm', code: 'UPLOAD_FAILED' }], reasons: [], reason: null });
  t.equal(job.finished[0]?.commandSeconds, null);
  t.notOk('current' in job);
  t.strictSame(schedule([job], new Map(), { builds: 2 }, 0).start.map(({ step: next }) => next), [{ stage: 'sign', dist: 'bookworm' }, { stage: 'build', dist: 'trixie' }]);
  t.match(readFileSync(join(path, 'job.json'), 'utf8'), /job@1/, 'and is written anew when it changes');
});

void t.test('a job that failed keeps its reason, and the step it is of', async (t) => {
  const { read } = earlier(t, 2, { state: 'failed', finished: [step('fetch', null)], reason: { code: 'BUILD_FAILED', detail: 'x' }, ended: '2026-11-01T10:00:01.000Z' });
  const job = read();
  t.match(job, { state: 'failed', reason: { code: 'BUILD_FAILED' }, reasons: [{ stage: 'build', dist: 'bookworm', code: 'BUILD_FAILED', detail: 'x' }] });
  t.equal(nextStep(job, 'bookworm'), undefined);
});

void t.test('a job that is done is done', async (t) => {
  const all = ['bookworm', 'trixie'].flatMap((dist) => ['build', 'sign', 'publish'].map((stage) => step(stage, dist)));
  t.match(earlier(t, 3, { state: 'done', finished: [step('fetch', null), ...all], ended: '2026-11-01T10:00:01.000Z' }).read(), { state: 'done', reasons: [], reason: null });
});

void t.test('a format that nobody knows stops the agent', async (t) => {
  t.throws(earlier(t, 4, { format: 'build-infra/job@9' }).read, /not a job of this version/);
});
