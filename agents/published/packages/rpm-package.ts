// SPDX-License-Identifier: GPL-2.0-or-later
// An .rpm read once from front to back: who it says it is, the bytes that are signed, its signatures, and
// whether its payload is the one that the signed header names.
import { createHash } from 'node:crypto';
import {
  headerBytes,
  introBytes,
  isLead,
  leadBytes,
  padded,
  RpmHeader,
  rpmTags as tags,
} from './rpm-header.js';

const headLimitBytes = 256 * 1024 * 1024;

/**
 * In the signature header: over the header alone, the two old ones over header and payload, and rpm 6's list
 * of base64 texts.
 */
const signatureTags = { header: [267, 268], old: [1002, 1005], list: 278 };
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

/** Where the header ends, or how many bytes are needed to say; undefined for what is no package. */
function headEnd(head: Buffer): { needed: number } | { headerFrom: number; end: number } | undefined {
  if (head.length < leadBytes + introBytes) return { needed: leadBytes + introBytes };
  if (!isLead(head)) return undefined;
  const signature = headerBytes(head.subarray(leadBytes));
  if (signature === undefined) return undefined;
  const headerFrom = leadBytes + padded(signature);
  if (headerFrom > headLimitBytes) return undefined;
  if (head.length < headerFrom + introBytes) return { needed: headerFrom + introBytes };
  const header = headerBytes(head.subarray(headerFrom));
  if (header === undefined || headerFrom + header > headLimitBytes) return undefined;
  return head.length < headerFrom + header
    ? { needed: headerFrom + header }
    : { headerFrom, end: headerFrom + header };
}

function packageOf(head: Buffer, headerFrom: number, payload: string): RpmPackage | undefined {
  const signature = new RpmHeader(head.subarray(leadBytes));
  const bytes = head.subarray(headerFrom);
  const header = new RpmHeader(bytes);
  if (signature.isAmbiguous || header.isAmbiguous) return undefined;
  const signatures = [...signatureTags.header, ...signatureTags.old]
    .filter((tag) => signature.has(tag))
    .map((tag) => signature.binary(tag));
  signatures.push(...signature.strings(signatureTags.list).map((text) => Buffer.from(text, 'base64')));
  return {
    name: header.text(tags.name),
    epoch: String(header.number(tags.epoch) ?? 0),
    version: header.text(tags.version),
    release: header.text(tags.release),
    arch: header.has(tags.sourceRpm) ? header.text(tags.arch) : 'src',
    header: Buffer.from(bytes),
    signatures: signatures.map((one) => Buffer.from(one)),
    payloadIsSigned:
      header.number(tags.payloadDigestAlgorithm) === sha256Algorithm &&
      header.text(tags.payloadDigest) === payload,
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
  return {
    size,
    sha256: whole.digest('hex'),
    found: head === undefined ? undefined : packageOf(head.bytes, head.headerFrom, payload.digest('hex')),
  };
}
