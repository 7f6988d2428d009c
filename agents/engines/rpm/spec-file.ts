// SPDX-License-Identifier: GPL-2.0-or-later
// Which .spec a tree has, and what it says. A spec is a program (%(…) runs a shell): its values come from
// rpmspec in a jail and are untrusted; only its name is also read here as text, so that the agent knows the
// source package before anything of the tree was run.
import { existsSync, lstatSync, readdirSync } from 'node:fs';
import { join, posix } from 'node:path';
import { fileNamePattern, matches } from '../../shared/formats/names.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { readPlainFile } from '../../shared/files/frozen-files.js';
import { buildsOf, type Target } from '../source-tree/build-file.js';
import { readSpec, type SpecStamp } from '../source-tree/spec-template.js';

// Narrower than rpm: no `%`, no `^`, nothing that a file name of ours must not hold.
export const rpmNamePattern = '^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$';
export const rpmVersionPattern = '^[0-9][A-Za-z0-9._+~]{0,63}$';
export const rpmReleasePattern = '^[0-9][A-Za-z0-9._+~]{0,63}$';
export const rpmArchPattern = '^[a-z0-9][a-z0-9_]{0,15}$';

const specLimitBytes = 4 * 1024 * 1024;

export interface SpecPlace {
  /** the spec's file name */
  file: string;
  /** relative to the tree: '' or 'packaging' */
  folder: string;
  /** the literal value of `Name:` */
  name: string;
}

export interface Spec extends SpecPlace {
  text: Buffer;
  /** one that the tree's .qubesbuilder lists: its sources lie at the top of the tree */
  isListed: boolean;
}

/**
 * Those that the tree lists for this distribution, in that order; else the one that it has.
 * @throws Refusal NO_SPEC, TWO_SPECS, BAD_SPEC, NOTHING_TO_BUILD, and as buildsOf
 */
export function specsOf(tree: string, target: Target, stamp: SpecStamp): Spec[] {
  const listed = buildsOf(tree, target);
  if (listed === undefined) {
    const found = findSpec(tree);
    return [
      {
        ...found,
        text: readPlainFile(join(tree, found.folder), found.file, specLimitBytes),
        isListed: false,
      },
    ];
  }
  if (listed.length === 0)
    throw new Refusal('NOTHING_TO_BUILD', `the tree builds nothing for ${target.word}`);
  return listed.map((path) => readListedSpec(tree, path, stamp));
}

/** @throws Refusal NO_SPEC, BAD_SPEC */
export function readListedSpec(tree: string, path: string, stamp: SpecStamp): Spec {
  const file = posix.basename(path);
  if (!matches(fileNamePattern, file))
    throw new Refusal('BAD_SPEC', `"${printable(file)}" is not an acceptable file name`);
  const text = readSpec(tree, path, stamp);
  if (text === undefined)
    throw new Refusal('NO_SPEC', `the tree lists ${path}, and has neither that nor ${path}.in`);
  return { file, folder: '', name: literalName(file, text), text, isListed: true };
}

/**
 * The one .spec at the top of the tree, or in packaging/ where the top has none. @throws Refusal NO_SPEC,
 * TWO_SPECS, BAD_SPEC
 */
export function findSpec(tree: string): SpecPlace {
  for (const folder of ['', 'packaging']) {
    const path = join(tree, folder);
    if (!existsSync(path) || !lstatSync(path).isDirectory()) continue;
    const files = readdirSync(path).filter((name) => name.endsWith('.spec'));
    if (files.length > 1)
      throw new Refusal(
        'TWO_SPECS',
        `${files.length} .spec files in ${folder === '' ? 'the top of the tree' : folder}`,
      );
    const file = files[0];
    if (file === undefined) continue;
    if (!matches(fileNamePattern, file))
      throw new Refusal('BAD_SPEC', `"${printable(file)}" is not an acceptable file name`);
    if (!lstatSync(join(path, file)).isFile()) throw new Refusal('BAD_SPEC', `${file} is no plain file`);
    return { file, folder, name: literalName(file, readPlainFile(path, file, specLimitBytes)) };
  }
  throw new Refusal('NO_SPEC', 'neither the top of the tree nor packaging/ has a .spec');
}

function literalName(file: string, text: Buffer): string {
  const names = [...text.toString('latin1').matchAll(/^[ \t]*Name[ \t]*:[ \t]*(.*?)[ \t\r]*$/gim)].map(
    (line) => line[1],
  );
  const [name] = names;
  if (names.length !== 1 || !matches(rpmNamePattern, name))
    throw new Refusal('BAD_SPEC', `${file} has not one line "Name:" with a plain name without macros`);
  return name;
}

