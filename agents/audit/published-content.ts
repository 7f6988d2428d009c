// SPDX-License-Identifier: GPL-2.0-or-later
// What each commit changed, against what its signed message says of it, and against what stood there before: files only grow.
import { createHash, hash as hashOnce } from 'node:crypto';
import { fingerprintPattern, logPathPattern, matches, publishedPathPattern, vmNamePattern } from '../shared/formats/names.js';
import type { PublishedFile } from '../shared/formats/publication.js';
import { printable } from '../shared/refusal.js';
import type { Findings } from './findings.js';
import { GrowingFiles } from './growing-file.js';
import type { PublishedCommit } from './history.js';
import { KeptFiles } from './kept-files.js';
import { LogLines, type LogPosition } from './log-lines.js';
import type { PublishedGit } from './published-git.js';
import { detached } from './one-text.js';
import { hashUpTo } from './prefix-hash.js';
import type { Change, TreeChanges } from './tree-walk.js';
import { unpack } from './unpacked.js';

export interface FileVersion {
  size: number;
  sha256: string;
  /** of a packed log: its object */
  packed: string | undefined;
  /** of a log: where its lines stand */
  log: LogPosition | undefined;
}

/** What is new in one commit, for those who read the documents; in order of paths. */
export interface NewBytes {
  path: string;
  kind: PathKind;
  /** of the whole version */
  sha256: string;
  /** the bytes after the earlier version; of a new file, all of them. Empty for logs, which nobody reads here. */
  bytes: Buffer;
  isNew: boolean;
}

interface HashedVersion {
  size: number;
  sha256: string;
  /** SHA-256 of the bytes up to where the version before ended */
  prefix: string | undefined;
}

export type PathKind = 'log' | 'intent' | 'payload' | 'journal' | 'journal-heads' | 'key';

let lastRealDay = '';

/** YYYY-MM-DD of a day that there is. */
export function isRealDay(text: string): boolean {
  if (text === lastRealDay) return true;
  const isReal = isDay(text);
  if (isReal) lastRealDay = text;
  return isReal;
}

function isDay(text: string): boolean {
  const time = /^\d{4}-\d\d-\d\d$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(text);
}

/** Of the path of a log: its name is a time that there is. */
function isRealTime(path: string): boolean {
  const [, day, hours, minutes, seconds] = /\/log_(\d{4}-\d\d-\d\d)_(\d\d)-(\d\d)-(\d\d)[^/]*$/.exec(path) ?? [];
  return isRealDay(day ?? '') && Number(hours) < 24 && Number(minutes) < 60 && Number(seconds) < 60;
}

/** The only files that a logs repository may hold. */
export function pathKind(path: string): PathKind | undefined {
  const isPlain: boolean = matches(publishedPathPattern, path);
  const isLog: boolean = matches(logPathPattern, path);
  if (!isPlain) return undefined;
  if (isLog) return isRealTime(path) ? 'log' : undefined;
  const [top, second = '', third = '', fourth = '', ...more] = path.split('/');
  const [fifth = ''] = more;
  if (top === 'payloads' && more.length === 1 && matches(vmNamePattern, second) && isRealDay(third) && [fourth, fifth].every((hash) => /^[0-9a-f]{64}$/.test(hash))) return 'payload';
  if (more.length > 0) return undefined;
  if (top === 'intents' && matches(vmNamePattern, second) && isRealDay(third) && /^[0-9a-f]{64}\.json$/.test(fourth)) return 'intent';
  if (top === 'journal' && fourth === '' && matches(vmNamePattern, second) && /^\d{8,12}\.jsonl$/.test(third)) return 'journal';
  if (top === 'journal' && fourth === '' && matches(vmNamePattern, second) && /^heads-\d{8,12}\.jsonl$/.test(third)) return 'journal-heads';
  if (top === 'keys' && third === '' && second.endsWith('.asc') && matches(fingerprintPattern, second.slice(0, -4))) return 'key';
  return undefined;
}

/** Documents are read whole; a forged one of any size must not fill the memory. */
const documentLimitBytes = 4 * 1024 * 1024;
/** A line's stamp may be later than its commit by so much: clocks are set. */
const clockStepMs = 3_600_000;

