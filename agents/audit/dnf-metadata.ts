// SPDX-License-Identifier: GPL-2.0-or-later
// repomd.xml and primary.xml, as createrepo_c writes them and dnf reads them. Pure. What would let a client look elsewhere (xml:base), or could be
// read in two ways, is not read at all.
import { oneChild, readXml, type Element } from './strict-xml.js';

export interface Listed {
  path: string;
  size: number;
  sha256: string;
}

export interface MetadataFile extends Listed {
  type: string;
  /** SHA-256 of what comes out of it; undefined where it is not packed */
  open: string | undefined;
}

export interface ListedPackage extends Listed {
  name: string;
  epoch: string;
  version: string;
  release: string;
  arch: string;
}

const hashPattern = /^[0-9a-f]{64}$/;

function hashOf(element: Element | undefined): string | undefined {
  const text = element?.attributes.get('type') === 'sha256' ? element.text.trim() : '';
  return hashPattern.test(text) ? text : undefined;
}

function locationOf(element: Element): string | undefined {
  const location = oneChild(element, 'location');
  return location === undefined || location.attributes.size !== 1 || location.children.length > 0 ? undefined : location.attributes.get('href');
}

function sizeOf(text: string | undefined): number | undefined {
  return text !== undefined && /^[0-9]{1,15}$/.test(text.trim()) ? Number(text) : undefined;
}

/** What may stand beside these in a <data>: clients take nothing from elsewhere because of it. */
const dataFields = new Set(['checksum', 'open-checksum', 'header-checksum', 'location', 'timestamp', 'size', 'open-size', 'header-size', 'database_version']);

/** undefined where it is something else than a repomd.xml with one primary */
export function readRepomd(text: string): MetadataFile[] | undefined {
  const repomd = readXml(text);
  if (repomd?.name !== 'repomd' || repomd.children.some(({ name }) => !['revision', 'tags', 'data'].includes(name))) return undefined;
  const files: MetadataFile[] = [];
  for (const data of repomd.children.filter(({ name }) => name === 'data')) {
    const type = data.attributes.get('type');
    const path = locationOf(data);
    const sha256 = hashOf(oneChild(data, 'checksum'));
    const size = sizeOf(oneChild(data, 'size')?.text);
    if (type === undefined || data.attributes.size !== 1 || path === undefined || sha256 === undefined || size === undefined || data.children.some(({ name }) => !dataFields.has(name))) return undefined;
    const open = data.children.some(({ name }) => name === 'open-checksum') ? hashOf(oneChild(data, 'open-checksum')) : undefined;
    files.push({ type, path, size, sha256, open });
  }
  const types = files.map(({ type }) => type);
  return new Set(types).size === types.length && types.includes('primary') ? files : undefined;
}

/** undefined where a package cannot be read, or something else stands beside the packages */
export function readPrimary(text: string): ListedPackage[] | undefined {
  const metadata = readXml(text);
  if (metadata?.name !== 'metadata' || metadata.children.some(({ name }) => name !== 'package')) return undefined;
  const packages: ListedPackage[] = [];
  for (const one of metadata.children) {
    const version = oneChild(one, 'version')?.attributes;
    const checksum = oneChild(one, 'checksum');
    const found = {
      name: oneChild(one, 'name')?.text, arch: oneChild(one, 'arch')?.text, epoch: version?.get('epoch'), version: version?.get('ver'), release: version?.get('rel'),
      path: locationOf(one), size: sizeOf(oneChild(one, 'size')?.attributes.get('package')), sha256: checksum?.attributes.get('pkgid') === 'YES' ? hashOf(checksum) : undefined,
    };
    if (one.attributes.get('type') !== 'rpm' || Object.values(found).includes(undefined)) return undefined;
    packages.push(found as ListedPackage);
  }
  return packages;
}
