// SPDX-License-Identifier: GPL-2.0-or-later
// What each commit changed, against what its signed message says of it, and against what stood there before:
// files only grow.
import { createHash, hash as hashOnce } from 'node:crypto';
import type { PublishedFile } from '../shared/formats/publication.js';
import { printable } from '../shared/refusal.js';
import type { Findings } from './findings.js';
import { GrowingFiles } from './growing-file.js';
import type { PublishedCommit } from './history.js';
import { KeptFiles, type FileVersion } from './kept-files.js';
import { LogLines, type LogPosition } from '../published/logs/log-lines.js';
import type { PublishedGit } from '../published/history/published-git.js';
import { detached } from '../published/one-text.js';
import { hashUpTo } from '../published/logs/prefix-hash.js';
import { pathKind, type PathKind } from '../published/history/path-kind.js';
import type { ReadChange } from '../published/history/thread.js';
import type { BadFolder } from '../published/history/tree-walk.js';
import { unpack } from '../published/logs/unpacked.js';

/** What is new in one commit, for those who read the documents; in order of paths. */
export interface NewBytes {
  path: string;
  kind: PathKind;
  /** of the whole version */
  sha256: string;
  /**
   * the bytes after the earlier version; of a new file, all of them. Empty for logs, which nobody reads here.
   */
  bytes: Buffer;
  isNew: boolean;
}

interface ChangedFile extends Pick<ReadChange, 'body'> {
  /** untrusted */
  path: string;
  after: string;
  kind: PathKind | undefined;
}

interface HashedVersion {
  size: number;
  sha256: string;
  /** SHA-256 of the bytes up to where the version before ended */
  prefix: string | undefined;
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
  async apply({
    commit,
    changes,
    bad,
  }: {
    commit: PublishedCommit;
    changes: readonly ReadChange[];
    bad: readonly BadFolder[];
  }): Promise<NewBytes[]> {
    const findings = this.#findings;
    const lines = new Map((commit.message?.files ?? []).map((file) => [file.path, file]));
    const added: NewBytes[] = [];
    const changed = new Set<string>();
    for (const one of bad) findings.wrong('file-lines', { commit: commit.id, ...one });
    for (const { path, after, body } of changes) {
      if (after === undefined) {
        this.#removed(commit, path, changes);
        continue;
      }
      changed.add(path);
      findings.looked('file-lines');
      const kind = pathKind(path);
      if (kind === undefined)
        findings.wrong('file-lines', {
          code: 'BAD_PATH',
          commit: commit.id,
          path: printable(path),
          expected: 'a log, intent, payload, journal or key',
          found: 'another file',
        });
      // Most are here already: to wait for nothing would cost as much as to judge them.
      const version = this.#read(commit, { path, after, kind, body }, lines.get(path));
      const news = version instanceof Promise ? await version : version;
      if (news !== undefined) added.push(news);
    }
    for (const line of lines.values()) {
      if (changed.has(line.path)) continue;
      // A line may repeat what stands there already; it may not tell of what does not.
      const there = this.files.get(line.path);
      if (there?.size === line.size && there.sha256 === line.sha256) continue;
      findings.wrong('file-lines', {
        code: 'LINE_WITHOUT_CHANGE',
        commit: commit.id,
        path: line.path,
        expected: `${line.size} bytes sha256:${line.sha256}`,
        found: there === undefined ? 'no such file' : `unchanged, ${there.size} bytes sha256:${there.sha256}`,
      });
    }
    return added;
  }

