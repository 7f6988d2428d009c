// SPDX-License-Identifier: GPL-2.0-or-later
// The stages promote and withdraw: a repository's next generation, uploaded and read back. What is promoted are the bytes that were published, not
// what lies here under their names; how long they were in testing says the public record, not this VM's clock or notes.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readIfThere } from '../../shared/durable-files.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import { codenameOf, suitesOf, type AnySuite, type Suite } from '../../shared/formats/suites.js';
import { Refusal } from '../../shared/refusal.js';
import { makeGeneration, poolOf, publishedGeneration, suiteHas } from '../apt-repository/apt-publication.js';
import { readBack, readBackAbsence } from '../apt-repository/apt-read-back.js';
import type { Config, Distribution } from '../config.js';
import { makeRpmGeneration } from '../dnf-repository/dnf-publication.js';
import { readBackPackages } from '../dnf-repository/dnf-read-back.js';
import { uploadedParts } from '../dnf-repository/publish-packages.js';
import { hashFile } from '../frozen-files.js';
import type { Job } from '../jobs/job-document.js';
import { templateUploadMs } from '../jobs/template-job.js';
import type { JobQueue } from '../jobs/job-queue.js';
import type { LineSink } from '../logs/logged-program.js';
import type { Paths } from '../paths.js';
import { writeGpgJob } from '../signed-files.js';
import { tryAgain, uploadGeneration } from '../upload-generation.js';
import { PublishedRecord } from './published-record.js';
import { refuseOlderThanSuite, refuseWithdrawn } from './suite-jobs.js';
import type { WithdrawnVersions } from './withdrawn-versions.js';

export interface SuiteStageOptions {
  config: Config;
  paths: Paths;
  queue: JobQueue;
  withdrawn: WithdrawnVersions;
  /** path of the armored signing key's public half */
  publicKey: string;
  recordMs: number;
}

const dayMs = 86_400_000;

/** An engine that publishes has a repository of its own making. @throws Refusal NOT_HERE */
function refuseForeignRepository({ name, publisher }: Distribution): void {
  if (publisher === 'engine') throw new Refusal('NOT_HERE', `the repository of ${name} is its engine's: move packages there with the engine's own means`);
}

/** @throws Refusal NO_RECORD, TOO_YOUNG, RECORD_UNREACHABLE, RECORD_REWRITTEN, BAD_RECORD, NOT_PUBLISHED */
async function refuseTooYoung(built: Job, dist: string, tried: AnySuite, log: LineSink, { config, paths, recordMs }: SuiteStageOptions): Promise<void> {
  const { promotion } = config;
  const needed = promotion?.minAgeDays ?? 0;
  if (promotion === undefined) throw new Refusal('NO_RECORD', 'no published logs are configured here, so nobody knows how long it was in testing');
  const armored = readIfThere(join(paths.publicKeys, `${promotion.logsKey}.asc`))?.toString('utf8');
  if (armored === undefined) throw new Refusal('NO_PUBLIC_KEY', `${promotion.logsKey}.asc is not in public-keys`);
  const published = built.logs.findLast((one) => one.stage === 'publish' && one.dist === dist && one.commit !== null);
  if (published === undefined || published.commit === null) throw new Refusal('NOT_PUBLISHED', `the upload of ${built.job} to ${dist} is in no published log`);
  const record = new PublishedRecord({ url: promotion.record, logsKey: { armored, fingerprint: promotion.logsKey }, folder: paths.record, forge: { sshConfig: paths.sshConfig, timeoutMs: recordMs } });
  const now = await record.newest();
  const then = await record.published(published.commit, published.path);
  const days = (now.time.getTime() - then.time.getTime()) / dayMs;
  log.say(`in ${tried} since ${then.time.toISOString()}, commit ${then.commit}: ${days.toFixed(2)} days at ${now.time.toISOString()}; needed are ${needed}`);
  if (days < needed) throw new Refusal('TOO_YOUNG', `in ${tried} for ${days.toFixed(2)} days; ${needed} are needed`);
}

/** Where something has to be before it goes to `suite`. */
function triedIn(suite: AnySuite): AnySuite {
  switch (suite) {
    case 'templates-itl': return 'templates-itl-testing';
    case 'templates-community': return 'templates-community-testing';
    default: return 'current-testing';
  }
}

