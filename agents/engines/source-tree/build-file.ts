// SPDX-License-Identifier: GPL-2.0-or-later
// `.qubesbuilder`: what a Qubes tree wants built of it, for which distributions, and the files that belong to
// it. It comes with the verified tree; what it asks for and is not done here is refused by name, since
// something else would be built otherwise.
import { lstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseDocument } from 'yaml';
import { matches } from '../../shared/formats/names.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { treePathPattern } from './tree-file.js';

export const buildFileName = '.qubesbuilder';
const limitBytes = 64 * 1024;
const buildsLimit = 20;

export type Table = Record<string, unknown>;

export const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const bad = (detail: string): Refusal => new Refusal('BAD_SOURCE_FILES', detail);
const notDone = (what: string): Refusal =>
  new Refusal('NOT_DONE_HERE', `${buildFileName} says ${printable(what)}, which is not done here`);

/** As plain data; undefined: the tree has none. @throws Refusal BAD_SOURCE_FILES */
export function readBuildFile(tree: string): Table | undefined {
  const about = lstatSync(join(tree, buildFileName), { throwIfNoEntry: false });
  if (about === undefined) return undefined;
  if (!about.isFile() || about.size > limitBytes)
    throw bad(`${buildFileName} is not a plain file of at most ${limitBytes} bytes`);
  const bytes = readFileSync(join(tree, buildFileName));
  const untrustedText = bytes.toString('utf8');
  if (!Buffer.from(untrustedText, 'utf8').equals(bytes)) throw bad(`${buildFileName} is not UTF-8`);
  const document = parseDocument(untrustedText, {
    version: '1.2',
    schema: 'core',
    uniqueKeys: true,
    merge: false,
    prettyErrors: false,
  });
  const [error] = document.errors;
  if (error !== undefined) throw bad(`${buildFileName} is not YAML: ${error.code}`);
  let root: unknown;
  try {
    // Real ones name one list of keys and use it twice. Few enough that nothing grows by them.
    root = document.toJS({ maxAliasCount: 30 });
  } catch {
    throw bad(`${buildFileName} has too many aliases`);
  }
  if (root !== null && !isTable(root)) throw bad(`${buildFileName} is no table`);
  return root ?? {};
}

/** @throws Refusal BAD_SOURCE_FILES where it is there and is none */
export function tableIn(table: Table, key: string): Table {
  const value = table[key];
  if (value === undefined || value === null) return {};
  if (!isTable(value)) throw bad(`${key} of ${buildFileName} is no table`);
  return value;
}

/** A distribution as the builder names it: its set, and in that the word by which a tree means it. */
export interface Target {
  dist: string;
  packages: 'deb' | 'rpm';
  /** `vm-trixie`, `host-fc41` */
  word: string;
}

export const wordPattern = '^(?:vm|host)-[a-z0-9][a-z0-9.+-]{0,63}$';
const ubuntuNames: ReadonlySet<string> = new Set(['bionic', 'focal', 'jammy', 'noble']);

/** @param options of the distribution: `distribution` is its word, where that is not `vm-` and its name */
export function targetOf({
  name,
  packages,
  options,
}: {
  name: string;
  packages: 'deb' | 'rpm';
  options?: Table | undefined;
}): Target {
  const told = options?.['distribution'];
  return { dist: name, packages, word: matches(wordPattern, told) ? told : `vm-${name}` };
}

function familyOf({ packages, word }: Target): string {
  const name = word.slice(word.indexOf('-') + 1);
  if (packages === 'deb') return ubuntuNames.has(name) ? 'ubuntu' : 'debian';
  return name.startsWith('fc') ? 'fedora' : 'centos-stream';
}

/** Lists of these are refused where they hold something: an empty one asks for nothing. */
const empty: ReadonlySet<string> = new Set(['commands', 'modules']);

