// SPDX-License-Identifier: GPL-2.0-or-later
// The stages promote and withdraw: a repository's next generation, uploaded and read back. What is promoted are the bytes that were published, not
// what lies here under their names; how long they were in testing says the public record, not this VM's clock or notes.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { HashedFile } from '../../shared/formats/intent.js';
import { codenameOf, partsOf, suiteOf, suitesOf, type AnySuite } from '../../shared/formats/suites.js';
import { Refusal } from '../refusals.js';
import { codenamesIn, makeGeneration, poolOf, suiteHas } from '../repositories/apt/apt-publication.js';
import { readBack, readBackAbsence } from '../repositories/apt/apt-read-back.js';
import { sourceOf } from '../repositories/apt/published-source.js';
import type { AptRepository, Config, Distribution, DnfRepository } from '../configuration/config.js';
import { makeRpmGeneration, suitesIn } from '../repositories/dnf/dnf-publication.js';
import { readBackPackages } from '../repositories/dnf/dnf-read-back.js';
import { uploadedParts } from '../repositories/dnf/publish-packages.js';
import { hashFile } from '../../shared/files/frozen-files.js';
import { refuseAskedWithoutRight } from '../github-command/authorisation.js';
import { makesPackages, publicUploads, type Job } from '../jobs/job-document.js';
import { templateUploadMs } from '../jobs/template-job.js';
import type { JobQueue } from '../jobs/job-queue.js';
import type { LineSink } from '../../shared/programs/logged-program.js';
import type { Paths } from '../configuration/paths.js';
import { Generations, type Generation } from '../repositories/repository-generations.js';
import { signedFolder, writeGpgJob } from '../gate/signed-files.js';
import { publishGeneration, settle, tryAgain } from '../repositories/upload-generation.js';
import { recordOf } from '../publication/read-back.js';
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
  /** durable when it returns, before the server is told to switch (job-document.ts, `switched`) @throws Refusal WITHDRAWN */
  noteSwitch(upload: Upload): void;
}

type Upload = Job['uploaded'][number];

const dayMs = 86_400_000;

/** An engine that publishes has a repository of its own making. @throws Refusal NOT_HERE */
function refuseForeignRepository({ name, publisher }: Distribution): void {
  if (publisher === 'engine') throw new Refusal('NOT_HERE', `the repository of ${name} is its engine's: move packages there with the engine's own means`);
}

/** @throws Refusal NO_RECORD, TOO_YOUNG, RECORD_UNREACHABLE, RECORD_REWRITTEN, BAD_RECORD, NOT_PUBLISHED */
async function refuseTooYoung(built: Job, dist: string, tried: AnySuite, log: LineSink, { config, paths, recordMs }: SuiteStageOptions): Promise<void> {
  const { promotion, publication } = config;
  if (promotion === undefined || publication === null) throw new Refusal('NO_RECORD', 'no published logs are configured here, so nobody knows how long it was in testing');
  const needed = promotion.minAgeDays;
  const published = built.logs.findLast((one) => one.stage === 'publish' && one.dist === dist && one.commit !== null);
  if (published === undefined || published.commit === null) throw new Refusal('NOT_PUBLISHED', `the upload of ${built.job} to ${dist} is in no published log`);
  const record = recordOf(publication, paths, { folder: paths.record, timeoutMs: recordMs });
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
    default: return suiteOf(partsOf(suite)?.word, 'current-testing');
  }
}

/** Whoever asked for it may have lost the right since. @throws Refusal NOT_ALLOWED */
function refuseSignerWithoutRight({ change }: Job, dist: string, { commands }: Config): void {
  const person = commands?.people.find(({ fingerprint }) => fingerprint === change?.command?.signer.fingerprint);
  if (person === undefined) throw new Refusal('NOT_ALLOWED', 'the key that asked for it is no longer configured');
  refuseAskedWithoutRight(person, change?.command?.line ?? '', [dist]);
}