/** Stage promote. @throws Refusal as above, WITHDRAWN, NEWER_IN_SUITE, NOT_IN_SUITE, PUBLISH_FAILED, UPLOAD_FAILED, READ_BACK_FAILED */
export async function promoteFor(job: Job, distribution: Distribution, log: LineSink, options: SuiteStageOptions): Promise<Job['uploaded'][number]> {
  const { queue, withdrawn } = options;
  refuseForeignRepository(distribution);
  const dist = distribution.name;
  const { of, suite, command } = job.change ?? {};
  const built = queue.get(of ?? '');
  const uploaded = built?.uploaded.find((one) => one.dist === dist);
  if (built === undefined || uploaded === undefined || suite === undefined || suite === null) throw new Error(`${job.job} promotes nothing that was published`);
  const from = triedIn(suite);
  log.say(`${job.component} ${job.version} from ${from} to ${suite}, built by ${built.job}, ${built.template === undefined ? `commit ${built.evidence?.commit ?? 'unknown'}` : `command ${built.template.command.sha256}`}`);
  if (command !== undefined && command !== null) log.say(`command ${command.sha256} of ${command.signer.name} ${command.signer.fingerprint}, signed ${command.signed}: ${command.line}`);
  // Once more: the job may have waited.
  refuseWithdrawn(withdrawn, job.component, job.version, dist);
  refuseOlderThanSuite(queue, withdrawn, job.component, job.version, dist, suite);
  if (suite !== 'security-testing') await refuseTooYoung(built, dist, from, log, options);
  for (const file of uploaded.files) log.say(`published sha256:${file.sha256} ${file.size} ${file.name}`);
  return distribution.packages === 'deb' ? await promoteUpload(job, dist, suite as Suite, uploaded.files, log, options) : await promotePackages(job, dist, suite, uploaded.files, log, options);
}

function gpgJobOf(job: Job, dist: string, { queue }: SuiteStageOptions): string {
  const path = join(queue.folderOf(job.job), `gpg-job-${dist}.json`);
  writeGpgJob(path, job, dist);
  return path;
}

/** The source package's name as the repository has it. */
function sourceOf(files: readonly HashedFile[]): string {
  const name = /^([a-z0-9][a-z0-9+.-]+)_[^_]+\.dsc$/.exec(files.find((file) => file.name.endsWith('.dsc'))?.name ?? '')?.[1];
  if (name === undefined) throw new Refusal('NOT_IN_SUITE', 'no source package was published');
  return name;
}

async function promoteUpload(job: Job, dist: string, suite: 'current' | 'security-testing' | 'current-testing', files: readonly HashedFile[], log: LineSink, options: SuiteStageOptions): Promise<Job['uploaded'][number]> {
  const { config, paths } = options;
  const { apt } = config;
  if (apt === undefined) throw new Error('there is no APT repository');
  const repository = { folder: join(paths.apt, config.env, dist), apt, dist, suite, gpg: paths.gpg, publicKey: options.publicKey };
  const source = sourceOf(files);
  const last = publishedGeneration(repository);
  // After a kill the last generation may be this job's own, and testing may have gone on meanwhile: then what was copied is there.
  if (last === undefined || ![codenameOf(dist, 'current-testing'), codenameOf(dist, suite)].some((codename) => suiteHas(last, codename, source, job.version))) {
    throw new Refusal('NOT_IN_SUITE', `${source} ${job.version} is not in current-testing of ${dist} any more`);
  }
  const pool = poolOf(join(last.folder, 'pool'));
  for (const file of files) {
    const folder = pool.get(file.name);
    if (folder === undefined || hashFile(folder, file.name).sha256 !== file.sha256) throw new Refusal('NOT_IN_SUITE', `${file.name} with its published bytes is not in current-testing`);
  }
  const generation = await makeGeneration({ job: job.job }, { kind: 'copy', from: 'current-testing', source, version: job.version }, gpgJobOf(job, dist, options), repository, log);
  await uploadGeneration(generation, { upload: `${apt.upload}/${dist}`, sshConfig: paths.sshConfig }, log);
  const url = `${apt.url}/${dist}`;
  const codename = codenameOf(dist, suite);
  const made = poolOf(join(generation.folder, 'pool'));
  const back = await tryAgain(log, () => readBack((name) => join(made.get(name) ?? generation.folder, name), files, { name: source, version: job.version },
    { url, codename, publicKey: options.publicKey, folder: join(paths.work, `read-back-${job.job}-${dist}`) }, log));
  return { dist, url, suite: codename, release: generation.release, files: back };
}

