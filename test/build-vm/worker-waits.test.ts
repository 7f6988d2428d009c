// SPDX-License-Identifier: GPL-2.0-or-later
// What the worker waits for, and for how long: the world to be well again, and other components' packages.
import t from 'tap';
import { isOver, type Job } from '../../agents/build-vm/jobs/job-document.js';
import { RelayedRefusal } from '../../agents/shared/refusal.js';
import { until } from '../support/until.js';
import { configFor, jobOf } from './jobs.js';
import { config, failing, stageFor } from './worker-stage.js';

void t.test("what is the world's fault makes one chain wait, and is told of it", async (t) => {
  let broken = true;
  let waiting: Job['waiting'] | undefined;
  const { worker, queue, over } = stageFor(
    t,
    (name, _step, _log, running) => {
      if (!broken && name.endsWith('publish bookworm')) waiting = [...running.waiting];
      if (broken) failing('publish bookworm', 'UPLOAD_FAILED')(name);
    },
    { pauseMs: 5 },
  );
  const job = jobOf(config, 'one', '1', 1);
  queue.add(job);
  worker.start();
  await until(
    'the wait',
    () => job.waiting.length === 1 && job.finished.some((step) => step.stage === 'publish'),
  );
  t.match(job.waiting, [{ dist: 'bookworm', code: 'UPLOAD_FAILED' }]);
  broken = false;
  t.match(await over(job), { state: 'done', waiting: [] });
  t.strictSame(waiting, [], 'once it is tried again with a log of its own it does not wait any more');
});

void t.test('whoever does not want to wait any longer says so by a retry', async (t) => {
  let broken = true;
  const { worker, queue, over } = stageFor(
    t,
    (name) => {
      if (broken) failing('publish bookworm', 'UPLOAD_FAILED')(name);
    },
    { pauseMs: 3_600_000 },
  );
  const job = jobOf(config, 'one', '1', 1);
  queue.add(job);
  worker.start();
  await until('the wait', () => job.waiting.length === 1 && job.running.length === 0);
  broken = false;
  t.equal(worker.retry(job.job), `queued ${job.job}`);
  t.match(await over(job), { state: 'done', waiting: [], reasons: [] });
});

void t.test('what is away for hours costs nobody a retry, whatever it is', async (t) => {
  for (const code of ['RECORD_UNREACHABLE', 'UPLOAD_FAILED', 'GATE_UNREACHABLE']) {
    let time = Date.UTC(2026, 10, 22);
    let away = 0;
    const gone = 20 * 3600_000;
    const end = time + gone;
    const longest: number[] = [];
    let last = time;
    const { worker, queue, over } = stageFor(
      t,
      (name) => {
        if (!name.endsWith('publish bookworm')) return;
        longest.push(time - last);
        last = time;
        away++;
        if (time < end) throw new RelayedRefusal(code, 'away');
      },
      { pauseMs: 5000, now: () => new Date(time) },
    );
    const job = jobOf(configFor(['bookworm']), 'one', '1', 1);
    queue.add(job);
    worker.start();
    while (!isOver(job)) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (job.waiting.length === 0 || job.running.length > 0) continue;
      t.match(job.waiting, [{ code }]);
      // Nobody waits for real: the clock goes on by some minutes.
      time += 300_000;
      worker.wake();
    }
    t.match(await over(job), { state: 'done' }, code);
    t.ok(Math.max(...longest) <= 16 * 60_000, 'and it is looked again within some minutes');
    t.ok(away < 250, `${away} times in 20 hours`);
  }
});

void t.test(
  'each pause before what is away is tried again is twice the last one, up to some minutes',
  async (t) => {
    let time = Date.UTC(2026, 10, 22);
    const tried: number[] = [];
    const { worker, queue, over } = stageFor(
      t,
      (name) => {
        if (name.endsWith('publish bookworm') && tried.push(time) <= 9)
          throw new RelayedRefusal('UPLOAD_FAILED', 'away');
      },
      { pauseMs: 5000, now: () => new Date(time) },
    );
    const job = jobOf(configFor(['bookworm']), 'one', '1', 1);
    queue.add(job);
    worker.start();
    while (!isOver(job)) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (job.waiting.length === 0 || job.running.length > 0) continue;
      time += 2500;
      worker.wake();
    }
    t.match(await over(job), { state: 'done' });
    const pauses = tried.slice(1).map((at, index) => at - (tried[index] as number));
    t.equal(pauses.length, 9);
    [5, 10, 20, 40, 80, 160, 320, 640, 640].forEach((seconds, index) =>
      t.ok(
        (pauses[index] as number) >= seconds * 1000 && (pauses[index] as number) < seconds * 2000,
        `pause ${index}: ${pauses[index]} ms`,
      ),
    );
  },
);

