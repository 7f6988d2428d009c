// SPDX-License-Identifier: GPL-2.0-or-later
// The DNF repository of one distribution as generations: packages of the last one as hard links, new metadata over all of them, signed; then
// a rename. A kill in the middle leaves a folder that is thrown away.
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, linkSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as openpgp from 'openpgp';
import { makeFolder, renameDurably } from '../../shared/durable-files.js';
import { printable, Refusal } from '../../shared/refusal.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import { hashFile } from '../frozen-files.js';
import { hearingRefusals, runLogged, type LineSink } from '../logged-program.js';
import { rootEnvironment, runProgram } from '../program.js';
import { readOneKey } from './package-signatures.js';
import { readRpmFile } from './rpm-file.js';

export interface RpmPublicationOptions {
  /** holds `<dist>/generations/` */
  folder: string;
  /** the gpg client */
  gpg: string;
  signingKey: string;
  /** path of the armored public key, published beside the repository */
  publicKey: string;
}

export interface RpmGeneration {
  /** its name here and on the server */
  release: string;
  folder: string;
  publicKeyName: string;
}

interface MadeBy {
  job: string;
  revision: number;
}

const publicKeyName = 'key.asc';
const kept = 5;
const createMs = 1800_000;
const signMs = 600_000;
const generationPattern = /^[0-9]{6}-[0-9a-f]{12}$/;

function generationsIn(folder: string): RpmGeneration[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((name) => generationPattern.test(name)).sort().map((release) => ({ release, folder: join(folder, release), publicKeyName }));
}

function madeBy(generation: RpmGeneration): MadeBy {
  return JSON.parse(readFileSync(join(generation.folder, 'made-by.json'), 'utf8')) as MadeBy;
}

/** A name, version, release and architecture stands for one content, for ever. @throws Refusal ALREADY_PUBLISHED */
export function refusePublished(last: RpmGeneration | undefined, files: readonly HashedFile[]): void {
  if (last === undefined) return;
  const there = new Set(readdirSync(join(last.folder, 'packages')));
  for (const file of files) {
    if (there.has(file.name) && hashFile(join(last.folder, 'packages'), file.name).sha256 !== file.sha256) throw new Refusal('ALREADY_PUBLISHED', `${file.name} is published with other bytes; a version is published once`);
  }
}

/** The same packages and revision give the same bytes: nothing here depends on the clock, the number of processors or an older repodata. */
async function writeMetadata(part: string, revision: number, log: LineSink): Promise<void> {
  const status = await runLogged(['createrepo_c', '--quiet', '--checksum=sha256', '--no-database', '--unique-md-filenames', '--general-compress-type=gz', `--revision=${revision}`, '--set-timestamp-to-revision', '--skip-symlinks', part], log, {
    timeoutMs: createMs, label: `createrepo_c, revision ${revision}`,
  });
  if (status !== 0) throw new Refusal('PUBLISH_FAILED', `createrepo_c ended with ${status}; its log says why`);
}

/** The names of the files that a repomd.xml lists. */
function listedIn(generation: string): string[] {
  const text = readFileSync(join(generation, 'repodata/repomd.xml'), 'utf8');
  return [...text.matchAll(/<location href="repodata\/([0-9a-f]{64}-[a-z]+\.xml\.gz)"\/>/g)].map((found) => found[1] as string);
}

/** A client that has read one repomd.xml gets the files that it lists, whatever is switched meanwhile: their names are their hashes. */
function keepEarlierMetadata(part: string, earlier: readonly RpmGeneration[]): void {
  for (const { folder } of earlier) {
    for (const name of listedIn(folder)) if (!existsSync(join(part, 'repodata', name))) linkSync(join(folder, 'repodata', name), join(part, 'repodata', name));
  }
}

