// SPDX-License-Identifier: GPL-2.0-or-later
// APT repositories in which a client could see another package than the announced one. What is signed is
// either as it was, or announced anew: a compromised build VM that wants the public to read one thing and a
// victim another.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import type { Random } from './random.js';

export interface AptMutant {
  kind: string;
  /** the text to be signed and announced */
  release: string;
  /** path → bytes, below dists/<suite>/ and pool/ */
  files: Map<string, Buffer>;
  /** what is done to InRelease and Release.gpg after they are signed; undefined removes it */
  inRelease?: (good: string) => string | undefined;
  /** whether Release is published as it was signed */
  releaseFile?: string;
}

const hash = (algorithm: string, data: Buffer): string => createHash(algorithm).update(data).digest('hex');
const fields: Record<string, string> = { MD5Sum: 'md5', SHA1: 'sha1', SHA256: 'sha256', SHA512: 'sha512' };
const index = 'main/binary-amd64/Packages';

function list(field: string, files: Iterable<[string, Buffer]>): string {
  return `${field}:\n${[...files].map(([path, data]) => ` ${hash(fields[field] as string, data)} ${data.length} ${path}\n`).join('')}`;
}

export function stanza(name: string, path: string, deb: Buffer, more = ''): string {
  return `Package: ${name}\nVersion: 1\nArchitecture: all\nMaintainer: X <x@farm.example>\n${more}Filename: ${path}\nSize: ${deb.length}\nSHA256: ${hash('sha256', deb)}\nDescription: x\n`;
}

const packers: Record<string, (data: Buffer) => Buffer> = {
  xz: (data) => execFileSync('xz', ['-c'], { input: data }),
  bz2: (data) => execFileSync('bzip2', ['-c'], { input: data }),
  lzma: (data) => execFileSync('xz', ['-c', '--format=lzma'], { input: data }),
  gz: gzipSync,
};

/** A field's second spelling, and what stands around it. */
const spellings = (name: string): string[] => [
  name,
  `${name} `,
  `${name}\t`,
  name.toLowerCase(),
  name.toUpperCase(),
  ` ${name}`,
];
const gaps = ['', '\n', ' \n', '\t\n', '#\n', '# x\n \n', '\n\n', '\r\n'];

