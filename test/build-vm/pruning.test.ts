// SPDX-License-Identifier: GPL-2.0-or-later
// What piles up is bounded: files of old jobs, packages that nobody uses. What is needed again is made again.
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { refuseOtherBytes } from '../../agents/build-vm/repositories/apt/apt-publication.js';
import type { Config } from '../../agents/build-vm/configuration/config.js';
import { pruneDebs } from '../../agents/engines/debian/deb-cache.js';
import { newJob, nextStep, type Job, type JobState } from '../../agents/build-vm/jobs/job-document.js';
import { JobQueue } from '../../agents/build-vm/jobs/job-queue.js';
import { keptJobs, pruneOldJobs } from '../../agents/build-vm/jobs/old-jobs.js';
import { Worker } from '../../agents/build-vm/jobs/worker.js';

const component = {
  name: 'hello',
  url: 'git://forge.example/hello.git',
  tag: 'v{version}',
  maintainers: [{ name: 'alice', fingerprint: 'A'.repeat(40) }],
  requiredSignatures: 1,
};
const config = {
  vm: 'build-debian',
  env: 'debian',
  signingKey: 'F'.repeat(40),
  components: [component],
  distributions: [
    { name: 'bookworm', engine: 'debian', packages: 'deb' },
    { name: 'trixie', engine: 'debian', packages: 'deb' },
  ],
  apt: { upload: '', url: '', origin: '', label: '' },
  pollSeconds: 1,
  buildSeconds: 1,
} as Config;

