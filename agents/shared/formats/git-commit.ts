// SPDX-License-Identifier: GPL-2.0-or-later
// A raw git commit object, taken apart without git: parents, the signed bytes, the signature, the message.
import { createHash } from 'node:crypto';
import { Refusal } from '../refusals.js';
import { matches, objectIdPattern } from './names.js';

export interface GitCommit {
  /** SHA-1 object id */
  id: string;
  tree: string;
  parents: string[];
  /** the armored signature, newline at its end */
  signature: string;
  /** what the signature covers: the object without its gpgsig header */
  signedBytes: Buffer;
  message: string;
}

export function gitObjectId(type: 'commit' | 'tree' | 'blob' | 'tag', body: Uint8Array): string {
  return createHash('sha1').update(`${type} ${body.length}\0`).update(body).digest('hex');
}

/**
 * @param body the object's bytes without the "commit <size>" header
 * @throws Refusal BAD_COMMIT for anything but: tree, parents, author, committer, gpgsig (once), empty line,
 * UTF-8 message.
 */
export function readGitCommit(body: Buffer): GitCommit {
  const bad = (why: string): Refusal => new Refusal('BAD_COMMIT', why);
  const text = body.toString('utf8');
  if (!Buffer.from(text, 'utf8').equals(body)) throw bad('the commit is not UTF-8');
  if (text.includes('\0')) throw bad('the commit holds a NUL');
  const end = text.indexOf('\n\n');
  if (end < 0) throw bad('the commit has no message');
  const lines = text.slice(0, end).split('\n');
  const take = (name: string): string | undefined => {
    if (!lines[0]?.startsWith(`${name} `)) return undefined;
    return (lines.shift() as string).slice(name.length + 1);
  };
  const tree = take('tree');
  if (!matches(objectIdPattern, tree)) throw bad('the commit has no tree');
  const parents: string[] = [];
  for (let parent = take('parent'); parent !== undefined; parent = take('parent')) {
    if (!matches(objectIdPattern, parent)) throw bad('a parent is not an object id');
    parents.push(parent);
  }
  const author = take('author');
  const committer = take('committer');
  if (author === undefined || committer === undefined) throw bad('the commit has no author or committer');
  const firstOfSignature = take('gpgsig');
  if (firstOfSignature === undefined) throw new Refusal('NOT_SIGNED', 'the commit carries no signature');
  const signatureLines = [firstOfSignature];
  while (lines[0]?.startsWith(' ')) signatureLines.push((lines.shift() as string).slice(1));
  if (lines.length > 0) throw bad(`unexpected header ${lines[0]?.split(' ')[0] ?? ''}`);
  const head = [
    `tree ${tree}`,
    ...parents.map((p) => `parent ${p}`),
    `author ${author}`,
    `committer ${committer}`,
  ].join('\n');
  return {
    id: gitObjectId('commit', body),
    tree,
    parents,
    signature: `${signatureLines.join('\n')}\n`,
    signedBytes: Buffer.from(`${head}${text.slice(end)}`),
    message: text.slice(end + 2),
  };
}
