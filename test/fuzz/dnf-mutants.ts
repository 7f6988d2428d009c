// SPDX-License-Identifier: GPL-2.0-or-later
// DNF repositories in which a client could see another package than the announced one: one that was signed in
// secret, under the same name.
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import type { Random } from './random.js';

export interface DnfMutant {
  kind: string;
  /** to be signed and announced */
  repomd: string;
  /** what is served as repomd.xml, if that is another text */
  served?: string;
  files: Map<string, Buffer>;
}

export interface DnfParts {
  /** texts of the announced indices */
  primary: string;
  filelists: string;
  other: string;
  codename: string;
  /** as packages/<name> */
  goodName: string;
  good: Buffer;
  evilName: string;
  evil: Buffer;
}

const sha256 = (data: Buffer | string): string => createHash('sha256').update(data).digest('hex');

export function dnfMutant(random: Random, parts: DnfParts): DnfMutant {
  const files = new Map<string, Buffer>([
    [`packages/${parts.goodName}`, parts.good],
    [`packages/${parts.evilName}`, parts.evil],
  ]);
  const evilPrimary = parts.primary
    .replaceAll(sha256(parts.good), sha256(parts.evil))
    .replaceAll(parts.goodName, parts.evilName)
    .replace(`package="${parts.good.length}"`, `package="${parts.evil.length}"`);
  const data = (type: string, text: string, packed = gzipSync(text), open = text): string => {
    const path = `repodata/${sha256(packed)}-${type}.xml.gz`;
    files.set(path, packed);
    return `  <data type="${type}">\n    <checksum type="sha256">${sha256(packed)}</checksum>\n    <open-checksum type="sha256">${sha256(open)}</open-checksum>\n    <location href="${path}"/>\n    <timestamp>1</timestamp>\n    <size>${packed.length}</size>\n    <open-size>${Buffer.byteLength(open)}</open-size>\n  </data>\n`;
  };
  const repomd = (lists: string): string =>
    `<?xml version="1.0" encoding="UTF-8"?>\n<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">\n  <revision>1</revision>\n  <tags>\n    <content>${parts.codename}</content>\n  </tags>\n${lists}</repomd>\n`;
  const rest = (): string => data('filelists', parts.filelists) + data('other', parts.other);
  const whole = (primary: string): string => repomd(data('primary', primary) + rest());
  const place = (text: string): string => `<location href="packages/${text}"/>`;
  const [goodPlace, evilPlace] = [place(parts.goodName), place(parts.evilName)];
  const stanza = (text: string): string => /<package [\s\S]*<\/package>/.exec(text)?.[0] as string;
  switch (Math.floor(random.next() * 8)) {
    case 0: {
      // two lists of packages
      const type = random.one([
        'primary',
        'primary_zck',
        'primary_db',
        'Primary',
        'primary ',
        'updateinfo',
        'filelists-ext',
        'modules',
      ]);
      const lists = [
        data('primary', parts.primary),
        data('primary', evilPrimary).replace('type="primary"', `type="${type}"`),
      ];
      return {
        kind: 'two lists',
        repomd: repomd((random.next() < 0.5 ? lists : lists.reverse()).join('') + rest()),
        files,
      };
    }
    case 1: {
      // a place twice, or elsewhere
      const base = random.one(['', 'xml:base="." ', 'xml:base="packages/.." ', 'x="y" ']);
      const text = parts.primary.replace(
        goodPlace,
        random.one([
          goodPlace + evilPlace,
          evilPlace + goodPlace,
          evilPlace.replace('href', `${base}href`),
          goodPlace.replace('href', `${base}href`),
          evilPlace.replace('packages/', 'packages/../packages/'),
        ]),
      );
      return {
        kind: 'places',
        repomd: whole(
          random.next() < 0.5
            ? text
            : text
                .replaceAll(sha256(parts.good), sha256(parts.evil))
                .replace(`package="${parts.good.length}"`, `package="${parts.evil.length}"`)
                .replace(goodPlace, `<!-- ${goodPlace} -->${evilPlace}`),
        ),
        files,
      };
    }
    case 2: {
      // a package twice
      const both =
        random.next() < 0.5
          ? [stanza(parts.primary), stanza(evilPrimary)]
          : [stanza(evilPrimary), stanza(parts.primary)];
      return {
        kind: 'package twice',
        repomd: whole(
          parts.primary
            .replace(stanza(parts.primary), both.join(random.one(['', '\n', '<x/>'])))
            .replace('packages="1"', random.one(['packages="1"', 'packages="2"'])),
        ),
        files,
      };
    }
    case 3: {
      // what readers of XML may skip
      const wrap = random.one<(text: string) => string>([
        (text) => `<!--${text}-->`,
        (text) => `<![CDATA[${text}]]>`,
        (text) => `<?x ${text}?>`,
        (text) => `<x:y xmlns:x="z">${text}</x:y>`,
        (text) => `<unknown>${text}</unknown>`,
      ]);
      const [shown, hidden] =
        random.next() < 0.5 ? [parts.primary, evilPrimary] : [evilPrimary, parts.primary];
      return {
        kind: 'hidden package',
        repomd: whole(shown.replace('<package ', `${wrap(stanza(hidden))}<package `)),
        files,
      };
    }
    case 4: {
      // gzip of two members, or with something behind it
      const packed = random.one([
        Buffer.concat([gzipSync(parts.primary), gzipSync(evilPrimary)]),
        Buffer.concat([gzipSync(evilPrimary), Buffer.from('x')]),
        Buffer.concat([gzipSync(''), gzipSync(evilPrimary)]),
      ]);
      return {
        kind: 'gzip members',
        repomd: repomd(
          data('primary', '', packed, random.one([parts.primary, evilPrimary, parts.primary + evilPrimary])) +
            rest(),
        ),
        files,
      };
    }
    case 5: {
      // a hash or size twice, or of another kind
      const checksum = /<checksum [^\n]*/.exec(evilPrimary)?.[0] as string;
      const good = /<checksum [^\n]*/.exec(parts.primary)?.[0] as string;
      const text = evilPrimary.replace(
        checksum,
        random.one([
          `${good}\n${checksum}`,
          `${checksum}\n${good}`,
          checksum.replace('pkgid="YES"', 'pkgid="NO"'),
          ` ${checksum.replace('>', '> ')}`,
          checksum.replace('type="sha256"', "type='sha256'"),
          checksum.replace('sha256', 'SHA256'),
        ]),
      );
      return { kind: 'hashes of a package', repomd: whole(text), files };
    }
    case 6: {
      // another text than the signed one
      const signed = whole(parts.primary);
      const other = whole(evilPrimary);
      return {
        kind: 'another repomd.xml',
        repomd: signed,
        served: random.one([
          other,
          `${signed}${other}`,
          signed.replace('</repomd>', `${data('primary', evilPrimary)}</repomd>`),
          signed.replace(/\n/g, '\r\n'),
          `${signed} `,
          signed.replace('<repomd', '<!-- x --><repomd'),
        ]),
        files,
      };
    }
    default: {
      // harmless to a client: it must go on taking the announced package
      const text = random.one([
        parts.primary,
        parts.primary.replace('<summary>x', '<summary>y'),
        parts.primary.replace('<url>', '<url>https://x.example/'),
      ]);
      const lists = [data('primary', text), data('filelists', parts.filelists), data('other', parts.other)];
      return {
        kind: 'as the farm writes',
        repomd: repomd((random.next() < 0.5 ? lists : lists.reverse()).join('')),
        files,
      };
    }
  }
}
