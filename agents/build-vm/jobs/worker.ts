// SPDX-License-Identifier: GPL-2.0-or-later
// Takes jobs through their steps as the schedule says, each step inside its own log. A step that a kill broke
// off is done again from its beginning; each is written so that this costs time and nothing else.
import { availableParallelism } from 'node:os';
import { AnyRefusal, printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { Reporter } from '../../shared/calls/socket-service.js';
import { cancelled, withCancellation } from '../../shared/programs/cancellation.js';
import { CommandClock, withClock } from './command-clock.js';
import { isDiskFull } from '../../shared/files/free-room.js';
import {
  chainOf,
  isChainDone,
  isOver,
  nextStep,
  type ChainReason,
  type Job,
  type Stage,
  type Step,
} from './job-document.js';
import type { JobQueue } from './job-queue.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import type { PublishedLog } from '../logs/log-sender.js';
import { reopen } from './retry.js';
import { pauseKey, schedule } from './schedule.js';

/** An open log, as LogSender is. */
export interface StageLog extends LineSink {
  readonly path: string;
  end: (status: number) => Promise<PublishedLog>;
  abandon: () => void;
}

export interface WorkerOptions {
  queue: JobQueue;
  openLog: (job: Job, step: Step) => Promise<StageLog>;
  /** Does the step and notes its results in the job; saving is the worker's. */
  runStep: (job: Job, step: Step, log: StageLog) => Promise<void>;
  /** After the last step, or when the job is over otherwise. */
  cleanUp: (job: Job) => void;
  report: Reporter;
  now?: () => Date;
  /** first pause before another try; doubles up to 128 times that: of 5 s, eleven minutes */
  pauseMs?: number;
  /** builds at the same time; one for each core unless told */
  builds?: number;
}

const waitsForPackages = 'DEP_WAIT' satisfies Refusal['code'];
const waitForPackagesMs = 3_600_000;

// The world's fault, and over once the world is well again: tried until it is, for so long (ms since it
// began). Each try may cost a published intent.
const dayMs = 86_400_000;
const patienceMs = new Map<string, number>([
  // Another component's packages: looked for again when one was published, and each hour.
  [waitsForPackages, 7 * dayMs],
  ['NO_LOG_SINK', Infinity],
  ['FORGE_UNREACHABLE', dayMs],
  ['DOWNLOAD_FAILED', dayMs],
  ['RECORD_UNREACHABLE', dayMs],
  ['GATE_UNREACHABLE', dayMs],
  ['UPLOAD_FAILED', dayMs],
  ['READ_BACK_FAILED', dayMs],
] satisfies [Refusal['code'], number][]);
// May be the world's fault: how often a step is tried.
const tries = new Map<string, number>([
  ['NO_CHROOT', 5],
  ['NO_BUILD_DEPENDENCIES', 3],
  ['DISK_FULL', 3],
  ['SIGN_FAILED', 5],
  ['PUBLISH_FAILED', 5],
  ['FETCH_FAILED', 3],
] satisfies [Refusal['code'], number][]);
// The tag's or its maker's fault: an answer, where everything else is a failure.
const failures = new Set<string>([
  ...([
    'FAULT',
    'BUILD_FAILED',
    'TIMED_OUT',
    'OUTPUT_LIMIT',
    'ENGINE_FAILED',
    'NO_CHANGES',
    'BAD_ARTIFACT',
    'CANCELLED',
  ] satisfies ('FAULT' | Refusal['code'])[]),
  ...patienceMs.keys(),
  ...tries.keys(),
]);

/** Whether a chain that ended with this code was tried and did not work; otherwise the answer was no. */
export const isFailure = (code: string): boolean => failures.has(code);

/**
 * These leave folders of this VM and nothing else, wherever they end. What was asked of the gate or told to a
 * server is gone through with.
 */
const mayBeCut: ReadonlySet<Stage> = new Set(['fetch', 'build']);
type Running = Job['running'][number];
const named = ({ stage, dist }: Step): string => `${stage}${dist === null ? '' : ` ${dist}`}`;

/** Of a step that failed and is tried again. */
interface Pause {
  until: number;
  /** ms since 1970: when it failed for the first time */
  since: number;
  /** how often it failed */
  attempts: number;
  /** of these, for a reason that counts */
  counted: number;
}

export class Worker {
  readonly #options: WorkerOptions;
  /** by pauseKey; without restart memory on purpose */
  readonly #pauses = new Map<string, Pause>();
  readonly #steps = new Set<Promise<void>>();
  readonly #cuts = new WeakMap<Running, AbortController>();
  #wake: () => void = () => undefined;
  #woken = false;
  #stopped = false;
  #loop: Promise<void> | undefined;

  constructor(options: WorkerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** There may be something to do. */
  wake(): void {
    this.#woken = true;
    this.#wake();
  }

  /** Begins nothing more, and ends after the steps that run now. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.wake();
    await this.#loop;
    await Promise.all(this.#steps);
  }

  /**
   * A person wants what failed or was refused tried again, or what waits for the world looked at now. @throws
   * Refusal UNKNOWN_JOB, NOT_OVER, ROLLBACK
   */
  retry(id: string): string {
    const { queue } = this.#options;
    const job = queue.get(id);
    if (job === undefined) throw new Refusal('UNKNOWN_JOB', 'there is no such job');
    if (isOver(job) || job.waiting.length === 0 || job.reasons.length > 0) reopen(job, queue);
    for (const dist of [null, ...job.dists])
      if (!job.running.some((step) => step.dist === dist)) this.#pauses.delete(pauseKey(job, dist));
    queue.save(job);
    this.wake();
    return `queued ${id}`;
  }

  /**
   * A person wants no more of it. What may be cut is; a step that signs or publishes goes to its end, once.
   * On disk before it is answered.
   * @throws Refusal UNKNOWN_JOB, ALREADY_OVER, NOT_CANCELLED
   */
  cancel(id: string): string {
    const { queue } = this.#options;
    const job = queue.get(id);
    if (job === undefined) throw new Refusal('UNKNOWN_JOB', 'there is no such job');
    if (isOver(job)) throw new Refusal('ALREADY_OVER', `the job is ${job.state}`);
    if (job.kind === 'withdrawal' || job.kind === 'renewal')
      throw new Refusal('NOT_CANCELLED', `a ${job.kind} cannot be cancelled`);
    job.cancelled ??= this.#now().toISOString();
    this.#endChains(job);
    queue.save(job);
    for (const step of job.running) if (mayBeCut.has(step.stage)) this.#cuts.get(step)?.abort();
    this.wake();
    const left = job.running.filter(({ stage }) => !mayBeCut.has(stage));
    return `cancelled ${id}${left.length === 0 ? '' : `; still runs to its end: ${left.map(named).join(', ')}`}`;
  }

  /** Of a job that was cancelled: every chain of which nothing runs. */
  #endChains(job: Job): void {
    const fetch = nextStep(job, null);
    const next = fetch === undefined ? job.dists.map((dist) => nextStep(job, dist)) : [fetch];
    for (const step of next) {
      if (step === undefined || job.running.some(({ dist }) => dist === step.dist)) continue;
      const { code, detail } = cancelled();
      job.reasons.push({ ...step, code, detail });
      job.waiting = job.waiting.filter(({ dist }) => dist !== step.dist);
      this.#pauses.delete(pauseKey(job, step.dist));
    }
  }

  #now(): Date {
    return this.#options.now?.() ?? new Date();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      this.#woken = false;
      const jobs = this.#options.queue.all();
      // A kill between a chain's end and the job's.
      for (const job of jobs.filter((one) => !isOver(one))) {
        if (job.cancelled !== undefined) this.#endChains(job);
        this.#finishIfOver(job);
      }
      const pauses = new Map([...this.#pauses].map(([key, { until }]) => [key, until]));
      const { start, waitMs } = schedule(
        jobs,
        pauses,
        { builds: this.#options.builds ?? availableParallelism() },
        this.#now().getTime(),
      );
      for (const { job, step } of start) {
        const running = this.#advance(job, step);
        this.#steps.add(running);
        void running.then(() => {
          this.#steps.delete(running);
          this.wake();
        });
      }
      await this.#sleep(waitMs);
    }
  }

  #sleep(waitMs: number | undefined): Promise<void> {
    if (this.#woken || this.#stopped) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = waitMs === undefined ? undefined : setTimeout(resolve, Math.min(waitMs, 2 ** 31 - 1));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async #advance(job: Job, step: Step): Promise<void> {
    const { queue } = this.#options;
    const started = this.#now().toISOString();
    const clock = new CommandClock();
    const running = { ...step, started };
    job.state = 'running';
    job.running.push(running);
    const cut = new AbortController();
    this.#cuts.set(running, cut);
    let log: StageLog | undefined;
    try {
      queue.save(job);
      log = await this.#options.openLog(job, step);
      job.waiting = job.waiting.filter((waiting) => waiting.dist !== step.dist);
      const record = { ...step, path: log.path, commit: null as string | null };
      job.logs.push(record);
      queue.save(job);
      const open = log;
      await withCancellation(cut.signal, () =>
        withClock(clock, () => this.#options.runStep(job, step, open)),
      );
      log.say(clock.line());
      Object.assign(record, await log.end(0));
      job.finished.push({
        ...step,
        started,
        ended: this.#now().toISOString(),
        commandSeconds: Math.round(clock.commandSeconds * 1000) / 1000,
      });
      this.#pauses.delete(pauseKey(job, step.dist));
      if (step.stage === 'publish' || step.stage === 'promote') this.#lookAgain(step.dist);
    } catch (error) {
      await this.#stepFailed(job, running, log, clock, cut.signal.aborted ? cancelled() : error);
    }
    job.running = job.running.filter((other) => other !== running);
    if (job.cancelled !== undefined) this.#endChains(job);
    if (job.running.length === 0) job.state = 'queued';
    try {
      if (!this.#finishIfOver(job)) queue.save(job);
    } catch (error) {
      // A full disk, mostly. What is not written down is done again after a restart; until then the job is
      // what it is here.
      this.#options.report(`${job.job}: its document could not be written: ${printable(String(error))}`);
    }
  }

  /**
   * What waits for packages of this distribution may find them now. Since when it waits stays: what comes are
   * others' packages, mostly.
   */
  #lookAgain(dist: string | null): void {
    for (const job of this.#options.queue.all()) {
      const pause = this.#pauses.get(pauseKey(job, dist));
      if (
        pause !== undefined &&
        job.waiting.some((waiting) => waiting.dist === dist && waiting.code === waitsForPackages)
      )
        pause.until = 0;
    }
  }

  async #stepFailed(
    job: Job,
    running: Running,
    log: StageLog | undefined,
    clock: CommandClock,
    error: unknown,
  ): Promise<void> {
    const { stage, dist } = running;
    const where = `${job.job} ${named(running)}`;
    const reason = reasonOf(error);
    this.#options.report(
      `${where}: ${error instanceof Refusal ? error.line() : `${reason.code === 'FAULT' ? 'fault: ' : ''}${printable(String((error as Error).stack ?? error))}`}`,
    );
    if (reason.code === 'NO_LOG_SINK') log?.abandon();
    else if (log !== undefined) await this.#endBadly(job, log, clock, reason);
    const key = pauseKey(job, dist);
    const now = this.#now().getTime();
    const pause = this.#pauses.get(key) ?? { until: 0, since: now, attempts: 0, counted: 0 };
    pause.attempts++;
    const patience = patienceMs.get(reason.code);
    if (patience === undefined) pause.counted++;
    const again =
      patience === undefined ? pause.counted < (tries.get(reason.code) ?? 0) : now - pause.since < patience;
    if (again && job.cancelled === undefined) {
      pause.until =
        now +
        (reason.code === waitsForPackages
          ? waitForPackagesMs
          : (this.#options.pauseMs ?? 5000) * 2 ** Math.min(7, pause.attempts - 1));
      this.#pauses.set(key, pause);
      job.waiting = [
        ...job.waiting.filter((waiting) => waiting.dist !== dist),
        { dist, ...reason, since: new Date(pause.since).toISOString() },
      ];
    } else {
      this.#pauses.delete(key);
      job.waiting = job.waiting.filter((waiting) => waiting.dist !== dist);
      job.reasons.push({ stage, dist, ...reason });
      this.#options.report(`${where}: given up: ${reason.code} ${reason.detail}`);
    }
  }

  async #endBadly(
    job: Job,
    log: StageLog,
    clock: CommandClock,
    reason: { code: string; detail: string },
  ): Promise<void> {
    try {
      log.say(`refused ${reason.code} ${reason.detail}`);
      log.say(clock.line());
      const record = job.logs.findLast((candidate) => candidate.path === log.path);
      Object.assign(record ?? {}, await log.end(1));
    } catch (error) {
      this.#options.report(
        `${job.job}: the end of ${log.path} is not published: ${printable(String(error))}`,
      );
    }
  }

  /** A job is over when every chain is: done, or given up with a reason of its own. */
  #finishIfOver(job: Job): boolean {
    if (
      job.running.length > 0 ||
      job.dists.some((dist) => chainOf(job, dist) !== undefined) ||
      nextStep(job, null) !== undefined
    )
      return false;
    const reason = mainReason(job.reasons);
    job.state =
      reason === undefined && job.dists.every((dist) => isChainDone(job, dist))
        ? 'done'
        : failures.has(reason?.code ?? 'FAULT')
          ? 'failed'
          : 'refused';
    job.reason = reason === undefined ? null : { code: reason.code, detail: reason.detail };
    job.waiting = [];
    job.ended = this.#now().toISOString();
    this.#options.queue.save(job);
    this.#options.report(
      `${job.job}: ${job.state}${job.reason === null ? '' : ` ${job.reason.code} ${job.reason.detail}`}`,
    );
    this.#options.cleanUp(job);
    return true;
  }
}

function reasonOf(error: unknown): { code: string; detail: string } {
  if (error instanceof AnyRefusal) return { code: error.code, detail: error.detail };
  if (isDiskFull(error)) return { code: 'DISK_FULL', detail: "no room is left on this VM's disk" };
  return { code: 'FAULT', detail: 'an unexpected fault; the journal of this VM has it' };
}

/** A failure says more than a refusal beside it: the job is to be looked at. */
function mainReason(reasons: readonly ChainReason[]): ChainReason | undefined {
  return reasons.find((reason) => failures.has(reason.code)) ?? reasons[0];
}
