// SPDX-License-Identifier: GPL-2.0-or-later
// The worker with steps that only note their names: chains end on their own, what failed is taken up again, and time is accounted for.
import t, { type Test } from 'tap';
import { commandBegins } from '../../agents/build/jobs/command-clock.js';
import type { Config } from '../../agents/build/config.js';
import { isOver, type Job, type Step } from '../../agents/build/jobs/job-document.js';
import type { JobQueue } from '../../agents/build/jobs/job-queue.js';
import { Worker, type StageLog, type WorkerOptions } from '../../agents/build/jobs/worker.js';
import { Refusal } from '../../agents/shared/refusal.js';
import { until } from '../support/until.js';
import { configFor, jobOf, queueFor } from './jobs.js';

interface Stage { worker: Worker; queue: JobQueue; ran: string[]; cleaned: string[]; lines: Map<string, string[]>; over(job: Job): Promise<Job> }

/** `act` does the step; undefined is done at once. */
function stageFor(test: Test, act: (name: string, step: Step, log: StageLog, job: Job) => Promise<void> | void, options: Partial<WorkerOptions> = {}, place = queueFor(test)): Stage {
  const { queue } = place;
  const ran: string[] = [];
  const cleaned: string[] = [];
  const lines = new Map<string, string[]>();
  const worker = new Worker({
    queue, pauseMs: 1, builds: 4, report: () => undefined, cleanUp: (job) => cleaned.push(job.job),
    openLog: async (_job, step) => {
      const said: string[] = [];
      const path = `${step.stage}${step.dist === null ? '' : ` ${step.dist}`} ${lines.size}`;
      lines.set(path, said);
      return {
        path, say: (text: string) => void said.push(text), tool: () => true, drained: () => Promise.resolve(), whenFailed: new Promise(() => undefined), abandon: () => undefined,
        end: async () => ({ path, commit: 'a'.repeat(40) }),
      };
    },
    runStep: async (job, step, log) => {
      const name = `${job.component} ${job.version} ${step.stage}${step.dist === null ? '' : ` ${step.dist}`}`;
      ran.push(name);
      await act(name, step, log, job);
    },
    ...options,
  });
  queue.onChange(() => worker.wake());
  test.teardown(() => worker.stop());
  return { worker, queue, ran, cleaned, lines, over: (job) => until(`${job.job} to be over`, () => isOver(job) && job, 10) };
}

const config: Config = configFor(['bookworm', 'trixie']);
const failing = (what: string, code: string): ((name: string) => void) => (name) => {
  if (name.endsWith(what)) throw new Refusal(code, `because of ${what}`);
};

void t.test('a build that hangs for one distribution keeps nothing else from being published', async (t) => {
  let release: () => void = () => undefined;
  const hanging = new Promise<void>((resolve) => (release = resolve));
  const { worker, queue, ran, over } = stageFor(t, (name) => (name === 'one 1 build bookworm' ? hanging : undefined));
  const [one, two] = [jobOf(config, 'one', '1', 1), jobOf(config, 'two', '1', 2)];
  for (const job of [one, two]) queue.add(job);
  worker.start();
  await until('what does not hang', () => ran.includes('one 1 publish trixie') && ran.includes('two 1 publish trixie'));
  t.match(one, { state: 'running', running: [{ stage: 'build', dist: 'bookworm' }] });
  t.notOk(ran.includes('two 1 build bookworm'), 'one build at a time in a distribution');
  release();
  for (const job of [one, two]) t.match(await over(job), { state: 'done', reasons: [], reason: null, running: [], waiting: [] });
});

void t.test('a job has the path under which its log was published, of a step that failed too', async (t) => {
  const { worker, queue, over } = stageFor(t, failing('build bookworm', 'BUILD_FAILED'), {
    openLog: async (_job, step) => {
      const path = `${step.stage} ${step.dist ?? ''}`;
      return { path, say: () => undefined, tool: () => true, drained: () => Promise.resolve(), whenFailed: new Promise(() => undefined), abandon: () => undefined, end: async () => ({ path: `${path}.xz`, commit: 'b'.repeat(40) }) };
    },
  });
  const job = jobOf(configFor(['bookworm']), 'one', '1', 1);
  queue.add(job);
  worker.start();
  t.strictSame((await over(job)).logs, [{ stage: 'fetch', dist: null, path: 'fetch .xz', commit: 'b'.repeat(40) }, { stage: 'build', dist: 'bookworm', path: 'build bookworm.xz', commit: 'b'.repeat(40) }]);
});