async function signMetadata(part: string, gpgJob: string, options: RpmPublicationOptions, log: LineSink): Promise<void> {
  const repomd = join(part, 'repodata/repomd.xml');
  const hearing = hearingRefusals(log);
  const argv = [options.gpg, '--batch', '--armor', '--detach-sign', '--local-user', options.signingKey, '--output', `${repomd}.asc`, '--', repomd];
  const status = await runLogged(argv, hearing, { timeoutMs: signMs, env: { ...rootEnvironment(), BUILD_INFRA_JOB: gpgJob, HOME: options.folder }, label: 'sign repomd.xml' });
  if (status !== 0) throw new Refusal('PUBLISH_FAILED', hearing.lastRefusal ?? `the gpg client ended with ${status}; its log says why`);
  const key = await readOneKey(readFileSync(options.publicKey, 'utf8'), options.signingKey);
  try {
    const signature = await openpgp.readSignature({ armoredSignature: readFileSync(`${repomd}.asc`, 'utf8') });
    const { signatures } = await openpgp.verify({ message: await openpgp.createMessage({ binary: readFileSync(repomd) }), signature, verificationKeys: key });
    if (signatures.length !== 1) throw new Error('not exactly one signature');
    await signatures[0]?.verified;
  } catch (error) {
    throw new Refusal('BAD_SIGNATURE', `repomd.xml.asc: ${printable((error as Error).message)}`);
  }
}

async function copyPackages(last: RpmGeneration | undefined, part: string): Promise<void> {
  rmSync(part, { recursive: true, force: true });
  makeFolder(part);
  if (last === undefined) makeFolder(join(part, 'packages'));
  // A package is never written twice, so generations share it.
  else await runProgram(['cp', '--archive', '--link', '--', join(last.folder, 'packages'), part], { timeoutMs: 600_000 });
}

/**
 * A generation with these packages in it; the one from before where this job got so far already.
 * @param made `sourceDateEpoch` in seconds: the revision, unless the last one is not lower
 * @param signed folder of the signed packages @param files names and hashes of those in it
 * @param gpgJob what the gpg client reads as $BUILD_INFRA_JOB
 * @throws Refusal ALREADY_PUBLISHED, PUBLISH_FAILED, BAD_SIGNATURE, BAD_ARTIFACT
 */
export async function makeRpmGeneration(made: { job: string; dist: string; sourceDateEpoch: number }, signed: string, files: readonly HashedFile[], gpgJob: string, options: RpmPublicationOptions, log: LineSink): Promise<RpmGeneration> {
  const home = join(options.folder, made.dist);
  makeFolder(join(home, 'generations'));
  const all = generationsIn(join(home, 'generations'));
  const last = all.at(-1);
  if (last !== undefined && madeBy(last).job === made.job) {
    log.say(`generation ${last.release} is there from before`);
    return last;
  }
  for (const file of files) readRpmFile(signed, file.name);
  refusePublished(last, files);
  const part = join(home, 'generation.part');
  await copyPackages(last, part);
  for (const file of files) {
    const to = join(part, 'packages', file.name);
    if (existsSync(to)) continue;
    copyFileSync(join(signed, file.name), to);
    // createrepo_c writes the file's time into the metadata.
    utimesSync(to, made.sourceDateEpoch, made.sourceDateEpoch);
    if (hashFile(join(part, 'packages'), file.name).sha256 !== file.sha256) throw new Refusal('BAD_ARTIFACT', `${file.name} is not the file that was signed`);
  }
  const revision = Math.max(made.sourceDateEpoch, last === undefined ? 0 : madeBy(last).revision + 1);
  await writeMetadata(part, revision, log);
  await signMetadata(part, gpgJob, { ...options, folder: home }, log);
  keepEarlierMetadata(part, all.slice(1 - kept));
  copyFileSync(options.publicKey, join(part, publicKeyName));
  const about: MadeBy = { job: made.job, revision };
  writeFileSync(join(part, 'made-by.json'), JSON.stringify(about));
  const hash = createHash('sha256').update(readFileSync(join(part, 'repodata/repomd.xml'))).digest('hex').slice(0, 12);
  const release = `${String(Number(last?.release.slice(0, 6) ?? '0') + 1).padStart(6, '0')}-${hash}`;
  const folder = join(home, 'generations', release);
  renameDurably(part, folder);
  for (const old of all.slice(0, -kept)) rmSync(old.folder, { recursive: true });
  log.say(`generation ${release} of the repository of ${made.dist} is complete`);
  return { release, folder, publicKeyName };
}
