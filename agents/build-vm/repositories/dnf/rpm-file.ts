// SPDX-License-Identifier: GPL-2.0-or-later
// The parts of an .rpm file that we read ourselves: where the signature header ends, and who the package says it is. The format is that of
// rpm's docs/manual/format.md: lead, signature header, header, payload; numbers are big-endian. What made the file was a build: untrusted.
import { createHash } from 'node:crypto';
import { closeSync, readSync } from 'node:fs';
import { fileNamePattern, matches } from '../../../shared/formats/names.js';
import { Refusal } from '../../refusals.js';
import { openPlainFile } from '../../../shared/files/frozen-files.js';
import { rpmFileName, type SpecPackage } from '../../../engines/rpm/spec-file.js';

const leadBytes = 96;
const introBytes = 16;
const entryBytes = 16;
const signatureLimitBytes = 16 * 1024 * 1024;
const headerLimitBytes = 256 * 1024 * 1024;
const chunkBytes = 1024 * 1024;

const tags = { name: 1000, version: 1001, release: 1002, epoch: 1003, arch: 1022, sourceRpm: 1044, sourcePackage: 1106 };
/** In the signature header: over the header alone (DSA and EdDSA share one), and the two old ones over header and payload. */
const signatureTags = [267, 268, 1002, 1005];
const stringType = 6;
const int32Type = 4;

export interface RpmFile extends SpecPackage {
  /** file name of the package that it was built from; '' for a source package */
  sourceRpm: string;
  isSource: boolean;
  /** tags of the signatures in the signature header */
  signatures: number[];
  /** SHA-256 of the lead, and of everything after the signature header: what a signature must not change */
  unsigned: string;
}

interface Header {
  entries: Map<number, { type: number; offset: number; count: number }>;
  store: Buffer;
  /** from its magic to its last byte */
  bytes: number;
}

class Reader {
  constructor(readonly fd: number, readonly name: string) {}

  at(position: number, bytes: number): Buffer {
    const buffer = Buffer.alloc(bytes);
    for (let done = 0; done < bytes;) {
      const got = readSync(this.fd, buffer, done, bytes - done, position + done);
      if (got === 0) throw new Refusal('BAD_ARTIFACT', `${this.name} is cut`);
      done += got;
    }
    return buffer;
  }

  header(position: number, limitBytes: number): Header {
    const intro = this.at(position, introBytes);
    const count = intro.readUInt32BE(8);
    const size = intro.readUInt32BE(12);
    const bytes = introBytes + count * entryBytes + size;
    if (intro.readUInt32BE(0) !== 0x8eade801 || bytes > limitBytes) throw new Refusal('BAD_ARTIFACT', `${this.name} has a damaged header`);
    const index = this.at(position + introBytes, count * entryBytes);
    const entries: Header['entries'] = new Map();
    for (let i = 0; i < count; i++) {
      const tag = index.readUInt32BE(i * entryBytes);
      if (entries.has(tag)) throw new Refusal('BAD_ARTIFACT', `${this.name} has the tag ${tag} twice`);
      entries.set(tag, { type: index.readUInt32BE(i * entryBytes + 4), offset: index.readUInt32BE(i * entryBytes + 8), count: index.readUInt32BE(i * entryBytes + 12) });
    }
    return { entries, store: this.at(position + introBytes + count * entryBytes, size), bytes };
  }
}

function text({ entries, store }: Header, tag: number): string | undefined {
  const entry = entries.get(tag);
  if (entry === undefined) return undefined;
  const end = store.indexOf(0, entry.offset);
  if (entry.type !== stringType || entry.count !== 1 || entry.offset >= store.length || end < 0) return '\0';
  return store.toString('latin1', entry.offset, end);
}

function number({ entries, store }: Header, tag: number): string {
  const entry = entries.get(tag);
  if (entry === undefined) return '';
  return entry.type === int32Type && entry.count === 1 && entry.offset + 4 <= store.length ? String(store.readUInt32BE(entry.offset)) : '\0';
}

/** @throws Refusal BAD_ARTIFACT, also where the header names another package than the file name */
export function readRpmFile(folder: string, untrustedName: string): RpmFile {
  const { fd, size } = openPlainFile(folder, untrustedName, Infinity);
  try {
    const reader = new Reader(fd, untrustedName);
    const lead = reader.at(0, leadBytes);
    if (lead.readUInt32BE(0) !== 0xedabeedb) throw new Refusal('BAD_ARTIFACT', `${untrustedName} is no rpm`);
    const signature = reader.header(leadBytes, signatureLimitBytes);
    const from = leadBytes + Math.ceil(signature.bytes / 8) * 8;
    const header = reader.header(from, headerLimitBytes);
    const isSource = header.entries.has(tags.sourcePackage) && !header.entries.has(tags.sourceRpm);
    const found = {
      name: text(header, tags.name) ?? '', epoch: number(header, tags.epoch), version: text(header, tags.version) ?? '', release: text(header, tags.release) ?? '',
      arch: isSource ? 'src' : text(header, tags.arch) ?? '', sourceRpm: isSource ? '' : text(header, tags.sourceRpm) ?? '', isSource,
    };
    if (rpmFileName(found) !== untrustedName || found.epoch === '\0' || (!isSource && !matches(fileNamePattern, found.sourceRpm))) throw new Refusal('BAD_ARTIFACT', `${untrustedName} is not the package that its header names`);
    const hash = createHash('sha256').update(lead);
    const chunk = Buffer.alloc(chunkBytes);
    for (let at = from; at < size;) {
      const got = readSync(fd, chunk, 0, chunk.length, at);
      if (got === 0) break;
      hash.update(chunk.subarray(0, got));
      at += got;
    }
    return { ...found, signatures: signatureTags.filter((tag) => signature.entries.has(tag)), unsigned: hash.digest('hex') };
  } finally {
    closeSync(fd);
  }
}
