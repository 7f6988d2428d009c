// SPDX-License-Identifier: GPL-2.0-or-later
// From the verified tree to what dpkg-source wants: the tree in /build of the chroot, and the upstream
// tarball made from the same tree, so that nothing comes from anywhere else (decision 042).
import {
  chownSync,
  cpSync,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { readChangelog } from '../../shared/formats/control-file.js';
import type { EngineJob } from '../contract.js';
import { runLogged, type LineSink } from '../../shared/programs/logged-program.js';
import { freezeFile } from '../../shared/files/frozen-files.js';
import { buildsOf, isTreeArchived, type Target } from '../source-tree/build-file.js';
import { formulaFiles } from '../source-tree/formula.js';
import { listedNames } from '../source-tree/listed-files.js';
import { isOfTag, rebuiltVersion } from '../source-tree/package-version.js';
import { builderId, buildJail } from '../chroot/jail.js';

export interface PreparedSource {
  source: string;
  version: string;
  /** the tree's folder inside the chroot */
  folder: string;
}

export interface SourceNames {
  folder: string;
  /** undefined for a native package */
  orig: string | undefined;
  compressor: 'xz' | 'gzip -n9';
}

/** Names by deb-version(7) and dpkg-source(1). @throws Refusal UNKNOWN_SOURCE_FORMAT */
export function sourceNames(source: string, version: string, format: string): SourceNames {
  const upstreamAndRevision = version.replace(/^[0-9]+:/, '');
  const dash = upstreamAndRevision.lastIndexOf('-');
  const upstream = dash < 0 ? upstreamAndRevision : upstreamAndRevision.slice(0, dash);
  const folder = `${source}-${upstream}`;
  if (format === '3.0 (native)') return { folder, orig: undefined, compressor: 'xz' };
  if (format === '3.0 (quilt)')
    return { folder, orig: `${source}_${upstream}.orig.tar.xz`, compressor: 'xz' };
  if (format === '1.0')
    return {
      folder,
      orig: dash < 0 ? undefined : `${source}_${upstream}.orig.tar.gz`,
      compressor: 'gzip -n9',
    };
  throw new Refusal('UNKNOWN_SOURCE_FORMAT', `debian/source/format is "${printable(format)}"`);
}

// Not the changelog's date: the upstream tarball is the same file for every revision of an upstream version,
// byte for byte.
const origTime = 1_000_000_000;

function readFormat(packaging: string): string {
  try {
    const path = join(packaging, 'source/format');
    return lstatSync(path).size > 1000
      ? 'too long'
      : (readFileSync(path, 'utf8').split('\n')[0] as string).trim();
  } catch {
    return '1.0';
  }
}

/**
 * Of the same person and time as the one below, so that it says nothing that the tag does not. @throws
 * Refusal NOT_A_PACKAGE
 */
function withEntry(untrustedChangelog: string, head: string, text: string): string {
  const signed = /^ -- .*$/m.exec(untrustedChangelog)?.[0];
  if (signed === undefined) throw new Refusal('NOT_A_PACKAGE', "the changelog's first entry does not end");
  return `${head}\n\n  * ${text}\n\n${signed}\n\n${untrustedChangelog}`;
}

/** The distribution's own entry, as the builder makes it. @throws Refusal NOT_A_PACKAGE */
export function withSuffix(
  untrustedChangelog: string,
  source: string,
  version: string,
  suite: string,
): string {
  return withEntry(
    untrustedChangelog,
    `${source} (${version}) ${suite}; urgency=medium`,
    `Build for ${suite}`,
  );
}

/**
 * Debian's entry of a rebuild (binNMU): by it dpkg gives packages a version of their own, and leaves them the
 * source's of the entry below.
 * @throws Refusal NOT_A_PACKAGE
 */
export function withRebuild(
  untrustedChangelog: string,
  source: string,
  version: string,
  suite: string,
): string {
  return withEntry(
    untrustedChangelog,
    `${source} (${version}) ${suite}; urgency=medium, binary-only=yes`,
    'Rebuild without a new source, by a signed command',
  );
}

/**
 * What a rebuild cannot make: a package for every architecture is told from the source's by nothing. @throws
 * Refusal NOTHING_TO_BUILD
 */
function refuseNothingToRebuild(packaging: string): void {
  const control = readFileSync(join(packaging, 'control'), 'latin1');
  if (!/^Architecture:(?![ \t]*all[ \t]*$)/im.test(control))
    throw new Refusal(
      'NOTHING_TO_BUILD',
      'all of its packages are for every architecture, and a rebuild is of the others alone: tag a new version',
    );
}

/** Never through a link, wherever the tree has one. */
function replaceFile(path: string, content: string): void {
  rmSync(path, { recursive: true, force: true });
  writeFileSync(path, content, { flag: 'wx', mode: 0o644, encoding: 'latin1' });
}

/**
 * The folder of packaging that the tree lists for this distribution. @throws Refusal NOTHING_TO_BUILD, and as
 * buildsOf
 */
export function packagingOf(tree: string, target: Target): string {
  const builds = buildsOf(tree, target);
  if (builds?.length === 0)
    throw new Refusal('NOTHING_TO_BUILD', `the tree builds nothing for ${target.word}`);
  return builds?.[0] ?? 'debian';
}

export interface SourceWishes {
  tagVersion: string;
  target: Target;
  /** of the distribution */
  suffix?: string | undefined;
  rebuild?: EngineJob['rebuild'];
}

/**
 * The tree as dpkg-source wants it: `debian` is the listed folder, with the distribution's changelog, and
 * what a formula's Makefile includes is there.
 * @throws Refusal VERSION_MISMATCH, NOT_A_PACKAGE, BAD_FORMULA
 */
function finishTree(
  copy: string,
  packaging: string,
  version: string,
  source: string,
  { suffix, target, rebuild }: SourceWishes,
  log: LineSink,
): void {
  if (packaging !== 'debian') {
    rmSync(join(copy, 'debian'), { recursive: true, force: true });
    cpSync(join(copy, packaging), join(copy, 'debian'), {
      recursive: true,
      verbatimSymlinks: true,
      preserveTimestamps: true,
    });
    log.say(`debian: ${packaging} of the tree`);
  }
  if (suffix !== undefined) {
    const path = join(copy, 'debian/changelog');
    replaceFile(path, withSuffix(readFileSync(path, 'latin1'), source, version, target.dist));
  }
  if (rebuild !== undefined) {
    const path = join(copy, 'debian/changelog');
    refuseNothingToRebuild(join(copy, 'debian'));
    replaceFile(
      path,
      withRebuild(readFileSync(path, 'latin1'), source, rebuiltVersion(version, rebuild.number), target.dist),
    );
  }
  for (const [name, content] of formulaFiles(copy)) {
    replaceFile(join(copy, name), content);
    log.say(`${name}: made of the tree's FORMULA`);
  }
}

/** @throws Refusal UNKNOWN_SOURCE_FORMAT for an archive that dpkg-source takes for none */
function upstreamName(orig: string, archive: string): string {
  const ending =
    /\.tar\.(?:gz|bz2|xz|lzma)$/.exec(archive)?.[0] ?? (archive.endsWith('.tgz') ? '.tar.gz' : undefined);
  if (ending === undefined)
    throw new Refusal(
      'UNKNOWN_SOURCE_FORMAT',
      `${archive}, the first file that the tree lists, is no tarball`,
    );
  return orig.replace(/\.tar\.[a-z0-9]+$/, ending);
}

/**
 * As dpkg-source does it: one folder at the top of the archive is the tree, and its `debian` is nobody's.
 * Unpacked as the build's user.
 * @throws Refusal NO_SOURCE_PACKAGE
 */
async function unpackUpstream(chroot: string, orig: string, folder: string, log: LineSink): Promise<void> {
  const build = join(chroot, 'build');
  const place = join(build, 'upstream');
  makeFolder(place);
  for (const path of [build, place]) chownSync(path, builderId, builderId);
  const argv = buildJail(chroot, '/build', {}, [
    'tar',
    '--extract',
    '--file',
    `/build/${orig}`,
    '--directory',
    '/build/upstream',
    '--no-same-owner',
  ]);
  const status = await runLogged(argv, log, {
    timeoutMs: 600_000,
    label: `unpack ${orig}, the first file that the tree lists`,
  });
  if (status !== 0) throw new Refusal('NO_SOURCE_PACKAGE', `${orig} cannot be unpacked`);
  const [top, ...more] = readdirSync(place, { withFileTypes: true });
  if (top?.isDirectory() === true && more.length === 0)
    renameSync(join(place, top.name), join(build, folder));
  else renameSync(place, join(build, folder));
  rmSync(place, { recursive: true, force: true });
  rmSync(join(build, folder, 'debian'), { recursive: true, force: true });
}

/**
 * @throws Refusal VERSION_MISMATCH, UNKNOWN_SOURCE_FORMAT, NO_SOURCE_PACKAGE, NOTHING_TO_BUILD, BAD_FORMULA,
 * and as buildsOf
 */
export async function prepareSource(
  tree: string,
  wishes: SourceWishes,
  chroot: string,
  log: LineSink,
): Promise<PreparedSource> {
  const packaging = packagingOf(tree, wishes.target);
  const changelog = readChangelog(tree, packaging);
  if (!isOfTag(changelog.version, wishes.tagVersion))
    throw new Refusal('VERSION_MISMATCH', `${packaging}/changelog is of ${changelog.version}`);
  const version = `${changelog.version}${wishes.suffix ?? ''}`;
  const { rebuild } = wishes;
  if (rebuild !== undefined && rebuild.of !== version)
    throw new Refusal(
      'VERSION_MISMATCH',
      `the source that is published is ${rebuild.of}, and this would be ${version}`,
    );
  const built = rebuild === undefined ? version : rebuiltVersion(version, rebuild.number);
  const names = sourceNames(changelog.source, version, readFormat(join(tree, packaging)));
  const build = join(chroot, 'build');
  const copy = join(build, names.folder);
  makeFolder(build);
  const run = async (...argv: string[]): Promise<void> => {
    const status = await runLogged(argv, log, { timeoutMs: 600_000 });
    if (status !== 0) throw new Refusal('NO_SOURCE_PACKAGE', `${argv[0]} ended with ${status}`);
  };
  const archive =
    names.orig === undefined || buildsOf(tree, wishes.target) === undefined || isTreeArchived(tree)
      ? undefined
      : listedNames(tree)[0];
  if (archive !== undefined) {
    const orig = upstreamName(names.orig as string, archive);
    freezeFile(tree, build, archive);
    renameSync(join(build, archive), join(build, orig));
    await unpackUpstream(chroot, orig, names.folder, log);
    await run(
      'cp',
      '--archive',
      '--no-preserve=ownership',
      '--no-target-directory',
      join(tree, packaging),
      join(copy, 'debian'),
    );
    finishTree(copy, 'debian', version, changelog.source, wishes, log);
    await run('chown', '--recursive', '--no-dereference', `${builderId}:${builderId}`, build);
    return { source: changelog.source, version: built, folder: `/build/${names.folder}` };
  }
  await run('cp', '--archive', '--no-preserve=ownership', tree, copy);
  finishTree(copy, packaging, version, changelog.source, wishes, log);
  if (names.orig !== undefined) {
    await run(
      'tar',
      '--create',
      '--file',
      join(build, names.orig),
      `--use-compress-program=${names.compressor}`,
      '--sort=name',
      `--mtime=@${origTime}`,
      '--owner=0',
      '--group=0',
      '--numeric-owner',
      '--format=gnu',
      '--mode=u+rwX,go+rX,go-w',
      '--anchored',
      '--no-wildcards',
      `--exclude=${names.folder}/debian`,
      '--directory',
      build,
      '--',
      names.folder,
    );
  }
  await run('chown', '--recursive', '--no-dereference', `${builderId}:${builderId}`, build);
  return { source: changelog.source, version: built, folder: `/build/${names.folder}` };
}
