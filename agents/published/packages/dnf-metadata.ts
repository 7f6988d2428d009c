// SPDX-License-Identifier: GPL-2.0-or-later
// repomd.xml, primary.xml, filelists.xml and other.xml, with the elements and attributes that createrepo_c
// writes for this farm and no others: any other could send a client elsewhere (xml:base) or be a second list.
// Pure.
import { oneChild, readXml, type Element } from './strict-xml.js';

export interface Listed {
  path: string;
  size: number;
  sha256: string;
}

export interface MetadataFile extends Listed {
  type: MetadataType;
  /** of what comes out of it */
  open: { size: number; sha256: string };
}

export interface ListedPackage extends Listed {
  name: string;
  epoch: string;
  version: string;
  release: string;
  arch: string;
}

/** All that this farm publishes; each is there once. */
export const metadataTypes = ['primary', 'filelists', 'other'] as const;
export type MetadataType = (typeof metadataTypes)[number];
/** Metadata lie under their own hash. */
export const metadataPath = /^repodata\/([0-9a-f]{64})-(primary|filelists|other)\.xml\.gz$/;
const packagePath = /^packages\/[A-Za-z0-9][A-Za-z0-9._+~^-]*\.rpm$/;
const hashPattern = /^[0-9a-f]{64}$/;
const numberPattern = /^(?:0|[1-9][0-9]{0,14})$/;

const namespace = (name: string): [string, string] => ['xmlns', `http://linux.duke.edu/metadata/${name}`];
const rpmNamespace: [string, string] = ['xmlns:rpm', 'http://linux.duke.edu/metadata/rpm'];

const sameSet = (found: readonly string[], wanted: readonly string[]): boolean =>
  found.length === wanted.length && [...found].sort().join('\n') === [...wanted].sort().join('\n');
/** Exactly these attributes. */
const hasAttributes = ({ attributes }: Element, names: readonly string[]): boolean =>
  sameSet([...attributes.keys()], names);
/** Exactly these children, once each, and nothing but blanks between them. */
const hasChildren = ({ children, text }: Element, names: readonly string[]): boolean =>
  text.trim() === '' &&
  sameSet(
    children.map(({ name }) => name),
    names,
  );
const hasNamespaces = ({ attributes }: Element, wanted: readonly [string, string][]): boolean =>
  wanted.every(([name, value]) => attributes.get(name) === value);

function leaf(element: Element | undefined, attributes: readonly string[] = []): string | undefined {
  return element === undefined || element.children.length > 0 || !hasAttributes(element, attributes)
    ? undefined
    : element.text;
}

function hashOf(element: Element | undefined, attributes: readonly string[]): string | undefined {
  const text = leaf(element, attributes) ?? '';
  return element?.attributes.get('type') === 'sha256' && hashPattern.test(text) ? text : undefined;
}

function locationOf(element: Element): string | undefined {
  const location = oneChild(element, 'location');
  return leaf(location, ['href']) === '' ? location?.attributes.get('href') : undefined;
}

function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && numberPattern.test(text) ? Number(text) : undefined;
}

export interface Repomd {
  /** what the repository says it is: the one <content> tag */
  content: string | undefined;
  /** by type */
  files: Record<MetadataType, MetadataFile>;
}

const dataFields = ['checksum', 'open-checksum', 'location', 'timestamp', 'size', 'open-size'];

function dataOf(data: Element): MetadataFile | undefined {
  const path = locationOf(data);
  const [sha256, openSha256] = ['checksum', 'open-checksum'].map((name) =>
    hashOf(oneChild(data, name), ['type']),
  );
  const [size, openSize, time] = ['size', 'open-size', 'timestamp'].map((name) =>
    numberOf(leaf(oneChild(data, name))),
  );
  const [, named, type] = metadataPath.exec(path ?? '') ?? [];
  if (
    !hasAttributes(data, ['type']) ||
    !hasChildren(data, dataFields) ||
    path === undefined ||
    sha256 === undefined ||
    openSha256 === undefined
  )
    return undefined;
  if (
    size === undefined ||
    openSize === undefined ||
    time === undefined ||
    named !== sha256 ||
    type !== data.attributes.get('type')
  )
    return undefined;
  return { type: type as MetadataType, path, size, sha256, open: { size: openSize, sha256: openSha256 } };
}

/** undefined where it is something else than a repomd.xml with one primary, one filelists and one other */
export function readRepomd(text: string): Repomd | undefined {
  const repomd = readXml(text);
  if (
    repomd?.name !== 'repomd' ||
    !hasAttributes(repomd, ['xmlns', 'xmlns:rpm']) ||
    !hasNamespaces(repomd, [namespace('repo'), rpmNamespace])
  )
    return undefined;
  if (
    !hasChildren(repomd, [
      'revision',
      ...(oneChild(repomd, 'tags') === undefined ? [] : ['tags']),
      'data',
      'data',
      'data',
    ])
  )
    return undefined;
  const tags = oneChild(repomd, 'tags');
  if (
    numberOf(leaf(oneChild(repomd, 'revision'))) === undefined ||
    (tags !== undefined && (!hasChildren(tags, ['content']) || !hasAttributes(tags, [])))
  )
    return undefined;
  const files = Object.fromEntries(
    repomd.children
      .filter(({ name }) => name === 'data')
      .map((data) => [data.attributes.get('type'), dataOf(data)]),
  ) as Repomd['files'];
  return metadataTypes.some((type) => files[type] === undefined)
    ? undefined
    : { files, content: tags === undefined ? undefined : leaf(oneChild(tags, 'content')) };
}