  #read(
    commit: PublishedCommit,
    change: ChangedFile,
    line: PublishedFile | undefined,
  ): NewBytes | undefined | Promise<NewBytes | undefined> {
    const { path, after, kind, body } = change;
    const before = this.files.get(path);
    const isDocument = kind !== undefined && kind !== 'log' && kind !== 'key';
    const isPacked = kind === 'log' && path.endsWith('.xz');
    const logLines = kind === 'log' && !isPacked ? this.#linesOf(commit, path, before) : undefined;
    let kept = 0;
    const news: Buffer[] = [];
    const onNews = (part: Buffer): void => {
      logLines?.add(part);
      if (!isDocument || kept > documentLimitBytes) return;
      kept += part.length;
      news.push(part);
    };
    const judged = (hashed: HashedVersion): NewBytes | undefined | Promise<undefined> => {
      const version: FileVersion = {
        size: hashed.size,
        sha256: hashed.sha256,
        packed: isPacked ? detached(after) : undefined,
        log: undefined,
      };
      this.files.set(path, version);
      const isGrown = this.#judge(commit, change, line, before, hashed);
      if (isPacked)
        return this.#packed(commit, path, before, isGrown, version).then((log) => void (version.log = log));
      if (!isGrown) return undefined;
      version.log = this.#judgeLines(commit, printable(path), logLines);
      return isDocument
        ? {
            path,
            kind,
            sha256: hashed.sha256,
            bytes: news.length === 1 ? (news[0] as Buffer) : Buffer.concat(news),
            isNew: before === undefined,
          }
        : undefined;
    };
    if (body === undefined) return this.#streamed(after, before, onNews).then(judged);
    return judged(
      (isPacked ? undefined : this.#grown(path, kind, before, body, onNews)) ?? hashed(before, body, onNews),
    );
  }

  /** The version against its line, and against what stood there. @returns whether it begins with that */
  #judge(
    commit: PublishedCommit,
    { path: untrustedPath, kind }: ChangedFile,
    line: PublishedFile | undefined,
    before: FileVersion | undefined,
    { size, sha256, prefix }: HashedVersion,
  ): boolean {
    const findings = this.#findings;
    const path = printable(untrustedPath);
    if (line === undefined) {
      findings.wrong('file-lines', {
        code: 'CHANGE_WITHOUT_LINE',
        commit: commit.id,
        path,
        expected: 'no change, or a line in the message',
        found: `${before === undefined ? 'added' : 'changed'}, ${size} bytes sha256:${sha256}`,
      });
    } else if (line.size !== size) {
      findings.wrong('file-lines', {
        code: 'WRONG_SIZE',
        commit: commit.id,
        path,
        expected: `${line.size} bytes`,
        found: `${size} bytes`,
      });
    } else if (line.sha256 !== sha256) {
      findings.wrong('file-lines', {
        code: 'WRONG_SHA256',
        commit: commit.id,
        path,
        expected: `sha256:${line.sha256}`,
        found: `sha256:${sha256}`,
      });
    }
    if (size === 0 && kind !== 'log' && kind !== 'payload' && kind !== undefined)
      findings.wrong('file-lines', {
        code: 'EMPTY_FILE',
        commit: commit.id,
        path,
        expected: `a ${kind} with something in it`,
        found: 'an empty file',
      });
    findings.looked('files-grow');
    if (before !== undefined && prefix !== before.sha256) {
      if (!(kind === 'log' && untrustedPath.endsWith('.xz')))
        findings.wrong('files-grow', {
          code: 'FILE_REWRITTEN',
          commit: commit.id,
          path,
          expected: `the ${before.size} bytes sha256:${before.sha256}, then more`,
          found: `${size} bytes that do not begin with them`,
        });
      return false;
    }
    if (kind === 'log' && this.files.has(`${untrustedPath}.xz`))
      findings.wrong('files-grow', {
        code: 'LOG_TWICE',
        commit: commit.id,
        path,
        expected: 'nothing: this log was packed',
        found: 'it stands beside its .xz',
      });
    return true;
  }

  /** Of a file that is known from its version before, only what is new is hashed. */
  #grown(
    path: string,
    kind: PathKind | undefined,
    before: FileVersion | undefined,
    body: Buffer,
    onNews: (part: Buffer) => void,
  ): HashedVersion | undefined {
    if (kind !== 'log' && kind !== 'journal' && kind !== 'journal-heads') return undefined;
    const sha256 = this.#growing.grow(path, body, before?.sha256);
    if (sha256 === undefined) return undefined;
    onNews(body.subarray(before?.size ?? 0));
    return { size: body.length, sha256, prefix: before?.sha256 };
  }

  /** A version that was not read ahead. */
  async #streamed(
    blob: string,
    before: FileVersion | undefined,
    onNews: (part: Buffer) => void,
  ): Promise<HashedVersion> {
    const parts = new VersionHash(before, onNews);
    await this.#git.read(blob, 'blob', (chunk) => parts.add(chunk));
    return parts.end();
  }

  #linesOf(commit: PublishedCommit, path: string, before: FileVersion | undefined): LogLines {
    return new LogLines(
      path.slice(0, path.indexOf('/')),
      (commit.time ?? Date.now()) + clockStepMs,
      before?.log,
    );
  }

  #judgeLines(commit: PublishedCommit, path: string, lines: LogLines | undefined): LogPosition | undefined {
    const position = lines?.end();
    if (lines?.bad !== undefined)
      this.#findings.wrong('files-grow', { code: 'BAD_LINE', commit: commit.id, path, ...lines.bad });
    return position;
  }

  /**
   * A log as .xz: it goes on where its plain form or the .xz before ended. It may be packed anew, as long as
   * what comes out has only grown.
   */
  async #packed(
    commit: PublishedCommit,
    path: string,
    before: FileVersion | undefined,
    isGrown: boolean,
    version: FileVersion,
  ): Promise<LogPosition | undefined> {
    const wrong = (
      code: 'BAD_XZ' | 'FILE_REWRITTEN' | 'LOG_TWICE',
      expected: string,
      found: string,
    ): undefined => {
      this.#findings.wrong('files-grow', { code, commit: commit.id, path, expected, found });
    };
    const plainPath = path.slice(0, -'.xz'.length);
    const plain = this.files.get(plainPath);
    if (plain !== undefined) {
      this.files.delete(plainPath);
      if (this.#replaced !== plainPath)
        wrong('LOG_TWICE', 'the plain log to go as its .xz comes', 'both stand side by side');
    }
    const lines = this.#linesOf(commit, path, plain ?? before);
    const isNext = before !== undefined && isGrown;
    let old = plain;
    if (before !== undefined && !isGrown) {
      const unpackedBefore = await unpack(this.#git, before.packed as string, {});
      if (unpackedBefore === undefined)
        return wrong(
          'FILE_REWRITTEN',
          `the ${before.size} bytes sha256:${before.sha256}, then more`,
          'other bytes',
        );
      old = { ...before, ...unpackedBefore };
    }
    const unpacked = await unpack(
      this.#git,
      version.packed as string,
      { skipBytes: isNext ? before.size : 0, prefixBytes: old?.size ?? 0 },
      (chunk) => lines.add(chunk),
    );
    if (unpacked === undefined)
      return wrong('BAD_XZ', 'complete xz streams and nothing else', 'xz data of another kind, or none');
    if (old !== undefined && unpacked.prefix !== old.sha256)
      return wrong(
        'FILE_REWRITTEN',
        `unpacked, the ${old.size} bytes sha256:${old.sha256}, then more`,
        `${unpacked.size} bytes that do not begin with them`,
      );
    return this.#judgeLines(commit, path, lines);
  }

  /** a plain log whose .xz comes in the same commit, and which is compared with that */
  #replaced: string | undefined;

  /** Nothing goes away, but a plain log may become its .xz in the same commit. */
  #removed(commit: PublishedCommit, path: string, changes: readonly ReadChange[]): void {
    const before = this.files.get(path);
    this.#findings.looked('files-grow');
    if (
      before !== undefined &&
      pathKind(`${path}.xz`) === 'log' &&
      !path.endsWith('.xz') &&
      !this.files.has(`${path}.xz`) &&
      changes.some((other) => other.path === `${path}.xz` && other.after !== undefined)
    ) {
      this.#replaced = path;
      return;
    }
    this.files.delete(path);
    this.#findings.wrong('files-grow', {
      code: 'FILE_REMOVED',
      commit: commit.id,
      path: printable(path),
      expected: `${before?.size ?? 0} bytes sha256:${before?.sha256 ?? ''}, or more`,
      found: 'removed',
    });
  }
}

