// SPDX-License-Identifier: GPL-2.0-or-later
// DNF repositories made byte by byte, signed without gpg: in a moment, and with any field wrong. rpm-farm.ts
// has rpmbuild and createrepo_c make them.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { ListedPackage } from '../../agents/published/packages/dnf-metadata.js';
import { sha256, withOrigin, type Farm, type Wanted } from './farm.js';
import { pens } from './pens.js';

export type Tag = [tag: number, type: number, value: string[] | number | Buffer];

export function header(tags: readonly Tag[]): Buffer {
  const entries: Buffer[] = [];
  let store = Buffer.alloc(0);
  for (const [tag, type, value] of tags) {
    const data =
      typeof value === 'number'
        ? Buffer.from([value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255])
        : Buffer.isBuffer(value)
          ? value
          : Buffer.from(value.map((text) => `${text}\0`).join(''));
    const entry = Buffer.alloc(16);
    for (const [i, number] of [
      tag,
      type,
      store.length,
      typeof value === 'number' ? 1 : Buffer.isBuffer(value) ? value.length : value.length,
    ].entries())
      entry.writeUInt32BE(number, 4 * i);
    entries.push(entry);
    store = Buffer.concat([store, data]);
  }
  const intro = Buffer.alloc(16);
  for (const [at, number] of [
    [0, 0x8eade801],
    [8, tags.length],
    [12, store.length],
  ] as const)
    intro.writeUInt32BE(number, at);
  return Buffer.concat([intro, ...entries, store]);
}

export const payload = Buffer.from('what is packed');
export const headerOf = (
  name: string,
  change: readonly Tag[] = [],
  without: readonly number[] = [],
): Buffer =>
  header([
    ...(
      [
        [1000, 6, [name]],
        [1001, 6, ['1']],
        [1002, 6, ['2']],
        [1022, 6, ['noarch']],
        [1044, 6, [`${name}-1-2.src.rpm`]],
        [5092, 8, [sha256(payload)]],
        [5093, 4, 8],
      ] as Tag[]
    ).filter(([tag]) => !without.includes(tag)),
    ...change,
  ]);
export function rpm(head: Buffer, signatures: readonly Tag[] = [], data: Buffer = payload): Buffer {
  const lead = Buffer.alloc(96);
  lead.writeUInt32BE(0xedabeedb, 0);
  const signature = header(signatures);
  return Buffer.concat([lead, signature, Buffer.alloc((8 - (signature.length % 8)) % 8), head, data]);
}

export const hash = (digit: string): string => digit.repeat(64);
export const rpmNamespace = 'xmlns:rpm="http://linux.duke.edu/metadata/rpm"';
export interface Data {
  type: string;
  packed: Buffer;
  text: Buffer;
}
export const dataOf = ({ type, packed, text }: Data): string =>
  `<data type="${type}"><checksum type="sha256">${sha256(packed)}</checksum><open-checksum type="sha256">${sha256(text)}</open-checksum><location href="repodata/${sha256(packed)}-${type}.xml.gz"/><timestamp>1</timestamp><size>${packed.length}</size><open-size>${text.length}</open-size></data>`;
