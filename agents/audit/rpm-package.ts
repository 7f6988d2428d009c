// SPDX-License-Identifier: GPL-2.0-or-later
// An .rpm read once from front to back: who it says it is, the bytes that are signed, its signatures, and whether its payload is the one that the
// signed header names. Format: rpm's docs/manual/format.md. Written anew here: the auditor does not share the eyes of who is audited.
import { createHash } from 'node:crypto';

const leadBytes = 96;
const introBytes = 16;
const entryBytes = 16;
const headLimitBytes = 256 * 1024 * 1024;

const tags = { name: 1000, version: 1001, release: 1002, epoch: 1003, arch: 1022, sourceRpm: 1044, payloadDigest: 5092, payloadDigestAlgorithm: 5093 };
/** In the signature header: over the header alone, the two old ones over header and payload, and rpm 6's list of base64 texts. */
const signatureTags = { header: [267, 268], old: [1002, 1005], list: 278 };
const types = { int32: 4, string: 6, binary: 7, strings: 8 };
const sha256Algorithm = 8;

export interface RpmPackage {
  name: string;
  /** '0' where there is none */
  epoch: string;
  version: string;
  release: string;
  arch: string;
  /** what a signature of the header is over */
  header: Buffer;
  signatures: Buffer[];
  /** the signed header fixes the payload, and it is this one */
  payloadIsSigned: boolean;
}

export interface ReadPackage {
  size: number;
  sha256: string;
  /** undefined where it is no package that can be read */
  found: RpmPackage | undefined;
}

interface Entry {
  type: number;
  offset: number;
  count: number;
}

/** Bytes of a header that begins here, with its intro; undefined where there is none. */
function headerBytes(intro: Buffer): number | undefined {
  return intro.readUInt32BE(0) === 0x8eade801 ? introBytes + intro.readUInt32BE(8) * entryBytes + intro.readUInt32BE(12) : undefined;
}

class Header {
  readonly #entries = new Map<number, Entry>();
  readonly #store: Buffer;
  /** a tag twice: which one counts, each reader decides for itself */
  readonly isAmbiguous: boolean = false;

  constructor(bytes: Buffer) {
    const count = bytes.readUInt32BE(8);
    for (let i = 0; i < count; i++) {
      const at = introBytes + i * entryBytes;
      const tag = bytes.readUInt32BE(at);
      if (this.#entries.has(tag)) this.isAmbiguous = true;
      this.#entries.set(tag, { type: bytes.readUInt32BE(at + 4), offset: bytes.readUInt32BE(at + 8), count: bytes.readUInt32BE(at + 12) });
    }
    this.#store = bytes.subarray(introBytes + count * entryBytes);
  }

  has(tag: number): boolean {
    return this.#entries.has(tag);
  }

  strings(tag: number): string[] {
    const entry = this.#entries.get(tag);
    if (entry === undefined || (entry.type !== types.string && entry.type !== types.strings) || entry.count > 1000) return [];
    const found: string[] = [];
    for (let at = entry.offset; found.length < entry.count;) {
      const end = this.#store.indexOf(0, at);
      if (end < 0) return [];
      found.push(this.#store.toString('latin1', at, end));
      at = end + 1;
    }
    return found;
  }

  text(tag: number): string {
    const found = this.strings(tag);
    return found.length === 1 ? found[0] as string : '';
  }

  number(tag: number): number | undefined {
    const entry = this.#entries.get(tag);
    return entry?.type === types.int32 && entry.count === 1 && entry.offset + 4 <= this.#store.length ? this.#store.readUInt32BE(entry.offset) : undefined;
  }

  binary(tag: number): Buffer {
    const entry = this.#entries.get(tag);
    return entry?.type === types.binary ? this.#store.subarray(entry.offset, entry.offset + entry.count) : Buffer.alloc(0);
  }
}

/** Where the header ends, or how many bytes are needed to say; undefined for what is no package. */
function headEnd(head: Buffer): { needed: number } | { headerFrom: number; end: number } | undefined {
  if (head.length < leadBytes + introBytes) return { needed: leadBytes + introBytes };
  if (head.readUInt32BE(0) !== 0xedabeedb) return undefined;
  const signature = headerBytes(head.subarray(leadBytes));
  if (signature === undefined) return undefined;
  const headerFrom = leadBytes + Math.ceil(signature / 8) * 8;
  if (headerFrom > headLimitBytes) return undefined;
  if (head.length < headerFrom + introBytes) return { needed: headerFrom + introBytes };
  const header = headerBytes(head.subarray(headerFrom));
  if (header === undefined || headerFrom + header > headLimitBytes) return undefined;
  return head.length < headerFrom + header ? { needed: headerFrom + header } : { headerFrom, end: headerFrom + header };
}

function packageOf(head: Buffer, headerFrom: number, payload: string): RpmPackage | undefined {
  const signature = new Header(head.subarray(leadBytes));
  const bytes = head.subarray(headerFrom);
  const header = new Header(bytes);
  if (signature.isAmbiguous || header.isAmbiguous) return undefined;
  const signatures = [...signatureTags.header, ...signatureTags.old].filter((tag) => signature.has(tag)).map((tag) => signature.binary(tag));
  signatures.push(...signature.strings(signatureTags.list).map((text) => Buffer.from(text, 'base64')));
  return {
    name: header.text(tags.name), epoch: String(header.number(tags.epoch) ?? 0), version: header.text(tags.version), release: header.text(tags.release),
    arch: header.has(tags.sourceRpm) ? header.text(tags.arch) : 'src', header: Buffer.from(bytes), signatures: signatures.map((one) => Buffer.from(one)),
    payloadIsSigned: header.number(tags.payloadDigestAlgorithm) === sha256Algorithm && header.text(tags.payloadDigest) === payload,
  };
}

export async function readPackage(chunks: AsyncIterable<Uint8Array>): Promise<ReadPackage> {
  const whole = createHash('sha256');
  const payload = createHash('sha256');
  let kept: Buffer[] = [];
  let held = 0;
  let needed: number | undefined = leadBytes + introBytes;
  let head: { bytes: Buffer; headerFrom: number } | undefined;
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    whole.update(chunk);
    if (head !== undefined) payload.update(chunk);
    if (head !== undefined || needed === undefined) continue;
    kept.push(Buffer.from(chunk));
    held += chunk.length;
    while (needed !== undefined && head === undefined && held >= needed) {
      const bytes: Buffer = Buffer.concat(kept);
      kept = [bytes];
      const end = headEnd(bytes);
      needed = end !== undefined && 'needed' in end ? end.needed : undefined;
      if (end === undefined || 'needed' in end) continue;
      head = { bytes: bytes.subarray(0, end.end), headerFrom: end.headerFrom };
      payload.update(bytes.subarray(end.end));
      kept = [];
    }
    if (needed === undefined) kept = [];
  }
  return { size, sha256: whole.digest('hex'), found: head === undefined ? undefined : packageOf(head.bytes, head.headerFrom, payload.digest('hex')) };
}