void t.test('builds at the same time are no more than there are cores', async (t) => {
  let now = 0;
  let most = 0;
  const wide = configFor(['a', 'b', 'c', 'd', 'e']);
  const { worker, queue, over } = stageFor(t, async (_name, step) => {
    if (step.stage !== 'build') return;
    most = Math.max(most, ++now);
    await new Promise((resolve) => setTimeout(resolve, 10));
    now--;
  }, { builds: 2 });
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
  t.match(await over(job), { state: 'failed', reason: { code: 'BUILD_FAILED', detail: 'because of build bookworm' }, reasons: [{ stage: 'build', dist: 'bookworm', code: 'BUILD_FAILED' }] });
  t.ok(ran.includes('one 1 publish trixie'));
  t.notOk(ran.includes('one 1 sign bookworm'));
  t.strictSame(cleaned, [job.job]);
});

void t.test('a job is refused when all that ended badly are refusals, and failed when one failed', async (t) => {
  const { worker, queue, over } = stageFor(t, (name) => {
    failing('publish bookworm', 'ALREADY_PUBLISHED')(name);
    failing('two 1 build trixie', 'BUILD_FAILED')(name);
  });
  const [refused, failed] = [jobOf(config, 'one', '1', 1), jobOf(config, 'two', '1', 2)];
  for (const job of [refused, failed]) queue.add(job);
  worker.start();
  t.match(await over(refused), { state: 'refused', reason: { code: 'ALREADY_PUBLISHED' } });
  t.match(await over(failed), { state: 'failed', reason: { code: 'BUILD_FAILED' } });
  t.strictSame(failed.reasons.map((reason) => `${reason.dist} ${reason.code}`).sort(), ['bookworm ALREADY_PUBLISHED', 'trixie BUILD_FAILED']);
});

void t.test('a refused source is the end of every chain', async (t) => {
  const { worker, queue, ran, over } = stageFor(t, failing('fetch', 'VERSION_MISMATCH'));
  const job = jobOf(config, 'one', '1', 1);
  queue.add(job);
  worker.start();
  t.match(await over(job), { state: 'refused', reason: { code: 'VERSION_MISMATCH' }, reasons: [{ stage: 'fetch', dist: null }] });
  t.strictSame(ran, ['one 1 fetch']);
});

void t.test('retry takes up every chain that failed, from the step that failed, and leaves done ones alone', async (t) => {
  const wide = configFor(['bookworm', 'trixie', 'sid']);
  let broken = true;
  const place = queueFor(t);
  const { worker, queue, ran, over } = stageFor(t, (name) => {
    if (broken) for (const step of ['build bookworm', 'publish trixie']) failing(step, 'BUILD_FAILED')(name);
  }, {}, { ...place });
  queue.hasArtifacts = () => true;
  const job = jobOf(wide, 'one', '1', 1);
  queue.add(job);
  worker.start();
  t.match(await over(job), { state: 'failed' });
  broken = false;
  ran.length = 0;
  worker.retry(job.job);
  t.match(await over(job), { state: 'done', reason: null, reasons: [] });
  t.strictSame(ran.slice().sort(), ['one 1 build bookworm', 'one 1 fetch', 'one 1 publish bookworm', 'one 1 publish trixie', 'one 1 sign bookworm']);
  t.throws(() => worker.retry(job.job), { code: 'NOT_OVER' });
});

void t.test('a chain that failed can be taken up while another one still runs, unless a later version went ahead', async (t) => {
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
  queue.rememberHighest('one', { version: '2', tagObject: 'f'.repeat(40), job: 'other' });
  t.throws(() => worker.retry(job.job), { code: 'ROLLBACK' });
  queue.highest = () => undefined;
  worker.retry(job.job);
  await until('the other chain', () => ran.includes('one 1 publish trixie'));
  t.equal(ran.filter((name) => name === 'one 1 fetch').length, 1, 'the source that is there is used');
  release();
  t.match(await over(job), { state: 'done' });
});