function folderFor(test: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'bi-prune-'));
  test.teardown(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** A job with everything that a job leaves, ended in the minute `ended`. */
function add(queue: JobQueue, number: number, state: JobState, ended: number | null): Job {
  const job = newJob(
    config,
    component,
    { tag: `v${number}`, tagObject: number.toString(16).padStart(40, '0'), version: String(number) },
    number,
    new Date(0),
  );
  job.state = state;
  job.ended = ended === null ? null : new Date(ended * 60_000).toISOString();
  queue.add(job);
  for (const path of [
    'artifacts/bookworm/a.deb',
    'artifacts/trixie/a.deb',
    'signed/bookworm/a.dsc',
    'signed/trixie.part/a.dsc',
    'source/x',
    'gpg-job-bookworm.json',
  ]) {
    mkdirSync(join(queue.folderOf(job.job), path, '..'), { recursive: true });
    writeFileSync(join(queue.folderOf(job.job), path), 'x', { mode: 0o444 });
  }
  return job;
}

const names = (queue: JobQueue, job: Job): string[] => readdirSync(queue.folderOf(job.job)).sort();

void t.test(
  'the newest 50 jobs that are over keep their files, older ones their document, and one that is not over keeps everything',
  async (t) => {
    const folder = folderFor(t);
    const queue = new JobQueue(join(folder, 'jobs'), join(folder, 'highest'));
    const waiting = add(queue, 1, 'queued', null);
    // Queued first, ended last: a job that was retried is not old.
    const retried = add(queue, 2, 'done', 1000);
    const over = Array.from({ length: keptJobs + 1 }, (_, i) =>
      add(queue, i + 3, (['done', 'failed', 'refused'] as const)[i % 3] as JobState, i),
    );
    t.strictSame(
      pruneOldJobs(queue),
      [over[1], over[0]].map((job) => job?.job),
    );
    for (const job of over.slice(0, 2)) t.strictSame(names(queue, job), ['job.json']);
    for (const job of [waiting, retried, ...over.slice(2)]) t.equal(names(queue, job).length, 5, job.job);
    t.strictSame(pruneOldJobs(queue), [], 'and nothing more the next time');
    t.equal(
      new JobQueue(join(folder, 'jobs'), join(folder, 'highest')).all().length,
      keptJobs + 3,
      'every job is known after a restart',
    );
  },
);

void t.test('an old job that is tried again makes what went anew, but not what is published', async (t) => {
  const folder = folderFor(t);
  const queue = new JobQueue(join(folder, 'jobs'), join(folder, 'highest'));
  const step = (
    stage: 'fetch' | 'build' | 'sign' | 'publish',
    dist: string | null,
  ): Job['finished'][number] => ({ stage, dist, started: '', ended: '', commandSeconds: null });
  const worker = new Worker({
    queue,
    openLog: () => Promise.reject(new Error()),
    runStep: () => Promise.reject(new Error()),
    cleanUp: () => undefined,
    report: () => undefined,
  });
  const steps = [
    step('fetch', null),
    step('build', 'bookworm'),
    step('sign', 'bookworm'),
    step('publish', 'bookworm'),
    step('build', 'trixie'),
  ];
  const young = add(queue, 1, 'failed', 1);
  const old = add(queue, 2, 'failed', 0);
  for (const job of [young, old]) job.finished = [...steps];
  pruneOldJobs(queue, 1);
  worker.retry(young.job);
  worker.retry(old.job);
  t.strictSame(young.finished, steps.slice(1));
  t.strictSame(old.finished, steps.slice(1, 4));
  for (const job of [young, old]) t.match(nextStep(job, null), { stage: 'fetch' });
});

void t.test('a package that no build used for a month leaves the cache, half downloads too', async (t) => {
  const folder = folderFor(t);
  const debs = join(folder, 'debs');
  const chroot = join(folder, 'chroot');
  mkdirSync(join(debs, 'partial'), { recursive: true });
  mkdirSync(join(chroot, 'var/lib/dpkg'), { recursive: true });
  writeFileSync(
    join(chroot, 'var/lib/dpkg/status'),
    'Package: used\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2.0-1\n\nPackage: base\nArchitecture: all\nVersion: 1\n',
  );
  const now = Date.now();
  const put = (path: string, days: number): void => {
    writeFileSync(join(debs, path), 'x');
    utimesSync(join(debs, path), now / 1000 - days * 86_400, now / 1000 - days * 86_400);
  };
  // The mirror's time, as apt leaves it, is years ago.
  put('used_1%3a2.0-1_amd64.deb', 2000);
  put('used_1%3a1.0-1_amd64.deb', 31);
  put('young_1_all.deb', 29);
  put('old_1_all.deb', 31);
  put('lock', 2000);
  put('partial/half_1_all.deb', 31);
  put('partial/now_1_all.deb', 0);
  t.strictSame(pruneDebs(debs, chroot, now).sort(), [
    'half_1_all.deb',
    'old_1_all.deb',
    'used_1%3a1.0-1_amd64.deb',
  ]);
  t.strictSame(readdirSync(debs).sort(), ['lock', 'partial', 'used_1%3a2.0-1_amd64.deb', 'young_1_all.deb']);
  t.ok(
    Math.abs(statSync(join(debs, 'used_1%3a2.0-1_amd64.deb')).mtimeMs - now) < 1000,
    'its month begins anew',
  );
  t.ok(existsSync(join(debs, 'partial/now_1_all.deb')));
});

void t.test('a file name that is published with other bytes is refused', async (t) => {
  const folder = folderFor(t);
  mkdirSync(join(folder, 'pool/main/h/hello'), { recursive: true });
  writeFileSync(join(folder, 'pool/main/h/hello/hello_1_amd64.deb'), 'as published');
  const last = { release: '000001-aaaaaaaaaaaa', folder, publicKeyName: 'key.asc' };
  const same = {
    name: 'hello_1_amd64.deb',
    size: 12,
    sha256: createHash('sha256').update('as published').digest('hex'),
  };
  t.throws(() => refuseOtherBytes(last, [{ ...same, sha256: 'a'.repeat(64) }]), {
    code: 'ALREADY_PUBLISHED',
    detail: /a version is published once$/,
  });
  t.doesNotThrow(() => refuseOtherBytes(last, [same]));
  t.doesNotThrow(() => refuseOtherBytes(undefined, [same]));
});
