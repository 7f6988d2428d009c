// SPDX-License-Identifier: GPL-2.0-or-later
// The DNF repositories of one distribution, one for each suite, as generations: what the last one has as hard
// links, new metadata of the suite that changes, signed; then a rename. A kill in the middle leaves a folder
// that is thrown away.
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  linkSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../../shared/durable-files.js';
import { Refusal } from '../../refusals.js';
import type { HashedFile } from '../../../shared/formats/intent.js';
import { codenameOf, suitesOf, wordsIn, type AnySuite } from '../../../shared/formats/suites.js';
import { becomeDurably } from '../../../shared/files/durable-folder.js';
import { hashFile } from '../../../shared/files/frozen-files.js';
import type { LineSink } from '../../../shared/programs/logged-program.js';
import { runProgram } from '../../../shared/programs/program.js';
import {
  Generations,
  keptGenerations,
  publicKeyName,
  type Generation,
  type MadeBy,
} from '../repository-generations.js';
import { readRpmFile } from './rpm-file.js';
import { keepEarlierMetadata, signMetadata, writeMetadata } from './suite-metadata.js';

export interface RpmPublicationOptions {
  /** holds `<dist>/generations/` */
  folder: string;
  /** the gpg client */
  gpg: string;
  signingKey: string;
  suite: AnySuite;
  /** path of the armored public key, published beside the repository */
  publicKey: string;
}

/**
 * Those of the distribution, and of each release line that has suites of its own and something in one of
 * them. Once made they stay. @param folder of a generation
 */
export function suitesIn(
  folder: string | undefined,
  dist: string,
  more: readonly AnySuite[] = [],
): readonly AnySuite[] {
  return suitesOf(dist, wordsIn([...(folder === undefined ? [] : readdirSync(folder)), ...more]));
}

/**
 * A name, version, release and architecture stands for one content, for ever. @throws Refusal
 * ALREADY_PUBLISHED
 */
export function refusePublished(
  last: Generation | undefined,
  files: readonly HashedFile[],
  suites: readonly AnySuite[],
): void {
  if (last === undefined) return;
  for (const folder of suites.map((suite) => join(last.folder, suite, 'packages'))) {
    const there = new Set(readdirSync(folder));
    const other = files.find(
      (file) => there.has(file.name) && hashFile(folder, file.name).sha256 !== file.sha256,
    );
    if (other !== undefined)
      throw new Refusal(
        'ALREADY_PUBLISHED',
        `${other.name} is published with other bytes; a version is published once`,
      );
  }
}

async function copyOf(
  last: Generation | undefined,
  part: string,
  suites: readonly AnySuite[],
  before: readonly AnySuite[],
): Promise<void> {
  rmSync(part, { recursive: true, force: true });
  makeFolder(part);
  for (const suite of suites) {
    if (last === undefined || !before.includes(suite)) makeFolder(join(part, suite, 'packages'));
    // A package is never written twice, so generations share it; metadata is made anew or stays.
    else
      await runProgram(['cp', '--archive', '--link', '--', join(last.folder, suite), part], {
        timeoutMs: 600_000,
      });
  }
}

/** What makes one generation into the next, in the suite of the options. */
export type DnfChange =
  /** signed packages in a folder */
  | { kind: 'include'; signed: string; files: readonly HashedFile[] }
  /** packages that another suite has, with these bytes */
  | { kind: 'copy'; from: AnySuite; files: readonly HashedFile[] }
  /** from every suite, those with these bytes */
  | { kind: 'remove'; files: readonly HashedFile[] };