/** @param name of the package, unlike any other mutant's @param deb the announced bytes @param evil others */
export function aptMutant(random: Random, name: string, deb: Buffer, evil: Buffer): AptMutant {
  const goodPath = `pool/main/${name}_1_all.deb`;
  const evilPath = `pool/main/${name}_1_all.evil.deb`;
  const good = stanza(name, goodPath, deb);
  const bad = stanza(name, evilPath, evil);
  const files = new Map<string, Buffer>([
    [goodPath, deb],
    [evilPath, evil],
  ]);
  const head = (more = ''): string =>
    `Origin: build-infra\nSuite: bookworm\nCodename: bookworm\n${more}Date: Sat, 21 Nov 2026 20:00:00 UTC\nArchitectures: all amd64\nComponents: main\n`;
  const at = (path: string): string => `dists/bookworm/${path}`;
  const [goodIndex, badIndex] = [Buffer.from(`${good}\n`), Buffer.from(`${bad}\n`)];
  const both: [string, Buffer][] = [
    [index, goodIndex],
    [`${index}.gz`, gzipSync(goodIndex)],
  ];
  const publish = (indices: Iterable<[string, Buffer]>): void => {
    for (const [path, data] of indices) files.set(at(path), data);
  };
  const signed = (indices: [string, Buffer][], more = ''): string =>
    `${head(more)}${list('SHA256', indices)}`;
  const inPackages = (kind: string, text: string): AptMutant => {
    const indices: [string, Buffer][] = [[index, Buffer.from(text)]];
    publish(indices);
    return { kind, release: signed(indices), files };
  };
  switch (Math.floor(random.next() * 13)) {
    case 0: {
      // a second list, stronger or weaker, names other bytes
      const [first, second] = random.one<[string, string]>([
        ['SHA256', 'SHA512'],
        ['SHA512', 'SHA256'],
        ['MD5Sum', 'SHA256'],
        ['SHA256', 'SHA1'],
      ]);
      publish([[index, random.one([goodIndex, badIndex])]]);
      return {
        kind: 'lists disagree',
        release: `${head()}${list(first, [[index, goodIndex]])}${list(second, [[index, badIndex]])}`,
        files,
      };
    }
    case 1: {
      // the same list twice, oddly spelled, after a gap
      const [first, second] = random.one([
        [goodIndex, badIndex],
        [badIndex, goodIndex],
      ]) as [Buffer, Buffer];
      publish([[index, random.one([first, second])]]);
      const odd = list('SHA256', [[index, second]]).replace('SHA256', random.one(spellings('SHA256')));
      return {
        kind: 'list twice',
        release: `${head()}${list('SHA256', [[index, first]])}${random.one(gaps)}${odd}`,
        files,
      };
    }
    case 2: {
      // a gap in the middle of a list
      const other: [string, Buffer] = [`${index}.xz`, packers['xz']?.(badIndex) as Buffer];
      publish([...both, other]);
      const lines = list('SHA256', [...both, other]).split('\n');
      lines.splice(1 + Math.floor(random.next() * 3), 0, random.one([' ', '\t', '  ', '#', ' #', ' .']));
      return { kind: 'gap in a list', release: `${head()}${lines.join('\n')}`, files };
    }
    case 3: {
      // a form that holds something else
      const form = random.one(Object.keys(packers));
      const indices: [string, Buffer][] = [
        [index, goodIndex],
        [`${index}.${form}`, (packers[form] as (data: Buffer) => Buffer)(badIndex)],
      ];
      publish(random.next() < 0.5 ? indices : indices.slice(1));
      return {
        kind: 'form differs',
        release: signed(random.next() < 0.5 ? indices : [...indices].reverse()),
        files,
      };
    }
    case 4: {
      // the same without the announced plain text
      const form = random.one(Object.keys(packers));
      const indices: [string, Buffer][] = [
        [`${index}.gz`, gzipSync(goodIndex)],
        [
          `${index}.${form === 'gz' ? 'bz2' : form}`,
          (packers[form === 'gz' ? 'bz2' : form] as (data: Buffer) => Buffer)(badIndex),
        ],
      ];
      publish(indices.slice(random.one([0, 1])));
      // apt takes no packed form without the hash of the text in it; the text itself need not be there.
      return {
        kind: 'only packed forms',
        release: signed([[index, random.one([goodIndex, badIndex, badIndex])], ...indices]),
        files,
      };
    }
    case 5: {
      // copies by hash
      publish(both);
      const one = random.one(both);
      const algorithm = random.one(['SHA256', 'SHA512', 'MD5Sum']);
      files.set(
        at(`main/binary-amd64/by-hash/${algorithm}/${hash(fields[algorithm] as string, one[1])}`),
        random.one([badIndex, gzipSync(badIndex), one[1]]),
      );
      return {
        kind: 'by-hash',
        release: `${head('Acquire-By-Hash: yes\n')}${list('SHA256', both)}${algorithm === 'SHA512' ? list('SHA512', both) : ''}`,
        files,
      };
    }
    case 6: {
      // a field of a package twice
      const field = random.one(['Filename', 'Size', 'SHA256']);
      const value = (text: string): string => new RegExp(`^${field}: (.*)$`, 'm').exec(text)?.[1] as string;
      const odd = `${random.one(spellings(field))}: ${value(bad)}\n`;
      let text = random.next() < 0.5 ? good.replace(`${field}:`, `${odd}${field}:`) : `${good}${odd}`;
      // Then the rest of them, so that a reader of the second one sees a whole package.
      for (const other of ['Filename', 'Size', 'SHA256'].filter(
        (one) => one !== field && random.next() < 0.8,
      ))
        text += `${random.one(spellings(other))}: ${new RegExp(`^${other}: (.*)$`, 'm').exec(bad)?.[1]}\n`;
      return inPackages('field twice', `${text}\n`);
    }
    case 7: {
      // two stanzas, with something odd between them
      const parts = random.next() < 0.5 ? [good, bad] : [bad, good];
      return inPackages(
        'stanza twice',
        `${parts[0]}${random.one(['\n', '\n\n', ' \n', '\t\n', '#\n\n', '\r\n', '\n \n'])}${parts[1]}\n`,
      );
    }
    case 8: {
      // another hash of a package
      const field = random.one(['SHA512', 'sha512', 'SHA512 ', 'SHA1', 'MD5sum']);
      const more = `${field}: ${hash(field.trim().toLowerCase().replace('md5sum', 'md5'), evil)}\n`;
      files.set(goodPath, random.one([deb, evil]));
      return inPackages(
        'hashes of a package',
        `${random.next() < 0.3 ? good.replace(/^SHA256: .*\n/m, '') : good}${more}\n`,
      );
    }
    case 9: {
      // where a package lies
      const path = random.one([
        `./${evilPath}`,
        `/${evilPath}`,
        `../${evilPath}`,
        `pool//main/${name}_1_all.evil.deb`,
        `pool/main/../main/${name}_1_all.evil.deb`,
        `pool/main/${encodeURIComponent(`${name}_1_all`)}%2eevil.deb`,
      ]);
      return inPackages(
        'place of a package',
        `${random.next() < 0.5 ? `${good}\n` : ''}${stanza(name, path, evil)
          .replace(/Version: 1/, `Version: ${random.one(['1', '2', ' 1'])}`)
          .replace(hash('sha256', evil), random.one([hash('sha256', evil), hash('sha256', deb)]))}\n`,
      );
    }
    case 10: {
      // gzip of several members, or with something behind it
      const packed = Buffer.concat(
        random.one([
          [gzipSync(goodIndex), gzipSync(badIndex)],
          [gzipSync(badIndex), goodIndex],
          [gzipSync(goodIndex), Buffer.from('\0\0\0\0')],
          [gzipSync(Buffer.alloc(0)), gzipSync(badIndex)],
        ]),
      );
      const indices: [string, Buffer][] = [
        [index, random.one([goodIndex, badIndex, Buffer.concat([goodIndex, badIndex])])],
        [`${index}.gz`, packed],
      ];
      publish(indices.slice(-1));
      return { kind: 'gzip members', release: signed(indices), files };
    }
    case 11: {
      // what is around the signed text
      publish(both);
      const other = `${head()}${list('SHA256', [[index, badIndex]])}`;
      files.set(at(index), random.one([badIndex, goodIndex]));
      files.delete(at(`${index}.gz`));
      const edits: ((good: string) => string | undefined)[] = [
        (text) => `${other}\n${text}`,
        (text) => `${text}\n${other}`,
        (text) => text.replace('Hash: SHA256', `Hash: SHA256\n${other}`),
        (text) => text.replace(/\n\n/, `\n${other}\n\n`),
        (text) => text.replace(/\n/g, '\r\n'),
        (text) => `${text}${text}`,
        (text) => text.replace('-----BEGIN PGP SIGNATURE', `${other}\n-----BEGIN PGP SIGNATURE`),
        (text) => text.replace('SIGNATURE-----\n', 'SIGNATURE-----\nComment: x\n'),
        (text) => text.replace('Origin', '- Origin'),
        (text) => text.replace(/\n/, ' \n'),
        (text) => text.replace(/^(Suite.*)$/m, '$1  '),
        (text) => text.replace(/^Hash.*\n/m, ''),
        () => undefined,
        (text) => `\n${text}`,
        (text) => text.replace('=\n', '=\n \n'),
        (text) => `${text}x`,
        (text) =>
          text.replace(
            /-----BEGIN PGP SIGNED[\s\S]*?\n\n/,
            `-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n`,
          ),
        (text) => text.replace(/-----END PGP SIGNATURE-----\n/, `-----END PGP SIGNATURE-----\n\n\n`),
      ];
      return {
        kind: 'around the signature',
        release: signed([[index, goodIndex]]),
        files,
        inRelease: random.one(edits),
        ...(random.next() < 0.3 ? { releaseFile: other } : {}),
      };
    }
    default: {
      // fields of Release that change what apt does
      const odd = random.one([
        'Acquire-By-Hash: force\n',
        'acquire-by-hash: yes\n',
        'No-Support-for-Architecture-all: Packages\n',
        'NotAutomatic: yes\n',
        'Snapshots: https://elsewhere.example/@SNAPSHOTID@/\n',
        'Signed-By: 0000000000000000000000000000000000000000\n',
        'Valid-Until: Sat, 21 Nov 2020 20:00:00 UTC\n',
        'Codename : x\n',
        'Suite: other\n',
        '# x\n',
        'X-Y: z\n',
        'Changelogs: https://elsewhere.example/@CHANGEPATH@\n',
        'Date: yesterday\n',
      ]);
      const more: [string, Buffer][] =
        random.next() < 0.5
          ? []
          : [
              ['main/i18n/Translation-en', Buffer.from('x')],
              [`main/binary-all/Packages`, badIndex],
            ];
      publish([...both, ...more]);
      return { kind: 'fields of Release', release: signed([...both, ...more], odd), files };
    }
  }
}
