// SPDX-License-Identifier: GPL-2.0-or-later
// The APT repository of one distribution as generations: reprepro works on a copy of the last one, which
// becomes the next one by a rename. A kill in the middle leaves a folder that is thrown away, never a damaged
// database or a stale lock.
import {
  copyFileSync,
  existsSync,
  linkSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { createHash } from 'node:crypto';
import { gunzipSync } from 'node:zlib';
import { makeFolder } from '../../../shared/durable-files.js';
import { Refusal } from '../../refusals.js';
import type { HashedFile } from '../../../shared/formats/intent.js';
import { codenameOf, suitesOf, wordsIn, type AnySuite } from '../../../shared/formats/suites.js';
import type { AptRepository } from '../../configuration/config.js';
import { becomeDurably } from '../../../shared/files/durable-folder.js';
import { hashFile } from '../../../shared/files/frozen-files.js';
import { hearingRefusals } from '../../gate/refusals-heard.js';
import { runLogged, type LineSink } from '../../../shared/programs/logged-program.js';
import { runProgram } from '../../../shared/programs/program.js';
import {
  Generations,
  keptGenerations,
  publicKeyName,
  type Generation,
  type MadeBy,
} from '../repository-generations.js';
import { dueSuites } from './release-renewal.js';
import { rootEnvironment } from '../../configuration/paths.js';

export interface PublicationOptions {
  /** holds `generations/` */
  folder: string;
  apt: AptRepository;
  dist: string;
  suite: AnySuite;
  /** the gpg client, called as `gpg --reprepro-sign Release.new InRelease.new Release.gpg.new` */
  gpg: string;
  /** armored public key, published beside the repository */
  publicKey: string;
}

const reproMs = 1800_000;

/**
 * Those of the distribution, and of each release line that has suites of its own and something in one of
 * them. Once made they stay. @param folder of a generation
 */
export function suitesIn(
  folder: string | undefined,
  dist: string,
  more: readonly AnySuite[] = [],
): readonly AnySuite[] {
  const dists = join(folder ?? '', 'dists');
  const names =
    folder !== undefined && existsSync(dists)
      ? readdirSync(dists).flatMap((name) =>
          name.startsWith(`${dist}-`) ? [name.slice(dist.length + 1)] : [],
        )
      : [];
  return suitesOf(dist, wordsIn([...names, ...more]));
}

/** The same by the names under dists/. */
export const codenamesIn = (folder: string, dist: string): string[] =>
  suitesIn(folder, dist).map((suite) => codenameOf(dist, suite));

/**
 * Whether a suite has this source package in this version: a newer upload takes the place of an older one.
 */
export function suiteHas(generation: Generation, codename: string, source: string, version: string): boolean {
  const index = join(generation.folder, 'dists', codename, 'main/source/Sources.gz');
  if (!existsSync(index)) return false;
  const paragraphs = gunzipSync(readFileSync(index))
    .toString('utf8')
    .split('\n\n')
    .map((paragraph) => paragraph.split('\n'));
  return paragraphs.some(
    (lines) => lines.includes(`Package: ${source}`) && lines.includes(`Version: ${version}`),
  );
}

/** Every file of a pool by its base name. */
export function poolOf(folder: string): Map<string, string> {
  const found = new Map<string, string>();
  if (!existsSync(folder)) return found;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) found.set(entry.name, entry.parentPath);
  }
  return found;
}

/**
 * What is published stays as it is: in a pool a file name stands for one content. @throws Refusal
 * ALREADY_PUBLISHED
 */
export function refuseOtherBytes(last: Generation | undefined, files: readonly HashedFile[]): void {
  if (last === undefined) return;
  const pool = poolOf(join(last.folder, 'pool'));
  for (const file of files) {
    const folder = pool.get(file.name);
    if (folder === undefined || hashFile(folder, file.name).sha256 === file.sha256) continue;
    throw new Refusal(
      'ALREADY_PUBLISHED',
      `${file.name} is published with other bytes; a version is published once`,
    );
  }
}