void t.test('what is the world\'s fault makes one chain wait, and is told of it', async (t) => {
  let broken = true;
  let waiting: Job['waiting'] | undefined;
  const { worker, queue, over } = stageFor(t, (name, _step, _log, running) => {
    if (!broken && name.endsWith('publish bookworm')) waiting = [...running.waiting];
    if (broken) failing('publish bookworm', 'UPLOAD_FAILED')(name);
  }, { pauseMs: 5 });
  const job = jobOf(config, 'one', '1', 1);
  queue.add(job);
  worker.start();
  await until('the wait', () => job.waiting.length === 1 && job.finished.some((step) => step.stage === 'publish'));
  t.match(job.waiting, [{ dist: 'bookworm', code: 'UPLOAD_FAILED' }]);
  broken = false;
  t.match(await over(job), { state: 'done', waiting: [] });
  t.strictSame(waiting, [], 'once it is tried again with a log of its own it does not wait any more');
});

void t.test('whoever does not want to wait any longer says so by a retry', async (t) => {
  let broken = true;
  const { worker, queue, over } = stageFor(t, (name) => {
    if (broken) failing('publish bookworm', 'UPLOAD_FAILED')(name);
  }, { pauseMs: 3_600_000 });
  const job = jobOf(config, 'one', '1', 1);
  queue.add(job);
  worker.start();
  await until('the wait', () => job.waiting.length === 1 && job.running.length === 0);
  broken = false;
  t.equal(worker.retry(job.job), `queued ${job.job}`);
  t.match(await over(job), { state: 'done', waiting: [], reasons: [] });
});

void t.test('a step that cannot write its document does not stop the others, and the next job works', async (t) => {
  const { worker, queue, over } = stageFor(t, () => undefined);
  const [full, next] = [jobOf(config, 'one', '1', 1), jobOf(config, 'two', '1', 2)];
  for (const job of [full, next]) queue.add(job);
  const save = queue.save.bind(queue);
  let broken = true;
  queue.save = (job) => {
    if (job === full && broken) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    save(job);
  };
  worker.start();
  t.match(await over(next), { state: 'done' });
  t.match(await until('it to wait or end', () => (full.waiting.length > 0 || isOver(full)) && full), { finished: [] });
  broken = false;
  worker.wake();
  await over(full);
  t.ok(full.state === 'done' || full.reason?.code === 'DISK_FULL', `${full.state} ${full.reason?.code}`);
});

void t.test('each step says at its end what of its time was the farm\'s own, and the document has it', async (t) => {
  const { worker, queue, lines, over } = stageFor(t, async (name) => {
    if (!name.includes('build')) return;
    const ended = commandBegins();
    await new Promise((resolve) => setTimeout(resolve, 20));
    ended();
  });
  const job = jobOf(config, 'one', '1', 1);
  queue.add(job);
  worker.start();
  t.match(await over(job), { state: 'done' });
  for (const said of lines.values()) t.match(said.at(-1), /^overhead [0-9]+\.[0-9]{2} s of [0-9]+\.[0-9]{2} s$/);
  const seconds = (dist: string): number => job.finished.find((step) => step.stage === 'build' && step.dist === dist)?.commandSeconds ?? -1;
  t.ok(seconds('bookworm') > 0 && seconds('trixie') > 0);
  t.ok(job.finished.filter((step) => step.stage !== 'build').every((step) => step.commandSeconds === 0));
});

