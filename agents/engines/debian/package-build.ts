// SPDX-License-Identifier: GPL-2.0-or-later
// Build dependencies with network, then the build without; then the announced artifacts, and nothing else,
// leave the chroot.
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { readChanges } from '../../shared/formats/control-file.js';
import { freezeFile, readPlainFile } from '../../shared/files/frozen-files.js';
import { runLogged, type LineSink } from '../../shared/programs/logged-program.js';
import { proxyEnvironment, runProgram } from '../../shared/programs/program.js';
import { pruneDebs, unusedDays } from './deb-cache.js';
import { buildJail, installJail } from '../chroot/jail.js';
import type { PreparedSource } from './source-package.js';

const dependenciesMs = 1800_000;
const changesLimitBytes = 4 * 1024 * 1024;

/** What apt says of dependencies that no repository has, in an order of its own. */
export function unmetIn(untrustedOutput: string): string[] {
  const unmet = [
    ...untrustedOutput.matchAll(
      /(?:Depends|PreDepends): ([a-z0-9][a-z0-9+.:-]*(?: \([<>=]+ [A-Za-z0-9.+:~-]+\))?) but (?:it is not (?:installable|going to be installed)|[A-Za-z0-9.+:~-]+ is to be installed)/g,
    ),
  ].map((line) => line[1] as string);
  return [
    ...new Set([
      ...unmet,
      ...[...untrustedOutput.matchAll(/E: Unable to locate package ([a-z0-9][a-z0-9+.-]*)/g)].map(
        (line) => line[1] as string,
      ),
    ]),
  ].slice(0, 10);
}

/**
 * @param mayCome packages that no repository has yet: another component's, that is published later
 * @throws Refusal NO_BUILD_DEPENDENCIES, DEP_WAIT
 */
export async function installBuildDependencies(
  chroot: string,
  cache: string,
  suite: string,
  source: PreparedSource,
  mayCome: boolean,
  log: LineSink,
): Promise<void> {
  // A folder for each suite: apt locks it, and several suites are built for at the same time.
  const debs = join(cache, 'debs', suite);
  const lists = join(cache, 'lists', suite);
  for (const folder of [debs, lists]) makeFolder(join(folder, 'partial'));
  const binds: [string, string][] = [
    [debs, '/var/cache/apt/archives'],
    [lists, '/var/lib/apt/lists'],
  ];
  const apt = async (...argv: string[]): Promise<void> => {
    // The jail's own user of apt cannot write to these folders of the VM, and there is nothing in the jail to
    // protect from apt.
    const command = [
      'apt-get',
      '-o',
      'APT::Sandbox::User=root',
      '-o',
      'Acquire::Retries=3',
      '-o',
      'Dpkg::Use-Pty=0',
      '-qq',
      '-y',
      ...argv,
    ];
    const status = await runLogged(installJail(chroot, binds, proxyEnvironment(), command), log, {
      timeoutMs: dependenciesMs,
      label: `in the chroot, with network: ${command.join(' ')}`,
    });
    if (status !== 0) throw new Refusal('NO_BUILD_DEPENDENCIES', `apt-get ${argv[0]} ended with ${status}`);
  };
  await apt('update');
  try {
    await apt('build-dep', '--no-install-recommends', source.folder);
  } catch (error) {
    const unmet = await sayUnmet(chroot, binds, source, log);
    if (mayCome && unmet.length > 0)
      throw new Refusal('DEP_WAIT', `no repository has ${unmet.join(', ')} yet`);
    throw error;
  }
  try {
    const removed = pruneDebs(debs, chroot);
    if (removed.length > 0)
      log.say(`packages that left the cache, unused for ${unusedDays} days: ${removed.length}`);
  } catch (error) {
    // No reason not to build.
    log.say(`the cache of packages was not cleaned: ${printable(String((error as Error).message))}`);
  }
}

/**
 * The same once more, without doing it, for apt's words: what was asked to be quiet does not say what it
 * misses. @returns what no repository has
 */
async function sayUnmet(
  chroot: string,
  binds: readonly [string, string][],
  source: PreparedSource,
  log: LineSink,
): Promise<string[]> {
  const command = [
    'sh',
    '-c',
    'apt-get -o APT::Sandbox::User=root --simulate -q build-dep --no-install-recommends "$0" 2>&1; true',
    source.folder,
  ];
  const untrustedOutput = (
    await runProgram(installJail(chroot, binds, {}, command), { timeoutMs: 300_000 })
  ).toString('utf8');
  for (const line of untrustedOutput.split('\n').slice(0, 200)) log.tool(Buffer.from(line));
  return unmetIn(untrustedOutput);
}

/** `packages`: those of an architecture, which a rebuild is of. */
export type BuildKind = 'all' | 'packages';

/** @throws Refusal BUILD_FAILED, TIMED_OUT, OUTPUT_LIMIT */
export async function buildPackage(
  chroot: string,
  source: PreparedSource,
  kind: BuildKind,
  epoch: number,
  buildSeconds: number,
  log: LineSink,
): Promise<void> {
  const env = { SOURCE_DATE_EPOCH: String(epoch), DEB_BUILD_OPTIONS: `parallel=${availableParallelism()}` };
  // Source and binary packages of the exact tree; -sa: the upstream tarball belongs to every upload, it is
  // ours.
  const command = [
    'dpkg-buildpackage',
    '-us',
    '-uc',
    ...(kind === 'all' ? ['-F', '-sa'] : ['-B']),
    '-rfakeroot',
  ];
  const argv = buildJail(chroot, source.folder, env, command);
  const status = await runLogged(argv, log, {
    timeoutMs: buildSeconds * 1000,
    label: `in the chroot, without network, in ${source.folder}: ${command.join(' ')}`,
  });
  if (status !== 0) throw new Refusal('BUILD_FAILED', `dpkg-buildpackage ended with ${status}`);
}

/**
 * Copies the .changes and what it lists from `folder` to `output`.
 * @throws Refusal NO_CHANGES, BAD_ARTIFACT, BAD_CONTROL_FILE, VERSION_MISMATCH
 */
export function takeArtifacts(
  folder: string,
  output: string,
  source: Pick<PreparedSource, 'source' | 'version'>,
): HashedFile[] {
  const untrustedNames = readdirSync(folder).filter((name) => name.endsWith('.changes'));
  if (untrustedNames.length !== 1)
    throw new Refusal('NO_CHANGES', `the build left ${untrustedNames.length} .changes files`);
  const changesName = untrustedNames[0] as string;
  const changes = readChanges(readPlainFile(folder, changesName, changesLimitBytes).toString('utf8'));
  if (changes.source !== source.source || changes.version !== source.version) {
    throw new Refusal('VERSION_MISMATCH', `the .changes is of ${changes.source} ${changes.version}`);
  }
  if (
    changes.files.some(
      (file) => file.name === changesName || file.name === 'artifacts.json' || file.name === 'failure.json',
    )
  ) {
    throw new Refusal('BAD_ARTIFACT', 'the .changes lists a name that is not an artifact');
  }
  const taken = changes.files.map((announced) => {
    const file = freezeFile(folder, output, announced.name);
    if (file.sha256 !== announced.sha256 || file.size !== announced.size)
      throw new Refusal('BAD_ARTIFACT', `${file.name} is not what the .changes says`);
    return file;
  });
  return [...taken, freezeFile(folder, output, changesName)];
}
