// SPDX-License-Identifier: GPL-2.0-or-later
// Which stage does what with the job's folder; the results it notes in the job.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere } from '../../shared/durable-files.js';
import { suiteOf, templatesDist } from '../../shared/formats/suites.js';
import { Refusal } from '../refusals.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import { buildFor } from './build-stage.js';
import { closingCommits, commitBefore } from '../source/closing-history.js';
import { repositoryNames, type Component, type Config, type Distribution } from '../configuration/config.js';
import { renewReleasesFor } from '../repositories/apt/renew-releases.js';
import { packageRepositories } from '../repositories/package-repositories.js';
import type { ChangeOptions } from '../repositories/repository-change.js';
import { refuseWithdrawn } from '../promotion/suite-jobs.js';
import { promoteFor, withdrawFor, type SuiteStageOptions } from '../promotion/suite-stage.js';
import type { WithdrawnVersions } from '../promotion/withdrawn-versions.js';
import { engineOptions } from './distribution-options.js';
import type { EngineOptions } from './engine-call.js';
import { publishWithEngine, signWithEngine, type EngineSigning } from './engine-stages.js';
import { fetchSource, fetchTarget, type FetchTarget } from './fetch-stage.js';
import { refuseOtherConfiguration, refuseOtherTemplate } from '../jobs/job-configuration.js';
import {
  shownVersion,
  templateOf,
  type BuildJob,
  type Job,
  type MakingJob,
  type ObeyedCommand,
  type Step,
  type TemplateJob,
  type Upload,
} from '../jobs/job-document.js';
import type { JobQueue } from '../jobs/job-queue.js';
import { commandEvidence, configuredTemplate, templateDistribution } from '../jobs/template-job.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import { pruneOldJobs } from '../jobs/old-jobs.js';
import type { Paths } from '../configuration/paths.js';

export interface StageOptions {
  config: Config;
  paths: Paths;
  queue: JobQueue;
  withdrawn: WithdrawnVersions;
  fetchMs?: number;
}

const defaultFetchMs = 1800_000;
/** A courtesy may not hold a build up for long. */
const historyMs = 120_000;

function publicKey(options: StageOptions): { path: string; text: string } {
  const path = join(options.paths.publicKeys, `${options.config.signingKey}.asc`);
  const text = readIfThere(path)?.toString('utf8');
  if (text === undefined)
    throw new Refusal('NO_PUBLIC_KEY', `${options.config.signingKey}.asc is not in public-keys`);
  return { path, text };
}

/** @throws Refusal DIST_RETIRED, UNKNOWN_TEMPLATE: the configuration had it when the job was made */
function distributionOf(job: Job, step: Step, config: Config): Distribution {
  const template = templateOf(job);
  // Taken back also where it is not built any more.
  if (template !== undefined && job.kind === 'withdrawal')
    return { name: templatesDist(template.release), engine: '', packages: 'rpm', publisher: 'agent' };
  if (template !== undefined)
    return templateDistribution(
      configuredTemplate(config, template.name, template.release),
      template.release,
    );
  const found = config.distributions.find((candidate) => candidate.name === step.dist);
  if (found === undefined)
    throw new Refusal('DIST_RETIRED', `${step.dist}: not a distribution of this VM any more`);
  return found;
}

function targetsOf({ dists }: Job, config: Config): FetchTarget[] {
  return config.distributions.filter(({ name }) => dists.includes(name)).map(fetchTarget);
}

/**
 * A build is done with the configuration that it was made for. What a build published is moved with today's:
 * what concerns it is the distribution and its repository, and a version is taken back also where its
 * component is not built any more.
 * @throws Refusal CONFIG_CHANGED, DIST_RETIRED, UNKNOWN_TEMPLATE
 */
function refuseChangedConfiguration(
  job: Job,
  step: Step,
  config: Config,
  component: Component | undefined,
): void {
  if (job.kind === 'withdrawal' || job.kind === 'renewal') return;
  const order = templateOf(job);
  if (order !== undefined) {
    const template = configuredTemplate(config, order.name, order.release);
    if (job.kind === 'template') refuseOtherTemplate(job.configuration, config, template, order.release);
    return;
  }
  if (job.kind === 'build')
    refuseOtherConfiguration(job.configuration, config, component, job.dists, step.dist);
  if (component === undefined)
    throw new Refusal('CONFIG_CHANGED', 'the component is not configured here any more');
}

/** Nothing is done for what was taken back, wherever its chain stands. @throws Refusal WITHDRAWN */
function refuseTakenBack(job: Job, dist: string | null, { withdrawn }: StageOptions): void {
  if (job.kind !== 'withdrawal' && dist !== null)
    refuseWithdrawn(withdrawn, job.component, job.version, dist);
}

