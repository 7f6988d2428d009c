// SPDX-License-Identifier: GPL-2.0-or-later
// The APT repository as generations: reprepro works on a copy of the last one, which becomes the next one by a rename.
// A kill in the middle leaves a folder that is thrown away, never a damaged database or a stale lock.
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createHash } from 'node:crypto';
import { makeFolder, renameDurably } from '../shared/durable-files.js';
import { Refusal } from '../shared/refusal.js';
import type { HashedFile } from '../shared/formats/intent.js';
import type { AptRepository } from './config.js';
import { hashFile } from './frozen-files.js';
import { hearingRefusals, runLogged, type LineSink } from './logged-program.js';
import { rootEnvironment, runProgram } from './program.js';

export interface PublicationOptions {
  /** holds `generations/` */
  folder: string;
  apt: AptRepository;
  env: string;
  dists: readonly string[];
  /** the gpg client, called as `gpg --reprepro-sign Release.new InRelease.new Release.gpg.new` */
  gpg: string;
  /** armored public key, published beside the repository */
  publicKey: string;
}

export interface Generation {
  /** its name here and on the server */
  release: string;
  folder: string;
  /** the armored public key, at the top */
  publicKeyName: string;
}

export interface MadeBy {
  job: string;
  dist: string;
}

const reproMs = 1800_000;
const kept = 5;
const publicKeyName = 'key.asc';
const generationPattern = /^[0-9]{6}-[0-9a-f]{12}$/;

function generations(options: PublicationOptions): Generation[] {
  const folder = join(options.folder, 'generations');
  if (!existsSync(folder)) return [];
  return readdirSync(folder).filter((name) => generationPattern.test(name)).sort().map((release) => ({ release, folder: join(folder, release), publicKeyName }));
}

function madeBy(generation: Generation): MadeBy {
  return JSON.parse(readFileSync(join(generation.folder, 'made-by.json'), 'utf8')) as MadeBy;
}

/** Every file of a pool by its base name. */
function poolOf(folder: string): Map<string, string> {
  const found = new Map<string, string>();
  if (!existsSync(folder)) return found;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) found.set(entry.name, entry.parentPath);
  }
  return found;
}

/**
 * What is published stays as it is. All distributions share one pool, in which a file name stands for one content: one version cannot be
 * built for two distributions with different bytes.
 * @throws Refusal ALREADY_PUBLISHED
 */
export function refuseOtherBytes(made: MadeBy, all: readonly Generation[], files: readonly HashedFile[]): void {
  const last = all.at(-1);
  if (last === undefined) return;
  const pool = poolOf(join(last.folder, 'pool'));
  for (const file of files) {
    const folder = pool.get(file.name);
    if (folder === undefined || hashFile(folder, file.name).sha256 === file.sha256) continue;
    const other = all.map(madeBy).findLast((by) => by.job === made.job && by.dist !== made.dist)?.dist;
    throw new Refusal('ALREADY_PUBLISHED', other === undefined
      ? `${file.name} is published with other bytes; a version is published once`
      : `${file.name} is published for ${other} with other bytes; one version cannot be built for ${other} and for ${made.dist}, each needs a version of its own`);
  }
}

async function writeConfiguration(part: string, options: PublicationOptions): Promise<void> {
  const architecture = (await runProgram(['dpkg', '--print-architecture'], { timeoutMs: 10_000 })).toString('utf8').trim();
  const paragraphs = options.dists.map((dist) => [
    `Origin: ${options.apt.origin}`, `Label: ${options.apt.label}`, `Codename: ${dist}`, `Architectures: ${architecture} source`, 'Components: main',
    `Description: ${options.apt.label} for ${dist}`, 'Tracking: minimal includechanges includebuildinfos', 'SignWith: !sign-hook', '',
  ].join('\n'));
  makeFolder(join(part, 'conf'));
  writeFileSync(join(part, 'conf/distributions'), paragraphs.join('\n'));
  writeFileSync(join(part, 'conf/sign-hook'), `#!/bin/sh\nexec '${options.gpg}' --reprepro-sign "$@"\n`, { mode: 0o755 });
  copyFileSync(options.publicKey, join(part, publicKeyName));
}

async function copyOf(last: Generation | undefined, part: string): Promise<void> {
  if (existsSync(part)) rmSync(part, { recursive: true });
  makeFolder(part);
  if (last === undefined) return;
  await runProgram(['cp', '--archive', '--', join(last.folder, 'db'), join(last.folder, 'dists'), part], { timeoutMs: 600_000 });
  // A pool file is never written twice, so generations share it.
  await runProgram(['cp', '--archive', '--link', '--', join(last.folder, 'pool'), part], { timeoutMs: 600_000 });
}

/**
 * A generation with this upload in it; the one from before where this job got so far already.
 * @param changes path of the signed .changes
 * @param gpgJob what the gpg client reads as $BUILD_INFRA_JOB
 * @throws Refusal ALREADY_PUBLISHED, PUBLISH_FAILED
 */
export async function makeGeneration(made: MadeBy, changes: string, files: readonly HashedFile[], gpgJob: string, options: PublicationOptions, log: LineSink): Promise<Generation> {
  const all = generations(options);
  const mine = all.findLast((generation) => madeBy(generation).job === made.job && madeBy(generation).dist === made.dist);
  if (mine !== undefined && mine === all.at(-1)) {
    log.say(`generation ${mine.release} is there from before`);
    return mine;
  }
  const last = all.at(-1);
  refuseOtherBytes(made, all, files);
  const part = join(options.folder, 'generation.part');
  await copyOf(last, part);
  await writeConfiguration(part, options);
  writeFileSync(join(part, 'made-by.json'), JSON.stringify(made));
  const gnupg = join(options.folder, 'gnupg');
  makeFolder(gnupg, 0o700);
  // The changelog names another distribution than the one built for; an "all" package comes with the .buildinfo of where it was built.
  const hearing = hearingRefusals(log);
  const status = await runLogged(['reprepro', '--basedir', part, '--gnupghome', gnupg, '--ignore=wrongdistribution', '--ignore=surprisingarch', 'include', made.dist, changes], hearing, {
    timeoutMs: reproMs, env: { ...rootEnvironment(), BUILD_INFRA_JOB: gpgJob, TMPDIR: options.folder, HOME: options.folder },
  });
  if (status !== 0) throw new Refusal('PUBLISH_FAILED', hearing.lastRefusal ?? `reprepro ended with ${status}; its log says why`);
  for (const name of ['InRelease', 'Release.gpg', 'Release']) {
    if (!existsSync(join(part, 'dists', made.dist, name))) throw new Refusal('PUBLISH_FAILED', `reprepro left no signed ${name}`);
  }
  const hash = createHash('sha256').update(readFileSync(join(part, 'dists', made.dist, 'InRelease'))).digest('hex').slice(0, 12);
  const number = Number(last?.release.slice(0, 6) ?? '0') + 1;
  const release = `${String(number).padStart(6, '0')}-${hash}`;
  makeFolder(join(options.folder, 'generations'));
  const folder = join(options.folder, 'generations', release);
  renameDurably(part, folder);
  for (const old of all.slice(0, -kept)) rmSync(old.folder, { recursive: true });
  log.say(`generation ${basename(folder)} of the repository is complete`);
  return { release, folder, publicKeyName };
}
