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
import type { AptRepository, Component, Config, Distribution, DnfRepository } from '../configuration/config.js';
import { renewReleasesFor } from '../repositories/apt/renew-releases.js';
import { publishUploadFor } from '../repositories/apt/publish-upload.js';
import { signUploadFor } from '../repositories/apt/sign-upload.js';
import { refuseWithdrawn } from '../promotion/suite-jobs.js';
import { promoteFor, withdrawFor, type SuiteStageOptions } from '../promotion/suite-stage.js';
import type { WithdrawnVersions } from '../promotion/withdrawn-versions.js';
import { publishPackagesFor } from '../repositories/dnf/publish-packages.js';
import { signPackagesFor } from '../repositories/dnf/sign-packages.js';
import { engineOptions } from './distribution-options.js';
import type { EngineOptions } from './engine-call.js';
import { publishWithEngine, signWithEngine, type EngineSigning } from './engine-stages.js';
import { fetchSource, fetchTarget, type FetchTarget } from './fetch-stage.js';
import { refuseOtherConfiguration, refuseOtherTemplate } from '../jobs/job-configuration.js';
import { jobIdentity, shownVersion, type Job, type ObeyedCommand, type Step, type TemplateOrder } from '../jobs/job-document.js';
import type { JobQueue } from '../jobs/job-queue.js';
import { commandEvidence, configuredTemplate, templateDistribution, templateUploadMs } from '../jobs/template-job.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import { pruneOldJobs } from '../jobs/old-jobs.js';
import type { Paths } from '../configuration/paths.js';
import type { SignOptions } from '../gate/signed-files.js';

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
  if (text === undefined) throw new Refusal('NO_PUBLIC_KEY', `${options.config.signingKey}.asc is not in public-keys`);
  return { path, text };
}

/** @throws Refusal DIST_RETIRED, UNKNOWN_TEMPLATE: the configuration had it when the job was made */
function distributionOf({ kind, template }: Job, step: Step, config: Config): Distribution {
  // Taken back also where it is not built any more.
  if (template !== undefined && kind === 'withdrawal') return { name: templatesDist(template.release), engine: '', packages: 'rpm', publisher: 'agent' };
  if (template !== undefined) return templateDistribution(configuredTemplate(config, template.name, template.release), template.release);
  const found = config.distributions.find((candidate) => candidate.name === step.dist);
  if (found === undefined) throw new Refusal('DIST_RETIRED', `${step.dist}: not a distribution of this VM any more`);
  return found;
}

function targetsOf({ dists }: Job, config: Config): FetchTarget[] {
  return config.distributions.filter(({ name }) => dists.includes(name)).map(fetchTarget);
}

/**
 * A build is done with the configuration that it was made for. What a build published is moved with today's: what concerns it is the distribution and
 * its repository, and a version is taken back also where its component is not built any more.
 * @throws Refusal CONFIG_CHANGED, DIST_RETIRED, UNKNOWN_TEMPLATE
 */
function refuseChangedConfiguration(job: Job, step: Step, config: Config, component: Component | undefined): void {
  if (job.kind === 'withdrawal' || job.kind === 'renewal') return;
  if (job.template !== undefined) return refuseChangedTemplate(job, job.template, config);
  if (job.kind === 'build' && job.configuration !== null) refuseOtherConfiguration(job.configuration, config, component, job.dists, step.dist);
  else if (job.kind === 'build' && component !== undefined && jobIdentity(config, component, job.tag, job.tagObject, job.version) !== job.job) {
    throw new Refusal('CONFIG_CHANGED', 'the configuration of this component has changed since the job was made');
  }
  if (component === undefined) throw new Refusal('CONFIG_CHANGED', 'the component is not configured here any more');
}

/** @throws Refusal CONFIG_CHANGED, UNKNOWN_TEMPLATE */
function refuseChangedTemplate({ configuration, kind }: Job, { name, release }: TemplateOrder, config: Config): void {
  const template = configuredTemplate(config, name, release);
  if (kind !== 'template') return;
  if (configuration === null) throw new Error('a template has its configuration');
  refuseOtherTemplate(configuration, config, template, release);
}

