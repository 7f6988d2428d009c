// SPDX-License-Identifier: GPL-2.0-or-later
// The parts of an .rpm before its payload: lead, signature header, header; numbers are big-endian. Format:
// rpm's docs/manual/format.md. Pure.

export const leadBytes = 96;
export const introBytes = 16;
const entryBytes = 16;
const leadMagic = 0xedabeedb;
const headerMagic = 0x8eade801;

export const rpmTags = {
  name: 1000,
  version: 1001,
  release: 1002,
  epoch: 1003,
  arch: 1022,
  sourceRpm: 1044,
  sourcePackage: 1106,
  payloadDigest: 5092,
  payloadDigestAlgorithm: 5093,
};
const types = { int32: 4, string: 6, binary: 7, strings: 8 };

export const isLead = (bytes: Buffer): boolean => bytes.readUInt32BE(0) === leadMagic;
/** The signature header ends at a multiple of 8 bytes. */
export const padded = (bytes: number): number => Math.ceil(bytes / 8) * 8;

interface Entry {
  type: number;
  offset: number;
  count: number;
}

/** Bytes of a header whose intro this is, with the intro; undefined where there is none. */
export function headerBytes(intro: Buffer): number | undefined {
  return intro.readUInt32BE(0) === headerMagic
    ? introBytes + intro.readUInt32BE(8) * entryBytes + intro.readUInt32BE(12)
    : undefined;
}

/** All that is read of a header is what its index says of a tag; nothing is repaired. */
export class RpmHeader {
  readonly #entries = new Map<number, Entry>();
  readonly #store: Buffer;
  /** a tag twice: which one counts, each reader decides for itself */
  readonly isAmbiguous: boolean = false;

  /** @param bytes as many as headerBytes says @throws RangeError where they are fewer */
  constructor(bytes: Buffer) {
    const count = bytes.readUInt32BE(8);
    for (let i = 0; i < count; i++) {
      const at = introBytes + i * entryBytes;
      const tag = bytes.readUInt32BE(at);
      if (this.#entries.has(tag)) this.isAmbiguous = true;
      this.#entries.set(tag, {
        type: bytes.readUInt32BE(at + 4),
        offset: bytes.readUInt32BE(at + 8),
        count: bytes.readUInt32BE(at + 12),
      });
    }
    this.#store = bytes.subarray(introBytes + count * entryBytes);
  }

  has(tag: number): boolean {
    return this.#entries.has(tag);
  }

  strings(tag: number): string[] {
    const entry = this.#entries.get(tag);
    if (
      entry === undefined ||
      (entry.type !== types.string && entry.type !== types.strings) ||
      entry.count > 1000
    )
      return [];
    const found: string[] = [];
    for (let at = entry.offset; found.length < entry.count;) {
      const end = this.#store.indexOf(0, at);
      if (end < 0) return [];
      found.push(this.#store.toString('latin1', at, end));
      at = end + 1;
    }
    return found;
  }

  /** '' for anything but one text */
  text(tag: number): string {
    const found = this.strings(tag);
    return found.length === 1 ? (found[0] as string) : '';
  }

  number(tag: number): number | undefined {
    const entry = this.#entries.get(tag);
    return entry?.type === types.int32 && entry.count === 1 && entry.offset + 4 <= this.#store.length
      ? this.#store.readUInt32BE(entry.offset)
      : undefined;
  }

  binary(tag: number): Buffer {
    const entry = this.#entries.get(tag);
    return entry?.type === types.binary
      ? this.#store.subarray(entry.offset, entry.offset + entry.count)
      : Buffer.alloc(0);
  }
}
