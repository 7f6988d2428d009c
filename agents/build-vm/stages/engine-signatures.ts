// SPDX-License-Identifier: GPL-2.0-or-later
// What an engine signed, against what was frozen before: a signature is all that may have come to it, and it is by the environment's key.
import { join } from 'node:path';
import * as openpgp from 'openpgp';
import type { HashedFile } from '../../shared/formats/intent.js';
import { Refusal } from '../refusals.js';
import { verifyClearSigned } from '../repositories/apt/sign-upload.js';
import { readChanges } from '../../shared/formats/control-file.js';
import { verifyPackages } from '../repositories/dnf/package-signatures.js';
import { readRpmFile } from '../repositories/dnf/rpm-file.js';
import { refuseOtherSources } from '../repositories/dnf/sign-packages.js';
import { hashFile, readPlainFile } from '../../shared/files/frozen-files.js';
import { isBuiltOfTag } from '../../engines/source-tree/package-version.js';

export interface SignedCheck {
  /** as announced after `sign` @param frozen as announced after `build`, with `files` */
  signed: string;
  frozen: string;
  files: readonly HashedFile[];
  /** of the job: the tag's */
  version: string;
  key: { armored: string; fingerprint: string };
  /** a folder to make and remove */
  work: string;
}

const textLimitBytes = 16 * 1024 * 1024;
const isSignedText = (name: string): boolean => /\.(?:dsc|buildinfo|changes)$/.test(name);

function textOf(folder: string, name: string): string {
  return readPlainFile(folder, name, textLimitBytes).toString('utf8');
}

/** Without what a clear signature may change, and without the checksums of files that were signed themselves. */
function contentOf(text: string): string {
  const lines = text.split('\n').map((line) => line.trimEnd()).filter((line) => !/^ [0-9a-f]{32,128} [0-9]+ (?:\S+ \S+ )?\S+\.(?:dsc|buildinfo)$/.test(line));
  return lines.join('\n').trimEnd();
}

async function signedContent(folder: string, name: string, { key }: SignedCheck): Promise<string> {
  const text = textOf(folder, name);
  await verifyClearSigned(text, name, key.armored, key.fingerprint);
  return (await openpgp.readCleartextMessage({ cleartextMessage: text })).getText();
}

/** The one .changes of an upload. @throws Refusal NO_CHANGES */
export function changesOf(files: readonly HashedFile[]): string {
  const [name, ...more] = files.map((file) => file.name).filter((one) => one.endsWith('.changes'));
  if (name === undefined || more.length > 0) throw new Refusal('NO_CHANGES', 'an upload has exactly one .changes');
  return name;
}

/** @throws Refusal NO_CHANGES, BAD_ARTIFACT, BAD_SIGNATURE, VERSION_MISMATCH, BAD_CONTROL_FILE */
async function verifyDebs(check: SignedCheck): Promise<void> {
  const { signed, frozen, files, version } = check;
  const changesName = changesOf(files);
  for (const { name, sha256 } of files) {
    if (!isSignedText(name)) {
      if (hashFile(signed, name).sha256 !== sha256) throw new Refusal('BAD_ARTIFACT', `${name} is not the file that was built`);
    } else if (contentOf(await signedContent(signed, name, check)) !== contentOf(textOf(frozen, name))) {
      throw new Refusal('BAD_ARTIFACT', `${name} is not what was built: more than its signature differs`);
    }
  }
  const changes = readChanges(textOf(signed, changesName));
  if (!isBuiltOfTag(changes.version, version)) throw new Refusal('VERSION_MISMATCH', `the signed .changes is of ${changes.version}, the tag says ${version}`);
  if (changes.files.length !== files.length - 1) throw new Refusal('BAD_ARTIFACT', 'the .changes lists other files than those that were built');
  for (const { name, sha256 } of changes.files) if (hashFile(signed, name).sha256 !== sha256) throw new Refusal('BAD_ARTIFACT', `${name} is not the file that the signed .changes names`);
}

/** @throws Refusal BAD_ARTIFACT, BAD_SIGNATURE, VERSION_MISMATCH */
async function verifyRpms(check: SignedCheck): Promise<void> {
  const { signed, frozen, files, version, key, work } = check;
  const names = files.map((file) => file.name).filter((name) => name.endsWith('.rpm'));
  const packages = names.map((name) => readRpmFile(frozen, name));
  refuseOtherSources(packages, version);
  await verifyPackages(signed, frozen, names, key, work, 2);
  for (const { name, sha256 } of files.filter((file) => !file.name.endsWith('.rpm'))) {
    if (!name.endsWith('.buildinfo')) throw new Refusal('BAD_ARTIFACT', `${name} is no part of an upload of rpm packages`);
    if (hashFile(signed, name).sha256 === sha256) continue;
    // It may have got the hashes of the signed packages at its end.
    const content = contentOf(await signedContent(signed, name, check));
    if (content !== contentOf(textOf(frozen, name)) && !content.startsWith(`${contentOf(textOf(frozen, name))}\n`)) throw new Refusal('BAD_ARTIFACT', `${name} is not what was built: more was changed than added`);
  }
}

/** @throws Refusal BAD_ARTIFACT, BAD_SIGNATURE, VERSION_MISMATCH, NO_CHANGES, BAD_CONTROL_FILE */
export async function verifySignedByEngine(kind: 'deb' | 'rpm', check: SignedCheck): Promise<void> {
  await (kind === 'deb' ? verifyDebs(check) : verifyRpms(check));
}

/** Hashes of the signed files. */
export function signedFiles(signed: string, files: readonly HashedFile[]): HashedFile[] {
  return files.map((file) => hashFile(signed, file.name));
}

/** @throws Refusal BAD_SIGNATURE */
export async function verifyIndex(folder: string, name: string, key: { armored: string; fingerprint: string }): Promise<void> {
  // The other kind's index is signed beside it, which its client reads back.
  if (name === 'InRelease') await verifyClearSigned(textOf(join(folder), name), name, key.armored, key.fingerprint);
}