async function writeConfiguration(
  part: string,
  suites: readonly AnySuite[],
  options: PublicationOptions,
): Promise<void> {
  const architecture = (await runProgram(['dpkg', '--print-architecture'], { timeoutMs: 10_000 }))
    .toString('utf8')
    .trim();
  const paragraphs = suites.map((suite) =>
    [
      `Origin: ${options.apt.origin}`,
      `Label: ${options.apt.label}`,
      `Suite: ${suite}`,
      `Codename: ${codenameOf(options.dist, suite)}`,
      `Architectures: ${architecture} source`,
      'Components: main',
      `Description: ${options.apt.label} for ${options.dist}`,
      ...(options.apt.validDays === undefined ? [] : [`ValidFor: ${options.apt.validDays}d`]),
      'Tracking: minimal includechanges includebuildinfos',
      'SignWith: !sign-hook',
      '',
    ].join('\n'),
  );
  makeFolder(join(part, 'conf'));
  writeFileSync(join(part, 'conf/distributions'), paragraphs.join('\n'));
  // reprepro of Debian 12 knows nothing of by-hash: the hook says so in what is signed, indexByHash() makes
  // it true.
  writeFileSync(
    join(part, 'conf/sign-hook'),
    `#!/bin/sh\nsed -i 's/^Codename: .*/&\\nAcquire-By-Hash: yes/' "$1" && exec '${options.gpg}' --reprepro-sign "$@"\n`,
    { mode: 0o755 },
  );
  copyFileSync(options.publicKey, join(part, publicKeyName));
}

async function copyOf(last: Generation | undefined, part: string): Promise<void> {
  if (existsSync(part)) rmSync(part, { recursive: true });
  makeFolder(part);
  if (last === undefined) return;
  await runProgram(['cp', '--archive', '--', join(last.folder, 'db'), join(last.folder, 'dists'), part], {
    timeoutMs: 600_000,
  });
  // A pool file is never written twice, so generations share it.
  await runProgram(['cp', '--archive', '--link', '--', join(last.folder, 'pool'), part], {
    timeoutMs: 600_000,
  });
}

/** SHA-256 and path of every index that a Release file lists. */
function listedIn(release: string): [hash: string, path: string][] {
  const list = /^SHA256:\n((?: .*\n)+)/m.exec(readFileSync(release, 'utf8'))?.[1] ?? '';
  return list.split('\n').flatMap((line) => {
    const words = /^ ([0-9a-f]{64}) +[0-9]+ ([A-Za-z0-9._/-]+)$/.exec(line);
    return words === null ? [] : [[words[1] as string, words[2] as string] as [string, string]];
  });
}

/**
 * Each index also under its hash, so that a client which has read one Release gets the indices of that one,
 * whatever is switched meanwhile. Those of earlier generations stay as long as these.
 */
function indexByHash(codename: string, part: string, earlier: readonly Generation[]): void {
  const suite = join(part, 'dists', codename);
  const listed = listedIn(join(suite, 'Release'));
  const wanted = new Set(listed.map(([hash]) => hash));
  for (const { folder } of earlier) {
    const release = join(folder, 'dists', codename, 'Release');
    if (existsSync(release)) for (const [hash] of listedIn(release)) wanted.add(hash);
  }
  for (const [hash, path] of listed) {
    const byHash = join(suite, dirname(path), 'by-hash/SHA256');
    if (!existsSync(join(suite, path))) continue;
    makeFolder(byHash);
    if (!existsSync(join(byHash, hash))) linkSync(join(suite, path), join(byHash, hash));
    for (const name of readdirSync(byHash)) if (!wanted.has(name)) rmSync(join(byHash, name));
  }
}

/** What makes one generation into the next, in the suite of the options. */
export type AptChange =
  /** a signed upload: path of its .changes, and its files */
  | { kind: 'include'; changes: string; files: readonly HashedFile[] }
  /** everything of a source package's version that another suite has */
  | { kind: 'copy'; from: AnySuite; source: string; version: string }
  /** from every suite */
  | { kind: 'remove'; source: string; version: string }
  /** nothing but the Release of every suite */
  | { kind: 'renew' };