/** Nothing is done for what was taken back, wherever its chain stands. @throws Refusal WITHDRAWN */
function refuseTakenBack(job: Job, dist: string | null, { withdrawn }: StageOptions): void {
  if (job.kind !== 'withdrawal' && dist !== null) refuseWithdrawn(withdrawn, job.component, job.version, dist);
}

/** The job's document says that the world may see it before the world does. @throws Refusal WITHDRAWN */
function noteSwitch(job: Job, options: StageOptions): (upload: Job['uploaded'][number]) => void {
  return (upload) => {
    refuseTakenBack(job, upload.dist, options);
    job.switched = [...(job.switched ?? []).filter((other) => other.dist !== upload.dist), upload];
    options.queue.save(job);
  };
}

/** @throws Refusal of the stages, CONFIG_CHANGED, DIST_RETIRED, UNKNOWN_TEMPLATE, WITHDRAWN */
export async function runStage(job: Job, step: Step, log: LineSink, options: StageOptions): Promise<void> {
  const { config, paths, queue } = options;
  const folder = queue.folderOf(job.job);
  const component = config.components.find((candidate) => candidate.name === job.component);
  refuseChangedConfiguration(job, step, config, component);
  refuseTakenBack(job, step.dist, options);
  switch (step.stage) {
    case 'fetch': {
      if (component === undefined) throw new Error(`${job.job} has no source`);
      const found = await fetchSource(job, component, {
        forge: { sshConfig: paths.sshConfig, timeoutMs: options.fetchMs ?? defaultFetchMs }, publicKeys: paths.publicKeys, folder, highest: queue.highestOf(component, job.line),
        componentsOf: (kind, source) => queue.componentsOf(kind, source), targets: targetsOf(job, config), now: new Date(),
      }, log);
      job.evidence = found.evidence;
      job.sourceDateEpoch = found.sourceDateEpoch;
      if (found.specs.length > 1) job.specs = found.specs;
      if (Object.keys(found.modules).length > 0) job.modules = found.modules;
      // Their chains are over before they began.
      job.dists = job.dists.filter((dist) => !found.nothing.includes(dist));
      // They were told of with the version itself.
      if (job.rebuild === undefined) job.closes = await closingCommits(component.url, job.tag, found.evidence.commit, commitBefore(job, queue.all()), folder, { sshConfig: paths.sshConfig, timeoutMs: historyMs }, log);
      queue.rememberHighest(component.name, { version: job.version, tagObject: job.tagObject, job: job.job, tag: job.tag, sources: found.sources }, job.line);
      return;
    }
    case 'build': {
      const distribution = distributionOf(job, step, config);
      const dist = distribution.name;
      if (job.rebuild !== undefined) {
        log.say(`rebuilt from the source of ${job.rebuild.of}: packages are ${shownVersion(job, dist)}, number ${job.rebuild.number} of ${job.rebuild.sources[dist]?.version ?? 'nothing'}`);
        sayCommand(job.rebuild.command, log);
      }
      const files = await buildFor(job, dist, job.template === undefined ? engineOptions(distribution, folder, options, job.suites) : templateOptions(job, distribution, folder, log, options), log);
      job.artifacts = [...job.artifacts.filter((made) => made.dist !== dist), { dist, files }];
      return;
    }
    case 'sign': {
      const distribution = distributionOf(job, step, config);
      const { name, packages } = distribution;
      if (distribution.publisher === 'engine') {
        sayAll(await signWithEngine(job, name, engineSigning(distribution, folder, options), log), log);
        return;
      }
      const sign = packages === 'deb' ? signUploadFor : signPackagesFor;
      const signing: SignOptions = { folder, gpg: paths.gpg, signingKey: config.signingKey, publicKey: publicKey(options).text };
      const files = await sign(job, name, signing, log);
      sayAll(files, log);
      return;
    }
    case 'publish': {
      const uploaded = await publish(job, distributionOf(job, step, config), folder, log, options);
      job.uploaded = [...job.uploaded.filter((other) => other.dist !== uploaded.dist), uploaded];
      log.say(`uploaded ${job.component} ${job.version} to ${uploaded.url} ${uploaded.suite}, release ${uploaded.release}`);
      return;
    }
    case 'promote': {
      const uploaded = await promoteFor(job, distributionOf(job, step, config), log, suiteOptions(job, options));
      job.uploaded = [...job.uploaded.filter((other) => other.dist !== uploaded.dist), uploaded];
      log.say(`uploaded ${job.component} ${job.version} to ${uploaded.url} ${uploaded.suite}, release ${uploaded.release}`);
      return;
    }
    case 'renew': {
      if (config.apt === undefined) throw new Refusal('CONFIG_CHANGED', 'there is no APT repository any more');
      const { name: dist } = distributionOf(job, step, config);
      const { gpg, sshConfig, work } = paths;
      return await renewReleasesFor(job, { folder: join(paths.apt, config.env, dist), apt: config.apt, dist, gpg, publicKey: publicKey(options).path, jobFolder: folder, work, sshConfig }, log);
    }
    case 'withdraw': return await withdrawFor(job, distributionOf(job, step, config), log, suiteOptions(job, options));
  }
}