/** Stage promote. @throws Refusal as above, NOT_ALLOWED, WITHDRAWN, NEWER_IN_SUITE, NOT_IN_SUITE, PUBLISH_FAILED, UPLOAD_FAILED, READ_BACK_FAILED */
export async function promoteFor(job: Job, distribution: Distribution, log: LineSink, options: SuiteStageOptions): Promise<Upload> {
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
  refuseSignerWithoutRight(job, dist, options.config);
  refuseWithdrawn(withdrawn, job.component, job.version, dist);
  refuseOlderThanSuite(queue, withdrawn, job.component, job.version, dist, suite);
  if (partsOf(suite)?.suite !== 'security-testing') await refuseTooYoung(built, dist, from, log, options);
  for (const file of uploaded.files) log.say(`published sha256:${file.sha256} ${file.size} ${file.name}`);
  return distribution.packages === 'deb' ? await promoteUpload(job, dist, suite, uploaded.files, log, options) : await promotePackages(job, dist, suite, uploaded.files, log, options);
}

function gpgJobOf(job: Job, dist: string, { queue }: SuiteStageOptions): string {
  const path = join(queue.folderOf(job.job), `gpg-job-${dist}.json`);
  writeGpgJob(path, job, dist);
  return path;
}

async function promoteUpload(job: Job, dist: string, suite: AnySuite, files: readonly HashedFile[], log: LineSink, options: SuiteStageOptions): Promise<Upload> {
  const { config, paths } = options;
  const { apt } = config;
  if (apt === undefined) throw new Error('there is no APT repository');
  const repository = { folder: join(paths.apt, config.env, dist), apt, dist, suite, gpg: paths.gpg, publicKey: options.publicKey };
  // A rebuild's own files have none.
  const { source, version } = job.rebuild?.sources[dist] ?? sourceOf(files.map(({ name }) => name), job.version);
  const to = { upload: `${apt.upload}/${dist}`, sshConfig: paths.sshConfig };
  const generations = new Generations(repository.folder);
  await settle(generations, job.job, options.publicKey, to, log);
  // After a kill there may be one of this job's own, and testing may have gone on meanwhile: then what was copied is there.
  const last = generations.ofJob(job.job, options.publicKey) ?? generations.published();
  const from = triedIn(suite);
  if (last === undefined || ![codenameOf(dist, from), codenameOf(dist, suite)].some((codename) => suiteHas(last, codename, source, version))) {
    throw new Refusal('NOT_IN_SUITE', `${source} ${version} is not in ${from} of ${dist} any more`);
  }
  const pool = poolOf(join(last.folder, 'pool'));
  for (const file of files) {
    const folder = pool.get(file.name);
    if (folder === undefined || hashFile(folder, file.name).sha256 !== file.sha256) throw new Refusal('NOT_IN_SUITE', `${file.name} with its published bytes is not in ${from}`);
  }
  const generation = await makeGeneration({ job: job.job }, { kind: 'copy', from, source, version }, gpgJobOf(job, dist, options), repository, log);
  const url = `${apt.url}/${dist}`;
  const codename = codenameOf(dist, suite);
  const upload = { dist, url, suite: codename, release: generation.release };
  await publishGeneration(generations, generation, () => options.noteSwitch({ ...upload, files: [...files] }), to, log);
  const made = poolOf(join(generation.folder, 'pool'));
  const back = await tryAgain(log, () => readBack((name) => join(made.get(name) ?? generation.folder, name), files, { name: source, version },
    { url, codename, publicKey: options.publicKey, folder: join(paths.work, `read-back-${job.job}-${dist}`) }, log));
  return { ...upload, files: back };
}

