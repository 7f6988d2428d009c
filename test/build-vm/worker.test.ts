// SPDX-License-Identifier: GPL-2.0-or-later
// The worker with steps that only note their names: chains end on their own, what failed is taken up again,
// and time is accounted for.
import t from 'tap';
import { whenCancelled } from '../../agents/shared/programs/cancellation.js';
import { toolBegins } from '../../agents/shared/programs/tool-watch.js';
import { isOver, type Job } from '../../agents/build-vm/jobs/job-document.js';
import { Refusal } from '../../agents/build-vm/refusals.js';
import { until } from '../support/until.js';
import { configFor, jobOf, queueFor } from './jobs.js';
import { config, failing, stageFor } from './worker-stage.js';

void t.test('a build that hangs for one distribution keeps nothing else from being published', async (t) => {
  let release: () => void = () => undefined;
  const hanging = new Promise<void>((resolve) => (release = resolve));
  const { worker, queue, ran, over } = stageFor(t, (name) =>
    name === 'one 1 build bookworm' ? hanging : undefined,
  );
  const [one, two] = [jobOf(config, 'one', '1', 1), jobOf(config, 'two', '1', 2)];
  for (const job of [one, two]) queue.add(job);
  worker.start();
  await until(
    'what does not hang',
    () => ran.includes('one 1 publish trixie') && ran.includes('two 1 publish trixie'),
  );
  t.match(one, { state: 'running', running: [{ stage: 'build', dist: 'bookworm' }] });
  t.notOk(ran.includes('two 1 build bookworm'), 'one build at a time in a distribution');
  release();
  for (const job of [one, two])
    t.match(await over(job), { state: 'done', reasons: [], reason: null, running: [], waiting: [] });
});

void t.test('a job has the path under which its log was published, of a step that failed too', async (t) => {
  const { worker, queue, over } = stageFor(t, failing('build bookworm', 'BUILD_FAILED'), {
    openLog: async (_job, step) => {
      const path = `${step.stage} ${step.dist ?? ''}`;
      return {
        path,
        say: () => undefined,
        tool: () => true,
        drained: () => Promise.resolve(),
        whenFailed: new Promise(() => undefined),
        abandon: () => undefined,
        end: async () => ({ path: `${path}.xz`, commit: 'b'.repeat(40) }),
      };
    },
  });
  const job = jobOf(configFor(['bookworm']), 'one', '1', 1);
  queue.add(job);
  worker.start();
  t.strictSame((await over(job)).logs, [
    { stage: 'fetch', dist: null, path: 'fetch .xz', commit: 'b'.repeat(40) },
    { stage: 'build', dist: 'bookworm', path: 'build bookworm.xz', commit: 'b'.repeat(40) },
  ]);
});

void t.test('builds at the same time are no more than there are cores', async (t) => {
  let now = 0;
  let most = 0;
  const wide = configFor(['a', 'b', 'c', 'd', 'e']);
  const { worker, queue, over } = stageFor(
    t,
    async (_name, step) => {
      if (step.stage !== 'build') return;
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 10));
      now--;
    },
    { builds: 2 },
  );
  const job = jobOf(wide, 'one', '1', 1);
  queue.add(job);
  worker.start();
  t.match(await over(job), { state: 'done' });
  t.equal(most, 2);
});

void t.test('an error in one distribution ends its chain alone, and the job with its reason', async (t) => {
  const { worker, queue, ran, over, cleaned } = stageFor(t, failing('build bookworm', 'BUILD_FAILED'));
  const job = jobOf(config, 'one', '1', 1);
  queue.add(job);
  worker.start();
  t.match(await over(job), {
    state: 'failed',
    reason: { code: 'BUILD_FAILED', detail: 'because of build bookworm' },
    reasons: [{ stage: 'build', dist: 'bookworm', code: 'BUILD_FAILED' }],
  });
  t.ok(ran.includes('one 1 publish trixie'));
  t.notOk(ran.includes('one 1 sign bookworm'));
  t.strictSame(cleaned, [job.job]);
});

void t.test(
  'a job is refused when all that ended badly are refusals, and failed when one failed',
  async (t) => {
    const { worker, queue, over } = stageFor(t, (name) => {
      failing('publish bookworm', 'ALREADY_PUBLISHED')(name);
      failing('two 1 build trixie', 'BUILD_FAILED')(name);
    });
    const [refused, failed] = [jobOf(config, 'one', '1', 1), jobOf(config, 'two', '1', 2)];
    for (const job of [refused, failed]) queue.add(job);
    worker.start();
    t.match(await over(refused), { state: 'refused', reason: { code: 'ALREADY_PUBLISHED' } });
    t.match(await over(failed), { state: 'failed', reason: { code: 'BUILD_FAILED' } });
    t.strictSame(failed.reasons.map((reason) => `${reason.dist} ${reason.code}`).sort(), [
      'bookworm ALREADY_PUBLISHED',
      'trixie BUILD_FAILED',
    ]);
  },
);