/** @throws Refusal BAD_ARTIFACT, NOT_IN_SUITE */
function apply(change: DnfChange, part: string, suite: AnySuite, sourceDateEpoch: number): void {
  for (const file of change.files) {
    const to = join(part, suite, 'packages', file.name);
    if (
      change.kind === 'remove' &&
      existsSync(to) &&
      hashFile(join(part, suite, 'packages'), file.name).sha256 === file.sha256
    )
      rmSync(to);
    if (change.kind === 'remove' || existsSync(to)) continue;
    if (change.kind === 'copy') {
      const from = join(part, change.from, 'packages');
      if (!existsSync(join(from, file.name)) || hashFile(from, file.name).sha256 !== file.sha256)
        throw new Refusal('NOT_IN_SUITE', `${file.name} with its published bytes is not in ${change.from}`);
      linkSync(join(from, file.name), to);
      continue;
    }
    copyFileSync(join(change.signed, file.name), to);
    // createrepo_c writes the file's time into the metadata.
    utimesSync(to, sourceDateEpoch, sourceDateEpoch);
    if (hashFile(join(part, suite, 'packages'), file.name).sha256 !== file.sha256)
      throw new Refusal('BAD_ARTIFACT', `${file.name} is not the file that was signed`);
  }
}

/**
 * A generation with this change in it, made from what the world sees; the one from before where this job got
 * so far already. settle() comes first.
 * @param made `sourceDateEpoch` in seconds: the revision, unless the last one is not lower
 * @param gpgJob what the gpg client reads as $BUILD_INFRA_JOB
 * @throws Refusal ALREADY_PUBLISHED, NOT_IN_SUITE, PUBLISH_FAILED, BAD_SIGNATURE, BAD_ARTIFACT
 */
export async function makeRpmGeneration(
  made: { job: string; dist: string; sourceDateEpoch: number },
  change: DnfChange,
  gpgJob: string,
  options: RpmPublicationOptions,
  log: LineSink,
): Promise<Generation> {
  const home = join(options.folder, made.dist);
  const generations = new Generations(home);
  const own = generations.ofJob(made.job, options.publicKey);
  if (own !== undefined) {
    log.say(`generation ${own.release} is there from before`);
    return own;
  }
  const last = generations.published();
  const before = last === undefined ? [] : suitesIn(last.folder, made.dist);
  const suites = suitesIn(last?.folder, made.dist, [options.suite]);
  if (change.kind === 'include') {
    for (const file of change.files) readRpmFile(change.signed, file.name);
    refusePublished(last, change.files, before);
  }
  const part = join(home, 'generation.part');
  await copyOf(last, part, suites, before);
  const changed = change.kind === 'remove' ? suites : [options.suite];
  for (const suite of changed) apply(change, part, suite, made.sourceDateEpoch);
  const revision = Math.max(
    made.sourceDateEpoch,
    last === undefined ? 0 : (generations.madeBy(last).revision ?? 0) + 1,
  );
  const isOtherKey =
    last !== undefined &&
    !readFileSync(join(last.folder, publicKeyName)).equals(readFileSync(options.publicKey));
  // Whoever follows a suite that nothing was published to yet finds it empty, not missing; and none stays
  // signed by a key that is no longer beside it.
  for (const suite of suites.filter((one) => !before.includes(one) || isOtherKey || changed.includes(one))) {
    const folder = join(part, suite);
    rmSync(join(folder, 'repodata'), { recursive: true, force: true });
    await writeMetadata(folder, codenameOf(made.dist, suite), revision, log);
    await signMetadata(folder, { ...options, gpgJob, home }, log);
    keepEarlierMetadata(
      folder,
      generations
        .lineage()
        .slice(0, keptGenerations - 1)
        .map((earlier) => join(earlier.folder, suite)),
    );
  }
  copyFileSync(options.publicKey, join(part, publicKeyName));
  const about: MadeBy = { job: made.job, base: last?.release ?? null, revision };
  writeFileSync(join(part, 'made-by.json'), JSON.stringify(about));
  const hash = createHash('sha256')
    .update(readFileSync(join(part, options.suite, 'repodata/repomd.xml')))
    .digest('hex')
    .slice(0, 12);
  const generation = generations.next(hash);
  const { folder } = generation;
  await becomeDurably(part, folder);
  log.say(`generation ${generation.release} of the repository of ${made.dist} is complete`);
  return generation;
}
