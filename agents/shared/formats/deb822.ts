// SPDX-License-Identifier: GPL-2.0-or-later
// deb822 (deb822(5)) and clear-signed messages, as this farm's tools write them. Each reader of other
// spellings (a blank before the colon, a line of blanks, a comment, a field twice) has its own opinion of
// them, so they are not read at all. Pure.

/**
 * Field name, as written → value; continuation lines follow it after a newline each, without their first
 * blank.
 */
export type Stanza = ReadonlyMap<string, string>;

const fieldPattern = /^([A-Za-z][A-Za-z0-9-]{0,100}):(?: (\S(?:.*\S)?)?)?$/;
const controls = /[\0-\x08\x0b-\x1f\x7f]/;

/**
 * undefined for any other spelling than: fields, one empty line between two stanzas, perhaps one at the end.
 */
export function readStanzas(text: string): Stanza[] | undefined {
  if (controls.test(text) || text.includes('\ufffd')) return undefined;
  const stanzas: Map<string, string>[] = [];
  let current: Map<string, string> | undefined;
  let names = new Set<string>();
  let field: string | undefined;
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  for (const line of lines) {
    if (line === '') {
      if (current === undefined) return undefined;
      current = field = undefined;
    } else if (line.startsWith(' ') || line.startsWith('\t')) {
      if (current === undefined || field === undefined || line.trim() === '') return undefined;
      current.set(field, `${current.get(field) as string}\n${line.slice(1)}`);
    } else {
      const [, name, value] = fieldPattern.exec(line) ?? [];
      if (name === undefined) return undefined;
      if (current === undefined) {
        stanzas.push((current = new Map<string, string>()));
        names = new Set();
      }
      if (names.has(name.toLowerCase())) return undefined;
      names.add(name.toLowerCase());
      current.set((field = name), value ?? '');
    }
  }
  return stanzas;
}

export interface ClearSigned {
  /** dash-escapes undone, lines as they stand, without the newline before the signature */
  text: string;
}

const begin = '-----BEGIN PGP SIGNED MESSAGE-----\n';
const signature = '\n-----BEGIN PGP SIGNATURE-----\n';
const hashHeader = /^Hash: SHA(?:256|384|512)\n\n/;
/** No armor headers: gpg writes none, and everything before the empty line is one. */
const armor =
  /^\n(?:[A-Za-z0-9+/]{1,76}={0,2}\n){1,200}(?:=[A-Za-z0-9+/]{4}\n)?-----END PGP SIGNATURE-----\n$/;
const armorLimit = 16_384;

/**
 * One clear-signed message as gpg writes it, and nothing before or after it (RFC 9580, section 7). undefined
 * for anything else; linear in its length.
 */
export function readClearSigned(message: string): ClearSigned | undefined {
  const header = hashHeader.exec(message.slice(begin.length, begin.length + 16));
  if (!message.startsWith(begin) || header === null) return undefined;
  const from = begin.length + header[0].length;
  const end = message.indexOf(signature, from - 1);
  if (end < from || message.length - end > armorLimit || !armor.test(message.slice(end + signature.length)))
    return undefined;
  const lines = message.slice(from, end).split('\n');
  if (lines.some((line) => (line.startsWith('-') && !line.startsWith('- ')) || line.includes('\r')))
    return undefined;
  return { text: lines.map((line) => (line.startsWith('- ') ? line.slice(2) : line)).join('\n') };
}