function suiteOptions(job: Job, options: StageOptions): SuiteStageOptions {
  const { config, paths, queue, withdrawn } = options;
  return { config, paths, queue, withdrawn, publicKey: publicKey(options).path, recordMs: options.fetchMs ?? defaultFetchMs, noteSwitch: noteSwitch(job, options) };
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

function templateOptions({ template }: Job, distribution: Distribution, folder: string, log: LineSink, options: StageOptions): EngineOptions {
  if (template === undefined) throw new Error('no template');
  sayCommand(template.command, log);
  const configured = configuredTemplate(options.config, template.name, template.release);
  return { ...engineOptions(distribution, folder, options), distribution: configured.distribution, buildSeconds: configured.buildSeconds ?? options.config.buildSeconds };
}

function engineSigning(distribution: Distribution, folder: string, options: StageOptions): EngineSigning {
  return { ...engineOptions(distribution, folder, options), gpg: options.paths.gpg, signingKey: options.config.signingKey, publicKey: publicKey(options) };
}

async function publish(job: Job, distribution: Distribution, jobFolder: string, log: LineSink, options: StageOptions): Promise<Job['uploaded'][number]> {
  const { config, paths } = options;
  const { name, packages } = distribution;
  if (distribution.publisher === 'engine') {
    const { upload, url } = packages === 'deb' ? config.apt as AptRepository : config.dnf as DnfRepository;
    const repository = { upload, url, sshConfig: paths.sshConfig, folder: join(paths.enginesOwn, distribution.engine) };
    return await publishWithEngine(job, name, { ...engineSigning(distribution, jobFolder, options), repository, jobs: options.queue.all(), noteSwitch: noteSwitch(job, options) }, log);
  }
  const common = { gpg: paths.gpg, publicKey: publicKey(options).path, jobFolder, work: paths.work, sshConfig: paths.sshConfig, noteSwitch: noteSwitch(job, options) };
  if (packages === 'deb' && config.apt !== undefined) {
    return await publishUploadFor(job, name, { ...common, apt: config.apt, folder: join(paths.apt, config.env, name), dist: name, suite: suiteOf(job.suites, 'current-testing') }, log);
  }
  if (packages === 'rpm' && config.dnf !== undefined) {
    return await publishPackagesFor(job, name, {
      ...common, dnf: config.dnf, folder: join(paths.dnf, config.env), signingKey: config.signingKey,
      ...(job.template === undefined ? { suite: suiteOf(job.suites, 'current-testing') } : { suite: `${configuredTemplate(config, job.template.name, job.template.release).repository}-testing`, uploadMs: templateUploadMs }),
    }, log);
  }
  throw new Error(`${name} has ${packages} packages and no repository`);
}

/** Sources can be fetched again from their tag; artifacts and signed files stay as long as the job is not old, the job document for ever. */
export function cleanUpJob(job: Job, queue: JobQueue): void {
  const temporary = ['source', 'repository.git', ...job.dists.flatMap((dist) => [`debsign-${dist}.tmp`, `rpmsign-${dist}.tmp`])];
  // What is not done may be tried again from where it was.
  if (job.state === 'done') temporary.push('engine');
  // Gigabytes, which are in the repository now.
  if (job.state === 'done' && job.template !== undefined) temporary.push('artifacts', 'signed');
  for (const name of temporary) rmSync(join(queue.folderOf(job.job), name), { recursive: true, force: true });
  pruneOldJobs(queue);
}
