// SPDX-License-Identifier: GPL-2.0-or-later
// rpmlint over what was built, before it leaves the engine: the counterpart of lintian
// (debian/package-checks.ts), in a clean root of its own.
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { HashedFile } from '../../shared/formats/intent.js';
import { Refusal } from '../refusals.js';
import type { CheckWish } from '../debian/engine-options.js';
import { buildJail } from '../chroot/jail.js';
import { checkMs, judge } from '../debian/package-checks.js';
import type { EngineJob } from '../contract.js';
import { runLogged, type LineSink } from '../../shared/programs/logged-program.js';
import type { RpmEngineOptions } from './engine-options.js';
import { makeRoot } from './package-build.js';

/**
 * What is signed later cannot be signed yet; the other two are of tags that specs had once, and rpmlint's own
 * default calls an error.
 */
const configuration = 'Filters = ["no-signature", "no-packager-tag", "no-group-tag"]\n';
const configurationPath = 'etc/build-infra-rpmlint.toml';

/** Debian's package of it names neither of the others, which it calls. */
const programs = ['rpmlint', 'rpm', 'cpio'];

/** @throws Refusal LINT_FAILED, NO_CHROOT, NO_MIRROR, TIMED_OUT, OUTPUT_LIMIT */
export async function lintPackages(
  wish: CheckWish,
  packages: readonly HashedFile[],
  job: EngineJob,
  options: RpmEngineOptions,
  log: LineSink,
): Promise<void> {
  const root = await makeRoot('lint', programs, job, options, log);
  for (const { name } of packages) copyFileSync(join(job.output, name), join(root, 'build', name));
  writeFileSync(join(root, configurationPath), configuration);
  const command = [
    'rpmlint',
    '--config',
    `/${configurationPath}`,
    ...packages.map(({ name }) => `/build/${name}`),
  ];
  const status = await runLogged(buildJail(root, '/build', { HOME: '/tmp' }, command), log, {
    timeoutMs: checkMs,
    label: `in a clean root, without network: ${command.join(' ')}`,
  });
  judge(status, wish, 'rpmlint', (detail) => new Refusal('LINT_FAILED', detail), log);
}
