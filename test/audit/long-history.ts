// SPDX-License-Identifier: GPL-2.0-or-later
// A history of any length, as a farm would have published it, made in seconds: one pack, whose objects are
// deltas on the version before as git itself would pack them, and commits signed by a real OpenPGP key
// without an OpenPGP program for each.
import { spawn, execFileSync } from 'node:child_process';
import { createHash, type Hash } from 'node:crypto';
import {
  closeSync,
  createReadStream,
  createWriteStream,
  mkdirSync,
  openSync,
  statSync,
  writeSync,
} from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { intentFormat } from '../../agents/shared/formats/intent.js';
import {
  journalFormat,
  journalLine,
  journalLineHash,
  journalPath,
  noEntry,
  type JournalEntry,
} from '../../agents/shared/formats/journal.js';
import {
  journalHeadFormat,
  journalHeadLine,
  journalHeadPath,
  signJournalHead,
} from '../../agents/shared/formats/journal-head.js';
import {
  intentPath,
  payloadPath,
  writePublicationMessage,
  type PublishedFile,
} from '../../agents/shared/formats/publication.js';
import { journalKey, sha256 } from './farm.js';
import { Pens } from './pens.js';

const types = { commit: 1, tree: 2, blob: 3 } as const;
const offsetDelta = 6;
/** As git's own default. */
const deltaDepth = 50;

function sizeVarint(size: number): number[] {
  const bytes: number[] = [];
  for (; size >= 0x80; size = Math.floor(size / 128)) bytes.push((size & 0x7f) | 0x80);
  return [...bytes, size];
}

function entryHeader(type: number, size: number): Buffer {
  const rest = Math.floor(size / 16);
  return Buffer.from([
    (rest > 0 ? 0x80 : 0) | (type << 4) | (size & 15),
    ...(rest > 0 ? sizeVarint(rest) : []),
  ]);
}

function offsetVarint(offset: number): Buffer {
  const bytes = [offset & 0x7f];
  for (let rest = Math.floor(offset / 128); rest > 0; rest = Math.floor(rest / 128))
    bytes.unshift(0x80 | (--rest & 0x7f));
  return Buffer.from(bytes);
}

/** How many bytes are the same, from the beginning. */
function common(one: Buffer, other: Buffer): number {
  let [low, high] = [0, Math.min(one.length, other.length)];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (one.compare(other, low, middle, low, middle) === 0) low = middle;
    else high = middle - 1;
  }
  return low;
}

const blockBytes = 64;

/** git's delta: what is the same is copied, what is new in between is given. */
function delta(base: Buffer, target: Buffer): Buffer {
  const parts: Buffer[] = [Buffer.from([...sizeVarint(base.length), ...sizeVarint(target.length)])];
  const copy = (offset: number, size: number): void => {
    for (let at = 0; at < size; at += 0xffff) {
      const op = Buffer.alloc(7);
      op[0] = 0xbf;
      op.writeUInt32LE(offset + at, 1);
      op.writeUInt16LE(Math.min(0xffff, size - at), 5);
      parts.push(op);
    }
  };
  const give = (from: number, to: number): void => {
    for (let at = from; at < to; at += 127) {
      const part = target.subarray(at, Math.min(at + 127, to));
      parts.push(Buffer.from([part.length]), part);
    }
  };
  if (base.length === target.length) {
    for (let at = 0; at < target.length;) {
      const same = common(base.subarray(at), target.subarray(at));
      copy(at, same);
      at += same;
      const end = Math.min(at + blockBytes, target.length);
      give(at, end);
      at = end;
    }
    return Buffer.concat(parts);
  }
  const head = common(base, target);
  let tail = 0;
  const most = Math.min(base.length, target.length) - head;
  while (tail < most && base[base.length - 1 - tail] === target[target.length - 1 - tail]) tail++;
  copy(0, head);
  give(head, target.length - tail);
  copy(base.length - tail, tail);
  return Buffer.concat(parts);
}

interface Version {
  body: Buffer;
  offset: number;
  depth: number;
}

