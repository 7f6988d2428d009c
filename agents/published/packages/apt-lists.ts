// SPDX-License-Identifier: GPL-2.0-or-later
// What Release, Packages, Sources, .dsc and .changes say about files, as reprepro and dpkg write it. Every
// list of hashes counts: apt takes the strongest that it knows, dpkg-source and reprepro others. Pure.
import { readStanzas, type Stanza } from '../../shared/formats/deb822.js';

export type Algorithm = 'md5' | 'sha1' | 'sha256';
export type Hashes = Partial<Record<Algorithm, string>> & { sha256: string };

export interface ListedFile {
  path: string;
  size: number;
  hashes: Hashes;
}

const digits: Record<Algorithm, number> = { md5: 32, sha1: 40, sha256: 64 };
const pathPattern = /^[A-Za-z0-9][A-Za-z0-9.+~_%:-]*(?:\/[A-Za-z0-9][A-Za-z0-9.+~_%:-]*)*$/;
const sizePattern = /^(?:0|[1-9][0-9]{0,14})$/;

const isHash = (algorithm: Algorithm, text: string | undefined): text is string =>
  text !== undefined && text.length === digits[algorithm] && /^[0-9a-f]+$/.test(text);

/**
 * Lines of "<hash> <size> <path>", with `between` words before the path. undefined if one of them is
 * something else, or a path stands twice.
 */
function readList(
  value: string,
  algorithm: Algorithm,
  between: number,
): Map<string, { size: number; hash: string }> | undefined {
  const [first, ...lines] = value.split('\n');
  const files = new Map<string, { size: number; hash: string }>();
  for (const line of lines) {
    const words = line.split(' ');
    const [hash, size] = words;
    const path = words.at(-1) as string;
    if (
      words.length !== 3 + between ||
      !isHash(algorithm, hash) ||
      !sizePattern.test(size ?? '') ||
      !pathPattern.test(path) ||
      files.has(path)
    )
      return undefined;
    files.set(path, { size: Number(size), hash });
  }
  return first === '' ? files : undefined;
}

/**
 * Several lists about the same files. undefined unless the one of SHA-256 is there, and all agree in files
 * and sizes.
 */
function mergeLists(
  stanza: Stanza,
  fields: Partial<Record<Algorithm, string>>,
  wordsInMd5 = 0,
): ListedFile[] | undefined {
  const merged = new Map<string, { size: number; hashes: Partial<Record<Algorithm, string>> }>();
  const algorithms = (Object.keys(fields) as Algorithm[]).filter((algorithm) =>
    stanza.has(fields[algorithm] as string),
  );
  if (!algorithms.includes('sha256')) return undefined;
  for (const algorithm of algorithms) {
    const list = readList(
      stanza.get(fields[algorithm] as string) as string,
      algorithm,
      algorithm === 'md5' ? wordsInMd5 : 0,
    );
    if (list === undefined || (merged.size > 0 && list.size !== merged.size)) return undefined;
    for (const [path, { size, hash }] of list) {
      const known = merged.get(path);
      if (known === undefined ? algorithm !== algorithms[0] : known.size !== size) return undefined;
      merged.set(path, { size, hashes: { ...known?.hashes, [algorithm]: hash } });
    }
  }
  return [...merged].map(([path, { size, hashes }]) => ({ path, size, hashes: hashes as Hashes }));
}

/**
 * Fields that name files or hashes must be spelled so; an unknown one of that kind could be what a client
 * goes by.
 */
const isAboutFiles = (name: string): boolean =>
  /^(?:sha|md5|checksum|files|filename|size|directory|msdos)/i.test(name);
const onlyKnown = (stanza: Stanza, known: readonly string[]): boolean =>
  [...stanza.keys()].every((name) => !isAboutFiles(name) || known.includes(name));

const releaseFields = new Set([
  'Origin',
  'Label',
  'Suite',
  'Codename',
  'Acquire-By-Hash',
  'Version',
  'Date',
  'Valid-Until',
  'Architectures',
  'Components',
  'Description',
  'MD5Sum',
  'SHA1',
  'SHA256',
]);
const datePattern =
  /^[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} (?:UTC|\+0000)$/;
const indexPattern =
  /^([a-z][a-z0-9-]*)\/(?:binary-([a-z0-9-]+)\/(?:Packages(?:\.gz)?|Release)|source\/(?:Sources(?:\.gz)?|Release))$/;

export interface Release {
  about: Stanza;
  files: ListedFile[];
}