async function promotePackages(job: Job, dist: string, suite: AnySuite, files: readonly HashedFile[], log: LineSink, options: SuiteStageOptions): Promise<Upload> {
  const { config, paths } = options;
  const { dnf } = config;
  if (dnf === undefined) throw new Error('there is no DNF repository');
  const repository = { folder: join(paths.dnf, config.env), suite, gpg: paths.gpg, signingKey: config.signingKey, publicKey: options.publicKey };
  const made = { job: job.job, dist, sourceDateEpoch: job.sourceDateEpoch ?? 0 };
  const to = { upload: `${dnf.upload}/${dist}`, sshConfig: paths.sshConfig, timeoutMs: job.template === undefined ? undefined : templateUploadMs };
  const generations = new Generations(join(repository.folder, dist));
  await settle(generations, job.job, options.publicKey, to, log);
  const generation = await makeRpmGeneration(made, { kind: 'copy', from: triedIn(suite), files }, gpgJobOf(job, dist, options), repository, log);
  const url = `${dnf.url.replace(/\/+$/, '')}/${dist}/${suite}`;
  const upload = { dist, url, suite: codenameOf(dist, suite), release: generation.release };
  await publishGeneration(generations, generation, () => options.noteSwitch({ ...upload, files: [...files] }), { ...to, ...uploadedParts(generation, dist) }, log);
  const back = await tryAgain(log, () => readBackPackages(join(generation.folder, suite, 'packages'), files,
    { url, publicKey: options.publicKey, repomd: join(generation.folder, suite, 'repodata/repomd.xml'), folder: join(paths.work, `read-back-${job.job}-${dist}`) }, log));
  return { ...upload, files: back };
}

interface Made {
  /** with the bytes that were published, or signed to be: documents of earlier releases do not say all that is public */
  files: HashedFile[];
  /** of everything that was built */
  names: string[];
}

function madeFor({ component, version }: Job, dist: string, queue: JobQueue): Made {
  const builds = queue.all().filter((one) => makesPackages(one) && one.component === component && one.version === version);
  const of = (all: readonly { dist: string; files: HashedFile[] }[]): HashedFile[] => all.filter((one) => one.dist === dist).flatMap(({ files }) => files);
  const files = builds.flatMap((one) => {
    const signed = signedFolder(queue.folderOf(one.job), dist);
    return [...of(publicUploads(one)), ...(existsSync(signed) ? readdirSync(signed).map((name) => hashFile(signed, name)) : [])];
  });
  return { files, names: [...new Set([...files, ...builds.flatMap((one) => of(one.artifacts))].map(({ name }) => name))] };
}

/** Nothing of this distribution is on this disk: it never was, or the disk is another one. @throws Refusal REPOSITORY_LOST */
function refuseLostRepository({ component, version }: Job, dist: string, log: LineSink, { queue }: SuiteStageOptions): void {
  const told = queue.all().find((one) => one.component === component && one.version === version && publicUploads(one).some((upload) => upload.dist === dist));
  if (told !== undefined) throw new Refusal('REPOSITORY_LOST', `${told.job} published it for ${dist}, and no repository is on this disk any more`);
  log.say(`nothing was ever published for ${dist}`);
}

/** Stage withdraw: from every suite. @throws Refusal CONFIG_CHANGED, NOT_HERE, REPOSITORY_LOST, NOT_IN_SUITE, PUBLISH_FAILED, UPLOAD_FAILED, READ_BACK_FAILED */
export async function withdrawFor(job: Job, distribution: Distribution, log: LineSink, options: SuiteStageOptions): Promise<void> {
  const { config, queue } = options;
  refuseForeignRepository(distribution);
  // Its repository is not the one here: what is absent from this one may be in that one.
  if (job.env !== config.env) throw new Refusal('CONFIG_CHANGED', `it was published for the environment ${job.env}, and this is ${config.env}`);
  const dist = distribution.name;
  const made = madeFor(job, dist, queue);
  log.say(`withdraw ${job.component} ${job.version} from every suite of ${dist}`);
  if (made.names.length === 0) log.say(`nothing of it was built for ${dist}`);
  else if (distribution.packages === 'deb' && config.apt !== undefined) await withdrawUpload(job, dist, made, config.apt, log, options);
  else if (distribution.packages === 'rpm' && config.dnf !== undefined) await withdrawPackages(job, dist, made, config.dnf, log, options);
  else throw new Error(`${dist} has no repository`);
  log.say(`${job.component} ${job.version} is in no suite of ${dist}`);
}

