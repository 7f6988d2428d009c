// SPDX-License-Identifier: GPL-2.0-or-later
// What the bytes to be signed are, said in the intent for its readers. Nothing is decided by it.
import { basename } from 'node:path';
import { fileNamePattern, matches } from '../../shared/formats/names.js';
import type { Purpose } from '../../shared/formats/intent.js';

const byName: [RegExp, Purpose][] = [
  [/\.dsc$/, 'deb-dsc'],
  [/\.buildinfo$/, 'deb-buildinfo'],
  [/\.changes$/, 'deb-changes'],
  [/^Release(\.new)?$/, 'apt-release'],
  [/^repomd\.xml$/, 'rpm-repomd'],
  [/\.link$/, 'link'],
];

/** Each a text that the beginning of such a file matches: for data that comes on a descriptor. */
const byContent: [RegExp, Purpose, string][] = [
  [/^\x8e\xad\xe8\x01/, 'rpm-header', 'rpm-header'],
  [/^tree [0-9a-f]{40,64}\n/, 'other', 'git-commit'],
  [/^object [0-9a-f]{40,64}\ntype /, 'other', 'git-tag'],
  [/^certificate version /, 'other', 'git-push-certificate'],
  [/^Format: [0-9.]+ *\n(?:.*\n)*?Changes:/, 'deb-changes', 'changes'],
  [/^Format: [0-9.]+ *\n(?:.*\n)*?Build-Architecture:/, 'deb-buildinfo', 'buildinfo'],
  [/^Format: [0-9.]+-rpm *\n/, 'other', 'rpm-buildinfo'],
  [/^Format: [0-9.]+ (?:.*\n)*?Standards-Version:/, 'deb-dsc', 'dsc'],
  [/^(?:Origin|Label|Suite|Codename|Date|Version): (?:.*\n)*?(?:MD5Sum|SHA256):/, 'apt-release', 'Release'],
  [/^<\?xml[^>]*>\s*<repomd/, 'rpm-repomd', 'repomd.xml'],
];

/** @param input descriptor or file name, as the caller gave it */
export function describePayload(input: number | string, bytes: Buffer): { name: string; purpose: Purpose } {
  const text = bytes.toString('latin1', 0, 64 * 1024);
  const content = byContent.find(([pattern]) => pattern.test(text));
  if (typeof input === 'number') return { name: content?.[2] ?? 'stdin', purpose: content?.[1] ?? 'other' };
  const cleaned = basename(input)
    .replace(/[^A-Za-z0-9._+:~-]/g, '_')
    .slice(0, 190);
  const isName: boolean = matches(fileNamePattern, cleaned);
  const name = isName ? cleaned : `_${cleaned}`;
  return { name, purpose: byName.find(([pattern]) => pattern.test(name))?.[1] ?? content?.[1] ?? 'other' };
}