function hashed(
  before: FileVersion | undefined,
  body: Buffer,
  onNews: (part: Buffer) => void,
): HashedVersion {
  if (before !== undefined) {
    const parts = new VersionHash(before, onNews);
    parts.add(body);
    return parts.end();
  }
  onNews(body);
  // Most files: in one call, without an object that is collected later.
  return { size: body.length, sha256: hashOnce('sha256', body), prefix: undefined };
}

/** Hashes a version that comes in pieces, and its beginning, as long as the version before. */
class VersionHash {
  readonly #before: FileVersion | undefined;
  readonly #onNews: (part: Buffer) => void;
  readonly #hash = createHash('sha256');
  #prefix: string | undefined;
  #size = 0;

  constructor(before: FileVersion | undefined, onNews: (part: Buffer) => void) {
    this.#before = before;
    this.#onNews = onNews;
    if (before?.size === 0) this.#prefix = this.#hash.copy().digest('hex');
  }

  add(chunk: Buffer): void {
    const end = (this.#before?.size ?? 0) - this.#size;
    this.#prefix = hashUpTo(this.#hash, chunk, end) ?? this.#prefix;
    if (end < chunk.length) this.#onNews(chunk.subarray(Math.max(0, end)));
    this.#size += chunk.length;
  }

  end(): HashedVersion {
    return { size: this.#size, sha256: this.#hash.digest('hex'), prefix: this.#prefix };
  }
}
