// SPDX-License-Identifier: GPL-2.0-or-later
// rpmbuild in a clean root without network: mock where this VM has it, else a clean Debian chroot (decision
// 082).
import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder, readIfThere } from '../../shared/durable-files.js';
import { Refusal } from '../refusals.js';
import { readAptProxies, readAptSources } from '../chroot/apt-sources.js';
import { baseTar, unpackChroot } from '../chroot/base-chroot.js';
import { buildJail } from '../chroot/jail.js';
import type { EngineJob } from '../contract.js';
import { runLogged, type LineSink } from '../../shared/programs/logged-program.js';
import { proxyEnvironment } from '../../shared/programs/program.js';
import {
  extraRepositories,
  type ExtraRepository,
  type MockOptions,
  type RpmEngineOptions,
} from './engine-options.js';
import { distMacro, type PlannedBuild } from './spec-query.js';

export const mockProgram = '/usr/bin/mock';

/** What makes two builds of one tree the same bytes, with SOURCE_DATE_EPOCH and the same _topdir. */
export function reproducibleMacros(epoch: number): [name: string, value: string][] {
  return [
    ['_buildhost', 'build'],
    ['use_source_date_epoch_as_buildtime', '1'],
    ['clamp_mtime_to_source_date_epoch', '1'],
    ['source_date_epoch_from_changelog', '0'],
    // Of rpm 4.20, where the older names are still understood: harmless before.
    ['build_mtime_policy', 'clamp_to_source_date_epoch'],
    ['_source_date_epoch', String(epoch)],
  ];
}

const defines = (macros: readonly [string, string][]): string[] =>
  macros.flatMap(([name, value]) => ['--define', `${name} ${value}`]);

/**
 * The clean chroot with rpm and what the distribution's options add; nothing is installed for a job. @throws
 * Refusal NO_CHROOT, NO_MIRROR
 */
export function makeRpmChroot(job: EngineJob, options: RpmEngineOptions, log: LineSink): Promise<string> {
  return makeRoot('chroot', ['rpm', ...(options.packages ?? [])], job, options, log);
}

/** @param name of its folder @throws Refusal NO_CHROOT, NO_MIRROR */
export async function makeRoot(
  name: string,
  packages: readonly string[],
  job: EngineJob,
  options: RpmEngineOptions,
  log: LineSink,
): Promise<string> {
  const suite = options.suite ?? 'bookworm';
  const sources = await readAptSources(suite, job.cache);
  const proxies = await readAptProxies();
  const tar = await baseTar(job.cache, suite, sources, proxies, log, packages);
  const chroot = join(job.work, name);
  await unpackChroot(tar, chroot, sources, proxies, log);
  makeFolder(join(chroot, 'build'));
  return chroot;
}

/** Source and binary packages, in <chroot>/build. @throws Refusal BUILD_FAILED, TIMED_OUT, OUTPUT_LIMIT */
export async function buildInChroot(
  chroot: string,
  plan: PlannedBuild,
  job: EngineJob,
  distTag: string | undefined,
  log: LineSink,
): Promise<void> {
  // --nodeps: BuildRequires are names of another distribution's packages.
  const command = [
    'rpmbuild',
    '-ba',
    '--nodeps',
    ...defines([['_topdir', '/build'], ...reproducibleMacros(job.sourceDateEpoch)]),
    ...distMacro(distTag),
    `/build/SPECS/${plan.spec.file}`,
  ];
  const status = await runLogged(
    buildJail(chroot, '/build', { SOURCE_DATE_EPOCH: String(job.sourceDateEpoch), HOME: '/build' }, command),
    log,
    { timeoutMs: job.buildSeconds * 1000, label: `in the chroot, without network: ${command.join(' ')}` },
  );
  if (status !== 0) throw new Refusal('BUILD_FAILED', `rpmbuild ended with ${status}`);
}

/**
 * What mock reads as its configuration: the named one, and in its environment the time that a rebuild uses.
 * `--config-opts` knows booleans, numbers, words and lists of these, so that a table given there would be
 * taken as one word, and in the place of the whole environment.
 * @param more sections for mock's dnf
 */
export function mockConfiguration(config: string, job: EngineJob, more = ''): string {
  const repositories = more === '' ? '' : `config_opts['dnf.conf'] += '''\n${more}'''\n`;
  return `include('${config}.cfg')\nconfig_opts['environment']['SOURCE_DATE_EPOCH'] = '${job.sourceDateEpoch}'\n${repositories}`;
}

