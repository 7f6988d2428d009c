// SPDX-License-Identifier: GPL-2.0-or-later
// What an engine signed of RPM packages, against what was frozen before.
import { Refusal } from '../../refusals.js';
import { hashFile } from '../../../shared/files/frozen-files.js';
import type { SignedCheck } from '../package-repository.js';
import { contentOf, signedContent, textOf } from '../signed-text.js';
import { verifyPackages } from './package-signatures.js';
import { readRpmFile } from './rpm-file.js';
import { refuseOtherSources } from './sign-packages.js';

/** @throws Refusal BAD_ARTIFACT, BAD_SIGNATURE, VERSION_MISMATCH */
export async function verifyEnginePackages(check: SignedCheck): Promise<void> {
  const { signed, frozen, files, version, key, work } = check;
  const names = files.map((file) => file.name).filter((name) => name.endsWith('.rpm'));
  const packages = names.map((name) => readRpmFile(frozen, name));
  refuseOtherSources(packages, version);
  await verifyPackages(signed, frozen, names, key, work, 2);
  for (const { name, sha256 } of files.filter((file) => !file.name.endsWith('.rpm'))) {
    if (!name.endsWith('.buildinfo'))
      throw new Refusal('BAD_ARTIFACT', `${name} is no part of an upload of rpm packages`);
    if (hashFile(signed, name).sha256 === sha256) continue;
    // It may have got the hashes of the signed packages at its end.
    const content = contentOf(await signedContent(signed, name, check));
    if (
      content !== contentOf(textOf(frozen, name)) &&
      !content.startsWith(`${contentOf(textOf(frozen, name))}\n`)
    )
      throw new Refusal('BAD_ARTIFACT', `${name} is not what was built: more was changed than added`);
  }
}