void t.test('what is away for hours costs nobody a retry, whatever it is', async (t) => {
  for (const code of ['RECORD_UNREACHABLE', 'UPLOAD_FAILED', 'GATE_UNREACHABLE']) {
    let time = Date.UTC(2026, 10, 22);
    let away = 0;
    const gone = 20 * 3600_000;
    const end = time + gone;
    const longest: number[] = [];
    let last = time;
    const { worker, queue, over } = stageFor(t, (name) => {
      if (!name.endsWith('publish bookworm')) return;
      longest.push(time - last);
      last = time;
      away++;
      if (time < end) throw new Refusal(code, 'away');
    }, { pauseMs: 5000, now: () => new Date(time) });
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

void t.test('each pause before what is away is tried again is twice the last one, up to some minutes', async (t) => {
  let time = Date.UTC(2026, 10, 22);
  const tried: number[] = [];
  const { worker, queue, over } = stageFor(t, (name) => {
    if (name.endsWith('publish bookworm') && tried.push(time) <= 9) throw new Refusal('UPLOAD_FAILED', 'away');
  }, { pauseMs: 5000, now: () => new Date(time) });
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
  [5, 10, 20, 40, 80, 160, 320, 640, 640].forEach((seconds, index) => t.ok((pauses[index] as number) >= seconds * 1000 && (pauses[index] as number) < seconds * 2000, `pause ${index}: ${pauses[index]} ms`));
});

void t.test('what stays away for longer than a day is given up, and a fault of the tag\'s at once', async (t) => {
  let time = Date.UTC(2026, 10, 22);
  const start = time;
  const { worker, queue, over } = stageFor(t, (name) => {
    failing('publish bookworm', 'UPLOAD_FAILED')(name);
    failing('build trixie', 'BUILD_FAILED')(name);
  }, { now: () => new Date(time) });
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
  t.match(await over(job), { state: 'failed', reasons: [{ dist: 'trixie', code: 'BUILD_FAILED' }, { dist: 'bookworm', code: 'UPLOAD_FAILED' }] });
  t.ok(time - start >= 24 * 3600_000);
});

void t.test('what was away does not use up the tries of what failed afterwards', async (t) => {
  let attempt = 0;
  const { worker, queue, over } = stageFor(t, (name) => {
    if (name.endsWith('publish bookworm') && ++attempt < 12) throw new Refusal(attempt < 9 ? 'GATE_UNREACHABLE' : 'SIGN_FAILED', 'away, then wrong');
  });
  const job = jobOf(configFor(['bookworm']), 'one', '1', 1);
  queue.add(job);
  worker.start();
  t.match(await over(job), { state: 'done' });
});

void t.test('a distribution for which the fetch found nothing to build is over with it', async (t) => {
  const { worker, queue, ran, over } = stageFor(t, (name, _step, _log, job) => {
    if (name.endsWith('fetch')) job.dists = job.version === '1' ? ['trixie'] : [];
  });
  const [one, none] = [jobOf(config, 'one', '1', 1), jobOf(config, 'two', '2', 2)];
  for (const job of [one, none]) queue.add(job);
  worker.start();
  for (const job of [one, none]) t.match(await over(job), { state: 'done', reasons: [], reason: null });
  t.same(ran.sort(), ['one 1 build trixie', 'one 1 fetch', 'one 1 publish trixie', 'one 1 sign trixie', 'two 2 fetch']);
});

void t.test('what waits for another component\'s packages goes on when something is published for its distribution, and is not tried in vain before', async (t) => {
  let isThere = false;
  let release: () => void = () => undefined;
  const later = new Promise<void>((resolve) => (release = resolve));
  const { worker, queue, ran, over } = stageFor(t, async (name) => {
    if (name === 'two 1 build bookworm' && !isThere) throw new Refusal('DEP_WAIT', 'no repository has libone-dev yet');
    if (name === 'one 1 build bookworm') await later;
    if (name === 'one 1 publish bookworm') isThere = true;
  });
  const [two, one, three] = [jobOf(config, 'two', '1', 1), jobOf(config, 'one', '1', 2), jobOf(config, 'three', '1', 3)];
  for (const job of [two, one, three]) job.dists = job === three ? ['trixie'] : ['bookworm'];
  for (const job of [two, one, three]) queue.add(job);
  worker.start();
  await until('the wait', () => two.waiting.length > 0 && isOver(three));
  t.match(two.waiting, [{ dist: 'bookworm', code: 'DEP_WAIT', detail: 'no repository has libone-dev yet' }], 'the page says on what');
  t.equal(ran.filter((name) => name === 'two 1 build bookworm').length, 1, 'another distribution\'s packages are of no use');
  release();
  for (const job of [one, two]) t.match(await over(job), { state: 'done' });
  t.equal(ran.filter((name) => name === 'two 1 build bookworm').length, 2);
});