/** The job's document says that the world may see it before the world does. @throws Refusal WITHDRAWN */
function noteSwitch(job: Job, options: StageOptions): (upload: Upload) => void {
  return (upload) => {
    refuseTakenBack(job, upload.dist, options);
    job.switched = [...(job.switched ?? []).filter((other) => other.dist !== upload.dist), upload];
    options.queue.save(job);
  };
}

/** @throws Refusal of the stages, CONFIG_CHANGED, DIST_RETIRED, UNKNOWN_TEMPLATE, WITHDRAWN */
export async function runStage(job: Job, step: Step, log: LineSink, options: StageOptions): Promise<void> {
  const { config, queue } = options;
  const folder = queue.folderOf(job.job);
  const component = config.components.find((candidate) => candidate.name === job.component);
  refuseChangedConfiguration(job, step, config, component);
  refuseTakenBack(job, step.dist, options);
  switch (step.stage) {
    case 'fetch':
      return await fetch(of(job, 'build'), component, folder, log, options);
    case 'build':
      return await build(making(job), distributionOf(job, step, config), folder, log, options);
    case 'sign':
      return sayAll(await sign(making(job), distributionOf(job, step, config), folder, log, options), log);
    case 'publish':
      return noteUpload(
        job,
        await publish(making(job), distributionOf(job, step, config), folder, log, options),
        log,
      );
    case 'promote':
      return noteUpload(
        job,
        await promoteFor(
          of(job, 'promotion'),
          distributionOf(job, step, config),
          log,
          suiteOptions(job, options),
        ),
        log,
      );
    case 'withdraw':
      return await withdrawFor(
        of(job, 'withdrawal'),
        distributionOf(job, step, config),
        log,
        suiteOptions(job, options),
      );
    case 'renew':
      return await renewReleasesFor(
        of(job, 'renewal'),
        distributionOf(job, step, config).name,
        changeOptions(job, options),
        log,
      );
  }
}

/** Whose stage it is (job-document.ts, `chains`). */
function of<K extends Job['kind']>(job: Job, kind: K): Extract<Job, { kind: K }> {
  if (job.kind !== kind) throw new Error(`${job.job} is no ${kind}`);
  return job as Extract<Job, { kind: K }>;
}

function making(job: Job): MakingJob {
  return job.kind === 'template' ? job : of(job, 'build');
}

async function fetch(
  job: BuildJob,
  component: Component | undefined,
  folder: string,
  log: LineSink,
  options: StageOptions,
): Promise<void> {
  const { config, paths, queue } = options;
  if (component === undefined) throw new Error(`${job.job} has no source`);
  const found = await fetchSource(
    job,
    component,
    {
      forge: { sshConfig: paths.sshConfig, timeoutMs: options.fetchMs ?? defaultFetchMs },
      publicKeys: paths.publicKeys,
      folder,
      highest: queue.highestOf(component, job.line),
      componentsOf: (kind, source) => queue.componentsOf(kind, source),
      targets: targetsOf(job, config),
      now: new Date(),
    },
    log,
  );
  job.evidence = found.evidence;
  job.sourceDateEpoch = found.sourceDateEpoch;
  if (found.specs.length > 1) job.specs = found.specs;
  if (Object.keys(found.modules).length > 0) job.modules = found.modules;
  // Their chains are over before they began.
  job.dists = job.dists.filter((dist) => !found.nothing.includes(dist));
  // They were told of with the version itself.
  if (job.rebuild === undefined)
    job.closes = await closingCommits(
      component.url,
      job.tag,
      found.evidence.commit,
      commitBefore(job, queue.all()),
      folder,
      { sshConfig: paths.sshConfig, timeoutMs: historyMs },
      log,
    );
  queue.rememberHighest(
    component.name,
    { version: job.version, tagObject: job.tagObject, job: job.job, tag: job.tag, sources: found.sources },
    job.line,
  );
}

async function build(
  job: MakingJob,
  distribution: Distribution,
  folder: string,
  log: LineSink,
  options: StageOptions,
): Promise<void> {
  const dist = distribution.name;
  if (job.kind === 'build' && job.rebuild !== undefined) {
    const { of: published, number, sources, command } = job.rebuild;
    log.say(
      `rebuilt from the source of ${published}: packages are ${shownVersion(job, dist)}, number ${number} of ${sources[dist]?.version ?? 'nothing'}`,
    );
    sayCommand(command, log);
  }
  const files = await buildFor(
    job,
    dist,
    job.kind === 'build'
      ? engineOptions(distribution, folder, options, job.suites)
      : templateOptions(job, distribution, folder, log, options),
    log,
  );
  job.artifacts = [...job.artifacts.filter((made) => made.dist !== dist), { dist, files }];
}