void t.test(
  "what stays away for longer than a day is given up, and a fault of the tag's at once",
  async (t) => {
    let time = Date.UTC(2026, 10, 22);
    const start = time;
    const { worker, queue, over } = stageFor(
      t,
      (name) => {
        failing('publish bookworm', 'UPLOAD_FAILED')(name);
        failing('build trixie', 'BUILD_FAILED')(name);
      },
      { now: () => new Date(time) },
    );
    const job = jobOf(config, 'one', '1', 1);
    queue.add(job);
    worker.start();
    while (!isOver(job)) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (job.waiting.length === 0 || job.running.length > 0) continue;
      t.equal(job.waiting[0]?.since, new Date(start).toISOString(), 'since it began');
      time += 600_000;
      worker.wake();
    }
    t.match(await over(job), {
      state: 'failed',
      reasons: [
        { dist: 'trixie', code: 'BUILD_FAILED' },
        { dist: 'bookworm', code: 'UPLOAD_FAILED' },
      ],
    });
    t.ok(time - start >= 24 * 3600_000);
  },
);

void t.test('what was away does not use up the tries of what failed afterwards', async (t) => {
  let attempt = 0;
  const { worker, queue, over } = stageFor(t, (name) => {
    if (name.endsWith('publish bookworm') && ++attempt < 12)
      throw new RelayedRefusal(attempt < 9 ? 'GATE_UNREACHABLE' : 'SIGN_FAILED', 'away, then wrong');
  });
  const job = jobOf(configFor(['bookworm']), 'one', '1', 1);
  queue.add(job);
  worker.start();
  t.match(await over(job), { state: 'done' });
});

void t.test(
  "what waits for another component's packages goes on when something is published for its distribution, and is not tried in vain before",
  async (t) => {
    let isThere = false;
    let release: () => void = () => undefined;
    const later = new Promise<void>((resolve) => (release = resolve));
    const { worker, queue, ran, over } = stageFor(t, async (name) => {
      if (name === 'two 1 build bookworm' && !isThere)
        throw new RelayedRefusal('DEP_WAIT', 'no repository has libone-dev yet');
      if (name === 'one 1 build bookworm') await later;
      if (name === 'one 1 publish bookworm') isThere = true;
    });
    const [two, one, three] = [
      jobOf(config, 'two', '1', 1),
      jobOf(config, 'one', '1', 2),
      jobOf(config, 'three', '1', 3),
    ];
    for (const job of [two, one, three]) job.dists = job === three ? ['trixie'] : ['bookworm'];
    for (const job of [two, one, three]) queue.add(job);
    worker.start();
    await until('the wait', () => two.waiting.length > 0 && isOver(three));
    t.match(
      two.waiting,
      [{ dist: 'bookworm', code: 'DEP_WAIT', detail: 'no repository has libone-dev yet' }],
      'the page says on what',
    );
    t.equal(
      ran.filter((name) => name === 'two 1 build bookworm').length,
      1,
      "another distribution's packages are of no use",
    );
    release();
    for (const job of [one, two]) t.match(await over(job), { state: 'done' });
    t.equal(ran.filter((name) => name === 'two 1 build bookworm').length, 2);
  },
);

void t.test("others' packages in the meantime make no wait for one of them longer", async (t) => {
  let time = Date.UTC(2026, 10, 22);
  const start = time;
  const { worker, queue, over } = stageFor(t, failing('one 1 build bookworm', 'DEP_WAIT'), {
    now: () => new Date(time),
  });
  const job = jobOf(configFor(['bookworm']), 'one', '1', 1);
  queue.add(job);
  worker.start();
  for (let day = 1; !isOver(job) && day < 10; day++) {
    await until('the wait', () => job.waiting.length > 0 && job.running.length === 0);
    time += 86_400_000;
    const other = jobOf(configFor(['bookworm']), 'two', String(day), day + 1);
    queue.add(other);
    t.match(await over(other), { state: 'done' });
    await until('the step to end', () => job.running.length === 0);
  }
  t.match(await over(job), { state: 'failed', reason: { code: 'DEP_WAIT' } });
  t.equal((time - start) / 86_400_000, 7);
});