/**
 * Repositories as dnf has them, each with the one key that may have signed it and its packages. mock's dnf
 * may run in a chroot of its own, where mock shows folders that are some repository's: so the keys lie in
 * one.
 * @param keys an empty folder @throws Refusal NO_BUILD_DEPENDENCIES where a key is not there
 */
export function dnfSections(repositories: readonly ExtraRepository[], keys: string, log: LineSink): string {
  if (repositories.length === 0) return '';
  const sections = repositories.map(({ url, key, preferred }, index) => {
    const bytes = readIfThere(key);
    if (bytes === undefined)
      throw new Refusal('NO_BUILD_DEPENDENCIES', `the key of ${url}, ${key}, is not in this VM`);
    writeFileSync(join(keys, `${index}.asc`), bytes, { mode: 0o644 });
    log.say(
      `build dependencies from ${url} ${preferred === true ? 'first' : 'too'}, signed by a key with sha256:${createHash('sha256').update(bytes).digest('hex')}`,
    );
    const name = `build-infra-${index}`;
    return [
      `[${name}]`,
      `name=${name}`,
      `baseurl=${url}`,
      `gpgkey=file://${join(keys, `${index}.asc`)}`,
      'gpgcheck=1',
      'repo_gpgcheck=1',
      'enabled=1',
      'skip_if_unavailable=0',
      'metadata_expire=0',
      ...(preferred === true ? ['priority=50'] : []),
      '',
    ].join('\n');
  });
  return [
    ...sections,
    ['[build-infra-keys]', 'name=build-infra-keys', `baseurl=file://${keys}`, 'enabled=0', ''].join('\n'),
  ].join('\n');
}

/**
 * mock's exit status when its package manager fails (mockbuild/exception.py): mostly, because no repository
 * has a build dependency.
 */
const mockMissesPackages = 30;

/**
 * The calls of mock: the source package from spec and sources, then the packages from it. Dependencies come
 * by mock's own network, the build has none.
 * @param configuration path of what mockConfiguration() says; it ends in .cfg, which is how mock tells it
 * from a name
 * @param program another mock, in a test
 */
export function mockCommands(
  configuration: string,
  plan: PlannedBuild,
  job: EngineJob,
  build: string,
  distTag: string,
  program = mockProgram,
): string[][] {
  const common = [
    program,
    '--root',
    configuration,
    '--uniqueext',
    createHash('sha256').update(`${job.job} ${job.dist}`).digest('hex').slice(0, 12),
    '--disable-plugin=root_cache',
    '--no-bootstrap-image',
    '--config-opts=rpmbuild_networking=False',
    '--config-opts=use_host_resolv=False',
    ...defines(reproducibleMacros(job.sourceDateEpoch)),
    ...distMacro(distTag),
  ];
  return [
    [
      ...common,
      '--no-cleanup-after',
      '--resultdir',
      join(build, 'SRPMS'),
      '--buildsrpm',
      '--spec',
      join(build, 'SPECS', plan.spec.file),
      '--sources',
      join(build, 'SOURCES'),
    ],
    [
      ...common,
      '--no-clean',
      '--cleanup-after',
      '--resultdir',
      join(build, 'RPMS'),
      '--rebuild',
      join(build, 'SRPMS', plan.sourcePackage),
    ],
  ];
}

/** @throws Refusal BUILD_FAILED, TIMED_OUT, OUTPUT_LIMIT, NO_BUILD_DEPENDENCIES, DEP_WAIT */
export async function buildWithMock(
  { mock, distTag }: MockOptions,
  plan: PlannedBuild,
  job: EngineJob,
  build: string,
  log: LineSink,
  program = mockProgram,
): Promise<void> {
  const configuration = join(job.work, `${mock}.cfg`);
  const repositories = extraRepositories(job);
  const keys = join(job.work, 'keys');
  makeFolder(keys);
  writeFileSync(configuration, mockConfiguration(mock, job, dnfSections(repositories, keys, log)));
  for (const command of mockCommands(configuration, plan, job, build, distTag, program)) {
    const status = await runLogged(command, log, {
      timeoutMs: job.buildSeconds * 1000,
      env: proxyEnvironment(),
      label: command.join(' '),
    });
    if (status === mockMissesPackages && repositories.length > 0)
      throw new Refusal(
        'DEP_WAIT',
        'no repository has what the spec requires yet, or one does not answer: the log says what mock asked for',
      );
    if (status !== 0) throw new Refusal('BUILD_FAILED', `mock ended with ${status}`);
  }
}

export function usesMock(options: RpmEngineOptions): options is MockOptions {
  return options.mock !== undefined && existsSync(mockProgram);
}
