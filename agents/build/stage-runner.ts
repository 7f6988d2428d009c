// SPDX-License-Identifier: GPL-2.0-or-later
// Which stage does what with the job's folder; the results it notes in the job.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere } from '../shared/durable-files.js';
import { Refusal } from '../shared/refusal.js';
import { buildFor } from './build-stage.js';
import type { Config, Distribution } from './config.js';
import { publishUploadFor } from './apt-repository/publish-upload.js';
import { signUploadFor } from './apt-repository/sign-upload.js';
import { publishPackagesFor } from './dnf-repository/publish-packages.js';
import { signPackagesFor } from './dnf-repository/sign-packages.js';
import { engineProgram } from './engine-programs.js';
import { fetchSource } from './fetch-stage.js';
import { refuseOtherConfiguration } from './job-configuration.js';
import { jobIdentity, type Job, type Step } from './job-document.js';
import type { JobQueue } from './job-queue.js';
import type { LineSink } from './logged-program.js';
import { pruneOldJobs } from './old-jobs.js';
import type { Paths } from './paths.js';
import type { SignOptions } from './signed-files.js';

export interface StageOptions {
  config: Config;
  paths: Paths;
  queue: JobQueue;
  fetchMs?: number;
}

const defaultFetchMs = 1800_000;

function publicKey(options: StageOptions): { path: string; text: string } {
  const path = join(options.paths.publicKeys, `${options.config.signingKey}.asc`);
  const text = readIfThere(path)?.toString('utf8');
  if (text === undefined) throw new Refusal('NO_PUBLIC_KEY', `${options.config.signingKey}.asc is not in public-keys`);
  return { path, text };
}

/** @throws Refusal DIST_RETIRED: the configuration had it when the job was made */
function distributionOf(step: Step, config: Config): Distribution {
  const found = config.distributions.find((candidate) => candidate.name === step.dist);
  if (found === undefined) throw new Refusal('DIST_RETIRED', `${step.dist}: not a distribution of this VM any more`);
  return found;
}

/** The kinds that this agent itself publishes: an engine that does that reads its sources in its own way. */
function packagesOf(config: Config): Set<Distribution['packages']> {
  return new Set(config.distributions.filter((one) => one.publisher !== 'engine').map((one) => one.packages));
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
        componentsOf: (source) => queue.componentsOf(source), packages: packagesOf(config), now: new Date(),
      }, log);
      job.evidence = found.evidence;
      job.sourceDateEpoch = found.sourceDateEpoch;
      queue.rememberHighest(component.name, { version: job.version, tagObject: job.tagObject, job: job.job, source: found.source });
      return;
    }
    case 'build': {
      const distribution = distributionOf(step, config);
      const dist = distribution.name;
      const engine = [engineProgram(paths.engines, distribution.engine)];
      const files = await buildFor(job, dist, { engine, folder, work: paths.work, cache: paths.cache, buildSeconds: config.buildSeconds, engineOptions: distribution.options }, log);
      job.artifacts = [...job.artifacts.filter((made) => made.dist !== dist), { dist, files }];
      return;
    }
    case 'sign': {
      const { name, packages } = distributionOf(step, config);
      const sign = packages === 'deb' ? signUploadFor : signPackagesFor;
      const signing: SignOptions = { folder, gpg: paths.gpg, signingKey: config.signingKey, publicKey: publicKey(options).text };
      const files = await sign(job, name, signing, log);
      for (const file of files) log.say(`signed upload sha256:${file.sha256} ${file.size} ${file.name}`);
      return;
    }
    case 'publish': {
      const uploaded = await publish(job, distributionOf(step, config), folder, log, options);
      job.uploaded = [...job.uploaded.filter((other) => other.dist !== uploaded.dist), uploaded];
      log.say(`uploaded ${job.component} ${job.version} to ${uploaded.url} ${uploaded.suite}, release ${uploaded.release}`);
    }
  }
}

async function publish(job: Job, { name, packages }: Distribution, jobFolder: string, log: LineSink, options: StageOptions): Promise<Job['uploaded'][number]> {
  const { config, paths } = options;
  const common = { gpg: paths.gpg, publicKey: publicKey(options).path, jobFolder, work: paths.work, sshConfig: paths.sshConfig };
  if (packages === 'deb' && config.apt !== undefined) {
    return await publishUploadFor(job, name, { ...common, apt: config.apt, folder: join(paths.apt, config.env, name), dist: name, suite: 'current-testing' }, log);
  }
  if (packages === 'rpm' && config.dnf !== undefined) {
    return await publishPackagesFor(job, name, { ...common, dnf: config.dnf, folder: join(paths.dnf, config.env), suite: 'current-testing', signingKey: config.signingKey }, log);
  }
  throw new Error(`${name} has ${packages} packages and no repository`);
}

/** Sources can be fetched again from their tag; artifacts and signed files stay as long as the job is not old, the job document for ever. */
export function cleanUpJob(job: Job, queue: JobQueue): void {
  const temporary = ['source', 'repository.git', ...job.dists.flatMap((dist) => [`debsign-${dist}.tmp`, `rpmsign-${dist}.tmp`])];
  for (const name of temporary) rmSync(join(queue.folderOf(job.job), name), { recursive: true, force: true });
  pruneOldJobs(queue);
}
