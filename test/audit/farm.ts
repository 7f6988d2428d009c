// SPDX-License-Identifier: GPL-2.0-or-later
// A small farm's published repositories, made with real gpg and git exactly as docs/formats.md says, one
// commit at a time, so that a test can do one thing wrong.
import { execFileSync } from 'node:child_process';
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { deflateSync, gzipSync } from 'node:zlib';
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
  type JournalHead,
} from '../../agents/shared/formats/journal-head.js';
import {
  intentFormat,
  isPublishedPayload,
  type Intent,
  type SigningMode,
} from '../../agents/shared/formats/intent.js';
import {
  intentPath,
  payloadPath,
  writePublicationMessage,
  type PublishedFile,
} from '../../agents/shared/formats/publication.js';
import {
  originNotation,
  writeSignatureOrigin,
  type SignatureOrigin,
} from '../../agents/shared/formats/signature-origin.js';

export const sha256 = (data: Buffer | string): string => createHash('sha256').update(data).digest('hex');

/** Words for gpg that have a signature say where it comes from. */
export const withOrigin = (origin: SignatureOrigin): string[] => [
  '--sig-notation',
  `${originNotation}=${writeSignatureOrigin(origin)}`,
];

export type Signer = 'logs' | 'signing' | 'stranger';

export class Keys {
  readonly home = mkdtempSync(join(tmpdir(), 'ak-'));
  readonly fingerprint = {} as Record<Signer, string>;

  constructor() {
    for (const name of ['logs', 'signing', 'stranger'] as const) {
      // Made yesterday, so that a signature of today may tell of earlier.
      this.gpg([
        '--faked-system-time',
        String(Math.floor(Date.now() / 1000) - 86_400),
        '--quick-generate-key',
        `${name} <${name}@farm.example>`,
        'ed25519',
        'sign',
        'never',
      ]);
      const listed = this.gpg(['--with-colons', '--list-keys', `${name}@farm.example`]).toString();
      this.fingerprint[name] = /^fpr:+([0-9A-F]{40}):/m.exec(listed)?.[1] as string;
    }
  }

  gpg(args: readonly string[], input: Buffer | string = ''): Buffer {
    return execFileSync(
      'gpg',
      [
        '--homedir',
        this.home,
        '--batch',
        '--quiet',
        '--pinentry-mode',
        'loopback',
        '--passphrase',
        '',
        ...args,
      ],
      { input, stdio: ['pipe', 'pipe', 'ignore'] },
    );
  }

  /** The same bytes in the same second give the same Ed25519 signature: `more` makes it another one. */
  sign(signer: Signer, mode: SigningMode, data: Buffer | string, more: readonly string[] = []): Buffer {
    return this.gpg(
      [
        ...more,
        '--local-user',
        this.fingerprint[signer],
        '--armor',
        mode === 'detach' ? '--detach-sign' : '--clearsign',
        '--output',
        '-',
      ],
      data,
    );
  }

  export(signer: Signer): Buffer {
    return this.gpg(['--armor', '--export', this.fingerprint[signer]]);
  }

