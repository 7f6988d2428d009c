// SPDX-License-Identifier: GPL-2.0-or-later
// What each commit changed, against what its signed message says of it, and against what stood there before: files only grow.
import { createHash } from 'node:crypto';
import { fingerprintPattern, logPathPattern, matches, publishedPathPattern, vmNamePattern } from '../shared/formats/names.js';
import type { PublishedFile } from '../shared/formats/publication.js';
import { printable } from '../shared/refusal.js';
import type { Findings } from './findings.js';
import type { PublishedCommit } from './history.js';
import type { Change, PublishedGit } from './published-git.js';
import { hashUpTo } from './prefix-hash.js';
import { hashUnpacked } from './unpacked.js';

export interface FileVersion {
  size: number;
  sha256: string;
  blob: string;
}

/** What is new in one commit, for those who read the documents; in order of paths. */
export interface NewBytes {
  path: string;
  /** the bytes after the earlier version; of a new file, all of them. Empty for logs, which nobody reads here. */
  bytes: Buffer;
  isNew: boolean;
}

export type PathKind = 'log' | 'intent' | 'payload' | 'journal' | 'journal-heads' | 'key';

/** The only files that a logs repository may hold. */
export function pathKind(path: string): PathKind | undefined {
  const isPlain: boolean = matches(publishedPathPattern, path);
  const isLog: boolean = matches(logPathPattern, path);
  if (!isPlain) return undefined;
  if (isLog) return 'log';
  const [top, second = '', third = '', fourth = '', ...more] = path.split('/');
  const [fifth = ''] = more;
  if (top === 'payloads' && more.length === 1 && matches(vmNamePattern, second) && /^\d{4}-\d\d-\d\d$/.test(third) && [fourth, fifth].every((hash) => /^[0-9a-f]{64}$/.test(hash))) return 'payload';
  if (more.length > 0) return undefined;
  if (top === 'intents' && matches(vmNamePattern, second) && /^\d{4}-\d\d-\d\d$/.test(third) && /^[0-9a-f]{64}\.json$/.test(fourth)) return 'intent';
  if (top === 'journal' && fourth === '' && matches(vmNamePattern, second) && /^\d{8,12}\.jsonl$/.test(third)) return 'journal';
  if (top === 'journal' && fourth === '' && matches(vmNamePattern, second) && /^heads-\d{8,12}\.jsonl$/.test(third)) return 'journal-heads';
  if (top === 'keys' && third === '' && second.endsWith('.asc') && matches(fingerprintPattern, second.slice(0, -4))) return 'key';
  return undefined;
}

/** Documents are read whole; a forged one of any size must not fill the memory. */
const documentLimitBytes = 4 * 1024 * 1024;

export class PublishedContent {
  readonly files = new Map<string, FileVersion>();
  readonly #git: PublishedGit;
  readonly #findings: Findings;

  constructor(git: PublishedGit, findings: Findings) {
    this.#git = git;
    this.#findings = findings;
  }

  /** Whether this log has been published, plain or packed. */
  hasLog(path: string): boolean {
    return this.files.has(path) || this.files.has(`${path}.xz`);
  }

  /** Judges the commit and takes over its files. Returns the new bytes of intents, payloads and journals. */
  async apply(commit: PublishedCommit, changes: readonly Change[]): Promise<NewBytes[]> {
    const findings = this.#findings;
    const lines = new Map((commit.message?.files ?? []).map((file) => [file.path, file]));
    const added: NewBytes[] = [];
    const changed = new Set<string>();
    for (const change of [...changes].sort((a, b) => (a.path < b.path ? -1 : 1))) {
      const path = printable(change.path);
      if (change.status === 'D') {
        await this.#removed(commit, change, changes);
        continue;
      }
      changed.add(change.path);
      findings.looked('file-lines');
      if (pathKind(change.path) === undefined) findings.wrong('file-lines', { code: 'BAD_PATH', commit: commit.id, path, expected: 'a log, intent, payload, journal or key', found: 'another file' });
      if (change.mode !== '100644') {
        findings.wrong('file-lines', { code: 'BAD_FILE_MODE', commit: commit.id, path, expected: '100644', found: change.mode });
        continue;
      }
      const news = await this.#read(commit, change, lines.get(change.path));
      if (news !== undefined) added.push(news);
    }
    for (const line of lines.values()) {
      if (changed.has(line.path)) continue;
      // A line may repeat what stands there already; it may not tell of what does not.
      const there = this.files.get(line.path);
      if (there?.size === line.size && there.sha256 === line.sha256) continue;
      findings.wrong('file-lines', {
        code: 'LINE_WITHOUT_CHANGE', commit: commit.id, path: line.path, expected: `${line.size} bytes sha256:${line.sha256}`,
        found: there === undefined ? 'no such file' : `unchanged, ${there.size} bytes sha256:${there.sha256}`,
      });
    }
    return added;
  }

