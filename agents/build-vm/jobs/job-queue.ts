// SPDX-License-Identifier: GPL-2.0-or-later
// The durable queue: one folder a job with its document. What is answered to a caller is on disk first; a
// kill at any point loses nothing.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder, readIfThere, syncFolder, writeDurably } from '../../shared/durable-files.js';
import { jobIdPattern, matches } from '../../shared/formats/names.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { Component } from '../configuration/config.js';
import { isOver, readJob, type Job } from './job-document.js';
import type { PackageKind } from '../../engines/contract.js';
import type { SourceNames } from './source-names.js';
import { meaningOfTag } from '../configuration/release-lines.js';
import { compareVersions } from '../configuration/version-tag.js';

/** The highest version that was ever verified for a component, and the tag object it was. */
export interface HighestVersion {
  version: string;
  tagObject: string;
  job: string;
  tag: string;
  sources: SourceNames;
}

function readJobOf(name: string, bytes: Buffer): Job {
  try {
    const job = readJob(bytes);
    if (job.job === name) return job;
    throw new Refusal('BAD_DOCUMENT', `is of ${printable(job.job)}`);
  } catch (error) {
    throw new Error(`${name}/job.json is not a job of this version: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

export class JobQueue {
  readonly #folder: string;
  readonly #highest: string;
  readonly #jobs = new Map<string, Job>();
  #changed: () => void = () => undefined;

  /**
   * Reads what is there; a job that was running when the agent was killed is queued again, each chain at the
   * step it was in.
   */
  constructor(folder: string, highestFolder: string) {
    this.#folder = folder;
    this.#highest = highestFolder;
    makeFolder(folder);
    makeFolder(highestFolder);
    for (const name of readdirSync(folder)) {
      const bytes = matches(jobIdPattern, name) ? readIfThere(join(folder, name, 'job.json')) : undefined;
      if (bytes === undefined) continue;
      const job = readJobOf(name, bytes);
      if (job.state === 'running') job.state = 'queued';
      job.running = [];
      this.#jobs.set(name, job);
    }
  }

  /** Calls back after every change: for the status file and the worker. */
  onChange(changed: () => void): void {
    this.#changed = changed;
  }

  folderOf(id: string): string {
    return join(this.#folder, id);
  }

  /** Whether what was built is still there: old jobs keep only their document. */
  hasArtifacts(job: Job, dist: string): boolean {
    return existsSync(join(this.folderOf(job.job), 'artifacts', dist));
  }

  get(id: string): Job | undefined {
    return this.#jobs.get(id);
  }

  all(): Job[] {
    return [...this.#jobs.values()].sort((a, b) => a.number - b.number);
  }

  nextNumber(): number {
    return Math.max(0, ...this.all().map((job) => job.number)) + 1;
  }

  next(): Job | undefined {
    return this.all().find((job) => !isOver(job));
  }

  add(job: Job): void {
    const folder = this.folderOf(job.job);
    if (!existsSync(folder)) {
      makeFolder(folder);
      syncFolder(this.#folder);
    }
    this.#jobs.set(job.job, job);
    try {
      this.save(job);
    } catch (error) {
      // Whoever asks for the same thing again is not told of a job that no disk has.
      this.#jobs.delete(job.job);
      throw error;
    }
  }

  /** Writes the job as it is now; returns once that would survive a power cut. */
  save(job: Job): void {
    writeDurably(join(this.folderOf(job.job), 'job.json'), `${JSON.stringify(job, null, 1)}\n`);
    this.#changed();
  }

  /** @param line as a job has it: by the name that it had then */
  highest(component: string, line?: string): HighestVersion | undefined {
    return this.#read(line === undefined ? `${component}.json` : `${component}@${line}.json`);
  }

  /**
   * The highest version of one of a component's release lines. Lines are named anew, put together and taken
   * apart: every version that was ever verified is asked whether it is of this one by today's configuration,
   * so that no line goes back.
   */
  highestOf(
    component: Pick<Component, 'name' | 'tag' | 'lines'>,
    line: string | undefined,
  ): HighestVersion | undefined {
    const { name, lines } = component;
    if (lines === undefined) return this.highest(name);
    const files = readdirSync(this.#highest).filter(
      (file) => file === `${name}.json` || (file.startsWith(`${name}@`) && file.endsWith('.json')),
    );
    const verified = [
      ...files.map((file) => this.#read(file) as HighestVersion),
      ...this.all().flatMap((job) =>
        job.kind === 'build' && job.component === name && job.evidence !== null
          ? [{ version: job.version, tagObject: job.tagObject, job: job.job, tag: job.tag, sources: {} }]
          : [],
      ),
    ].filter(({ tag }) => meaningOfTag(component, tag)?.line === line);
    const highest = verified.reduce<HighestVersion | undefined>(
      (before, one) =>
        before === undefined || compareVersions(one.version, before.version) > 0 ? one : before,
      undefined,
    );
    // What the component calls itself is no line's own.
    return highest === undefined
      ? undefined
      : { ...highest, sources: (this.highest(name) ?? highest).sources };
  }

  #read(file: string): HighestVersion | undefined {
    const bytes = readIfThere(join(this.#highest, file));
    return bytes === undefined ? undefined : (JSON.parse(bytes.toString('utf8')) as HighestVersion);
  }

  /** Components of which a version was verified that is this source package. */
  componentsOf(kind: PackageKind, source: string): string[] {
    const components = readdirSync(this.#highest).flatMap((name) =>
      /^[^.@][^@]*\.json$/.test(name) ? [name.slice(0, -'.json'.length)] : [],
    );
    return components.filter((component) => this.highest(component)?.sources[kind] === source);
  }

  /** Versions never go back: remembered before anything of this version is built. */
  rememberHighest(component: string, found: HighestVersion, line?: string): void {
    if (line !== undefined) this.#remember(`${component}@${line}.json`, found);
    this.#remember(`${component}.json`, found);
  }

  #remember(file: string, found: HighestVersion): void {
    const before = this.#read(file);
    if (before !== undefined && compareVersions(found.version, before.version) <= 0) return;
    // Of a kind that nothing is built of just now the name stays known.
    writeDurably(
      join(this.#highest, file),
      `${JSON.stringify({ ...found, sources: { ...before?.sources, ...found.sources } })}\n`,
    );
  }
}
