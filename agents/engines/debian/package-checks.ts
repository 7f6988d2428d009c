// SPDX-License-Identifier: GPL-2.0-or-later
// What is looked at before packages leave the engine, where the distribution asks for it: lintian's words,
// and whether they can be installed where nothing of the build is. Both in a clean root of their own; what
// they say is in the log, and may end the chain before anything is signed.
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../../shared/durable-files.js';
import type { HashedFile } from '../../shared/formats/intent.js';
import { Refusal } from '../refusals.js';
import { runLogged, type LineSink } from '../../shared/programs/logged-program.js';
import { proxyEnvironment } from '../../shared/programs/program.js';
import type { CheckWish, DebianEngineOptions } from './engine-options.js';
import { buildJail, installJail } from '../chroot/jail.js';

export const checkMs = 1800_000;

/** @throws what `refused` makes, where the wish is `stop` */
export function judge(
  status: number,
  wish: CheckWish,
  what: string,
  refused: (detail: string) => Refusal,
  log: LineSink,
): void {
  if (status === 0) return log.say(`${what}: well`);
  if (wish === 'stop') throw refused(`${what} ended with ${status}; its words are in the log`);
  log.say(`${what} ended with ${status}, which stops nothing here`);
}

export interface CheckPlace {
  /**
   * a clean root with the repositories of the build, beside which there are these packages; another one for
   * each check
   */
  cleanRoot: (name: string, packages: readonly string[]) => Promise<string>;
  cache: string;
  suite: string;
  /** what the engine is about to announce */
  output: string;
  artifacts: readonly HashedFile[];
}

async function rootWithArtifacts(
  name: string,
  packages: readonly string[],
  { cleanRoot, output, artifacts }: CheckPlace,
): Promise<string> {
  const root = await cleanRoot(name, packages);
  makeFolder(join(root, 'build'));
  for (const file of artifacts) copyFileSync(join(output, file.name), join(root, 'build', file.name));
  return root;
}

/** @throws Refusal LINT_FAILED, INSTALL_FAILED, NO_CHROOT, TIMED_OUT, OUTPUT_LIMIT */
export async function checkPackages(
  { lint, installTest }: DebianEngineOptions,
  place: CheckPlace,
  log: LineSink,
): Promise<void> {
  const { cache, suite, artifacts } = place;
  const debs = artifacts.filter(({ name }) => name.endsWith('.deb')).map(({ name }) => `/build/${name}`);
  if (installTest !== undefined && debs.length > 0) {
    const root = await rootWithArtifacts('install-test', [], place);
    const binds: [string, string][] = [
      [join(cache, 'debs', suite), '/var/cache/apt/archives'],
      [join(cache, 'lists', suite), '/var/lib/apt/lists'],
    ];
    const command = [
      'apt-get',
      '-o',
      'APT::Sandbox::User=root',
      '-o',
      'Dpkg::Use-Pty=0',
      '-q',
      '-y',
      'install',
      ...debs,
    ];
    judge(
      await runLogged(installJail(root, binds, proxyEnvironment(), command), log, {
        timeoutMs: checkMs,
        label: `in a clean root, with network: ${command.join(' ')}`,
      }),
      installTest,
      'the installation',
      (detail) => new Refusal('INSTALL_FAILED', detail),
      log,
    );
  }
  const changes = artifacts.find(({ name }) => name.endsWith('.changes'))?.name;
  if (lint !== undefined && changes !== undefined) {
    const root = await rootWithArtifacts('lint', ['lintian'], place);
    // The changelog names the suite that is built for, which need be none of Debian's.
    const command = [
      'lintian',
      '--no-cfg',
      '--fail-on',
      'error',
      '--suppress-tags',
      'bad-distribution-in-changes-file',
      `/build/${changes}`,
    ];
    judge(
      await runLogged(buildJail(root, '/build', {}, command), log, {
        timeoutMs: checkMs,
        label: `in a clean root, without network: ${command.join(' ')}`,
      }),
      lint,
      'lintian',
      (detail) => new Refusal('LINT_FAILED', detail),
      log,
    );
  }
}
