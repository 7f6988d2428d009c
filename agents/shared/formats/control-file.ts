// SPDX-License-Identifier: GPL-2.0-or-later
// The few fields of .changes and debian/changelog that we read. What wrote them was a build: untrusted.
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { readClearSigned, readStanzas, type Stanza } from './deb822.js';
import { fileNamePattern, matches, sha256Pattern, versionPattern } from './names.js';
import type { HashedFile } from './intent.js';
import { AnyRefusal, printable } from '../refusal.js';
import { Refusal } from '../refusals.js';

export const sourceNamePattern = '^[a-z0-9][a-z0-9+.-]{1,99}$';

/**
 * The fields of the one stanza, by name as written, also inside a clear signature. @throws Refusal
 * BAD_CONTROL_FILE
 */
export function readFields(untrustedText: string): Stanza {
  const text = untrustedText.startsWith('-----') ? readClearSigned(untrustedText)?.text : untrustedText;
  const [fields, ...more] = (text === undefined ? undefined : readStanzas(text)) ?? [];
  if (fields === undefined || more.length > 0)
    throw new Refusal('BAD_CONTROL_FILE', 'not one stanza of fields, each once, as dpkg writes it');
  return fields;
}

export interface Changes {
  source: string;
  version: string;
  /** another one where nothing but packages was built, of a source that is there */
  sourceVersion: string;
  files: HashedFile[];
}

/**
 * Every list of files in a .changes is read by some tool, and debsign gives what it finds to a shell to
 * evaluate: each list names the same files, and no line from the first list on ends in what debsign would
 * take for a name, unless it is one of them.
 * @throws Refusal BAD_CONTROL_FILE
 */
function refuseOtherNames(untrustedText: string, fields: Stanza, names: readonly string[]): void {
  const lines = untrustedText.split('\n');
  for (const line of lines.slice(lines.findIndex((one) => /^(?:Checksum|Files)/.test(one)))) {
    const untrustedName = /[ \t]([^ \t]*\.(?:dsc|buildinfo|changes)\r?)$/.exec(line)?.[1];
    if (untrustedName !== undefined && !names.includes(untrustedName))
      throw new Refusal(
        'BAD_CONTROL_FILE',
        `"${printable(untrustedName)}" is not among the files with a SHA-256`,
      );
  }
  for (const [field, value] of fields) {
    if (!/^(?:files$|checksum)/i.test(field)) continue;
    const listed = value
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split(/[ \t]+/).at(-1) ?? '');
    if (listed.length !== names.length || listed.some((name) => !names.includes(name)))
      throw new Refusal('BAD_CONTROL_FILE', `the field ${field} lists other files than Checksums-Sha256`);
  }
}

/**
 * Source, Version and Checksums-Sha256 of a .changes. @throws Refusal BAD_CONTROL_FILE, BAD_ARTIFACT (a file
 * name that is not taken)
 */
export function readChanges(untrustedText: string): Changes {
  const fields = readFields(untrustedText);
  const version = fields.get('Version') ?? '';
  const [, source, sourceVersion = version] = /^(\S+)(?: \((\S+)\))?$/.exec(fields.get('Source') ?? '') ?? [];
  if (
    !matches(sourceNamePattern, source) ||
    !matches(versionPattern, version) ||
    !matches(versionPattern, sourceVersion)
  )
    throw new Refusal('BAD_CONTROL_FILE', 'the .changes names no source and version');
  const files: HashedFile[] = [];
  for (const line of (fields.get('Checksums-Sha256') ?? '').split('\n')) {
    if (line === '') continue;
    const [sha256, size, name, ...more] = line.split(' ');
    if (
      !matches(sha256Pattern, sha256) ||
      !/^[0-9]{1,15}$/.test(size ?? '') ||
      name === undefined ||
      more.length > 0
    )
      throw new Refusal('BAD_CONTROL_FILE', 'a checksum line cannot be read');
    if (!matches(fileNamePattern, name))
      throw new Refusal('BAD_ARTIFACT', `"${printable(name)}" is not an acceptable file name`);
    files.push({ name, size: Number(size), sha256 });
  }
  if (files.length === 0 || new Set(files.map((file) => file.name)).size !== files.length)
    throw new Refusal('BAD_CONTROL_FILE', 'the .changes lists no files, or one twice');
  refuseOtherNames(
    untrustedText,
    fields,
    files.map((file) => file.name),
  );
  return { source, version, sourceVersion, files };
}

const changelogLimitBytes = 16 * 1024 * 1024;

/**
 * Of the first entry of the changelog. @param folder of the packaging. `date` in seconds since 1970, where it
 * can be read. @throws Refusal NOT_A_PACKAGE
 */
export function readChangelog(
  tree: string,
  folder = 'debian',
): { source: string; version: string; date: number | undefined } {
  let untrustedText: string;
  try {
    const path = join(tree, folder, 'changelog');
    if (statSync(path).size > changelogLimitBytes)
      throw new Refusal('NOT_A_PACKAGE', `${folder}/changelog is too large`);
    untrustedText = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof AnyRefusal) throw error;
    throw new Refusal('NOT_A_PACKAGE', `the tree has no readable ${folder}/changelog`);
  }
  const head = /^\s*(\S+) \(([^()\s]+)\)/.exec(untrustedText);
  if (head === null || !matches(sourceNamePattern, head[1]) || !matches(versionPattern, head[2]))
    throw new Refusal('NOT_A_PACKAGE', `${folder}/changelog does not begin with a source and version`);
  const stamp = /^ -- .*> {1,2}(.+)$/m.exec(untrustedText)?.[1];
  const milliseconds = stamp === undefined ? NaN : Date.parse(stamp);
  return {
    source: head[1],
    version: head[2],
    date: Number.isNaN(milliseconds) || milliseconds < 0 ? undefined : Math.floor(milliseconds / 1000),
  };
}