async function promotePackages(job: Job, dist: string, suite: AnySuite, files: readonly HashedFile[], log: LineSink, options: SuiteStageOptions): Promise<Job['uploaded'][number]> {
  const { config, paths } = options;
  const { dnf } = config;
  if (dnf === undefined) throw new Error('there is no DNF repository');
  const repository = { folder: join(paths.dnf, config.env), suite, gpg: paths.gpg, signingKey: config.signingKey, publicKey: options.publicKey };
  const made = { job: job.job, dist, sourceDateEpoch: job.sourceDateEpoch ?? 0 };
  const generation = await makeRpmGeneration(made, { kind: 'copy', from: triedIn(suite), files }, gpgJobOf(job, dist, options), repository, log);
  const timeoutMs = job.template === undefined ? undefined : templateUploadMs;
  await uploadGeneration(generation, { upload: `${dnf.upload}/${dist}`, sshConfig: paths.sshConfig, ...uploadedParts(dist), timeoutMs }, log);
  const url = `${dnf.url.replace(/\/+$/, '')}/${dist}/${suite}`;
  const back = await tryAgain(log, () => readBackPackages(join(generation.folder, suite, 'packages'), files,
    { url, publicKey: options.publicKey, repomd: join(generation.folder, suite, 'repodata/repomd.xml'), folder: join(paths.work, `read-back-${job.job}-${dist}`) }, log));
  return { dist, url, suite: codenameOf(dist, suite), release: generation.release, files: back };
}

/** Stage withdraw: from every suite. @throws Refusal PUBLISH_FAILED, UPLOAD_FAILED, READ_BACK_FAILED */
export async function withdrawFor(job: Job, distribution: Distribution, log: LineSink, options: SuiteStageOptions): Promise<void> {
  const { config, paths, queue } = options;
  refuseForeignRepository(distribution);
  const dist = distribution.name;
  const files = queue.get(job.change?.of ?? '')?.uploaded.find((one) => one.dist === dist)?.files ?? [];
  log.say(`withdraw ${job.component} ${job.version} from every suite of ${dist}`);
  const gpgJob = gpgJobOf(job, dist, options);
  const folder = join(paths.work, `read-back-${job.job}-${dist}`);
  if (distribution.packages === 'deb' && config.apt !== undefined) {
    const { apt } = config;
    const source = sourceOf(files);
    const repository = { folder: join(paths.apt, config.env, dist), apt, dist, suite: 'current-testing' as const, gpg: paths.gpg, publicKey: options.publicKey };
    const generation = await makeGeneration({ job: job.job }, { kind: 'remove', source, version: job.version }, gpgJob, repository, log);
    await uploadGeneration(generation, { upload: `${apt.upload}/${dist}`, sshConfig: paths.sshConfig }, log);
    await tryAgain(log, () => readBackAbsence({ name: source, version: job.version }, { url: `${apt.url}/${dist}`, dist, publicKey: options.publicKey, folder, generation: generation.folder }, log));
  } else if (distribution.packages === 'rpm' && config.dnf !== undefined) {
    const { dnf } = config;
    const repository = { folder: join(paths.dnf, config.env), suite: suitesOf(dist)[0] as AnySuite, gpg: paths.gpg, signingKey: config.signingKey, publicKey: options.publicKey };
    const generation = await makeRpmGeneration({ job: job.job, dist, sourceDateEpoch: job.sourceDateEpoch ?? 0 }, { kind: 'remove', files }, gpgJob, repository, log);
    await uploadGeneration(generation, { upload: `${dnf.upload}/${dist}`, sshConfig: paths.sshConfig, ...uploadedParts(dist) }, log);
    for (const suite of suitesOf(dist)) {
      const repomd = join(generation.folder, suite, 'repodata/repomd.xml');
      if (existsSync(repomd)) await tryAgain(log, () => readBackPackages('', [], { url: `${dnf.url.replace(/\/+$/, '')}/${dist}/${suite}`, publicKey: options.publicKey, repomd, folder }, log));
    }
  } else throw new Error(`${dist} has no repository`);
  log.say(`${job.component} ${job.version} is in no suite of ${dist} any more`);
}