function refuseUnknown(where: string, table: Table, known: readonly string[]): void {
  const other = Object.entries(table).find(
    ([key, value]) => !known.includes(key) && !(empty.has(key) && Array.isArray(value) && value.length === 0),
  );
  if (other !== undefined) throw notDone(`${where}: ${other[0]}`);
}

/**
 * What is built of a tree for a distribution: folders of Debian packaging, or specs. The builder's order,
 * each over those before: set and kind, set and family, the distribution itself.
 * @returns undefined where the tree says nothing of any distribution; empty where it says that nothing is
 * built for this one
 * @throws Refusal BAD_SOURCE_FILES, NOT_DONE_HERE
 */
export function buildsOf(tree: string, target: Target): string[] | undefined {
  const root = readBuildFile(tree);
  if (root === undefined || !Object.keys(root).some((key) => /^(?:host|vm)(?:-|$)/.test(key)))
    return undefined;
  const { word, packages } = target;
  const set = word.slice(0, word.indexOf('-'));
  const merged = Object.assign(
    {},
    ...(
      [
        [set, packages],
        [set, familyOf(target)],
        [word, packages],
      ] as const
    ).map(([outer, inner]) => tableIn(tableIn(root, outer), inner)),
  ) as Table;
  const builds = merged['build'] ?? [];
  if (!Array.isArray(builds) || builds.length > buildsLimit)
    throw bad(`build of ${word} is not a list of at most ${buildsLimit}`);
  if (builds.length === 0) return [];
  refuseUnknown(word, merged, ['build', 'source']);
  refuseUnknown(`${word}: source`, tableIn(merged, 'source'), []);
  refuseUnknown('source', tableIn(root, 'source'), [
    'files',
    'create-archive',
    ...(packages === 'rpm' ? ['modules'] : []),
  ]);
  // Files are fetched once, for all distributions.
  for (const place of new Set([set, word]))
    refuseUnknown(`${place}: source`, tableIn(tableIn(root, place), 'source'), []);
  const paths = builds.map((path: unknown) => {
    if (!matches(treePathPattern, path))
      throw bad(`build of ${word} has ${printable(JSON.stringify(path))}, which is not an acceptable path`);
    if (packages === 'rpm' && !path.endsWith('.spec'))
      throw bad(`build of ${word} has ${path}, which is no .spec`);
    return path;
  });
  if (new Set(paths).size !== paths.length) throw bad(`build of ${word} has one path twice`);
  if (packages === 'deb' && paths.length > 1)
    throw notDone(`${word}: build: more than one folder of Debian packaging`);
  return paths;
}

const modulesLimit = 20;
/** As the builder's own word for it is `@NAME@`. */
export const moduleNamePattern = '^[A-Za-z0-9_][A-Za-z0-9._+-]{0,63}$';

/** Submodules at the top of the tree whose archives are sources. @throws Refusal BAD_SOURCE_FILES */
export function modulesOf(tree: string): string[] {
  const modules = tableIn(readBuildFile(tree) ?? {}, 'source')['modules'] ?? [];
  if (!Array.isArray(modules) || modules.length > modulesLimit)
    throw bad(`source: modules of ${buildFileName} is not a list of at most ${modulesLimit}`);
  const names = modules.map((name: unknown) => {
    if (!matches(moduleNamePattern, name))
      throw bad(
        `source: modules has ${printable(JSON.stringify(name))}, which is not the name of a folder at the top of a tree`,
      );
    return name;
  });
  if (new Set(names).size !== names.length) throw bad('source: modules has one name twice');
  return names;
}

/** What the builder calls it. @param commit that the tree pins */
export const moduleArchive = (name: string, commit: string): string =>
  `${name}-${commit.slice(0, 16)}.tar.gz`;

/**
 * Whether the tree itself is an archive of sources: where files are listed, the first one of them is, unless
 * the tree says otherwise.
 */
export function isTreeArchived(tree: string): boolean {
  const source = tableIn(readBuildFile(tree) ?? {}, 'source');
  const files = source['files'];
  return source['create-archive'] === true || !Array.isArray(files) || files.length === 0;
}
