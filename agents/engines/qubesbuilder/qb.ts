// SPDX-License-Identifier: GPL-2.0-or-later
// The builder's command line (docs/engines.md, "qubes-builderv2"), in a home of its own: nothing of this VM's
// people configures it.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import { Refusal } from '../refusals.js';
import type { EngineCall, EngineJob } from '../contract.js';
import { runLogged, type LineSink } from '../../shared/programs/logged-program.js';
import { proxyEnvironment, runProgram } from '../../shared/programs/program.js';
import { readDestination } from '../../shared/formats/upload-url.js';
import type { BuilderOptions, BuilderPlace } from './options.js';

export interface QbPlace {
  options: BuilderPlace;
  /** artifacts-dir */
  artifacts: string;
  home: string;
  job: EngineCall;
  /** `deb` or `rpm`: which signing key, which upload */
  kind: 'deb' | 'rpm';
}

/** For one component and distribution. */
export interface QbOptions extends QbPlace {
  options: BuilderOptions;
  job: EngineJob;
}

/** What the builder calls on this VM itself, whatever its cages are: signing, publishing, uploading. */
const calledHere = {
  deb: ['python3', 'git', 'gpg2', 'debsign', 'reprepro', 'rsync'],
  rpm: ['python3', 'git', 'gpg2', 'rpmsign', 'rpmkeys', 'createrepo_c', 'rsync'],
};

/** Better before hours of a build than behind them. @throws Refusal NO_BUILDER that names what is missing */
export function refuseMissingBuilder(
  builder: string,
  kind: 'deb' | 'rpm',
  path = process.env['PATH'] ?? '',
): void {
  if (!existsSync(join(builder, 'qb'))) throw new Refusal('NO_BUILDER', `there is no qb in ${builder}`);
  const missing = calledHere[kind].filter(
    (name) => !path.split(':').some((folder) => existsSync(join(folder, name))),
  );
  if (missing.length > 0)
    throw new Refusal(
      'NO_BUILDER',
      `qb calls ${missing.join(', ')}, which ${missing.length === 1 ? 'is' : 'are'} not in this VM's template`,
    );
}

/** Whatever builder.yml says, these are ours. */
function overrides({ options, artifacts, job, kind }: QbPlace): string[] {
  const said = [
    `artifacts-dir=${artifacts}`,
    `qubes-release=${options.release}`,
    ...(options.repository === undefined ? [] : [`repository-publish:components=${options.repository}`]),
    // Its upload is asked for by name, after the agent has seen what was signed.
    'automatic-upload-on-publish=false',
    'increment-devel-versions=false',
    'debug=false',
  ];
  if (job.signing !== undefined)
    said.push(
      `gpg-client=${job.signing.gpg}`,
      `sign-key:${kind}=${job.signing.key}`,
      `sign-key:${options.distribution}=${job.signing.key}`,
    );
  if (job.repository !== undefined) {
    const { login, path } = readDestination(job.repository.upload);
    said.push(`repository-upload-remote-host:${kind}=${login}:${path}`);
  }
  return said.flatMap((one) => ['-o', one]);
}

/**
 * argv of one call: the builder verifies and builds the commit that was verified here, however far its branch
 * went since. @param distribution whether the stages are of a distribution: fetch is not
 */
export function qbCommand(qb: QbOptions, stages: readonly string[], distribution = true): string[] {
  const { options } = qb;
  return qbWords(qb, [
    '-o',
    `+components+${options.component}:branch=${qb.job.source.commit}`,
    '-c',
    options.component,
    ...(distribution ? ['-d', options.distribution] : []),
    'package',
    ...stages,
  ]);
}

/** argv with everything of ours before `words`, which say what of */
export function qbWords(qb: QbPlace, words: readonly string[]): string[] {
  return [
    join(qb.options.builder, 'qb'),
    '--verbose',
    '--builder-conf',
    qb.options.conf,
    ...overrides(qb),
    ...words,
  ];
}

/**
 * A home with our gpg for rpmsign, and with the public key, which the builder exports to check what it
 * signed.
 */
export async function makeHome(home: string, job: EngineCall): Promise<void> {
  makeFolder(home, 0o700);
  makeFolder(join(home, '.gnupg'), 0o700);
  if (job.signing === undefined) return;
  writeFileSync(join(home, '.rpmmacros'), `%__gpg ${job.signing.gpg}\n`);
  await runProgram(
    [
      'gpg',
      '--homedir',
      join(home, '.gnupg'),
      '--batch',
      '--no-autostart',
      '--import',
      '--',
      job.signing.publicKey,
    ],
    { timeoutMs: 60_000, env: { HOME: home } },
  );
}

/** @throws Refusal what `failed` makes, unless it ends with 0; TIMED_OUT, OUTPUT_LIMIT */
export async function runQb(
  qb: QbOptions,
  stages: readonly string[],
  limits: { timeoutMs: number; failed: (why: string) => Refusal; distribution?: boolean },
  log: LineSink,
): Promise<void> {
  await runWords(
    qb,
    qbCommand(qb, stages, limits.distribution ?? true),
    `package ${stages.join(' ')}`,
    limits,
    log,
  );
}

/** @param what it is called where it failed @throws as runQb */
export async function runWords(
  qb: QbPlace,
  argv: readonly string[],
  what: string,
  limits: { timeoutMs: number; failed: (why: string) => Refusal },
  log: LineSink,
): Promise<void> {
  const { job, options, home } = qb;
  const env: Record<string, string> = {
    ...proxyEnvironment(),
    HOME: home,
    QUBES_BUILDER_NO_UPDATE_CHECK: '1',
  };
  // Our gpg, which the builder calls, goes by what the caller of this engine says of the job.
  for (const name of ['BUILD_INFRA_ROOT', 'BUILD_INFRA_JOB'])
    if (process.env[name] !== undefined) env[name] = process.env[name];
  if (job.repository !== undefined) {
    const { port } = readDestination(job.repository.upload);
    env['RSYNC_RSH'] =
      `ssh -F ${job.repository.sshConfig} -o BatchMode=yes${port === '' ? '' : ` -p ${port}`}`;
  }
  const status = await runLogged(argv, log, { cwd: options.builder, timeoutMs: limits.timeoutMs, env });
  if (status !== 0) throw limits.failed(`qb ${what} ended with ${status}; its log says why`);
}