export const repomdOf = (all: readonly Data[], content: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<repomd xmlns="http://linux.duke.edu/metadata/repo" ${rpmNamespace}><revision>1</revision><tags><content>${content}</content></tags>${all.map(dataOf).join('')}</repomd>\n`;
export const packageOf = ({
  name,
  sha256: sum,
  size,
  path,
}: Pick<ListedPackage, 'name' | 'sha256' | 'size' | 'path'>): string =>
  `<package type="rpm"><name>${name}</name><arch>noarch</arch><version epoch="0" ver="1" rel="2"/><checksum type="sha256" pkgid="YES">${sum}</checksum><summary>x</summary><description>x</description><packager/><url/><time file="1" build="1"/><size package="${size}" installed="1" archive="1"/><location href="${path}"/><format><rpm:license>x</rpm:license><rpm:provides><rpm:entry name="x"/></rpm:provides><file>/x</file></format></package>`;
export const primaryOf = (packages: readonly ListedPackage[]): string =>
  `<metadata xmlns="http://linux.duke.edu/metadata/common" ${rpmNamespace} packages="${packages.length}">${packages.map(packageOf).join('\n')}</metadata>`;
export const secondOf = (type: 'filelists' | 'other', packages: readonly ListedPackage[]): string => {
  const [root, child] =
    type === 'filelists'
      ? ['filelists', '<file type="dir">/x</file><file>/y</file>']
      : ['otherdata', '<changelog author="x" date="1">x</changelog>'];
  return `<${root} xmlns="http://linux.duke.edu/metadata/${type}" packages="${packages.length}">${packages.map(({ name, sha256: sum }) => `<package pkgid="${sum}" name="${name}" arch="noarch"><version epoch="0" ver="1" rel="2"/>${child}</package>`).join('')}</${root}>`;
};
export const listed = (name: string, sum: string, size = 1): ListedPackage => ({
  name,
  sha256: sum,
  size,
  path: `packages/${name}-1-2.noarch.rpm`,
  epoch: '0',
  version: '1',
  release: '2',
  arch: 'noarch',
});
export const [moon, sun] = [listed('moon', hash('a')), listed('sun', hash('b'))];

export const suites = ['current-testing', 'current', 'security-testing'];
export const at = (farm: Farm, path: string): string => join(farm.dnf, path);
export function put(farm: Farm, path: string, data: Buffer | string): void {
  mkdirSync(dirname(at(farm, path)), { recursive: true });
  writeFileSync(at(farm, path), data);
}
export const signIn = (farm: Farm, wanted: Wanted, words = withOrigin): Buffer => {
  const claimed = farm.claimAll([wanted], 'fc41');
  const signature = pens.sign(
    'signing',
    'detach',
    wanted.payload,
    words(claimed.origins[0] as Parameters<typeof withOrigin>[0]),
  );
  farm.publishSigned(claimed, [signature]);
  return signature;
};
/** A package that is signed and announced. */
export function addPackage(
  farm: Farm,
  name: string,
  {
    head = headerOf(name),
    data,
    purpose = 'rpm-header',
    file = `${name}-1-2.noarch.rpm`,
    words = withOrigin,
  }: {
    head?: Buffer;
    data?: Buffer;
    purpose?: Wanted['purpose'];
    file?: string;
    words?: typeof withOrigin;
  } = {},
): ListedPackage {
  const signature = signIn(farm, { purpose, name: 'rpm-header', mode: 'detach', payload: head }, words);
  const bytes = rpm(head, [[268, 7, signature]], data ?? payload);
  put(farm, `current-testing/packages/${file}`, bytes);
  return { ...listed(name, sha256(bytes), bytes.length), path: `packages/${file}` };
}
export interface Lists {
  primary: string;
  filelists: string;
  other: string;
}
/** Metadata of a suite, signed and announced. */
export function publish(
  farm: Farm,
  suite: string,
  packages: readonly ListedPackage[],
  change: {
    lists?: Partial<Lists>;
    repomd?: (text: string) => string;
    pack?: (text: Buffer) => Buffer;
    purpose?: Wanted['purpose'];
  } = {},
): void {
  rmSync(at(farm, `${suite}/repodata`), { recursive: true, force: true });
  const texts: Lists = {
    primary: primaryOf(packages),
    filelists: secondOf('filelists', packages),
    other: secondOf('other', packages),
    ...change.lists,
  };
  const all = Object.entries(texts).map(([type, text]: [string, string]): Data => ({
    type,
    text: Buffer.from(text),
    packed: (change.pack ?? gzipSync)(Buffer.from(text)),
  }));
  for (const { type, packed } of all) put(farm, `${suite}/repodata/${sha256(packed)}-${type}.xml.gz`, packed);
  const repomd = (change.repomd ?? ((text) => text))(repomdOf(all, `fc41-${suite}`));
  put(farm, `${suite}/repodata/repomd.xml`, repomd);
  put(
    farm,
    `${suite}/repodata/repomd.xml.asc`,
    signIn(farm, {
      purpose: change.purpose ?? 'rpm-repomd',
      name: 'repomd.xml',
      mode: 'detach',
      payload: Buffer.from(repomd),
    }),
  );
}
