// SPDX-License-Identifier: GPL-2.0-or-later
// Leaves notifications where the notifier finds them. Never in a build's way: writing is a small file, and whatever goes wrong here is a line in
// the journal and is made good at the next change.
//   <outbox>/<number>-<key>.json   oldest first by name; the notifier only reads
//   <told>/<job>.json              names of what was written of a job
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder, readIfThere, renameDurably, writeDurably } from '../../shared/durable-files.js';
import {
  checkNotification,
  notificationLimitBytes,
  type Notification,
} from '../../shared/formats/notification.js';
import {
  checkRefusedCommand,
  refusedCommandFormat,
  type OutboxDocument,
  type RefusedCommand,
} from '../../shared/formats/refused-command.js';
import { printable } from '../../shared/refusal.js';
import type { Reporter } from '../../shared/calls/socket-service.js';
import type { PackageJob } from '../jobs/job-document.js';
import { earnedBy, notificationOf } from './notifications.js';

export interface OutboxOptions {
  outbox: string;
  told: string;
  report: Reporter;
  /** last lines of the latest log of this step, or null where they are not known any more */
  excerptOf?: (job: string, stage: string, dist: string | null) => string | null;
  now?: () => Date;
}

const documentsLimit = 5000;
const keepMs = 30 * 24 * 3600_000;
const namePattern = /^([0-9]{12})-[0-9a-f]{64}\.json$/;

export class Outbox {
  readonly #options: OutboxOptions;
  /** job → what was told; and of jobs that are over, up to which end */
  readonly #told = new Map<string, Set<string>>();
  readonly #over = new Map<string, string>();
  #last: number | undefined;
  #trouble = '';

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** After every change of a job, and now and then. Never throws. */
  consider(jobs: readonly PackageJob[]): void {
    try {
      this.#prepare(jobs);
      for (const job of jobs)
        if (job.ended === null || this.#over.get(job.job) !== job.ended) this.#tell(job, jobs);
      this.#trouble = '';
    } catch (error) {
      const trouble = printable(String((error as Error).message));
      if (trouble !== this.#trouble)
        this.#options.report(`outbox: ${trouble}; nothing is lost, and it is tried again`);
      this.#trouble = trouble;
    }
  }

  /**
   * The answer to a signed command. Its key is that of the command, so the notifier says it once however often it is left here.
   * @param refused.command identity of the command @throws what is wrong with a disk
   */
  refuse(
    env: string,
    {
      command,
      ...refused
    }: Pick<RefusedCommand, 'line' | 'signed' | 'signature' | 'code'> & { command: string },
  ): void {
    const { line, signed, signature, code } = refused;
    const key = createHash('sha256')
      .update(JSON.stringify([env, 'refused command', command]))
      .digest('hex');
    makeFolder(this.#options.outbox, 0o755);
    if (this.#names().some((name) => name.endsWith(`-${key}.json`))) return;
    this.#put(
      checkRefusedCommand({
        format: refusedCommandFormat,
        key,
        time: this.#now().toISOString(),
        env,
        line,
        signed,
        signature,
        code,
      } satisfies RefusedCommand),
    );
  }

  /** Takes away what nobody can want any more. Never throws. */
  prune(): void {
    try {
      const names = this.#names();
      const before = this.#now().getTime() - keepMs;
      names.forEach((name, index) => {
        const path = join(this.#options.outbox, name);
        if (index < names.length - documentsLimit || statSync(path).mtimeMs < before) unlinkSync(path);
      });
    } catch (error) {
      this.#options.report(`outbox: not tidied up: ${printable(String((error as Error).message))}`);
    }
  }

  #now(): Date {
    return this.#options.now?.() ?? new Date();
  }

  #names(): string[] {
    if (!existsSync(this.#options.outbox)) return [];
    return readdirSync(this.#options.outbox)
      .filter((name) => namePattern.test(name))
      .sort();
  }

  /** A farm that gets its first notifier does not announce its past. */
  #prepare(jobs: readonly PackageJob[]): void {
    const { outbox, told } = this.#options;
    if (!existsSync(outbox)) makeFolder(outbox, 0o755);
    if (existsSync(told)) return;
    // Whole or not at all: a kill in the middle must not leave half of the past to be announced.
    const part = `${told}.part`;
    makeFolder(part, 0o755);
    for (const job of jobs.filter((one) => one.ended !== null))
      this.#note(part, job.job, new Set(earnedBy(job, new Set(), jobs).map((earned) => earned.name)));
    renameDurably(part, told);
  }

  #note(folder: string, job: string, names: Set<string>): void {
    writeDurably(join(folder, `${job}.json`), `${JSON.stringify([...names])}\n`);
    this.#told.set(job, names);
  }

  #tell(job: PackageJob, jobs: readonly PackageJob[]): void {
    const { told: folder, excerptOf } = this.#options;
    let told = this.#told.get(job.job);
    if (told === undefined) {
      const bytes = readIfThere(join(folder, `${job.job}.json`));
      told = new Set(bytes === undefined ? [] : (JSON.parse(bytes.toString('utf8')) as string[]));
      this.#told.set(job.job, told);
    }
    const before = told;
    const earned = earnedBy(job, before, jobs).filter(({ name }) => !before.has(name));
    for (const one of earned) {
      const excerpt =
        one.reason === null || one.step === null || one.event === 'refused'
          ? null
          : (excerptOf?.(job.job, one.step.stage, one.step.dist) ?? null);
      this.#write(notificationOf(job, one, this.#now(), excerpt));
      this.#note(folder, job.job, new Set([...(this.#told.get(job.job) ?? []), one.name]));
    }
    if (job.ended !== null) this.#over.set(job.job, job.ended);
    else this.#over.delete(job.job);
  }

  #write(notification: Notification): void {
    checkNotification(JSON.parse(JSON.stringify(notification)));
    const text = JSON.stringify(notification, null, 1);
    // 200 commits of 200 characters with 20 issues each could be more; their list is the part that can be done without.
    this.#put(
      Buffer.byteLength(text) > notificationLimitBytes ? { ...notification, commits: [] } : notification,
    );
  }

  #put(document: OutboxDocument): void {
    this.#last ??= Number(this.#names().at(-1)?.slice(0, 12) ?? '0');
    writeDurably(
      join(this.#options.outbox, `${String(this.#last + 1).padStart(12, '0')}-${document.key}.json`),
      `${JSON.stringify(document, null, 1)}\n`,
    );
    this.#last += 1;
  }
}
