// SPDX-License-Identifier: GPL-2.0-or-later
// Takes jobs through their stages, one at a time, each stage inside its own log. A step that a kill broke off is done again from its
// beginning; each stage is written so that this costs time and nothing else.
import { printable, Refusal } from '../shared/refusal.js';
import type { Reporter } from '../shared/socket-service.js';
import { isOver, nextStep, type Job, type JobState, type Step } from './job-document.js';
import type { JobQueue } from './job-queue.js';
import type { LineSink } from './logged-program.js';
import type { PublishedLog } from './log-sender.js';

/** An open log, as LogSender is. */
export interface StageLog extends LineSink {
  readonly path: string;
  end(status: number): Promise<PublishedLog>;
  abandon(): void;
}

export interface WorkerOptions {
  queue: JobQueue;
  openLog(job: Job, step: Step): Promise<StageLog>;
  /** Does the step and notes its results in the job; saving is the worker's. */
  runStep(job: Job, step: Step, log: StageLog): Promise<void>;
  /** After the last step, or when the job is over otherwise. */
  cleanUp(job: Job): void;
  report: Reporter;
  now?(): Date;
  /** first pause before another try; doubles up to 32 times that */
  pauseMs?: number;
}

// The world's fault, not the job's: how often a step is tried. A signature that was refused costs a published intent each time.
const transient = new Map([
  ['NO_LOG_SINK', Infinity], ['FORGE_UNREACHABLE', 50], ['UPLOAD_FAILED', 50], ['READ_BACK_FAILED', 20], ['NO_CHROOT', 5], ['NO_BUILD_DEPENDENCIES', 3], ['SIGN_FAILED', 5], ['PUBLISH_FAILED', 5],
  ['FETCH_FAILED', 3],
]);
// The tag's or its maker's fault: an answer, where everything else is a failure.
const failures = new Set(['BUILD_FAILED', 'TIMED_OUT', 'OUTPUT_LIMIT', 'ENGINE_FAILED', 'NO_CHANGES', 'BAD_ARTIFACT', 'FAULT', ...transient.keys()]);

export class Worker {
  readonly #options: WorkerOptions;
  /** per job: when it may be tried again, how often it was, without restart memory on purpose */
  readonly #pauses = new Map<string, { until: number; attempts: number }>();
  #wake: () => void = () => undefined;
  #stopped = false;
  #running: Promise<void> | undefined;

  constructor(options: WorkerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#loop();
  }

  /** There may be something to do. */
  wake(): void {
    this.#wake();
  }

  /** Ends after the step that runs now. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#running;
  }

  /** A person wants a failed or refused job tried again, from the step that failed. @throws Refusal UNKNOWN_JOB, NOT_OVER */
  retry(id: string): string {
    const { queue } = this.#options;
    const job = queue.get(id);
    if (job === undefined) throw new Refusal('UNKNOWN_JOB', 'there is no such job');
    if (job.state !== 'failed' && job.state !== 'refused') throw new Refusal('NOT_OVER', `the job is ${job.state}`);
    Object.assign(job, { state: 'queued' satisfies JobState, reason: null, ended: null, waiting: null });
    // What was cleaned up has to be made again: the source always, of an old job also what was built and signed for what is not published.
    const built = queue.hasArtifacts(job);
    const published = new Set(job.finished.filter((step) => step.stage === 'publish').map((step) => step.dist));
    job.finished = job.finished.filter((step) => step.stage !== 'fetch' && (built || published.has(step.dist)));
    this.#pauses.delete(id);
    queue.save(job);
    this.wake();
    return `queued ${id}`;
  }

  #now(): Date {
    return this.#options.now?.() ?? new Date();
  }

  /** The first job that does not pause; a later version never overtakes an earlier one of its component. */
  #choose(): { job: Job } | { pauseMs: number | undefined } {
    let soonest: number | undefined;
    const held = new Set<string>();
    for (const job of this.#options.queue.all()) {
      if (isOver(job) || held.has(job.component)) continue;
      const left = (this.#pauses.get(job.job)?.until ?? 0) - this.#now().getTime();
      if (left <= 0) return { job };
      held.add(job.component);
      soonest = Math.min(soonest ?? left, left);
    }
    return { pauseMs: soonest };
  }

  async #loop(): Promise<void> {
    while (!this.#stopped) {
      const choice = this.#choose();
      if ('job' in choice) {
        await this.#advance(choice.job);
        continue;
      }
      await new Promise<void>((resolve) => {
        const timer = choice.pauseMs === undefined ? undefined : setTimeout(resolve, choice.pauseMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async #advance(job: Job): Promise<void> {
    const { queue } = this.#options;
    const step = nextStep(job);
    if (step === undefined) return this.#finish(job, 'done', null);
    const started = this.#now().toISOString();
    job.state = 'running';
    job.current = { ...step, started };
    queue.save(job);
    let log: StageLog | undefined;
    try {
      log = await this.#options.openLog(job, step);
      job.waiting = null;
      const record = { ...step, path: log.path, commit: null as string | null };
      job.logs.push(record);
      queue.save(job);
      await this.#options.runStep(job, step, log);
      record.commit = (await log.end(0)).commit;
      job.finished.push({ ...step, started, ended: this.#now().toISOString() });
      job.current = null;
      this.#pauses.delete(job.job);
      queue.save(job);
    } catch (error) {
      await this.#stepFailed(job, step, log, error);
    }
  }

  async #stepFailed(job: Job, step: Step, log: StageLog | undefined, error: unknown): Promise<void> {
    const where = `${job.job} ${step.stage}${step.dist === null ? '' : ` ${step.dist}`}`;
    const reason = error instanceof Refusal ? { code: error.code, detail: error.detail } : { code: 'FAULT', detail: 'an unexpected fault; the journal of this VM has it' };
    this.#options.report(`${where}: ${error instanceof Refusal ? error.line() : `fault: ${printable(String((error as Error).stack ?? error))}`}`);
    if (reason.code === 'NO_LOG_SINK') log?.abandon();
    else if (log !== undefined) await this.#endBadly(job, log, reason);
    const pause = this.#pauses.get(job.job) ?? { until: 0, attempts: 0 };
    pause.attempts++;
    if (pause.attempts < (transient.get(reason.code) ?? 0)) {
      pause.until = this.#now().getTime() + (this.#options.pauseMs ?? 5000) * 2 ** Math.min(5, pause.attempts - 1);
      this.#pauses.set(job.job, pause);
      job.waiting = { ...reason, since: job.waiting?.since ?? this.#now().toISOString() };
      job.state = 'queued';
      return this.#options.queue.save(job);
    }
    this.#finish(job, failures.has(reason.code) ? 'failed' : 'refused', reason);
  }

  async #endBadly(job: Job, log: StageLog, reason: { code: string; detail: string }): Promise<void> {
    try {
      log.say(`refused ${reason.code} ${reason.detail}`);
      const { commit } = await log.end(1);
      const record = job.logs.findLast((candidate) => candidate.path === log.path);
      if (record !== undefined) record.commit = commit;
    } catch (error) {
      this.#options.report(`${job.job}: the end of ${log.path} is not published: ${printable(String(error))}`);
    }
  }

  #finish(job: Job, state: JobState, reason: Job['reason']): void {
    job.state = state;
    job.reason = reason;
    job.current = null;
    job.waiting = null;
    job.ended = this.#now().toISOString();
    this.#pauses.delete(job.job);
    this.#options.queue.save(job);
    this.#options.report(`${job.job}: ${state}${reason === null ? '' : ` ${reason.code} ${reason.detail}`}`);
    this.#options.cleanUp(job);
  }
}