async function withdrawUpload(job: Job, dist: string, made: Made, apt: AptRepository, log: LineSink, options: SuiteStageOptions): Promise<void> {
  const { config, paths, publicKey } = options;
  const { source, version } = sourceOf(made.names, job.version);
  const repository = { folder: join(paths.apt, config.env, dist), apt, dist, suite: 'current-testing' as const, gpg: paths.gpg, publicKey };
  const to = { upload: `${apt.upload}/${dist}`, sshConfig: paths.sshConfig };
  const generations = new Generations(repository.folder);
  await settle(generations, job.job, publicKey, to, log);
  const own = generations.ofJob(job.job, publicKey);
  const last = own ?? generations.published();
  if (last === undefined) return refuseLostRepository(job, dist, log, options);
  // What bears the same name and version with other bytes is another's: reading back finds it, and a person has to look.
  const pool = poolOf(join(last.folder, 'pool'));
  const isOurs = made.files.some(({ name, sha256 }) => name.endsWith('.dsc') && pool.has(name) && hashFile(pool.get(name) as string, name).sha256 === sha256);
  let generation = last;
  if (own !== undefined || (isOurs && codenamesIn(last.folder, dist).some((codename) => suiteHas(last, codename, source, version)))) {
    generation = await makeGeneration({ job: job.job }, { kind: 'remove', source, version }, gpgJobOf(job, dist, options), repository, log);
    await publishGeneration(generations, generation, () => undefined, to, log);
  }
  const folder = join(paths.work, `read-back-${job.job}-${dist}`);
  log.say(`generation ${generation.release} is what the world has to see`);
  await tryAgain(log, () => readBackAbsence({ name: source, version }, { url: `${apt.url}/${dist}`, dist, publicKey, folder, generation: generation.folder }, log));
}

async function withdrawPackages(job: Job, dist: string, { files, names }: Made, dnf: DnfRepository, log: LineSink, options: SuiteStageOptions): Promise<void> {
  const { config, paths, publicKey } = options;
  const [suite] = suitesOf(dist) as [AnySuite];
  const repository = { folder: join(paths.dnf, config.env), suite, gpg: paths.gpg, signingKey: config.signingKey, publicKey };
  const to = { upload: `${dnf.upload}/${dist}`, sshConfig: paths.sshConfig };
  const generations = new Generations(join(repository.folder, dist));
  await settle(generations, job.job, publicKey, to, log);
  const own = generations.ofJob(job.job, publicKey);
  let generation = own ?? generations.published();
  if (generation === undefined) return refuseLostRepository(job, dist, log, options);
  const there = ({ folder }: Generation): string[] => suitesIn(folder, dist).flatMap((suite) => names.filter((name) => existsSync(join(folder, suite, 'packages', name))));
  if (own !== undefined || there(generation).length > 0) {
    generation = await makeRpmGeneration({ job: job.job, dist, sourceDateEpoch: job.sourceDateEpoch ?? 0 }, { kind: 'remove', files }, gpgJobOf(job, dist, options), repository, log);
    await publishGeneration(generations, generation, () => undefined, { ...to, ...uploadedParts(generation, dist) }, log);
  }
  const others = there(generation);
  if (others.length > 0) throw new Refusal('NOT_IN_SUITE', `${others[0]} is published with other bytes than those of ${job.component} ${job.version}: look whose it is`);
  const folder = join(paths.work, `read-back-${job.job}-${dist}`);
  for (const one of suitesIn(generation.folder, dist)) {
    const repomd = join(generation.folder, one, 'repodata/repomd.xml');
    if (existsSync(repomd)) await tryAgain(log, () => readBackPackages('', [], { url: `${dnf.url.replace(/\/+$/, '')}/${dist}/${one}`, publicKey, repomd, folder }, log));
  }
}