export class PublishedContent {
  readonly files = new KeptFiles();
  readonly #growing = new GrowingFiles();
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
  async apply(commit: PublishedCommit, { changes, bad }: TreeChanges, bodies: ReadonlyMap<string, Buffer>): Promise<NewBytes[]> {
    const findings = this.#findings;
    const lines = new Map((commit.message?.files ?? []).map((file) => [file.path, file]));
    const added: NewBytes[] = [];
    const changed = new Set<string>();
    for (const one of bad) findings.wrong('file-lines', { commit: commit.id, ...one });
    for (const { path, after } of changes) {
      if (after === undefined) {
        this.#removed(commit, path, changes);
        continue;
      }
      changed.add(path);
      findings.looked('file-lines');
      const kind = pathKind(path);
      if (kind === undefined) findings.wrong('file-lines', { code: 'BAD_PATH', commit: commit.id, path: printable(path), expected: 'a log, intent, payload, journal or key', found: 'another file' });
      const news = await this.#read(commit, { path, after, kind }, lines.get(path), bodies.get(after));
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

  async #read(commit: PublishedCommit, { path: untrustedPath, after, kind }: { path: string; after: string; kind: PathKind | undefined }, line: PublishedFile | undefined, body: Buffer | undefined): Promise<NewBytes | undefined> {
    const findings = this.#findings;
    const path = printable(untrustedPath);
    const before = this.files.get(untrustedPath);
    const isDocument = kind !== undefined && kind !== 'log' && kind !== 'key';
    const isPacked = kind === 'log' && untrustedPath.endsWith('.xz');
    const logLines = kind === 'log' && !isPacked ? this.#linesOf(commit, untrustedPath, before) : undefined;
    let kept = 0;
    const news: Buffer[] = [];
    const onNews = (part: Buffer): void => {
      logLines?.add(part);
      if (!isDocument || kept > documentLimitBytes) return;
      kept += part.length;
      news.push(part);
    };
    const { size, sha256, prefix } = (body === undefined || isPacked ? undefined : this.#grown(untrustedPath, kind, before, body, onNews)) ?? await this.#hashed(after, before, body, onNews);
    const version: FileVersion = { size, sha256, packed: isPacked ? detached(after) : undefined, log: undefined };
    this.files.set(untrustedPath, version);
    if (line === undefined) {
      findings.wrong('file-lines', { code: 'CHANGE_WITHOUT_LINE', commit: commit.id, path, expected: 'no change, or a line in the message', found: `${before === undefined ? 'added' : 'changed'}, ${size} bytes sha256:${sha256}` });
    } else if (line.size !== size) {
      findings.wrong('file-lines', { code: 'WRONG_SIZE', commit: commit.id, path, expected: `${line.size} bytes`, found: `${size} bytes` });
    } else if (line.sha256 !== sha256) {
      findings.wrong('file-lines', { code: 'WRONG_SHA256', commit: commit.id, path, expected: `sha256:${line.sha256}`, found: `sha256:${sha256}` });
    }
    if (size === 0 && kind !== 'log' && kind !== 'payload' && kind !== undefined) findings.wrong('file-lines', { code: 'EMPTY_FILE', commit: commit.id, path, expected: `a ${kind} with something in it`, found: 'an empty file' });
    findings.looked('files-grow');
    const isGrown = before === undefined || prefix === before.sha256;
    if (isPacked) {
      version.log = await this.#packed(commit, untrustedPath, before, isGrown, version);
      return undefined;
    }
    if (!isGrown) {
      findings.wrong('files-grow', { code: 'FILE_REWRITTEN', commit: commit.id, path, expected: `the ${before.size} bytes sha256:${before.sha256}, then more`, found: `${size} bytes that do not begin with them` });
      return undefined;
    }
    if (kind === 'log' && this.files.has(`${untrustedPath}.xz`)) findings.wrong('files-grow', { code: 'LOG_TWICE', commit: commit.id, path, expected: 'nothing: this log was packed', found: 'it stands beside its .xz' });
    version.log = this.#judgeLines(commit, path, logLines);
    return isDocument ? { path: untrustedPath, kind, sha256, bytes: news.length === 1 ? news[0] as Buffer : Buffer.concat(news), isNew: before === undefined } : undefined;
  }

  /** Of a file that is known from its version before, only what is new is hashed. */
  #grown(path: string, kind: PathKind | undefined, before: FileVersion | undefined, body: Buffer, onNews: (part: Buffer) => void): HashedVersion | undefined {
    if (kind !== 'log' && kind !== 'journal' && kind !== 'journal-heads') return undefined;
    const sha256 = this.#growing.grow(path, body, before?.sha256);
    if (sha256 === undefined) return undefined;
    onNews(body.subarray(before?.size ?? 0));
    return { size: body.length, sha256, prefix: before?.sha256 };
  }

  async #hashed(blob: string, before: FileVersion | undefined, body: Buffer | undefined, onNews: (part: Buffer) => void): Promise<HashedVersion> {
    if (body !== undefined && before === undefined) {
      onNews(body);
      // Most files: in one call, without an object that is collected later.
      return { size: body.length, sha256: hashOnce('sha256', body), prefix: undefined };
    }
    const hash = createHash('sha256');
    let prefix: string | undefined = before === undefined || before.size > 0 ? undefined : hash.copy().digest('hex');
    let size = 0;
    const onChunk = (chunk: Buffer): void => {
      const end = (before?.size ?? 0) - size;
      prefix = hashUpTo(hash, chunk, end) ?? prefix;
      if (end < chunk.length) onNews(chunk.subarray(Math.max(0, end)));
      size += chunk.length;
    };
    if (body === undefined) await this.#git.read(blob, 'blob', onChunk);
    else onChunk(body);
    return { size, sha256: hash.digest('hex'), prefix };
  }

