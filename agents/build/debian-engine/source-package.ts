// SPDX-License-Identifier: GPL-2.0-or-later
// From the verified tree to what dpkg-source wants: the tree in /build of the chroot, and the upstream tarball made from the same tree,
// so that nothing comes from anywhere else (docs/decisions/042-upstream-tarball-from-the-tree.md).
import { lstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { printable, Refusal } from '../../shared/refusal.js';
import { readChangelog } from '../control-file.js';
import { runLogged, type LineSink } from '../logs/logged-program.js';
import { isOfTag } from '../source/package-version.js';
import { builderId } from './jail.js';

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
  if (format === '3.0 (quilt)') return { folder, orig: `${source}_${upstream}.orig.tar.xz`, compressor: 'xz' };
  if (format === '1.0') return { folder, orig: dash < 0 ? undefined : `${source}_${upstream}.orig.tar.gz`, compressor: 'gzip -n9' };
  throw new Refusal('UNKNOWN_SOURCE_FORMAT', `debian/source/format is "${printable(format)}"`);
}

// Not the changelog's date: the upstream tarball is the same file for every revision of an upstream version, byte for byte.
const origTime = 1_000_000_000;

function readFormat(tree: string): string {
  try {
    const path = join(tree, 'debian/source/format');
    return lstatSync(path).size > 1000 ? 'too long' : (readFileSync(path, 'utf8').split('\n')[0] as string).trim();
  } catch {
    return '1.0';
  }
}

/** @throws Refusal VERSION_MISMATCH, UNKNOWN_SOURCE_FORMAT, NO_SOURCE_PACKAGE */
export async function prepareSource(tree: string, tagVersion: string, chroot: string, log: LineSink): Promise<PreparedSource> {
  const changelog = readChangelog(tree);
  const { version } = changelog;
  if (!isOfTag(version, tagVersion)) throw new Refusal('VERSION_MISMATCH', `debian/changelog is of ${version}`);
  const names = sourceNames(changelog.source, version, readFormat(tree));
  const build = join(chroot, 'build');
  makeFolder(build);
  const run = async (...argv: string[]): Promise<void> => {
    const status = await runLogged(argv, log, { timeoutMs: 600_000 });
    if (status !== 0) throw new Refusal('NO_SOURCE_PACKAGE', `${argv[0]} ended with ${status}`);
  };
  await run('cp', '--archive', '--no-preserve=ownership', tree, join(build, names.folder));
  if (names.orig !== undefined) {
    await run('tar', '--create', '--file', join(build, names.orig), `--use-compress-program=${names.compressor}`, '--sort=name', `--mtime=@${origTime}`, '--owner=0', '--group=0',
      '--numeric-owner', '--format=gnu', '--mode=u+rwX,go+rX,go-w', '--anchored', '--no-wildcards', `--exclude=${names.folder}/debian`, '--directory', build, '--', names.folder);
  }
  await run('chown', '--recursive', '--no-dereference', `${builderId}:${builderId}`, build);
  return { source: changelog.source, version, folder: `/build/${names.folder}` };
}