async function sign(
  job: MakingJob,
  distribution: Distribution,
  folder: string,
  log: LineSink,
  options: StageOptions,
): Promise<HashedFile[]> {
  const { name, packages, publisher } = distribution;
  if (publisher === 'engine')
    return await signWithEngine(job, name, engineSigning(distribution, folder, options), log);
  return await packageRepositories[packages].sign(
    job,
    name,
    {
      folder,
      gpg: options.paths.gpg,
      signingKey: options.config.signingKey,
      publicKey: publicKey(options).text,
    },
    log,
  );
}

async function publish(
  job: MakingJob,
  distribution: Distribution,
  folder: string,
  log: LineSink,
  options: StageOptions,
): Promise<Upload> {
  const { config, paths } = options;
  const { name, packages, publisher, engine } = distribution;
  if (publisher === 'engine') {
    const { [repositoryNames[packages]]: place } = config;
    if (place === undefined) throw new Error(`${name} has ${packages} packages and no repository`);
    const repository = {
      upload: place.upload,
      url: place.url,
      sshConfig: paths.sshConfig,
      folder: join(paths.enginesOwn, engine),
    };
    return await publishWithEngine(
      job,
      name,
      {
        ...engineSigning(distribution, folder, options),
        repository,
        jobs: options.queue.all(),
        noteSwitch: noteSwitch(job, options),
      },
      log,
    );
  }
  const suite =
    job.kind === 'build'
      ? suiteOf(job.suites, 'current-testing')
      : (`${configuredTemplate(config, job.template.name, job.template.release).repository}-testing` as const);
  return await packageRepositories[packages].publish(job, name, suite, changeOptions(job, options), log);
}

function noteUpload(job: Job, uploaded: Upload, log: LineSink): void {
  job.uploaded = [...job.uploaded.filter((other) => other.dist !== uploaded.dist), uploaded];
  log.say(
    `uploaded ${job.component} ${job.version} to ${uploaded.url} ${uploaded.suite}, release ${uploaded.release}`,
  );
}

function changeOptions(job: Job, options: StageOptions): ChangeOptions {
  const { config, paths, queue } = options;
  return {
    config,
    paths,
    jobFolder: queue.folderOf(job.job),
    publicKey: publicKey(options).path,
    noteSwitch: noteSwitch(job, options),
  };
}

function suiteOptions(job: Job, options: StageOptions): SuiteStageOptions {
  return {
    ...changeOptions(job, options),
    queue: options.queue,
    withdrawn: options.withdrawn,
    recordMs: options.fetchMs ?? defaultFetchMs,
  };
}

function sayAll(files: readonly HashedFile[], log: LineSink): void {
  for (const file of files) log.say(`signed upload sha256:${file.sha256} ${file.size} ${file.name}`);
}

/** Who commanded it is in the log before anything is built, and what is signed later names that line. */
function sayCommand(command: ObeyedCommand, log: LineSink): void {
  const { signer, signed, line, sha256 } = command;
  log.say(`command ${sha256} of ${signer.name} ${signer.fingerprint}, signed ${signed}: ${line}`);
  log.say(`evidence ${commandEvidence(command)}`);
}

function templateOptions(
  { template }: TemplateJob,
  distribution: Distribution,
  folder: string,
  log: LineSink,
  options: StageOptions,
): EngineOptions {
  sayCommand(template.command, log);
  const configured = configuredTemplate(options.config, template.name, template.release);
  return {
    ...engineOptions(distribution, folder, options),
    distribution: configured.distribution,
    buildSeconds: configured.buildSeconds ?? options.config.buildSeconds,
  };
}

function engineSigning(distribution: Distribution, folder: string, options: StageOptions): EngineSigning {
  return {
    ...engineOptions(distribution, folder, options),
    gpg: options.paths.gpg,
    signingKey: options.config.signingKey,
    publicKey: publicKey(options),
  };
}

/**
 * Sources can be fetched again from their tag; artifacts and signed files stay as long as the job is not old,
 * the job document for ever.
 */
export function cleanUpJob(job: Job, queue: JobQueue): void {
  const temporary = [
    'source',
    'repository.git',
    ...job.dists.flatMap((dist) => [`debsign-${dist}.tmp`, `rpmsign-${dist}.tmp`]),
  ];
  // What is not done may be tried again from where it was.
  if (job.state === 'done') temporary.push('engine');
  // Gigabytes, which are in the repository now.
  if (job.state === 'done' && job.kind === 'template') temporary.push('artifacts', 'signed');
  for (const name of temporary) rmSync(join(queue.folderOf(job.job), name), { recursive: true, force: true });
  pruneOldJobs(queue);
}