/**
 * The spec whose packages are of a raised release: behind the distribution's suffix, as `rpmdev-bumpspec -r`
 * has it. Decision 175
 * @throws Refusal NO_REBUILD where its text does not say plainly what the release is
 */
export function withRaisedRelease(spec: Spec, number: number): Spec {
  const lines = [...spec.text.toString('latin1').matchAll(/^[ \t]*Release[ \t]*:[ \t]*(.*?)[ \t\r]*$/gim)];
  if (lines.length !== 1 || !/%\{\??dist\}$/.test(lines[0]?.[1] ?? ''))
    throw new Refusal('NO_REBUILD', `${spec.file} has not one line "Release:" that ends with %{?dist}`);
  const end = (lines[0]?.index ?? 0) + (lines[0]?.[0] ?? '').trimEnd().length;
  return {
    ...spec,
    text: Buffer.concat([spec.text.subarray(0, end), Buffer.from(`.${number}`), spec.text.subarray(end)]),
  };
}

export interface SpecPackage {
  name: string;
  /** '' where there is none */
  epoch: string;
  version: string;
  release: string;
  arch: string;
}

export interface SpecSource extends SpecPackage {
  /** file names, sources and patches together */
  files: string[];
}

/** `%{name}|%{epoch}|%{version}|%{release}|%{arch}`, as rpmspec and rpm print it for each package. */
export const packageQuery = '%{name}|%{epoch}|%{version}|%{release}|%{arch}';
export const sourceQuery = `${packageQuery}\\n[file %{SOURCE}\\n][file %{PATCH}\\n]`;

/** @throws Refusal BAD_SPEC for a name or version that a file name of ours does not hold */
export function readPackageLine(untrustedLine: string): SpecPackage {
  const [name, epoch = '', version, release, arch, ...more] = untrustedLine.split('|');
  const plainEpoch = epoch === '(none)' ? '' : epoch;
  if (
    more.length > 0 ||
    !matches(rpmNamePattern, name) ||
    !/^(?:[0-9]{1,10})?$/.test(plainEpoch) ||
    !matches(rpmVersionPattern, version) ||
    !matches(rpmReleasePattern, release) ||
    !matches(rpmArchPattern, arch)
  ) {
    throw new Refusal(
      'BAD_SPEC',
      `not an acceptable name, epoch, version, release and architecture: ${printable(untrustedLine.slice(0, 200))}`,
    );
  }
  return { name, epoch: plainEpoch, version, release, arch };
}

/** @throws Refusal BAD_SPEC, SOURCE_NOT_IN_TREE (a source whose name is none of a file) */
export function readSourceQuery(untrustedText: string): SpecSource {
  const [first = '', ...rest] = untrustedText.trimEnd().split('\n');
  const source = readPackageLine(first);
  const files = rest
    .filter((line) => line !== '' && line !== 'file (none)')
    .map((line) => line.replace(/^file /, ''));
  for (const file of files)
    if (!matches(fileNamePattern, file))
      throw new Refusal('SOURCE_NOT_IN_TREE', `"${printable(file)}" is not an acceptable file name`);
  return { ...source, files };
}

/** @throws Refusal BAD_SPEC */
export function readPackageQuery(untrustedText: string): SpecPackage[] {
  return untrustedText
    .trimEnd()
    .split('\n')
    .filter((line) => line !== '')
    .map(readPackageLine);
}

export function rpmFileName({ name, version, release, arch }: SpecPackage): string {
  return `${name}-${version}-${release}.${arch}.rpm`;
}

/**
 * The rule of decision 080: a tag's version is `[epoch:]version-release`, the release without the
 * distribution's suffix (%{?dist}); a version without a release stands for release 1.
 * @param spec with an empty `dist`
 * @throws Refusal VERSION_MISMATCH
 */
export function refuseOtherVersion(jobVersion: string, spec: SpecPackage): void {
  const epoch = spec.epoch === '' ? '' : `${spec.epoch}:`;
  const said = `${epoch}${spec.version}-${spec.release}`;
  if (jobVersion === said || (spec.release === '1' && jobVersion === `${epoch}${spec.version}`)) return;
  throw new Refusal('VERSION_MISMATCH', `the tag says ${jobVersion}, the spec says ${said}`);
}

/** rpm's name of this machine's architecture. */
export function rpmArchitecture(): string {
  return (
    new Map<string, string>([
      ['x64', 'x86_64'],
      ['arm64', 'aarch64'],
      ['ppc64', 'ppc64le'],
      ['riscv64', 'riscv64'],
      ['s390x', 's390x'],
    ]).get(process.arch) ?? process.arch
  );
}
