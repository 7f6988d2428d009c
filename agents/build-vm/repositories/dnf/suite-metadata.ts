// SPDX-License-Identifier: GPL-2.0-or-later
// repodata/ of one suite: made by createrepo_c from the packages alone, signed, and complete for clients that
// are in the middle of the one before.
import { existsSync, linkSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Refusal } from '../../refusals.js';
import { hearingRefusals } from '../../gate/refusals-heard.js';
import { runLogged, type LineSink } from '../../../shared/programs/logged-program.js';
import { verifyDetached } from '../../signatures/one-signature.js';
import { environmentKey } from './package-signatures.js';
import { rootEnvironment } from '../../configuration/paths.js';

export interface MetadataSigning {
  /** the gpg client, and what it reads as $BUILD_INFRA_JOB */
  gpg: string;
  gpgJob: string;
  signingKey: string;
  /** path of the armored public key */
  publicKey: string;
  /** HOME of the gpg client */
  home: string;
}

const createMs = 1800_000;
const signMs = 600_000;

/**
 * The same packages and revision give the same bytes: nothing here depends on the clock, the number of
 * processors or an older repodata.
 */
export async function writeMetadata(
  suite: string,
  codename: string,
  revision: number,
  log: LineSink,
): Promise<void> {
  const status = await runLogged(
    [
      'createrepo_c',
      '--quiet',
      '--checksum=sha256',
      '--no-database',
      '--unique-md-filenames',
      '--general-compress-type=gz',
      `--revision=${revision}`,
      '--set-timestamp-to-revision',
      '--skip-symlinks',
      // Nothing else in the signed metadata says whose it is: one key signs all suites of all distributions.
      '--content',
      codename,
      suite,
    ],
    log,
    { timeoutMs: createMs, label: `createrepo_c for ${codename}, revision ${revision}` },
  );
  if (status !== 0)
    throw new Refusal('PUBLISH_FAILED', `createrepo_c ended with ${status}; its log says why`);
}

/** The names of the files that a repomd.xml lists. */
function listedIn(suite: string): string[] {
  const text = readFileSync(join(suite, 'repodata/repomd.xml'), 'utf8');
  return [...text.matchAll(/<location href="repodata\/([0-9a-f]{64}-[a-z]+\.xml\.gz)"\/>/g)].map(
    (found) => found[1] as string,
  );
}

/**
 * A client that has read one repomd.xml gets the files that it lists, whatever is switched meanwhile: their
 * names are their hashes.
 */
export function keepEarlierMetadata(suite: string, earlier: readonly string[]): void {
  for (const folder of earlier) {
    if (!existsSync(folder)) continue;
    for (const name of listedIn(folder))
      if (!existsSync(join(suite, 'repodata', name)))
        linkSync(join(folder, 'repodata', name), join(suite, 'repodata', name));
  }
}

/** @throws Refusal PUBLISH_FAILED, BAD_SIGNATURE, KEY_EXPIRED, KEY_REVOKED, KEY_NOT_USABLE */
export async function signMetadata(suite: string, options: MetadataSigning, log: LineSink): Promise<void> {
  const repomd = join(suite, 'repodata/repomd.xml');
  const hearing = hearingRefusals(log);
  const argv = [
    options.gpg,
    '--batch',
    '--armor',
    '--detach-sign',
    '--local-user',
    options.signingKey,
    '--output',
    `${repomd}.asc`,
    '--',
    repomd,
  ];
  const status = await runLogged(argv, hearing, {
    timeoutMs: signMs,
    env: { ...rootEnvironment, BUILD_INFRA_JOB: options.gpgJob, HOME: options.home },
    label: 'sign repomd.xml',
  });
  if (status !== 0)
    throw hearing.refusal('PUBLISH_FAILED', `the gpg client ended with ${status}; its log says why`);
  const key = await environmentKey(readFileSync(options.publicKey, 'utf8'), options.signingKey);
  await verifyDetached(readFileSync(repomd), readFileSync(`${repomd}.asc`, 'utf8'), {
    name: 'this environment over repomd.xml',
    key,
  });
}
