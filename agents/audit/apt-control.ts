// SPDX-License-Identifier: GPL-2.0-or-later
// deb822 (deb822(5)) and the hash lists of Release and Sources, as apt reads them. Pure.

/** Field name in lower case → value; continuation lines joined with newlines. */
export type Stanza = Map<string, string>;

/** No field's name, and there where a field stands twice: which of the two counts, each reader decides for itself. */
const repeated = ' repeated';
export const isAmbiguous = (stanza: Stanza): boolean => stanza.has(repeated);

export function readStanzas(text: string): Stanza[] {
  const stanzas: Stanza[] = [];
  let current: Stanza | undefined;
  let field: string | undefined;
  for (const line of text.split('\n')) {
    if (/^[ \t]*$/.test(line)) {
      current = field = undefined;
    } else if (/^[ \t]/.test(line)) {
      if (current !== undefined && field !== undefined) current.set(field, `${current.get(field) ?? ''}\n${line.trim()}`);
    } else if (!line.startsWith('#')) {
      const colon = line.indexOf(':');
      if (colon < 1) continue;
      if (current === undefined) stanzas.push(current = new Map());
      field = line.slice(0, colon).toLowerCase();
      if (current.has(field)) current.set(repeated, field);
      current.set(field, line.slice(colon + 1).trim());
    }
  }
  return stanzas;
}

export interface ListedFile {
  path: string;
  size: number;
  sha256: string;
}

/** Lines of "<sha256> <size> <path>". undefined if one of them is something else. */
export function readHashList(value: string | undefined): ListedFile[] | undefined {
  const files: ListedFile[] = [];
  for (const line of (value ?? '').split('\n')) {
    if (line === '') continue;
    const [, sha256, size, path] = /^([0-9a-f]{64})\s+([0-9]{1,15})\s+(\S+)$/.exec(line) ?? [];
    if (sha256 === undefined || size === undefined || path === undefined) return undefined;
    files.push({ path, size: Number(size), sha256 });
  }
  return files;
}

/** The pool files that a Packages or Sources index names, relative to the repository. undefined if a stanza cannot be read. */
export function filesOfIndex(kind: 'Packages' | 'Sources', text: string): ListedFile[] | undefined {
  const files: ListedFile[] = [];
  for (const stanza of readStanzas(text)) {
    if (isAmbiguous(stanza)) return undefined;
    if (kind === 'Packages') {
      const one = readHashList(`${stanza.get('sha256') ?? ''} ${stanza.get('size') ?? ''} ${stanza.get('filename') ?? ''}`);
      if (one === undefined) return undefined;
      files.push(...one);
    } else {
      const folder = stanza.get('directory');
      const listed = readHashList(stanza.get('checksums-sha256'));
      if (folder === undefined || listed === undefined || listed.length === 0) return undefined;
      files.push(...listed.map((file) => ({ ...file, path: `${folder}/${file.path}` })));
    }
  }
  return files;
}

export interface ClearSigned {
  /** dash-escapes undone, lines as they stand, without the newline before the signature */
  text: string;
}

/** One clear-signed message and nothing before or after it (RFC 9580, section 7). undefined for anything else. */
export function readClearSigned(message: string): ClearSigned | undefined {
  const found = /^-----BEGIN PGP SIGNED MESSAGE-----\r?\n(?:Hash: [A-Za-z0-9, -]+\r?\n)*\r?\n([\s\S]*)\n-----BEGIN PGP SIGNATURE-----\r?\n[A-Za-z0-9+/=:. \r\n()-]*\n-----END PGP SIGNATURE-----\r?\n?$/.exec(message);
  if (found === null) return undefined;
  const lines = (found[1] as string).split('\n');
  if (lines.some((line) => line.startsWith('-') && !line.startsWith('- '))) return undefined;
  return { text: lines.map((line) => (line.startsWith('- ') ? line.slice(2) : line)).join('\n') };
}