void t.test('a refused source is the end of every chain', async (t) => {
  const { worker, queue, ran, over } = stageFor(t, failing('fetch', 'VERSION_MISMATCH'));
  const job = jobOf(config, 'one', '1', 1);
  queue.add(job);
  worker.start();
  t.match(await over(job), {
    state: 'refused',
    reason: { code: 'VERSION_MISMATCH' },
    reasons: [{ stage: 'fetch', dist: null }],
  });
  t.strictSame(ran, ['one 1 fetch']);
});

void t.test(
  'retry takes up every chain that failed, from the step that failed, and leaves done ones alone',
  async (t) => {
    const wide = configFor(['bookworm', 'trixie', 'sid']);
    let broken = true;
    const place = queueFor(t);
    const { worker, queue, ran, over } = stageFor(
      t,
      (name) => {
        if (broken)
          for (const step of ['build bookworm', 'publish trixie']) failing(step, 'BUILD_FAILED')(name);
      },
      {},
      { ...place },
    );
    queue.hasArtifacts = () => true;
    const job = jobOf(wide, 'one', '1', 1);
    queue.add(job);
    worker.start();
    t.match(await over(job), { state: 'failed' });
    broken = false;
    ran.length = 0;
    worker.retry(job.job);
    t.match(await over(job), { state: 'done', reason: null, reasons: [] });
    t.strictSame(ran.slice().sort(), [
      'one 1 build bookworm',
      'one 1 fetch',
      'one 1 publish bookworm',
      'one 1 publish trixie',
      'one 1 sign bookworm',
    ]);
    t.throws(() => worker.retry(job.job), { code: 'NOT_OVER' });
  },
);

void t.test(
  'a chain that failed can be taken up while another one still runs, unless a later version went ahead',
  async (t) => {
    let release: () => void = () => undefined;
    const hanging = new Promise<void>((resolve) => (release = resolve));
    let broken = true;
    const { worker, queue, ran, over } = stageFor(t, (name) => {
      if (broken) failing('build trixie', 'BUILD_FAILED')(name);
      return name.endsWith('build bookworm') ? hanging : undefined;
    });
    const job = jobOf(config, 'one', '1', 1);
    queue.add(job);
    t.throws(() => worker.retry(job.job), { code: 'NOT_OVER' });
    worker.start();
    await until('the failure', () => job.reasons.length === 1);
    broken = false;
    queue.rememberHighest('one', {
      version: '2',
      tagObject: 'f'.repeat(40),
      job: 'other',
      tag: 'v2',
      sources: {},
    });
    t.throws(() => worker.retry(job.job), { code: 'ROLLBACK' });
    queue.highest = () => undefined;
    worker.retry(job.job);
    await until('the other chain', () => ran.includes('one 1 publish trixie'));
    t.equal(ran.filter((name) => name === 'one 1 fetch').length, 1, 'the source that is there is used');
    release();
    t.match(await over(job), { state: 'done' });
  },
);

void t.test(
  'a step that cannot write its document does not stop the others, and the next job works',
  async (t) => {
    const { worker, queue, over } = stageFor(t, () => undefined);
    const [full, next] = [jobOf(config, 'one', '1', 1), jobOf(config, 'two', '1', 2)];
    for (const job of [full, next]) queue.add(job);
    const save = queue.save.bind(queue);
    let broken = true;
    queue.save = (job) => {
      if (job === full && broken)
        throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
      save(job);
    };
    worker.start();
    t.match(await over(next), { state: 'done' });
    t.match(await until('it to wait or end', () => (full.waiting.length > 0 || isOver(full)) && full), {
      finished: [],
    });
    broken = false;
    worker.wake();
    await over(full);
    t.ok(full.state === 'done' || full.reason?.code === 'DISK_FULL', `${full.state} ${full.reason?.code}`);
  },
);

