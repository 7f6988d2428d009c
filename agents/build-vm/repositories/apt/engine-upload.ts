// SPDX-License-Identifier: GPL-2.0-or-later
// What an engine signed of Debian packages, against what was frozen before.
import { Refusal } from '../../refusals.js';
import { isBuiltOfTag } from '../../../engines/source-tree/package-version.js';
import { hashFile } from '../../../shared/files/frozen-files.js';
import { readChanges } from '../../../shared/formats/control-file.js';
import type { HashedFile } from '../../../shared/formats/intent.js';
import type { SignedCheck } from '../package-repository.js';
import { contentOf, signedContent, textOf } from '../signed-text.js';

const isSignedText = (name: string): boolean => /\.(?:dsc|buildinfo|changes)$/.test(name);

/** The one .changes of an upload. @throws Refusal NO_CHANGES */
export function changesOf(files: readonly HashedFile[]): string {
  const [name, ...more] = files.map((file) => file.name).filter((one) => one.endsWith('.changes'));
  if (name === undefined || more.length > 0)
    throw new Refusal('NO_CHANGES', 'an upload has exactly one .changes');
  return name;
}

/** @throws Refusal NO_CHANGES, BAD_ARTIFACT, BAD_SIGNATURE, VERSION_MISMATCH, BAD_CONTROL_FILE */
export async function verifyEngineUpload(check: SignedCheck): Promise<void> {
  const { signed, frozen, files, version } = check;
  const changesName = changesOf(files);
  for (const { name, sha256 } of files) {
    if (!isSignedText(name)) {
      if (hashFile(signed, name).sha256 !== sha256)
        throw new Refusal('BAD_ARTIFACT', `${name} is not the file that was built`);
    } else if (contentOf(await signedContent(signed, name, check)) !== contentOf(textOf(frozen, name))) {
      throw new Refusal('BAD_ARTIFACT', `${name} is not what was built: more than its signature differs`);
    }
  }
  const changes = readChanges(textOf(signed, changesName));
  if (!isBuiltOfTag(changes.version, version))
    throw new Refusal(
      'VERSION_MISMATCH',
      `the signed .changes is of ${changes.version}, the tag says ${version}`,
    );
  if (changes.files.length !== files.length - 1)
    throw new Refusal('BAD_ARTIFACT', 'the .changes lists other files than those that were built');
  for (const { name, sha256 } of changes.files)
    if (hashFile(signed, name).sha256 !== sha256)
      throw new Refusal('BAD_ARTIFACT', `${name} is not the file that the signed .changes names`);
}