  #linesOf(commit: PublishedCommit, path: string, before: FileVersion | undefined): LogLines {
    return new LogLines(path.slice(0, path.indexOf('/')), (commit.time ?? Date.now()) + clockStepMs, before?.log);
  }

  #judgeLines(commit: PublishedCommit, path: string, lines: LogLines | undefined): LogPosition | undefined {
    const position = lines?.end();
    if (lines?.bad !== undefined) this.#findings.wrong('files-grow', { code: 'BAD_LINE', commit: commit.id, path, ...lines.bad });
    return position;
  }

  /** A log as .xz: it goes on where its plain form or the .xz before ended. It may be packed anew, as long as what comes out has only grown. */
  async #packed(commit: PublishedCommit, path: string, before: FileVersion | undefined, isGrown: boolean, version: FileVersion): Promise<LogPosition | undefined> {
    const wrong = (code: 'BAD_XZ' | 'FILE_REWRITTEN' | 'LOG_TWICE', expected: string, found: string): undefined => {
      this.#findings.wrong('files-grow', { code, commit: commit.id, path, expected, found });
    };
    const plainPath = path.slice(0, -'.xz'.length);
    const plain = this.files.get(plainPath);
    if (plain !== undefined) {
      this.files.delete(plainPath);
      if (this.#replaced !== plainPath) wrong('LOG_TWICE', 'the plain log to go as its .xz comes', 'both stand side by side');
    }
    const lines = this.#linesOf(commit, path, plain ?? before);
    const isNext = before !== undefined && isGrown;
    let old = plain;
    if (before !== undefined && !isGrown) {
      const unpackedBefore = await unpack(this.#git, before.packed as string, {});
      if (unpackedBefore === undefined) return wrong('FILE_REWRITTEN', `the ${before.size} bytes sha256:${before.sha256}, then more`, 'other bytes');
      old = { ...before, ...unpackedBefore };
    }
    const unpacked = await unpack(this.#git, version.packed as string, { skipBytes: isNext ? before.size : 0, prefixBytes: old?.size ?? 0 }, (chunk) => lines.add(chunk));
    if (unpacked === undefined) return wrong('BAD_XZ', 'complete xz streams and nothing else', 'xz data of another kind, or none');
    if (old !== undefined && unpacked.prefix !== old.sha256) return wrong('FILE_REWRITTEN', `unpacked, the ${old.size} bytes sha256:${old.sha256}, then more`, `${unpacked.size} bytes that do not begin with them`);
    return this.#judgeLines(commit, path, lines);
  }

  /** a plain log whose .xz comes in the same commit, and which is compared with that */
  #replaced: string | undefined;

  /** Nothing goes away, but a plain log may become its .xz in the same commit. */
  #removed(commit: PublishedCommit, path: string, changes: readonly Change[]): void {
    const before = this.files.get(path);
    this.#findings.looked('files-grow');
    if (before !== undefined && pathKind(`${path}.xz`) === 'log' && !path.endsWith('.xz') && !this.files.has(`${path}.xz`) && changes.some((other) => other.path === `${path}.xz` && other.after !== undefined)) {
      this.#replaced = path;
      return;
    }
    this.files.delete(path);
    this.#findings.wrong('files-grow', { code: 'FILE_REMOVED', commit: commit.id, path: printable(path), expected: `${before?.size ?? 0} bytes sha256:${before?.sha256 ?? ''}, or more`, found: 'removed' });
  }
}
