// SPDX-License-Identifier: GPL-2.0-or-later
// docs/formats.md, "Commit message of a publication". The signature on the commit covers this text, and so
// every SHA-256 in it.
import { Refusal } from '../refusals.js';
import { matches, publishedPathPattern, sha256Pattern } from './names.js';

export interface PublishedFile {
  path: string;
  /** bytes of the whole file as it stands in this commit */
  size: number;
  sha256: string;
}

export interface PublicationMessage {
  subject: string;
  /** every file added or appended to by the commit, sorted by path, bytewise */
  files: PublishedFile[];
  /** 1 in the root commit, then one more in each */
  seq: number;
}

/** Where an intent is published; the name is the SHA-256 of the document. `day` is YYYY-MM-DD. */
export function intentPath(sourceVm: string, day: string, sha256: string): string {
  return `intents/${sourceVm}/${day}/${sha256}.json`;
}

/**
 * Where a payload that has to be public (`isPublishedPayload`) lies: in the commit of its intent, whoever
 * else named the same bytes. `day` as the intent's.
 */
export function payloadPath(
  sourceVm: string,
  day: string,
  intentSha256: string,
  payloadSha256: string,
): string {
  return `payloads/${sourceVm}/${day}/${intentSha256}/${payloadSha256}`;
}

export function writePublicationMessage(message: PublicationMessage): string {
  const files = [...message.files].sort((a, b) => (a.path < b.path ? -1 : 1));
  return [
    message.subject,
    '',
    ...files.map((f) => `file ${f.path} ${f.size} sha256:${f.sha256}`),
    `seq: ${message.seq}`,
    '',
  ].join('\n');
}

/** @throws Refusal BAD_PUBLICATION: any other spelling than writePublicationMessage makes. */
export function readPublicationMessage(untrustedText: string): PublicationMessage {
  const bad = (why: string): Refusal => new Refusal('BAD_PUBLICATION', why);
  const lines = untrustedText.split('\n');
  const subject = lines[0] ?? '';
  if (!/^[\x20-\x7e]{1,200}$/.test(subject)) throw bad('the subject is not one printable line');
  if (lines[1] !== '' || lines.at(-1) !== '') throw bad('the message is not subject, empty line, lines');
  const seq = /^seq: ([1-9][0-9]{0,14})$/.exec(lines.at(-2) ?? '');
  if (seq === null || lines.length < 4) throw bad('the last line is not "seq: <n>"');
  const files = lines.slice(2, -2).map((line): PublishedFile => {
    const [, path, size, sha256] = /^file (\S+) (0|[1-9][0-9]{0,14}) sha256:(\S+)$/.exec(line) ?? [];
    if (!matches(publishedPathPattern, path) || !matches(sha256Pattern, sha256))
      throw bad(`not a file line: ${line}`);
    return { path, size: Number(size), sha256 };
  });
  for (let i = 1; i < files.length; i++) {
    if ((files[i - 1] as PublishedFile).path >= (files[i] as PublishedFile).path)
      throw bad('the file lines are not sorted, or one path is there twice');
  }
  return { subject, files, seq: Number(seq[1]) };
}