function packHead(objects: number): Buffer {
  const head = Buffer.from('PACK\0\0\0\x02\0\0\0\0', 'latin1');
  head.writeUInt32BE(objects, 8);
  return head;
}

export class Pack {
  readonly #fd: number;
  readonly #hash: Hash = createHash('sha1');
  readonly #versions = new Map<string, Version>();
  #buffered: Buffer[] = [];
  #bufferedBytes = 0;
  #offset = 0;
  objects = 0;

  constructor(path: string, objects: number) {
    this.#fd = openSync(path, 'w');
    this.#write(packHead(objects));
  }

  /** @param place what this is a new version of @returns its id */
  put(type: keyof typeof types, body: Buffer, place?: string): string {
    this.objects += 1;
    const before = place === undefined ? undefined : this.#versions.get(place);
    const offset = this.#offset;
    if (before !== undefined && before.depth < deltaDepth) {
      const change = delta(before.body, body);
      this.#write(
        entryHeader(offsetDelta, change.length),
        offsetVarint(offset - before.offset),
        deflateSync(change, { level: 1 }),
      );
      this.#versions.set(place as string, { body, offset, depth: before.depth + 1 });
    } else {
      this.#write(entryHeader(types[type], body.length), deflateSync(body, { level: 1 }));
      if (place !== undefined) this.#versions.set(place, { body, offset, depth: 0 });
    }
    return createHash('sha1').update(`${type} ${body.length}\0`).update(body).digest('hex');
  }

  forget(place: string): void {
    this.#versions.delete(place);
  }

  #write(...parts: Buffer[]): void {
    for (const part of parts) {
      this.#offset += part.length;
      this.#hash.update(part);
      this.#buffered.push(part);
      this.#bufferedBytes += part.length;
    }
    if (this.#bufferedBytes > 1 << 20) this.#flush();
  }

  #flush(): void {
    writeSync(this.#fd, Buffer.concat(this.#buffered));
    this.#buffered = [];
    this.#bufferedBytes = 0;
  }

  end(): void {
    this.#flush();
    writeSync(this.#fd, this.#hash.digest());
    closeSync(this.#fd);
  }
}

/** A folder whose entries come in any order. */
class Folder {
  readonly #entries = new Map<string, { folder: Folder | undefined; bytes: Buffer }>();
  /** of the entries, as git sorts them */
  #sorted: Buffer[] | undefined;

  at(path: readonly string[], blob: string): void {
    const [name, ...more] = path as [string, ...string[]];
    this.#id = undefined;
    let entry = this.#entries.get(name);
    if (entry === undefined) {
      const folder = more.length === 0 ? undefined : new Folder();
      this.#entries.set(
        name,
        (entry = {
          folder,
          bytes: Buffer.concat([
            Buffer.from(`${folder === undefined ? '100644' : '40000'} ${name}\0`),
            Buffer.alloc(20),
          ]),
        }),
      );
      this.#sorted = undefined;
    }
    if (entry.folder === undefined) entry.bytes.write(blob, entry.bytes.length - 20, 'hex');
    else entry.folder.at(more, blob);
  }

  #id: string | undefined;

  write(pack: Pack, path: string): string {
    if (this.#id !== undefined) return this.#id;
    for (const [name, { folder, bytes }] of this.#entries)
      if (folder !== undefined && folder.#id === undefined)
        bytes.write(folder.write(pack, `${path}/${name}`), bytes.length - 20, 'hex');
    const body = Buffer.concat(
      (this.#sorted ??= [...this.#entries]
        .map(([name, { folder, bytes }]) => ({ bytes, key: folder === undefined ? name : `${name}/` }))
        .sort((a, b) => (a.key < b.key ? -1 : 1))
        .map(({ bytes }) => bytes)),
    );
    return (this.#id = pack.put('tree', body, `tree ${path}`));
  }
}

/** So many publications a day: days and files of a day are both some hundreds. */
const perDay = 200;
/** Publications of one log. */
const perLog = 10;
const keysVm = 'keys-debian';
const boot = 'b0075a1d-0000-4000-8000-000000000000';

/** A keys VM's journal and the heads that it signs, as they grow. */
class Journal {
  readonly #files = new Map<string, Buffer>();
  #last = noEntry;
  #seq = 0;

  #append(path: string, line: string): string {
    this.#files.set(
      path,
      Buffer.concat([this.#files.get(path) ?? Buffer.alloc(0), Buffer.from(`${line}\n`)]),
    );
    return path;
  }

  /**
   * @param remembered the newest publication that the keys VM knows @returns the files that changed, whole;
   * one that is full is forgotten
   */
  add(time: string, remembered: string | null, notes: readonly Partial<JournalEntry>[]): Map<string, Buffer> {
    const blank = { source: null, sha256: null, key: null, mode: null, commit: null, intent: null };
    const changed = new Set<string>();
    for (const note of notes) {
      const line = journalLine({
        format: journalFormat,
        seq: ++this.#seq,
        prev: this.#last,
        time,
        ...blank,
        ...note,
      } as JournalEntry);
      this.#last = journalLineHash(line);
      changed.add(this.#append(journalPath(keysVm, this.#seq), line));
    }
    const head = {
      format: journalHeadFormat,
      keysVm,
      seq: this.#seq,
      entry: this.#last,
      commit: remembered,
      boot,
      time,
    } as const;
    changed.add(
      this.#append(
        journalHeadPath(keysVm, this.#seq),
        journalHeadLine(signJournalHead(head, journalKey.secret)),
      ),
    );
    const files = new Map([...changed].map((path) => [path, this.#files.get(path) as Buffer]));
    for (const path of this.#files.keys()) if (!changed.has(path)) this.#files.delete(path);
    return files;
  }
}

export interface LongHistory {
  repository: string;
  publicKey: string;
  fingerprint: string;
  /** VM=HEX, as the audit wants it */
  journalKey: string;
}

/**
 * Publications as a farm makes them: a log that grows, an intent with its payload beside it, and the
 * journal's entries about the publication before, with a head. @param folder gets the repository
 */
export async function makeHistory(folder: string, count: number): Promise<LongHistory> {
  const end = Math.floor(Date.now() / 1000) - 60;
  const start = end - Math.ceil(count / perDay) * 86_400;
  const pens = new Pens(start - 86_400);
  const fingerprint = pens.fingerprint.logs;
  const publicKey = pens.export('logs');
  const repository = join(folder, 'logs.git');
  execFileSync('git', ['init', '-q', '--bare', '--initial-branch=main', repository]);
  const path = join(folder, 'history.pack');
  const pack = new Pack(path, 0);
  const top = new Folder();
  const signingKey = 'A'.repeat(40);
  const journal = new Journal();
  let before: { commit: string; intent: string; payload: string } | undefined;
  let log = { path: '', body: Buffer.alloc(0) };
  const day = (seconds: number): string => new Date(seconds * 1000).toISOString();
  for (let n = 1; n <= count; n++) {
    const seconds = start + Math.floor(((n - 1) * 86_400) / perDay);
    const time = day(seconds);
    const date = time.slice(0, 10);
    const files: PublishedFile[] = [];
    const put = (name: string, body: Buffer, isNew = false): void => {
      files.push({ path: name, size: body.length, sha256: sha256(body) });
      top.at(name.split('/'), pack.put('blob', body, isNew ? undefined : `blob ${name}`));
    };
    if (n === 1) put(`keys/${fingerprint}.asc`, publicKey, true);
    if ((n - 1) % perLog === 0) {
      pack.forget(`blob ${log.path}`);
      log = {
        path: `build-debian/${date}/log_${date}_${time.slice(11, 19).replaceAll(':', '-')}`,
        body: Buffer.alloc(0),
      };
    }
    const stamp = `${date} ${time.slice(11, 19)}.000000 +0000 build-debian: `;
    log.body = Buffer.concat([
      log.body,
      Buffer.from(
        Array.from({ length: 20 }, (_, i) => `${stamp}line ${n}.${i} of what a build says\n`).join(''),
      ),
    ]);
    put(log.path, log.body);
    const use =
      before === undefined
        ? undefined
        : ({
            source: 'build-debian',
            sha256: before.payload,
            key: signingKey,
            mode: 'clearsign',
            commit: before.commit,
            intent: before.intent,
          } as const);
    const entries: Partial<JournalEntry>[] =
      use === undefined
        ? [{ event: 'start', result: boot }]
        : [
            { event: 'granted', ...use, result: day(seconds + 900) },
            { event: 'claimed', ...use, result: '' },
            { event: 'signed', ...use, result: `sha256:${sha256(`signature ${n}`)}` },
          ];
    for (const [name, body] of journal.add(time, before?.commit ?? null, entries)) put(name, body);
    const payload = Buffer.from(
      `Format: 3.0 (quilt)\nSource: hello\nVersion: 2.10-${n}\nChecksums-Sha256:\n${Array.from({ length: 4 }, (_, i) => ` ${sha256(`${n}.${i}`)} 1000 hello_2.10-${n}.part${i}.tar.xz\n`).join('')}Description: ${'what hello is about '.repeat(60)}\n`,
    );
    const name = `hello_2.10-${n}.dsc`;
    const hashed = { name, size: payload.length, sha256: sha256(payload) };
    const document = JSON.stringify({
      format: intentFormat,
      job: 'hello-2.10-3-0123456789ab',
      component: 'hello',
      version: `2.10-${n}`,
      dist: 'bookworm',
      purpose: 'deb-dsc',
      key: signingKey,
      mode: 'clearsign',
      payload: hashed,
      logs: [log.path],
      artifacts: [hashed],
    });
    const intent = sha256(document);
    put(intentPath('build-debian', date, intent), Buffer.from(document), true);
    put(payloadPath('build-debian', date, intent, hashed.sha256), payload, true);
    const who = `build-logs <build-logs@build-infra.invalid> ${seconds} +0000`;
    const head = [
      `tree ${top.write(pack, '')}`,
      ...(before === undefined ? [] : [`parent ${before.commit}`]),
      `author ${who}`,
      `committer ${who}`,
    ].join('\n');
    const message = `\n\n${writePublicationMessage({ subject: `Publish ${files.length} files, 1 intent`, files, seq: n })}`;
    const signature = pens
      .sign('logs', 'detach', head + message, ['--faked-system-time', `${seconds}!`])
      .toString();
    before = {
      commit: pack.put(
        'commit',
        Buffer.from(`${head}\ngpgsig ${signature.trimEnd().replaceAll('\n', '\n ')}${message}`),
      ),
      intent,
      payload: hashed.sha256,
    };
  }
  pack.end();
  await index(repository, path, pack.objects);
  execFileSync('git', ['--git-dir', repository, 'update-ref', 'refs/heads/main', before?.commit as string]);
  return {
    repository,
    publicKey: publicKey.toString(),
    fingerprint,
    journalKey: `${keysVm}=${journalKey.public}`,
  };
}

/** The number of objects stands in a pack's head, and its own hash at its end: both are only known now. */
async function index(repository: string, path: string, objects: number): Promise<void> {
  const target = join(repository, 'objects/pack/pack-history.pack');
  mkdirSync(join(repository, 'objects/pack'), { recursive: true });
  const hash = createHash('sha1');
  const out = createWriteStream(target);
  const header = packHead(objects);
  hash.update(header);
  out.write(header);
  for await (const chunk of createReadStream(path, {
    start: 12,
    end: statSync(path).size - 21,
    highWaterMark: 1 << 20,
  })) {
    hash.update(chunk as Buffer);
    if (!out.write(chunk)) await once(out, 'drain');
  }
  out.end(hash.digest());
  await once(out, 'close');
  const child = spawn('git', ['index-pack', target], { stdio: ['ignore', 'ignore', 'inherit'] });
  const [status] = (await once(child, 'close')) as [number];
  if (status !== 0) throw new Error(`git index-pack ended with ${status}`);
}
