// SPDX-License-Identifier: GPL-2.0-or-later
// Which stage does what with the job's folder; the results it notes in the job.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere } from '../shared/durable-files.js';
import { Refusal } from '../shared/refusal.js';
import { buildFor } from './build-stage.js';
import type { Config } from './config.js';
import { fetchSource } from './fetch-stage.js';
import { refuseOtherConfiguration } from './job-configuration.js';
import { jobIdentity, type Job, type Step } from './job-document.js';
import type { JobQueue } from './job-queue.js';
import type { LineSink } from './logged-program.js';
import { pruneOldJobs } from './old-jobs.js';
import type { Paths } from './paths.js';
import { publishFor } from './publish-stage.js';
import { signFor } from './sign-stage.js';

export interface StageOptions {
  config: Config;
  paths: Paths;
  queue: JobQueue;
  /** argv of each engine without the document */
  engines: Record<string, readonly string[]>;
  fetchMs?: number;
}

const defaultFetchMs = 1800_000;

function publicKey(options: StageOptions): { path: string; text: string } {
  const path = join(options.paths.publicKeys, `${options.config.signingKey}.asc`);
  const text = readIfThere(path)?.toString('utf8');
  if (text === undefined) throw new Refusal('NO_PUBLIC_KEY', `${options.config.signingKey}.asc is not in public-keys`);
  return { path, text };
}

function distOf(step: Step): string {
  if (step.dist === null) throw new Error(`the stage ${step.stage} needs a distribution`);
  return step.dist;
}

/** @throws Refusal of the stages, CONFIG_CHANGED, DIST_RETIRED */
export async function runStage(job: Job, step: Step, log: LineSink, options: StageOptions): Promise<void> {
  const { config, paths, queue } = options;
  const folder = queue.folderOf(job.job);
  const component = config.components.find((candidate) => candidate.name === job.component);
  if (job.configuration !== null) {
    refuseOtherConfiguration(job.configuration, config, component, job.dists, step.dist);
  } else if (component !== undefined && jobIdentity(config, component, job.tag, job.tagObject, job.version) !== job.job) {
    throw new Refusal('CONFIG_CHANGED', 'the configuration of this component has changed since the job was made');
  }
  if (component === undefined) throw new Refusal('CONFIG_CHANGED', 'the component is not configured here any more');
  switch (step.stage) {
    case 'fetch': {
      const found = await fetchSource(job, component, {
        forge: { sshConfig: paths.sshConfig, timeoutMs: options.fetchMs ?? defaultFetchMs }, publicKeys: paths.publicKeys, folder, highest: queue.highest(component.name),
        componentsOf: (source) => queue.componentsOf(source), now: new Date(),
      }, log);
      job.evidence = found.evidence;
      job.sourceDateEpoch = found.sourceDateEpoch;
      queue.rememberHighest(component.name, { version: job.version, tagObject: job.tagObject, job: job.job, source: found.source });
      return;
    }
    case 'build': {
      const dist = distOf(step);
      const name = config.distributions.find((candidate) => candidate.name === dist)?.engine ?? '';
      const engine = options.engines[name];
      if (engine === undefined) throw new Refusal('NO_ENGINE', `there is no engine for ${dist}`);
      const files = await buildFor(job, dist, { engine, folder, work: paths.work, cache: paths.cache, buildSeconds: config.buildSeconds }, log);
      job.artifacts = [...job.artifacts.filter((made) => made.dist !== dist), { dist, files }];
      return;
    }
    case 'sign': {
      const files = await signFor(job, distOf(step), { folder, gpg: paths.gpg, signingKey: config.signingKey, publicKey: publicKey(options).text }, log);
      for (const file of files) log.say(`signed upload sha256:${file.sha256} ${file.size} ${file.name}`);
      return;
    }
    case 'publish': {
      const uploaded = await publishFor(job, distOf(step), {
        folder: join(paths.apt, config.env, distOf(step)), apt: config.apt, dist: distOf(step), suite: 'current-testing', gpg: paths.gpg, publicKey: publicKey(options).path,
        jobFolder: folder, work: paths.work, sshConfig: paths.sshConfig,
      }, log);
      job.uploaded = [...job.uploaded.filter((other) => other.dist !== uploaded.dist), uploaded];
      log.say(`uploaded ${job.component} ${job.version} to ${uploaded.url} ${uploaded.suite}, release ${uploaded.release}`);
    }
  }
}

/** Sources can be fetched again from their tag; artifacts and signed files stay as long as the job is not old, the job document for ever. */
export function cleanUpJob(job: Job, queue: JobQueue): void {
  for (const name of ['source', 'repository.git', ...job.dists.map((dist) => `debsign-${dist}.tmp`)]) rmSync(join(queue.folderOf(job.job), name), { recursive: true, force: true });
  pruneOldJobs(queue);
}