const packageFields = [
  'name',
  'arch',
  'version',
  'checksum',
  'summary',
  'description',
  'packager',
  'url',
  'time',
  'size',
  'location',
  'format',
];
const packageAttributes: Record<string, readonly string[]> = {
  version: ['epoch', 'ver', 'rel'],
  checksum: ['type', 'pkgid'],
  time: ['file', 'build'],
  size: ['package', 'installed', 'archive'],
  location: ['href'],
};
const formatFields = new Set(
  [
    'license',
    'vendor',
    'group',
    'buildhost',
    'sourcerpm',
    'header-range',
    'provides',
    'requires',
    'conflicts',
    'obsoletes',
    'suggests',
    'enhances',
    'recommends',
    'supplements',
  ].map((name) => `rpm:${name}`),
);

function isFormat({ children, text, attributes }: Element): boolean {
  const names = children.map(({ name }) => name).filter((name) => name !== 'file');
  return (
    text.trim() === '' &&
    attributes.size === 0 &&
    new Set(names).size === names.length &&
    names.every((name) => formatFields.has(name)) &&
    children.every((one) =>
      one.children.every((entry) => entry.name === 'rpm:entry' && entry.children.length === 0),
    )
  );
}

/** The packages of an index: its own element, with the number that it says. */
function packagesIn(
  text: string,
  root: string,
  name: string,
  more: readonly [string, string][] = [],
): Element[] | undefined {
  const metadata = readXml(text);
  const namespaces = [namespace(name), ...more];
  if (
    metadata?.name !== root ||
    !hasAttributes(metadata, [...namespaces.map(([one]) => one), 'packages']) ||
    !hasNamespaces(metadata, namespaces)
  )
    return undefined;
  const { children } = metadata;
  return metadata.text.trim() === '' &&
    numberOf(metadata.attributes.get('packages')) === children.length &&
    children.every((child) => child.name === 'package')
    ? children
    : undefined;
}

/**
 * undefined where a package cannot be read or stands there twice, or something else stands beside the
 * packages
 */
export function readPrimary(text: string): ListedPackage[] | undefined {
  const packages: ListedPackage[] = [];
  const seen = new Set<string>();
  for (const one of packagesIn(text, 'metadata', 'common', [rpmNamespace]) ?? [undefined]) {
    if (
      one === undefined ||
      !hasChildren(one, packageFields) ||
      !hasAttributes(one, ['type']) ||
      one.attributes.get('type') !== 'rpm'
    )
      return undefined;
    if (
      one.children.some((child) =>
        child.name === 'format' ? !isFormat(child) : leaf(child, packageAttributes[child.name]) === undefined,
      )
    )
      return undefined;
    const version = oneChild(one, 'version')?.attributes;
    const checksum = oneChild(one, 'checksum');
    const found = {
      name: oneChild(one, 'name')?.text,
      arch: oneChild(one, 'arch')?.text,
      epoch: version?.get('epoch'),
      version: version?.get('ver'),
      release: version?.get('rel'),
      path: locationOf(one),
      size: numberOf(oneChild(one, 'size')?.attributes.get('package')),
      sha256: checksum?.attributes.get('pkgid') === 'YES' ? hashOf(checksum, ['type', 'pkgid']) : undefined,
    };
    const keys = [
      found.path,
      `${found.name} ${found.epoch}:${found.version}-${found.release} ${found.arch}`,
      found.sha256,
    ].map(String);
    if (
      Object.values(found).includes(undefined) ||
      !packagePath.test(found.path as string) ||
      keys.some((key) => seen.has(key))
    )
      return undefined;
    for (const key of keys) seen.add(key);
    packages.push(found as ListedPackage);
  }
  return packages;
}

const secondLists = {
  filelists: { root: 'filelists', child: 'file', attributes: ['type'] },
  other: { root: 'otherdata', child: 'changelog', attributes: ['author', 'date'] },
} as const;

/** Whether filelists.xml or other.xml is about exactly these packages, by the same names. */
export function isAbout(
  type: 'filelists' | 'other',
  text: string,
  packages: readonly ListedPackage[],
): boolean {
  const { root, child, attributes } = secondLists[type];
  const found = packagesIn(text, root, type);
  const words = found?.map((one) => {
    const [version, ...others] = one.children;
    const good =
      hasAttributes(one, ['pkgid', 'name', 'arch']) &&
      version?.name === 'version' &&
      leaf(version, ['epoch', 'ver', 'rel']) !== undefined &&
      others.every(
        (other) =>
          other.name === child &&
          other.children.length === 0 &&
          [...other.attributes.keys()].every((name) => (attributes as readonly string[]).includes(name)),
      );
    return good
      ? JSON.stringify([
          ...['pkgid', 'name', 'arch'].map((name) => one.attributes.get(name)),
          ...['epoch', 'ver', 'rel'].map((name) => version.attributes.get(name)),
        ])
      : '';
  });
  return (
    words !== undefined &&
    sameSet(
      [...words].sort(),
      packages
        .map((one) => JSON.stringify([one.sha256, one.name, one.arch, one.epoch, one.version, one.release]))
        .sort(),
    )
  );
}
