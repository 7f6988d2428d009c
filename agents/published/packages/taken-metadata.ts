// SPDX-License-Identifier: GPL-2.0-or-later
// Whether some bytes are a repository's metadata, as the least strict of its clients would see it. Pure.

/** What a client would take some bytes for. */
export interface Metadata {
  kind: 'apt' | 'dnf';
  /** what they say they are: Codename and Suite, or <content> */
  names: readonly string[];
  /** of a Release: its Valid-Until, as written; DNF's metadata have none */
  validUntil?: string;
}

/**
 * In any spelling that a client may accept: what is missed here could be served unseen, what is too much is
 * only listed.
 */
export function readMetadata(bytes: Buffer): Metadata | undefined {
  const text = bytes.toString('latin1');
  const all = (pattern: RegExp): string[] =>
    [...new Set([...text.matchAll(pattern)].map((found) => (found[1] ?? '').trim()))].slice(0, 10);
  if (/<(?:[\w.-]+:)?repomd[\s>]/.test(text))
    return { kind: 'dnf', names: all(/<(?:[\w.-]+:)?content(?:\s[^>]*)?>([^<]*)</g) };
  if (/^(?:MD5Sum|SHA1|SHA256|SHA512)[ \t]*:/im.test(text)) {
    const [validUntil] = all(/^Valid-Until[ \t]*:[ \t]*(.*)$/gim);
    return {
      kind: 'apt',
      names: all(/^(?:Codename|Suite)[ \t]*:[ \t]*(.*)$/gim),
      ...(validUntil === undefined ? {} : { validUntil }),
    };
  }
  return undefined;
}
