// SPDX-License-Identifier: GPL-2.0-or-later
// Keeps the page up to date on disk and on its server. It is told of changes and never waited for: what fails
// here is said once and tried again, and no build hears of it.
import { createHash } from 'node:crypto';
import { AnyRefusal, printable } from '../../shared/refusal.js';
import type { Reporter } from '../../shared/calls/socket-service.js';
import { isOver, type Job } from '../jobs/job-document.js';
import { farmStatus, refreshSeconds, type FarmState } from './farm-status.js';
import { PageFiles } from './page-files.js';
import { PageGenerations, type PageGeneration } from './page-generations.js';

export interface StatusPageOptions {
  folder: string;
  state: () => Omit<FarmState, 'made'>;
  /** undefined where the page stays on this VM. @throws whatever kept it from being uploaded */
  upload: ((generation: PageGeneration) => Promise<void>) | undefined;
  report: Reporter;
  now?: () => Date;
  /** ms from a change to the page that shows it, and between two pages */
  pauseMs?: number;
  /** ms between two pages when nothing changes */
  refreshMs?: number;
  /** making the page takes at most one part in so many of the time; 10 unless told */
  share?: number;
  /** ms after a failure; doubles up to 60 times that */
  retryMs?: number;
}

/**
 * As it is now: an open job changes while files are written, one that is over gets new parts instead of
 * changed ones when it is taken up again.
 */
function snapshot(jobs: readonly Job[]): Job[] {
  return jobs.map((job) => (isOver(job) ? { ...job } : structuredClone(job)));
}

export class StatusPage {
  readonly #options: StatusPageOptions;
  readonly #files = new PageFiles();
  readonly #generations: PageGenerations;
  /** digest of everything but the time */
  #shown = '';
  #madeAt = 0;
  #stopped = false;
  #timer: NodeJS.Timeout | undefined;
  /** ms of performance.now(), as the two times below it */
  #due = Infinity;
  #notBefore = 0;
  #making: Promise<void> | undefined;
  #changedMeanwhile = false;
  #uploading: Promise<void> | undefined;
  #uploadingRelease: string | undefined;
  #uploadPause: NodeJS.Timeout | undefined;
  #uploaded: string | undefined;
  readonly #failures = { make: 0, upload: 0 };

  constructor(options: StatusPageOptions) {
    this.#options = options;
    this.#generations = new PageGenerations(options.folder);
  }

  /**
   * Something that the page shows may be otherwise. Costs nothing; the page follows within `pauseMs`, or
   * later if making it is slow.
   */
  changed(): void {
    if (this.#making !== undefined) this.#changedMeanwhile = true;
    else this.#plan(Math.max(this.#options.pauseMs ?? 3000, this.#notBefore - performance.now()));
  }

  /** Ends after what is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#uploadPause);
    await this.#making;
    await this.#uploading;
  }

  #plan(ms: number): void {
    const due = performance.now() + ms;
    if (this.#stopped || this.#due <= due) return;
    clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => {
      this.#due = Infinity;
      this.#making = this.#round();
    }, ms);
    this.#timer.unref();
  }

  async #round(): Promise<void> {
    const { report, refreshMs = refreshSeconds * 1000 } = this.#options;
    const began = performance.now();
    this.#changedMeanwhile = false;
    let again = refreshMs;
    try {
      await this.#makeIfOther(refreshMs);
      if (this.#failures.make > 0) report('status page: made again');
      this.#failures.make = 0;
    } catch (error) {
      this.#files.forget();
      this.#shown = '';
      if (this.#failures.make++ === 0)
        report(`status page: not made, and tried again quietly: ${printable(String(error))}`);
      again = this.#backOff(this.#failures.make);
    }
    this.#making = undefined;
    this.#notBefore = performance.now() + (performance.now() - began) * (this.#options.share ?? 10);
    this.#plan(again);
    if (this.#changedMeanwhile) this.changed();
    this.#upload();
  }

  async #makeIfOther(refreshMs: number): Promise<void> {
    const made = this.#options.now?.() ?? new Date();
    const state = this.#options.state();
    const jobs = snapshot(state.jobs);
    const status = farmStatus({ ...state, jobs, made });
    const shown = createHash('sha256')
      .update(
        JSON.stringify([
          { ...status, made: '' },
          ...jobs.map((job) => (isOver(job) ? [job.job, job.ended] : job)),
        ]),
      )
      .digest('hex');
    if (shown === this.#shown && made.getTime() - this.#madeAt < refreshMs * 0.9) return;
    await this.#generations.make(this.#files.of(status, jobs), made, () => this.#uploadingRelease);
    this.#shown = shown;
    this.#madeAt = made.getTime();
  }

  #backOff(failures: number): number {
    return (this.#options.retryMs ?? 60_000) * Math.min(60, 2 ** (failures - 1));
  }

  #upload(): void {
    const { upload, report } = this.#options;
    const generation = this.#generations.last;
    if (upload === undefined || generation === undefined || generation.release === this.#uploaded) return;
    if (this.#stopped || this.#uploading !== undefined || this.#uploadPause !== undefined) return;
    this.#uploadingRelease = generation.release;
    this.#uploading = upload(generation)
      .then(
        () => {
          this.#uploaded = generation.release;
          if (this.#failures.upload > 0) report('status page: uploaded again');
          this.#failures.upload = 0;
        },
        (error: unknown) => {
          if (this.#failures.upload++ === 0)
            report(
              `status page: not uploaded, and tried again quietly: ${error instanceof AnyRefusal ? error.line() : printable(String(error))}`,
            );
          if (this.#stopped) return;
          this.#uploadPause = setTimeout(() => {
            this.#uploadPause = undefined;
            this.#upload();
          }, this.#backOff(this.#failures.upload));
          this.#uploadPause.unref();
        },
      )
      .finally(() => {
        this.#uploading = undefined;
        this.#uploadingRelease = undefined;
        // There may be a newer one by now.
        this.#upload();
      });
  }
}
