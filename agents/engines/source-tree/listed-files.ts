// SPDX-License-Identifier: GPL-2.0-or-later
// The files that a verified tree wants beside it, as its .qubesbuilder lists them (docs/formats.md, "Files
// that a tree lists"). What pins each one is read from that tree before anything is asked of the network, and
// so is under the tag's signature.
import { posix } from 'node:path';
import type * as openpgp from 'openpgp';
import { fileNamePattern, matches, versionPattern } from '../../shared/formats/names.js';
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import { isTable, readBuildFile, tableIn } from './build-file.js';
import { readPublicKeys } from '../../shared/openpgp/packets.js';
import { packingOf, type Packing } from './unpacking.js';
import { isInTree, readTreeFile, treePathPattern } from './tree-file.js';

export interface ListedKey {
  /** its file in the tree */
  path: string;
  key: openpgp.PublicKey;
}

export type Pin =
  | { kind: 'sha256' | 'sha512'; digest: string }
  /** `from` is an address where `bytes` are not in the tree */
  | { kind: 'signature'; from: string; bytes: Buffer | undefined; keys: ListedKey[] };

export interface ListedFile {
  url: string;
  /** at the top of the tree */
  name: string;
  /** of what the address gives; `pin` is then of what it unpacks to, and so is `name` */
  packing?: Packing;
  pin: Pin;
}

export const signatureLimitBytes = 64 * 1024;
const filesLimit = 30;
const keysLimit = 100;
const keyLimitBytes = 1024 * 1024;
const digestFileLimitBytes = 64 * 1024;
const urlPattern =
  '^https://[A-Za-z0-9][A-Za-z0-9.-]{0,252}(?::[0-9]{1,5})?/[A-Za-z0-9._~/+%=&,:@-]{1,1000}$';
const digits = { sha256: /^[0-9a-f]{64}$/i, sha512: /^[0-9a-f]{128}$/i };
const known: ReadonlySet<string> = new Set(['url', 'sha256', 'sha512', 'signature', 'pubkeys', 'uncompress']);

const bad = (detail: string): Refusal => new Refusal('BAD_SOURCE_FILES', detail);

/** @param untrustedPath of a plain file in the tree, through no link @throws Refusal BAD_SOURCE_FILES */
function readInTree(tree: string, untrustedPath: string, limitBytes: number): Buffer {
  if (!matches(treePathPattern, untrustedPath))
    throw bad(`${printable(untrustedPath)} is neither a digest nor an acceptable path`);
  let bytes: Buffer | undefined;
  try {
    bytes = readTreeFile(tree, untrustedPath, limitBytes);
  } catch (error) {
    throw error instanceof Refusal ? bad(error.detail) : error;
  }
  if (bytes === undefined) throw bad(`${untrustedPath} cannot be read in the tree: it is not there`);
  return bytes;
}

/** The list as plain data; undefined: the tree has none. @throws Refusal BAD_SOURCE_FILES */
function readList(tree: string): unknown[] | undefined {
  const files = tableIn(readBuildFile(tree) ?? {}, 'source')['files'];
  if (files === undefined || files === null) return undefined;
  if (!Array.isArray(files) || files.length > filesLimit)
    throw bad(`source: files is not a list of at most ${filesLimit}`);
  return files as unknown[];
}

/**
 * `@VERSION@` and `@REL@` stand for what the files `version` and `rel` of the tree say, `@VERREL@` for both;
 * without `rel` that is 1.
 */
function placeholders(tree: string): (text: string) => string {
  const first = (file: string): string => {
    const value =
      file === 'rel' && !isInTree(tree, file)
        ? '1'
        : readInTree(tree, file, 200).toString('latin1').split('\n')[0]?.trim();
    if (!matches(versionPattern, value)) throw bad(`the file ${file} holds no plain version`);
    return value;
  };
  return (text) =>
    text.replace(/@([A-Z_]+)@/g, (_all, word: string) => {
      switch (word) {
        case 'VERSION':
          return first('version');
        case 'REL':
          return first('rel');
        case 'VERREL':
          return `${first('version')}-${first('rel')}`;
        default:
          throw bad(`@${word}@ stands for nothing here`);
      }
    });
}

function readDigest(kind: 'sha256' | 'sha512', value: string, tree: string): Pin {
  const word = digits[kind].test(value)
    ? value
    : (/^\S*/.exec(readInTree(tree, value, digestFileLimitBytes).toString('latin1'))?.[0] ?? '');
  if (!digits[kind].test(word)) throw bad(`${printable(value)} does not begin with a ${kind}`);
  return { kind, digest: word.toLowerCase() };
}