  async #read(commit: PublishedCommit, change: Change, line: PublishedFile | undefined): Promise<NewBytes | undefined> {
    const findings = this.#findings;
    const path = printable(change.path);
    const before = this.files.get(change.path);
    const kind = pathKind(change.path);
    const isDocument = kind !== undefined && kind !== 'log' && kind !== 'key';
    const hash = createHash('sha256');
    let prefix: string | undefined = before === undefined || before.size > 0 ? undefined : hash.copy().digest('hex');
    let size = 0;
    let kept = 0;
    const news: Buffer[] = [];
    await this.#git.read(change.after, (chunk) => {
      const end = (before?.size ?? 0) - size;
      prefix = hashUpTo(hash, chunk, end) ?? prefix;
      if (isDocument && end < chunk.length && kept <= documentLimitBytes) {
        const part = Buffer.from(chunk.subarray(Math.max(0, end)));
        kept += part.length;
        news.push(part);
      }
      size += chunk.length;
    });
    const sha256 = hash.digest('hex');
    this.files.set(change.path, { size, sha256, blob: change.after });
    if (line === undefined) {
      findings.wrong('file-lines', { code: 'CHANGE_WITHOUT_LINE', commit: commit.id, path, expected: 'no change, or a line in the message', found: `${before === undefined ? 'added' : 'changed'}, ${size} bytes sha256:${sha256}` });
    } else if (line.size !== size) {
      findings.wrong('file-lines', { code: 'WRONG_SIZE', commit: commit.id, path, expected: `${line.size} bytes`, found: `${size} bytes` });
    } else if (line.sha256 !== sha256) {
      findings.wrong('file-lines', { code: 'WRONG_SHA256', commit: commit.id, path, expected: `sha256:${line.sha256}`, found: `sha256:${sha256}` });
    }
    findings.looked('files-grow');
    if (before !== undefined && prefix !== before.sha256 && !await this.#growsUnpacked(change.path, before, change.after)) {
      findings.wrong('files-grow', { code: 'FILE_REWRITTEN', commit: commit.id, path, expected: `the ${before.size} bytes sha256:${before.sha256}, then more`, found: `${size} bytes that do not begin with them` });
      return undefined;
    }
    return isDocument ? { path: change.path, bytes: Buffer.concat(news), isNew: before === undefined } : undefined;
  }

  /** A log may be packed anew, as long as what comes out of it has only grown. */
  async #growsUnpacked(path: string, before: FileVersion, after: string): Promise<boolean> {
    if (!path.endsWith('.xz')) return false;
    const old = await hashUnpacked(this.#git, before.blob);
    return old !== undefined && (await hashUnpacked(this.#git, after, old.size))?.prefix === old.sha256;
  }

  /** Nothing goes away, but a plain log may become its .xz in the same commit. */
  async #removed(commit: PublishedCommit, change: Change, changes: readonly Change[]): Promise<void> {
    const path = printable(change.path);
    const before = this.files.get(change.path);
    this.files.delete(change.path);
    this.#findings.looked('files-grow');
    const packed = changes.find((other) => other.path === `${change.path}.xz` && other.status === 'A');
    if (before === undefined || packed === undefined || pathKind(packed.path) !== 'log') {
      this.#findings.wrong('files-grow', { code: 'FILE_REMOVED', commit: commit.id, path, expected: `${before?.size ?? 0} bytes sha256:${before?.sha256 ?? ''}, or more`, found: 'removed' });
      return;
    }
    const unpacked = await hashUnpacked(this.#git, packed.after, before.size);
    if (unpacked === undefined) {
      this.#findings.wrong('files-grow', { code: 'BAD_XZ', commit: commit.id, path: packed.path, expected: 'xz data', found: 'xz cannot unpack it' });
    } else if (unpacked.prefix !== before.sha256) {
      this.#findings.wrong('files-grow', { code: 'FILE_REWRITTEN', commit: commit.id, path: packed.path, expected: `unpacked, the ${before.size} bytes sha256:${before.sha256}, then more`, found: `${unpacked.size} bytes that do not begin with them` });
    }
  }
}