void t.test(
  "each step says at its end what of its time was the farm's own, and the document has it",
  async (t) => {
    const { worker, queue, lines, over } = stageFor(t, async (name) => {
      if (!name.includes('build')) return;
      const ended = toolBegins();
      await new Promise((resolve) => setTimeout(resolve, 20));
      ended();
    });
    const job = jobOf(config, 'one', '1', 1);
    queue.add(job);
    worker.start();
    t.match(await over(job), { state: 'done' });
    for (const said of lines.values())
      t.match(said.at(-1), /^overhead [0-9]+\.[0-9]{2} s of [0-9]+\.[0-9]{2} s$/);
    const seconds = (dist: string): number =>
      job.finished.find((step) => step.stage === 'build' && step.dist === dist)?.commandSeconds ?? -1;
    t.ok(seconds('bookworm') > 0 && seconds('trixie') > 0);
    t.ok(job.finished.filter((step) => step.stage !== 'build').every((step) => step.commandSeconds === 0));
  },
);

void t.test('a distribution for which the fetch found nothing to build is over with it', async (t) => {
  const { worker, queue, ran, over } = stageFor(t, (name, _step, _log, job) => {
    if (name.endsWith('fetch')) job.dists = job.version === '1' ? ['trixie'] : [];
  });
  const [one, none] = [jobOf(config, 'one', '1', 1), jobOf(config, 'two', '2', 2)];
  for (const job of [one, none]) queue.add(job);
  worker.start();
  for (const job of [one, none]) t.match(await over(job), { state: 'done', reasons: [], reason: null });
  t.same(ran.sort(), [
    'one 1 build trixie',
    'one 1 fetch',
    'one 1 publish trixie',
    'one 1 sign trixie',
    'two 2 fetch',
  ]);
});

void t.test(
  'a fetch that found nothing to build and is refused when it is done once more is no job that is done',
  async (t) => {
    let calls = 0;
    const { worker, queue, over } = stageFor(t, (name, _step, _log, job) => {
      job.dists = [];
      throw new Refusal(++calls === 1 ? 'NO_LOG_SINK' : 'TAG_MOVED', name);
    });
    const job = jobOf(config, 'one', '1', 1);
    queue.add(job);
    worker.start();
    t.match(await over(job), { state: 'refused', reason: { code: 'TAG_MOVED' } });
  },
);

/** A step that lasts until it is let go, or until it is cut. */
function hangingAt(what: string): {
  act: (name: string) => Promise<void> | void;
  letGo: (error?: Error) => void;
} {
  let letGo: (error?: Error) => void = () => undefined;
  const hanging = new Promise<void>(
    (resolve, reject) => (letGo = (error) => (error === undefined ? resolve() : reject(error))),
  );
  return {
    letGo: (error) => letGo(error),
    act: (name) =>
      name === `one 1 ${what}`
        ? Promise.race([
            hanging,
            new Promise<void>((_resolve, reject) => whenCancelled(() => reject(new Error('killed')))),
          ])
        : undefined,
  };
}

void t.test('of a cancelled job no further step begins, and each chain says so', async (t) => {
  for (const at of ['fetch', 'build bookworm'] as const) {
    const { act } = hangingAt(at);
    const { worker, queue, ran, over, cleaned, lines } = stageFor(t, act);
    const [job, next] = [jobOf(config, 'one', '1', 1), jobOf(config, 'one', '2', 2)];
    queue.add(job);
    worker.start();
    await until(
      at,
      () =>
        job.running.some(({ stage }) => at.startsWith(stage)) &&
        (at === 'fetch' || ran.includes('one 1 publish trixie')),
    );
    t.equal(worker.cancel(job.job), `cancelled ${job.job}`);
    t.match(await over(job), {
      state: 'failed',
      reason: { code: 'CANCELLED' },
      reasons: [{ stage: at.split(' ')[0], dist: at === 'fetch' ? null : 'bookworm', code: 'CANCELLED' }],
      waiting: [],
    });
    t.match(
      [...lines.entries()].find(([path]) => path.startsWith(at))?.[1][0],
      /^refused CANCELLED /,
      'its log says so',
    );
    t.strictSame(cleaned, [job.job]);
    t.throws(() => worker.cancel(job.job), { code: 'ALREADY_OVER' });
    queue.add(next);
    await until(
      'the next version, which waits for it no longer',
      () => ran.filter((name) => name === 'one 2 fetch').length > 0,
    );
    await worker.stop();
  }
});