  remove(): void {
    execFileSync('gpgconf', ['--homedir', this.home, '--kill', 'all'], { stdio: 'ignore' });
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** @returns what is removed when the test or the whole file is over */
export function removedAfter<T extends { remove: () => void }>(
  t: { teardown: (act: () => unknown) => void },
  made: T,
): T {
  t.teardown(() => made.remove());
  return made;
}

/** A journal key from 32 fixed bytes, and its public half as it is pinned. */
export function journalKeyOf(seed: string): { secret: KeyObject; public: string } {
  const secret = createPrivateKey({
    key: Buffer.concat([
      Buffer.from('302e020100300506032b657004220420', 'hex'),
      createHash('sha256').update(seed).digest(),
    ]),
    format: 'der',
    type: 'pkcs8',
  });
  return {
    secret,
    public: Buffer.from(createPublicKey(secret).export({ format: 'jwk' }).x as string, 'base64url').toString(
      'hex',
    ),
  };
}
export const journalKey = journalKeyOf('keys-debian');

const environment = {
  PATH: process.env['PATH'],
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  HOME: '/',
};

export interface CommitOptions {
  /** files that are new or changed, whole */
  put?: Record<string, Buffer | string>;
  remove?: string[];
  signer?: Signer | null;
  /** a second signature beside the first */
  alsoBy?: Signer;
  /** what the message says, when it is to differ from what is done */
  lines?: (lines: PublishedFile[]) => PublishedFile[];
  seq?: number;
  parents?: string[];
  mode?: string;
  message?: string;
  /** more options of gpg */
  more?: string[];
  /** of author and committer, s since 1970 */
  time?: number;
  /** the tree, made by hand */
  tree?: string;
}

type Use = Partial<Pick<JournalEntry, 'source' | 'sha256' | 'key' | 'mode' | 'commit' | 'intent'>>;

/** The logs repository. */
export class LogsRepository {
  readonly path: string;
  readonly keys: Keys;
  readonly tree: Map<string, { mode: string; blob: string }> = new Map();
  readonly content: Map<string, Buffer> = new Map();
  head: string | undefined;
  seq = 0;
  #journal: string[] = [];
  #heads: string[] = [];
  #boot = 'b0075a1d-0000-4000-8000-000000000000';
  /** what heads are signed with from now on, and whose journal it is */
  headKey = journalKey.secret;
  keysVm = 'keys-debian';
  #clock = Date.parse('2026-11-21T21:00:00.000Z');

  /**
   * @param path '' for one that is never written @param from a repository to copy, instead of an empty one
   */
  constructor(path: string, keys: Keys, from?: LogsRepository) {
    this.path = path;
    this.keys = keys;
    if (from !== undefined) {
      if (path !== '') cpSync(from.path, path, { recursive: true });
      this.tree = new Map(from.tree);
      this.content = new Map(from.content);
      this.head = from.head;
      this.seq = from.seq;
      this.#journal = [...from.#journal];
      this.#heads = [...from.#heads];
      this.#boot = from.#boot;
      this.#clock = from.#clock;
      return;
    }
    if (path !== '')
      execFileSync('git', ['init', '-q', '--bare', '--template=', '--initial-branch=main', path], {
        env: environment,
      });
  }

  /** Writes a loose object, as git would; a process for each would make these tests slow. */
  object(type: 'blob' | 'tree' | 'commit', body: Buffer | string): string {
    const whole = Buffer.concat([Buffer.from(`${type} ${Buffer.byteLength(body)}\0`), Buffer.from(body)]);
    const id = createHash('sha1').update(whole).digest('hex');
    if (this.path === '') return id;
    mkdirSync(join(this.path, 'objects', id.slice(0, 2)), { recursive: true });
    const path = join(this.path, 'objects', id.slice(0, 2), id.slice(2));
    if (!existsSync(path)) writeFileSync(path, deflateSync(whole));
    return id;
  }

  moveHead(id: string): void {
    this.head = id;
    if (this.path !== '') writeFileSync(join(this.path, 'refs/heads/main'), `${id}\n`);
  }

  #writeTree(prefix: string): string {
    const entries = new Map<string, { mode: string; id: string }>();
    for (const [path, { mode, blob }] of this.tree) {
      if (!path.startsWith(prefix)) continue;
      const [name = '', ...more] = path.slice(prefix.length).split('/');
      if (more.length === 0) entries.set(name, { mode, id: blob });
      else if (!entries.has(name))
        entries.set(name, { mode: '40000', id: this.#writeTree(`${prefix}${name}/`) });
    }
    const key = ([name, { mode }]: [string, { mode: string }]): string =>
      mode === '40000' ? `${name}/` : name;
    const sorted = [...entries].sort((a, b) => Buffer.compare(Buffer.from(key(a)), Buffer.from(key(b))));
    return this.object(
      'tree',
      Buffer.concat(
        sorted.map(([name, { mode, id }]) =>
          Buffer.concat([Buffer.from(`${mode} ${name}\0`), Buffer.from(id, 'hex')]),
        ),
      ),
    );
  }

  /** Makes one commit on main and returns its id. */
  commit(options: CommitOptions): string {
    for (const path of options.remove ?? []) {
      this.tree.delete(path);
      this.content.delete(path);
    }
    for (const [path, data] of Object.entries(options.put ?? {})) {
      this.tree.set(path, { mode: options.mode ?? '100644', blob: this.object('blob', data) });
      this.content.set(path, Buffer.from(data));
    }
    const tree = options.tree ?? this.#writeTree('');
    this.seq = options.seq ?? this.seq + 1;
    const files = Object.entries(options.put ?? {}).map(([path, data]) => ({
      path,
      size: Buffer.byteLength(data),
      sha256: sha256(data),
    }));
    const message =
      options.message ??
      writePublicationMessage({
        subject: `Publish ${files.length} files`,
        files: options.lines?.(files) ?? files,
        seq: this.seq,
      });
    const parents = options.parents ?? (this.head === undefined ? [] : [this.head]);
    const who = `build-logs <build-logs@build-infra.invalid> ${options.time ?? Math.floor(Date.now() / 1000)} +0000`;
    const head = [
      `tree ${tree}`,
      ...parents.map((parent) => `parent ${parent}`),
      `author ${who}`,
      `committer ${who}`,
    ].join('\n');
    let signature = '';
    if (options.signer !== null) {
      const more =
        options.alsoBy === undefined
          ? (options.more ?? [])
          : ['--local-user', this.keys.fingerprint[options.alsoBy]];
      const armored = this.keys
        .sign(options.signer ?? 'logs', 'detach', `${head}\n\n${message}`, more)
        .toString();
      signature = `\ngpgsig ${armored.trimEnd().split('\n').join('\n ')}`;
    }
    const id = this.object('commit', `${head}${signature}\n\n${message}`);
    this.moveHead(id);
    return id;
  }

  /** Appends to the journal; the returned files belong into the next commit. */
  journal(...entries: [JournalEntry['event'], string, Use?][]): Record<string, string> {
    return this.journalLines(entries.map(([event, result, use]) => ({ event, result, ...use })));
  }

  /** The same, with any field forged. */
  journalLines(notes: Partial<JournalEntry>[]): Record<string, string> {
    const changed: Record<string, string> = {};
    for (const note of notes) {
      const last = this.#journal.at(-1);
      const blank = { source: null, sha256: null, key: null, mode: null, commit: null, intent: null };
      this.#clock += 1000;
      const line = journalLine({
        format: journalFormat,
        seq: this.#journal.length + 1,
        prev: last === undefined ? noEntry : journalLineHash(last),
        time: new Date(this.#clock).toISOString(),
        ...blank,
        ...note,
      } as JournalEntry);
      this.#journal.push(line);
      if (note.event === 'start') this.#boot = note.result ?? '';
      const path = journalPath(this.keysVm, this.#journal.length);
      const first = Math.floor((this.#journal.length - 1) / 256) * 256;
      changed[path] = this.#journal
        .slice(first, first + 256)
        .map((one) => `${one}\n`)
        .join('');
    }
    return { ...changed, ...this.journalHead() };
  }

  /** A head for the last entry, in its file. */
  journalHead(change: Partial<JournalHead> = {}): Record<string, string> {
    const line = this.#journal.at(-1) as string;
    const { seq } = JSON.parse(line) as JournalEntry;
    const head = {
      format: journalHeadFormat,
      keysVm: this.keysVm,
      seq,
      entry: journalLineHash(line),
      commit: this.head ?? null,
      boot: this.#boot,
      time: this.lastTime,
      ...change,
    } as const;
    const path = journalHeadPath(this.keysVm, head.seq);
    this.#heads.push(journalHeadLine(signJournalHead(head, this.headKey)));
    return {
      [path]: this.#heads
        .filter((one) => journalHeadPath(this.keysVm, (JSON.parse(one) as JournalHead).seq) === path)
        .map((one) => `${one}\n`)
        .join(''),
    };
  }

  /** Takes back the newest head, for another in its place. */
  takeBackHead(): void {
    this.#heads.pop();
  }

  /** One more entry, whose head says that it is tomorrow. */
  journalHeadInFuture(): Record<string, string> {
    const files = this.journal(['refused', 'NO_GRANT']);
    this.takeBackHead();
    return { ...files, ...this.journalHead({ time: new Date(this.#clock + 86_400_000).toISOString() }) };
  }

  /** Begins another journal, as somebody would who makes one up. */
  forgetJournal(): void {
    this.#journal = [];
    this.#heads = [];
  }

  /** Takes back the last entries, and their heads. */
  takeBack(entries: number): void {
    this.#journal = this.#journal.slice(0, -entries);
    this.#heads = this.#heads.filter((line) => (JSON.parse(line) as JournalHead).seq <= this.#journal.length);
  }

  /** Of the next entries. */
  setClock(ms: number): void {
    this.#clock = ms;
  }

  /** The newest entry of the journal, as a signature names it. */
  get lastEntry(): { seq: number; claim: string } {
    return { seq: this.#journal.length, claim: journalLineHash(this.#journal.at(-1) as string) };
  }

  get lastTime(): string {
    return new Date(this.#clock).toISOString();
  }

  /** When a grant made now ends. */
  get until(): string {
    return new Date(this.#clock + 900_000).toISOString();
  }
}

export interface Wanted {
  purpose: Intent['purpose'];
  name: string;
  mode: SigningMode;
  payload: Buffer;
}

/** What has a grant and its claims. */
export interface Claimed {
  uses: Use[];
  /** the journal's files, which belong into the next commit */
  put: Record<string, string>;
  /** what each signature has to name */
  origins: SignatureOrigin[];
}

export const log = 'build-debian/hello/log_2026-11-21_21-00-00';

export class Farm {
  readonly top: string;
  readonly keys: Keys;
  readonly logs: LogsRepository;
  readonly apt: string;
  /** the DNF repositories of a distribution, where rpm-farm.ts made one */
  readonly dnf: string;

  /** @param from a farm to copy, instead of an empty one */
  constructor(keys: Keys, from?: Farm) {
    this.top = mkdtempSync(join(tmpdir(), 'farm-'));
    this.keys = keys;
    this.logs = new LogsRepository(join(this.top, 'logs.git'), keys, from?.logs);
    this.apt = join(this.top, 'apt');
    if (from === undefined) mkdirSync(this.apt);
    else cpSync(from.apt, this.apt, { recursive: true });
    this.dnf = join(this.top, 'fc41');
    if (from !== undefined && existsSync(from.dnf))
      cpSync(from.dnf, this.dnf, { recursive: true, preserveTimestamps: true });
    writeFileSync(join(this.top, 'logs.asc'), keys.export('logs'));
    writeFileSync(join(this.top, 'signing.asc'), keys.export('signing'));
  }

  put(path: string, data: Buffer | string): void {
    mkdirSync(dirname(join(this.apt, path)), { recursive: true });
    writeFileSync(join(this.apt, path), data);
  }

  /** Beside the repository, as on the server. */
  putBeside(path: string, data: Buffer): void {
    mkdirSync(dirname(join(this.top, path)), { recursive: true });
    writeFileSync(join(this.top, path), data);
  }

  intent(
    wanted: readonly Wanted[],
    change: Partial<Intent> = {},
  ): { document: string; path: string; sha256: string; put: Record<string, Buffer | string> } {
    const intents = wanted.map((one): Intent => ({
      job: 'hello-2.10-3-0123456789ab',
      component: 'hello',
      version: '2.10-3',
      dist: 'bookworm',
      purpose: one.purpose,
      key: this.keys.fingerprint.signing,
      mode: one.mode,
      payload: { name: one.name, size: one.payload.length, sha256: sha256(one.payload) },
      logs: [log],
      artifacts: [],
      ...change,
    }));
    const document = JSON.stringify({ format: intentFormat, intents });
    const path = intentPath('build-debian', '2026-11-21', sha256(document));
    const payloads = intents.flatMap((one, i) =>
      isPublishedPayload(one)
        ? [
            [
              payloadPath('build-debian', '2026-11-21', sha256(document), one.payload.sha256),
              (wanted[i] as Wanted).payload,
            ],
          ]
        : [],
    );
    return {
      document,
      path,
      sha256: sha256(document),
      put: { [path]: document, ...(Object.fromEntries(payloads) as Record<string, Buffer>) },
    };
  }

  use(one: Wanted, intent: string, commit: string): Use {
    return {
      source: 'build-debian',
      sha256: sha256(one.payload),
      key: this.keys.fingerprint.signing,
      mode: one.mode,
      commit,
      intent,
    };
  }

  /** Publishes an intent for a payload. @returns how the journal tells of its use */
  announce(one: Wanted): Use {
    const intent = this.intent([one]);
    return this.use(one, intent.sha256, this.logs.commit({ put: intent.put }));
  }

  /** The first half of the way for some payloads: intent, publication, grants, claims. */
  claimAll(wanted: readonly Wanted[], dist = 'bookworm'): Claimed {
    const intent = this.intent(wanted, { dist, nonce: String(this.logs.seq).padStart(16, '0') });
    const commit = this.logs.commit({ put: { ...intent.put, [log]: this.grow() } });
    const put = this.logs.journal(
      ...wanted.map((one): [JournalEntry['event'], string, Use] => [
        'granted',
        this.logs.until,
        this.use(one, intent.sha256, commit),
      ]),
    );
    const origins = wanted.map((one): SignatureOrigin => {
      Object.assign(put, this.logs.journal(['claimed', '', this.use(one, intent.sha256, commit)]));
      return { commit, ...this.logs.lastEntry };
    });
    return { uses: wanted.map((one) => this.use(one, intent.sha256, commit)), put, origins };
  }

  /** The second half: what was signed, and publication of the entries. */
  publishSigned({ uses, put }: Claimed, signatures: readonly Buffer[]): void {
    const signed = this.logs.journal(
      ...uses.map((use, i): [JournalEntry['event'], string, Use] => [
        'signed',
        `sha256:${sha256(signatures[i] as Buffer)}`,
        use,
      ]),
    );
    this.logs.commit({ put: { ...put, ...signed } });
  }

  /** The whole way, with signatures by gpg. Returns them. */
  signAll(wanted: readonly Wanted[], dist?: string): Buffer[] {
    const claimed = this.claimAll(wanted, dist);
    const signatures = wanted.map((one, i) =>
      this.keys.sign('signing', one.mode, one.payload, withOrigin(claimed.origins[i] as SignatureOrigin)),
    );
    this.publishSigned(claimed, signatures);
    return signatures;
  }

  /** The log with one line more. */
  grow(): Buffer {
    const before = this.logs.content.get(log) ?? Buffer.alloc(0);
    return Buffer.concat([
      before,
      Buffer.from(`2026-11-21 21:00:00.000000 +0000 build-debian: line ${before.length}\n`),
    ]);
  }

  /** One build of hello, signed and published, the good way. */
  build(): void {
    this.logs.commit({
      put: { [log]: this.grow(), ...this.logs.journal(['start', 'b0075a1d-0000-4000-8000-000000000000']) },
    });
    this.logs.commit({ put: { [log]: this.grow() } });
    const orig = Buffer.from('the source');
    const deb = Buffer.from('the package');
    const dsc = Buffer.from(
      `Format: 3.0 (native)\nSource: hello\nVersion: 2.10-3\nChecksums-Sha256:\n ${sha256(orig)} ${orig.length} hello_2.10-3.tar.xz\n\n`,
    );
    const buildinfo = Buffer.from('Format: 1.0\nSource: hello\n- a line with a dash\nFrom here on\n');
    const [signedDsc, signedBuildinfo] = this.signAll([
      { purpose: 'deb-dsc', name: 'hello_2.10-3.dsc', mode: 'clearsign', payload: dsc },
      {
        purpose: 'deb-buildinfo',
        name: 'hello_2.10-3_amd64.buildinfo',
        mode: 'clearsign',
        payload: buildinfo,
      },
    ]) as [Buffer, Buffer];
    const pool = 'pool/main/h/hello';
    this.put(`${pool}/hello_2.10-3.tar.xz`, orig);
    this.put(`${pool}/hello_2.10-3_amd64.deb`, deb);
    this.put(`${pool}/hello_2.10-3.dsc`, signedDsc);
    this.put(`${pool}/hello_2.10-3_amd64.buildinfo`, signedBuildinfo);
    const packages = `Package: hello\nVersion: 2.10-3\nFilename: ${pool}/hello_2.10-3_amd64.deb\nSize: ${deb.length}\nSHA256: ${sha256(deb)}\n\n`;
    const sources = `Package: hello\nVersion: 2.10-3\nDirectory: ${pool}\nChecksums-Sha256:\n ${sha256(signedDsc)} ${signedDsc.length} hello_2.10-3.dsc\n ${sha256(orig)} ${orig.length} hello_2.10-3.tar.xz\n\n`;
    const indices: Record<string, Buffer> = {
      'main/binary-amd64/Packages': Buffer.from(packages),
      'main/binary-amd64/Packages.gz': gzipSync(packages),
      'main/source/Sources.gz': gzipSync(sources),
    };
    for (const [path, data] of Object.entries(indices)) this.put(`dists/bookworm/${path}`, data);
    this.publishRelease('bookworm', indices);
    this.put('key.asc', Buffer.concat([this.keys.export('signing'), this.keys.export('logs')]));
  }

  publishRelease(suite: string, indices: Record<string, Buffer>, more = ''): void {
    const release = Buffer.from(
      `Origin: build-infra\nSuite: ${suite}\nSHA256:\n${Object.entries(indices)
        .map(([path, data]) => ` ${sha256(data)} ${data.length} ${path}\n`)
        .join('')}${more}`,
    );
    const [inRelease, detached] = this.signAll([
      { purpose: 'apt-release', name: 'Release', mode: 'clearsign', payload: release },
      { purpose: 'apt-release', name: 'Release', mode: 'detach', payload: release },
    ]) as [Buffer, Buffer];
    this.put(`dists/${suite}/Release`, release);
    this.put(`dists/${suite}/InRelease`, inRelease);
    this.put(`dists/${suite}/Release.gpg`, detached);
  }

  remove(): void {
    rmSync(this.top, { recursive: true, force: true });
  }
}
