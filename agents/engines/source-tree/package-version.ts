// SPDX-License-Identifier: GPL-2.0-or-later
// Which version of a package a tag stands for: one rule for all engines, that of Qubes' own builder. Decision
// 158
import { readTreeFile } from './tree-file.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { matches, versionPattern } from '../../shared/formats/names.js';

/**
 * What a distribution may add, `+deb12u1`: a word and a number, so that hardly any other upstream version is
 * one. `+b1` is a rebuild's, and nobody else's.
 */
export const suffixPattern = '^\\+(?!b[0-9]+$)[a-z]{1,20}[0-9][0-9a-z.]{0,20}$';

/**
 * In tags and files a release candidate is called `-rc3`. As `~rc3` it sorts before the release, in dpkg and
 * in rpm.
 */
export function withCandidate(version: string): string {
  return version.replace(/-rc(?=[0-9])/, '~rc');
}

/** A tag without a revision stands for the first one, or for a native package, which has none. */
function versionsOf(tagVersion: string): string[] {
  return tagVersion.includes('-') ? [tagVersion] : [tagVersion, `${tagVersion}-1`];
}

/** Whether a source package of this version, as it stands in the tree, is what the tag says. */
export function isOfTag(said: string, tagVersion: string): boolean {
  return versionsOf(tagVersion).includes(said);
}

/** The same of a Debian package that was built: a distribution may have added to its version. */
export function isBuiltOfTag(said: string, tagVersion: string): boolean {
  return versionsOf(tagVersion).some(
    (one) => said === one || (said.startsWith(one) && matches(suffixPattern, said.slice(one.length))),
  );
}

/**
 * Of packages that are built anew from a source which is published, as Debian numbers them: higher than that
 * source and its earlier rebuilds, lower than its next version.
 */
export function rebuiltVersion(sourceVersion: string, number: number): string {
  return `${sourceVersion}+b${number}`;
}

/**
 * The same of rpm packages, by their version and release: as Fedora's people raise one, behind the
 * distribution's suffix (1.fc41.1). Decision 175
 */
export function rebuiltRelease(sourceVersion: string, number: number): string {
  return `${sourceVersion}.${number}`;
}

export interface VersionFiles {
  /** the lines of `version`, not empty */
  version: string[];
  /** those of `rel`; undefined where the tree has none, and its release is 1 */
  rel: string[] | undefined;
}

const fileLimitBytes = 4096;

function linesOf(tree: string, name: string): string[] | undefined {
  const text = readTreeFile(tree, name, fileLimitBytes)?.toString('latin1');
  if (text === undefined) return undefined;
  const lines = text.split('\n').map((line) => line.trim());
  while (lines.at(-1) === '') lines.pop();
  const bad = lines.length === 0 ? 'nothing' : lines.find((line) => !/^[A-Za-z0-9.+~_-]{1,100}$/.test(line));
  if (bad !== undefined)
    throw new Refusal('VERSION_MISMATCH', `the file ${name} says ${printable(bad)}, which is no version`);
  return lines;
}

/**
 * The files `version` and `rel`, of which Qubes' trees make the rest. @returns undefined where there is no
 * `version` @throws Refusal VERSION_MISMATCH
 */
export function readVersionFiles(tree: string): VersionFiles | undefined {
  const version = linesOf(tree, 'version');
  return version === undefined ? undefined : { version, rel: linesOf(tree, 'rel') };
}

/**
 * The changelog says what the tag says, and in a Qubes tree what `version` and `rel` say as well, as the
 * builder's `debian-changelog --verify` has it.
 * @throws Refusal VERSION_MISMATCH
 */
export function refuseOtherChangelog(
  changelog: string,
  tagVersion: string,
  files: VersionFiles | undefined,
): void {
  if (!isOfTag(changelog, tagVersion))
    throw new Refusal('VERSION_MISMATCH', `the tag says ${tagVersion}, the changelog says ${changelog}`);
  if (files === undefined) return;
  const version = withCandidate(files.version[0] as string);
  const plain = changelog.replace(/^[0-9]+:/, '');
  const said = plain.includes('-') ? `${version}-${files.rel?.[0] ?? '1'}` : version;
  if (!matches(versionPattern, said) || plain !== said)
    throw new Refusal(
      'VERSION_MISMATCH',
      `the changelog says ${changelog}, the files version and rel say ${said}`,
    );
}
