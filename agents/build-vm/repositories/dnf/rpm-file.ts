// SPDX-License-Identifier: GPL-2.0-or-later
// The parts of an .rpm file that we read ourselves: where the signature header ends, and who the package says
// it is. What made the file was a build: untrusted.
import { createHash } from 'node:crypto';
import { closeSync, readSync } from 'node:fs';
import { fileNamePattern, matches } from '../../../shared/formats/names.js';
import { Refusal } from '../../refusals.js';
import { openPlainFile } from '../../../shared/files/frozen-files.js';
import {
  headerBytes,
  introBytes,
  isLead,
  leadBytes,
  padded,
  RpmHeader,
  rpmTags as tags,
} from '../../../published/packages/rpm-header.js';
import { rpmFileName, type SpecPackage } from '../../../engines/rpm/spec-file.js';

const signatureLimitBytes = 16 * 1024 * 1024;
const headerLimitBytes = 256 * 1024 * 1024;
const chunkBytes = 1024 * 1024;

/**
 * In the signature header: over the header alone (DSA and EdDSA share one), and the two old ones over header
 * and payload.
 */
const signatureTags = [267, 268, 1002, 1005];

export interface RpmFile extends SpecPackage {
  /** file name of the package that it was built from; '' for a source package */
  sourceRpm: string;
  isSource: boolean;
  /** tags of the signatures in the signature header */
  signatures: number[];
  /** SHA-256 of the lead, and of everything after the signature header: what a signature must not change */
  unsigned: string;
}

class Reader {
  constructor(
    readonly fd: number,
    readonly name: string,
  ) {}

  at(position: number, bytes: number): Buffer {
    const buffer = Buffer.alloc(bytes);
    for (let done = 0; done < bytes;) {
      const got = readSync(this.fd, buffer, done, bytes - done, position + done);
      if (got === 0) throw new Refusal('BAD_ARTIFACT', `${this.name} is cut`);
      done += got;
    }
    return buffer;
  }

  header(position: number, limitBytes: number): { header: RpmHeader; bytes: number } {
    const bytes = headerBytes(this.at(position, introBytes));
    if (bytes === undefined || bytes > limitBytes)
      throw new Refusal('BAD_ARTIFACT', `${this.name} has a damaged header`);
    const header = new RpmHeader(this.at(position, bytes));
    if (header.isAmbiguous) throw new Refusal('BAD_ARTIFACT', `${this.name} has a tag twice`);
    return { header, bytes };
  }
}

/** @throws Refusal BAD_ARTIFACT, also where the header names another package than the file name */
export function readRpmFile(folder: string, untrustedName: string): RpmFile {
  const { fd, size } = openPlainFile(folder, untrustedName, Infinity);
  try {
    const reader = new Reader(fd, untrustedName);
    const lead = reader.at(0, leadBytes);
    if (!isLead(lead)) throw new Refusal('BAD_ARTIFACT', `${untrustedName} is no rpm`);
    const signature = reader.header(leadBytes, signatureLimitBytes);
    const from = leadBytes + padded(signature.bytes);
    const { header } = reader.header(from, headerLimitBytes);
    const isSource = header.has(tags.sourcePackage) && !header.has(tags.sourceRpm);
    const [name, version, release] = [tags.name, tags.version, tags.release].map((tag) =>
      header.text(tag),
    ) as [string, string, string];
    const epoch = header.number(tags.epoch);
    const found = {
      name,
      version,
      release,
      epoch: epoch === undefined ? '' : String(epoch),
      arch: isSource ? 'src' : header.text(tags.arch),
      sourceRpm: isSource ? '' : header.text(tags.sourceRpm),
      isSource,
    };
    const isWhole =
      [name, version, release, found.arch].every((one) => one !== '') &&
      (epoch !== undefined || !header.has(tags.epoch)) &&
      (isSource || matches(fileNamePattern, found.sourceRpm));
    if (!isWhole || rpmFileName(found) !== untrustedName)
      throw new Refusal('BAD_ARTIFACT', `${untrustedName} is not the package that its header names`);
    const hash = createHash('sha256').update(lead);
    const chunk = Buffer.alloc(chunkBytes);
    for (let at = from; at < size;) {
      const got = readSync(fd, chunk, 0, chunk.length, at);
      if (got === 0) break;
      hash.update(chunk.subarray(0, got));
      at += got;
    }
    return {
      ...found,
      signatures: signatureTags.filter((tag) => signature.header.has(tag)),
      unsigned: hash.digest('hex'),
    };
  } finally {
    closeSync(fd);
  }
}