/**
 * A Release file, signed in clear or beside it. undefined where it holds a field or names an index that this
 * farm does not write, or names other components and architectures than it says.
 */
export function readRelease(text: string): Release | undefined {
  const stanzas = readStanzas(text);
  const [about] = stanzas ?? [];
  if (
    about === undefined ||
    stanzas?.length !== 1 ||
    [...about.keys()].some((name) => !releaseFields.has(name))
  )
    return undefined;
  const words = (name: string): string[] | undefined => about.get(name)?.split(' ');
  for (const name of ['Date', 'Valid-Until'])
    if (about.has(name) && !datePattern.test(about.get(name) as string)) return undefined;
  if (!['yes', undefined].includes(about.get('Acquire-By-Hash'))) return undefined;
  const files = mergeLists(about, { md5: 'MD5Sum', sha1: 'SHA1', sha256: 'SHA256' });
  if (files === undefined || files.length === 0) return undefined;
  for (const { path } of files) {
    const [, component, architecture] = indexPattern.exec(path) ?? [];
    if (component === undefined || words('Components')?.includes(component) === false) return undefined;
    if (architecture !== undefined && words('Architectures')?.includes(architecture) === false)
      return undefined;
  }
  return { about, files };
}

/**
 * The pool files that a Packages or Sources index names, relative to the repository. undefined if a stanza
 * cannot be read, or stands for a package twice.
 */
export function filesOfIndex(kind: 'Packages' | 'Sources', text: string): ListedFile[] | undefined {
  const files: ListedFile[] = [];
  const seen = new Set<string>();
  for (const stanza of readStanzas(text) ?? [undefined]) {
    const who =
      stanza === undefined
        ? ''
        : `${stanza.get('Package')} ${stanza.get('Version')} ${kind === 'Packages' ? stanza.get('Architecture') : ''}`;
    const found =
      stanza === undefined || !stanza.has('Package') || !stanza.has('Version') || seen.has(who)
        ? undefined
        : kind === 'Packages'
          ? binaryOf(stanza)
          : sourceOf(stanza);
    if (found === undefined) return undefined;
    seen.add(who);
    files.push(...found);
  }
  return files;
}

function binaryOf(stanza: Stanza): ListedFile[] | undefined {
  const [path, size, sha256, sha1, md5] = ['Filename', 'Size', 'SHA256', 'SHA1', 'MD5sum'].map((name) =>
    stanza.get(name),
  );
  if (
    !onlyKnown(stanza, ['Filename', 'Size', 'SHA256', 'SHA1', 'MD5sum']) ||
    path === undefined ||
    !path.startsWith('pool/') ||
    !pathPattern.test(path)
  )
    return undefined;
  if (
    !sizePattern.test(size ?? '') ||
    !isHash('sha256', sha256) ||
    (sha1 !== undefined && !isHash('sha1', sha1)) ||
    (md5 !== undefined && !isHash('md5', md5))
  )
    return undefined;
  return [
    {
      path,
      size: Number(size),
      hashes: { sha256, ...(sha1 === undefined ? {} : { sha1 }), ...(md5 === undefined ? {} : { md5 }) },
    },
  ];
}

const sourceLists = { md5: 'Files', sha1: 'Checksums-Sha1', sha256: 'Checksums-Sha256' } as const;

function sourceOf(stanza: Stanza): ListedFile[] | undefined {
  const folder = stanza.get('Directory');
  const listed = mergeLists(stanza, sourceLists);
  if (
    !onlyKnown(stanza, ['Directory', ...Object.values(sourceLists)]) ||
    folder === undefined ||
    !folder.startsWith('pool/') ||
    !pathPattern.test(folder)
  )
    return undefined;
  return listed === undefined || listed.length === 0 || listed.some(({ path }) => path.includes('/'))
    ? undefined
    : listed.map((file) => ({ ...file, path: `${folder}/${file.path}` }));
}

/** What a signed .dsc or .changes names beside itself. undefined if it cannot be read. */
export function filesBeside(kind: 'dsc' | 'changes', text: string): ListedFile[] | undefined {
  const stanzas = readStanzas(text);
  const [stanza] = stanzas ?? [];
  if (stanza === undefined || stanzas?.length !== 1 || !onlyKnown(stanza, Object.values(sourceLists)))
    return undefined;
  const listed = mergeLists(stanza, sourceLists, kind === 'changes' ? 2 : 0);
  return listed?.some(({ path }) => path.includes('/')) === true ? undefined : listed;
}