void t.test(
  'what is cancelled while it signs or publishes goes to its end once, and no further',
  async (t) => {
    const cases = [
      {
        at: 'sign bookworm',
        fails: false,
        reasons: [{ stage: 'publish', dist: 'bookworm', code: 'CANCELLED' }],
        state: 'failed',
      },
      { at: 'publish bookworm', fails: false, reasons: [], state: 'done' },
      // It may have come to the server: what the document says of that stays, and nobody tries it again.
      {
        at: 'publish bookworm',
        fails: true,
        reasons: [{ stage: 'publish', dist: 'bookworm', code: 'UPLOAD_FAILED' }],
        state: 'failed',
      },
    ];
    for (const { at, fails, reasons, state } of cases) {
      const { act, letGo } = hangingAt(at);
      const { worker, queue, ran, over } = stageFor(t, act);
      const job = jobOf(configFor(['bookworm']), 'one', '1', 1);
      queue.add(job);
      worker.start();
      await until(at, () => ran.includes(`one 1 ${at}`));
      t.equal(worker.cancel(job.job), `cancelled ${job.job}; still runs to its end: ${at}`);
      t.throws(() => worker.retry(job.job), { code: 'NOT_OVER' }, 'not taken up again before it is over');
      await new Promise((resolve) => setTimeout(resolve, 20));
      t.match(job.running, [{ stage: at.split(' ')[0] }], 'it still runs');
      letGo(fails ? new Refusal('UPLOAD_FAILED', 'perhaps it is there') : undefined);
      t.match(await over(job), { state, waiting: [] }, at);
      t.match(job.reasons, reasons, at);
      t.equal(job.reasons.length, reasons.length);
      t.equal(ran.filter((name) => name === `one 1 ${at}`).length, 1);
      await worker.stop();
    }
  },
);

void t.test(
  'a job that waits is cancelled where it waits, one that was cancelled before a kill stays it, and a retry takes up both',
  async (t) => {
    const place = queueFor(t);
    const first = stageFor(t, failing('build bookworm', 'NO_LOG_SINK'), { pauseMs: 60_000 }, place);
    const job = jobOf(config, 'one', '1', 1);
    first.queue.add(job);
    first.worker.start();
    await until('the wait', () => job.waiting.length === 1 && first.ran.includes('one 1 publish trixie'));
    t.equal(first.worker.cancel(job.job), `cancelled ${job.job}`);
    t.match(await first.over(job), {
      state: 'failed',
      reasons: [{ stage: 'build', dist: 'bookworm', code: 'CANCELLED' }],
      waiting: [],
    });
    await first.worker.stop();

    // Killed while it published: nobody knows what it came to.
    const killed = jobOf(
      config,
      'two',
      '1',
      2,
      ['fetch', 'build bookworm', 'sign bookworm', 'build trixie', 'sign trixie', 'publish trixie'],
      {
        cancelled: new Date(0).toISOString(),
        state: 'running',
        running: [{ stage: 'publish', dist: 'bookworm', started: '' }],
      },
    );
    first.queue.add(killed);
    const second = stageFor(t, () => undefined, {}, { ...place, queue: place.again() });
    second.worker.start();
    const again = second.queue.get(killed.job) as typeof killed;
    t.match(await second.over(again), {
      state: 'failed',
      reasons: [{ stage: 'publish', dist: 'bookworm', code: 'CANCELLED' }],
    });
    t.strictSame(second.ran, []);
    for (const id of [job.job, killed.job]) {
      second.worker.retry(id);
      t.match(await second.over(second.queue.get(id) as typeof job), { state: 'done', reasons: [] });
      t.notOk('cancelled' in (second.queue.get(id) as typeof job));
    }
  },
);

void t.test(
  'a withdrawal and a renewal are gone through with, and a cancelled promotion wants a new command',
  async (t) => {
    const { worker, queue, over } = stageFor(t, () => new Promise(() => undefined), {});
    t.throws(() => worker.cancel('hello-1-0123456789ab'), { code: 'UNKNOWN_JOB' });
    for (const [index, kind] of (['withdrawal', 'renewal'] as const).entries()) {
      const job = Object.assign(jobOf(config, 'one', '1', index), {
        kind,
        job: `${kind}-1-0123456789ab`,
      }) as unknown as Job;
      queue.add(job);
      t.throws(() => worker.cancel(job.job), { code: 'NOT_CANCELLED' });
      t.notOk('cancelled' in job);
      Object.assign(job, { state: 'done' });
    }
    const promotion = Object.assign(jobOf(config, 'two', '1', 9), {
      kind: 'promotion',
      job: 'promotion-two-1-0123456789ab',
    }) as unknown as Job;
    queue.add(promotion);
    worker.cancel(promotion.job);
    worker.start();
    t.match(await over(promotion), { state: 'failed', reason: { code: 'CANCELLED' } });
    t.throws(() => worker.retry(promotion.job), { code: 'COMMAND_USED' });
  },
);