function reproCommands(
  change: AptChange,
  codename: string,
  dist: string,
  suites: readonly AnySuite[],
): string[][] {
  switch (change.kind) {
    case 'include':
      return [['include', codename, change.changes]];
    case 'copy':
      return [['copysrc', codename, codenameOf(dist, change.from), change.source, change.version]];
    case 'renew':
      return [];
    // The second for packages that were rebuilt: where they were copied to a suite, the first leaves them
    // there.
    case 'remove':
      return suites.flatMap((suite) => [
        ['removesrc', codenameOf(dist, suite), change.source, change.version],
        [
          'removefilter',
          codenameOf(dist, suite),
          `$Source (== ${change.source}), $SourceVersion (== ${change.version})`,
        ],
      ]);
  }
}

/**
 * A generation with this change in it, made from what the world sees; the one from before where this job got
 * so far already. settle() comes first.
 * @param gpgJob what the gpg client reads as $BUILD_INFRA_JOB
 * @throws Refusal ALREADY_PUBLISHED, PUBLISH_FAILED
 */
export async function makeGeneration(
  made: { job: string },
  change: AptChange,
  gpgJob: string,
  options: PublicationOptions,
  log: LineSink,
): Promise<Generation> {
  const generations = new Generations(options.folder);
  const own = generations.ofJob(made.job, options.publicKey);
  if (own !== undefined) {
    log.say(`generation ${own.release} is there from before`);
    return own;
  }
  const last = generations.published();
  if (change.kind === 'include') refuseOtherBytes(last, change.files);
  const part = join(options.folder, 'generation.part');
  const suites = suitesIn(last?.folder, options.dist, [options.suite]);
  await copyOf(last, part);
  await writeConfiguration(part, suites, options);
  writeFileSync(
    join(part, 'made-by.json'),
    JSON.stringify({ job: made.job, base: last?.release ?? null } satisfies MadeBy),
  );
  const gnupg = join(options.folder, 'gnupg');
  makeFolder(gnupg, 0o700);
  // The changelog names another distribution than the one built for; an "all" package comes with the
  // .buildinfo of where it was built.
  const hearing = hearingRefusals(log);
  const codename = codenameOf(options.dist, options.suite);
  const reprepro = async (...argv: string[]): Promise<void> => {
    const status = await runLogged(
      [
        'reprepro',
        '--basedir',
        part,
        '--gnupghome',
        gnupg,
        '--ignore=wrongdistribution',
        '--ignore=surprisingarch',
        ...argv,
      ],
      hearing,
      {
        timeoutMs: reproMs,
        env: { ...rootEnvironment, BUILD_INFRA_JOB: gpgJob, TMPDIR: options.folder, HOME: options.folder },
      },
    );
    if (status !== 0)
      throw hearing.refusal('PUBLISH_FAILED', `reprepro ended with ${status}; its log says why`);
  };
  for (const command of reproCommands(change, codename, options.dist, suites)) await reprepro(...command);
  // reprepro takes the folder away with the last package in it.
  makeFolder(join(part, 'pool'));
  // Whoever follows a suite that nothing was published to yet finds it empty, not missing; none stays signed
  // by a key that is no longer beside it; and what is due would be made anew soon anyway.
  const isOtherKey =
    last !== undefined &&
    !readFileSync(join(last.folder, publicKeyName)).equals(readFileSync(options.publicKey));
  const codenames = suites.map((suite) => codenameOf(options.dist, suite));
  const unsigned =
    isOtherKey || change.kind === 'renew'
      ? codenames
      : dueSuites(part, codenames, options.apt.validDays, Date.now());
  if (unsigned.length > 0) await reprepro('export', ...unsigned);
  for (const suite of suites) {
    for (const name of ['InRelease', 'Release.gpg', 'Release']) {
      if (!existsSync(join(part, 'dists', codenameOf(options.dist, suite), name)))
        throw new Refusal('PUBLISH_FAILED', `reprepro left no signed ${name} of ${suite}`);
    }
    indexByHash(codenameOf(options.dist, suite), part, generations.lineage().slice(0, keptGenerations - 1));
  }
  const hash = createHash('sha256')
    .update(readFileSync(join(part, 'dists', codename, 'InRelease')))
    .digest('hex')
    .slice(0, 12);
  const generation = generations.next(hash);
  const { folder } = generation;
  await becomeDurably(part, folder);
  log.say(`generation ${generation.release} of the repository is complete`);
  return generation;
}