async function readKeys(tree: string, paths: readonly string[]): Promise<ListedKey[]> {
  const keys: ListedKey[] = [];
  for (const path of paths) {
    const bytes = readInTree(tree, path, keyLimitBytes);
    try {
      keys.push(...(await readPublicKeys(bytes)).map((key) => ({ path, key })));
    } catch (error) {
      throw bad(`${path} holds no key: ${printable((error as Error).message)}`);
    }
  }
  if (keys.length === 0 || keys.length > keysLimit)
    throw bad(`not one to ${keysLimit} keys in ${paths.join(', ')}`);
  return keys;
}

async function readEntry(entry: unknown, tree: string): Promise<ListedFile> {
  if (!isTable(entry)) throw bad('an entry of source: files is no table');
  const other = Object.keys(entry).find((key) => !known.has(key));
  if (other !== undefined)
    throw bad(`an entry of source: files says ${printable(other)}, which is not done here`);
  const { uncompress = false } = entry;
  if (typeof uncompress !== 'boolean') throw bad('uncompress of an entry is neither true nor false');
  const filled = placeholders(tree);
  const text = (key: string): string | undefined => {
    const value = entry[key];
    if (value !== undefined && (typeof value !== 'string' || value === ''))
      throw bad(`${key} of an entry is no text; quote what YAML reads as a number`);
    return value === undefined ? undefined : filled(value);
  };
  const url = readUrl(text('url') ?? '');
  const packing = uncompress ? packingOf(posix.basename(url)) : undefined;
  if (uncompress && packing === undefined)
    throw bad(`${printable(url)} is to be unpacked, and ends in neither .gz nor .xz`);
  const name = nameOf(url, uncompress);
  if (!matches(fileNamePattern, name) || url.endsWith('/'))
    throw bad(`${printable(name)}, the last part of ${url}, is not an acceptable file name`);
  const [sha256, sha512, signature] = [text('sha256'), text('sha512'), text('signature')];
  if ([sha256, sha512, signature].filter((way) => way !== undefined).length !== 1)
    throw bad(`${name} has not exactly one of sha256, sha512 and signature`);
  if ((signature === undefined) !== (entry['pubkeys'] === undefined))
    throw bad(`${name}: signature and pubkeys go together`);
  const file = { url, name, ...(packing === undefined ? {} : { packing }) };
  if (sha256 !== undefined) return { ...file, pin: readDigest('sha256', sha256, tree) };
  if (sha512 !== undefined) return { ...file, pin: readDigest('sha512', sha512, tree) };
  const paths = entry['pubkeys'];
  if (
    !Array.isArray(paths) ||
    paths.length > keysLimit ||
    !paths.every((path): path is string => typeof path === 'string')
  )
    throw bad(`pubkeys of ${name} is not a list of at most ${keysLimit} paths`);
  const keys = await readKeys(tree, paths.map(filled));
  const from = signature as string;
  const isFar = from.includes('://');
  return {
    ...file,
    pin: {
      kind: 'signature',
      from: isFar ? readUrl(from) : from,
      bytes: isFar ? undefined : readInTree(tree, from, signatureLimitBytes),
      keys,
    },
  };
}

/** As the builder names it: without its last ending where it is unpacked. */
function nameOf(url: string, uncompress: boolean): string {
  const name = posix.basename(url);
  return uncompress ? posix.parse(name).name : name;
}

function readUrl(untrustedUrl: string): string {
  if (!matches(urlPattern, untrustedUrl) || untrustedUrl.includes('/../') || untrustedUrl.includes('/./'))
    throw bad(`${printable(untrustedUrl)} is no plain https address`);
  return untrustedUrl;
}

/**
 * Names that a verified tree lists, for who compares it with another's checkout: where the list is none that
 * is taken, nothing was downloaded.
 */
export function listedNames(tree: string): string[] {
  try {
    const filled = placeholders(tree);
    return (readList(tree) ?? []).flatMap((entry) =>
      isTable(entry) && typeof entry['url'] === 'string'
        ? [nameOf(filled(entry['url']), entry['uncompress'] === true)]
        : [],
    );
  } catch (error) {
    if (error instanceof Refusal) return [];
    throw error;
  }
}

/**
 * @returns empty where the tree lists none
 * @throws Refusal BAD_SOURCE_FILES: anything about fetching that is unknown, unpinned, twice, or in the place
 * of a file of the tree
 */
export async function readListedFiles(tree: string): Promise<ListedFile[]> {
  const files: ListedFile[] = [];
  for (const entry of readList(tree) ?? []) {
    const file = await readEntry(entry, tree);
    if (files.some((one) => one.name === file.name)) throw bad(`two entries are the file ${file.name}`);
    if (isInTree(tree, file.name)) throw bad(`the tree has a ${file.name} already`);
    files.push(file);
  }
  return files;
}
