// SPDX-License-Identifier: GPL-2.0-or-later
// One keys VM for a test: a root folder with real keys, the compiled agent as a process of its own, and a
// small publisher that makes real signed git commits and receipts, as the build-logs VM does.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  intentFormat,
  intentsOf,
  publishedPayloads,
  type Intent,
  type IntentDocument,
} from '../../agents/shared/formats/intent.js';
import {
  intentPath,
  payloadPath,
  writePublicationMessage,
  type PublishedFile,
} from '../../agents/shared/formats/publication.js';
import { receiptFormat, type Receipt, type ReceiptReply } from '../../agents/shared/formats/receipt.js';
import type { JournalEntry } from '../../agents/shared/formats/journal.js';
import { type AgentProcess, type HowStarted, startAgent } from '../support/agent-process.js';
import { GpgHome } from '../support/gpg-home.js';

export const agents = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'agents');
/** Which change of the agent is on, in a run of test/mutation. */
const mutant = { __STRYKER_ACTIVE_MUTANT__: process.env['__STRYKER_ACTIVE_MUTANT__'] };
export const sha256 = (bytes: string | Uint8Array): string =>
  createHash('sha256').update(bytes).digest('hex');

/** One socket call as `source`; the caller's end is closed only if `half` says so. */
export function callSocket(
  path: string,
  descriptor: string,
  bytes: Uint8Array,
  options: { halfClose?: boolean; chunk?: number } = {},
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true });
    const chunks: Buffer[] = [];
    socket.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ECONNRESET' || error.code === 'EPIPE' ? resolve(Buffer.concat(chunks)) : reject(error),
    );
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('end', () => {
      resolve(Buffer.concat(chunks));
      socket.destroy();
    });
    socket.write(`${descriptor}\0`);
    const step = options.chunk ?? bytes.length;
    for (let at = 0; at < bytes.length; at += step) socket.write(bytes.subarray(at, at + step));
    if (options.halfClose === true) socket.end();
  });
}

export interface Published {
  commit: string;
  raw: Buffer;
}

export interface CommitOptions {
  /** what the message says of payloads, in place of the truth */
  payloads?: (lines: PublishedFile[]) => PublishedFile[];
  seq?: number;
  parents?: string[];
  /** undefined: the logs key; null: unsigned */
  signWith?: string | null;
  message?: string;
}

export class KeysMachine {
  readonly root = mkdtempSync(join(tmpdir(), 'ki-'));
  readonly keysHome = new GpgHome(`${this.root}/home/user/.gnupg`);
  readonly logsHome = new GpgHome(`${this.root}/l`);
  readonly signingKey: string;
  readonly logsKey: string;
  readonly otherKey: string;
  config: Record<string, unknown>;
  /** commits so far, oldest first */
  readonly history: Published[] = [];
  /** of each document that file() was asked about, by the path that it names */
  readonly #payloads = new Map<string, PublishedFile[]>();
  /** the newest commit that the agent accepted */
  believed = 0;
  #agent: AgentProcess | undefined;

  constructor(config: Record<string, unknown> = {}) {
    this.signingKey = this.keysHome.makeKey('Debian signing <sign@build.example>');
    this.logsKey = this.logsHome.makeKey('logs <logs@build.example>');
    this.otherKey = this.logsHome.makeKey('stranger <stranger@build.example>');
    const settings = `${this.root}/rw/config/build-infra`;
    for (const folder of [
      `${settings}/public-keys`,
      `${this.root}/run/build-infra`,
      `${this.root}/usr/bin`,
      `${this.root}/g`,
    ])
      mkdirSync(folder, { recursive: true });
    writeFileSync(`${settings}/public-keys/${this.logsKey}.asc`, this.logsHome.exported(this.logsKey));
    writeFileSync(`${settings}/public-keys/${this.signingKey}.asc`, this.keysHome.exported(this.signingKey));
    this.config = {
      format: 'build-infra/keys-config@1',
      vm: 'keys-debian',
      source: 'build-debian',
      logsVm: 'build-logs',
      logsKey: this.logsKey,
      requiredRemotes: ['mirror', 'origin'],
      signingKeys: [this.signingKey],
      anchor: null,
      journalKey: null,
      grantSeconds: 900,
      payloadBytes: 1024 * 1024,
      ...config,
    };
    this.configure({});
    writeFileSync(
      `${settings}/build.json`,
      JSON.stringify({
        format: 'build-infra/build-config@1',
        vm: 'build-debian',
        env: 'debian',
        signingKey: this.signingKey,
        publication: null,
      }),
    );
    this.#git(['init', '-q', '--bare', '.']);
  }

  /** For the agent's next start. */
  configure(changes: Record<string, unknown>): void {
    this.config = { ...this.config, ...changes };
    writeFileSync(`${this.root}/rw/config/build-infra/keys.json`, JSON.stringify(this.config));
  }

  #git(args: string[], input: string | Uint8Array = '', environment: NodeJS.ProcessEnv = {}): Buffer {
    return execFileSync('git', args, {
      cwd: `${this.root}/g`,
      input,
      stdio: ['pipe', 'pipe', 'inherit'],
      env: {
        PATH: '/usr/bin:/bin',
        HOME: this.root,
        GNUPGHOME: this.logsHome.folder,
        GIT_AUTHOR_NAME: 'l',
        GIT_AUTHOR_EMAIL: 'l@l',
        GIT_COMMITTER_NAME: 'l',
        GIT_COMMITTER_EMAIL: 'l@l',
        ...environment,
      },
    });
  }

  async start(how: HowStarted = {}): Promise<void> {
    // As its unit starts it.
    this.#agent = await startAgent(
      [
        ...(how.under ?? []),
        process.execPath,
        '--jitless',
        '--no-expose-wasm',
        how.program ?? `${agents}/keys/main.js`,
      ],
      { PATH: '/usr/bin:/bin', BUILD_INFRA_ROOT: this.root, ...mutant },
    );
  }

  /** What the agent said since its last start. */
  get agentErrors(): string {
    return this.#agent?.said() ?? '';
  }

  /** Another start of its program, with arguments. @returns what it printed */
  run(...argv: string[]): string {
    return execFileSync(process.execPath, [`${agents}/keys/main.js`, ...argv], {
      encoding: 'utf8',
      env: { PATH: '/usr/bin:/bin', BUILD_INFRA_ROOT: this.root },
    });
  }

  async kill(): Promise<void> {
    await this.#agent?.kill();
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  async close(): Promise<void> {
    await this.kill();
    this.keysHome.close();
    this.logsHome.close();
    rmSync(this.root, { recursive: true, force: true });
  }

  /** A real commit object; it is not put into `history`. */
  makeCommit(files: readonly PublishedFile[], options: CommitOptions = {}): Published {
    const seq = options.seq ?? this.history.length + 1;
    const parents =
      options.parents ?? (this.history.length === 0 ? [] : [(this.history.at(-1) as Published).commit]);
    const known = files.flatMap(({ path }) => this.#payloads.get(path) ?? []);
    const payloads = options.payloads?.(known) ?? known;
    const message =
      options.message ??
      writePublicationMessage({ subject: `publication ${seq}`, files: [...files, ...payloads], seq });
    const tree = this.#git(['hash-object', '-t', 'tree', '-w', '--stdin']).toString().trim();
    const signature = options.signWith === null ? [] : [`-S${options.signWith ?? this.logsKey}`];
    const commit = this.#git(
      ['commit-tree', ...signature, ...parents.flatMap((parent) => ['-p', parent]), tree],
      message,
    )
      .toString()
      .trim();
    return { commit, raw: this.#git(['cat-file', 'commit', commit]) };
  }

  publish(files: readonly PublishedFile[], options: CommitOptions = {}): Published {
    const made = this.makeCommit(files, options);
    this.history.push(made);
    return made;
  }

  intent(payload: string | Uint8Array, changes: Partial<Intent> = {}): Intent {
    return {
      job: 'hello-2.10-0123456789ab',
      component: 'hello',
      version: '2.10',
      dist: 'bookworm',
      purpose: 'other',
      key: this.signingKey,
      mode: 'detach',
      payload: { name: 'payload', size: Buffer.byteLength(payload), sha256: sha256(payload) },
      logs: [],
      artifacts: [],
      ...changes,
    };
  }

  file(document: string, source = 'build-debian', day = '2026-11-21'): PublishedFile {
    const intent = sha256(document);
    const path = intentPath(source, day, intent);
    const { intents, ...one } = JSON.parse(document) as { intents?: Intent[] };
    const payloads = publishedPayloads(intents ?? [one as unknown as Intent]);
    this.#payloads.set(
      path,
      payloads.map((payload) => ({
        path: payloadPath(source, day, intent, payload.sha256),
        size: payload.size,
        sha256: payload.sha256,
      })),
    );
    return { path, size: Buffer.byteLength(document), sha256: intent };
  }

  document(intents: readonly Intent[]): string {
    return `${JSON.stringify({ format: intentFormat, intents })}\n`;
  }

  /** A receipt over everything since the last accepted one, all of it true. */
  receipt(documents: readonly string[], changes: Partial<Receipt> = {}): Receipt {
    return {
      format: receiptFormat,
      source: 'build-debian',
      commit: this.history.at(-1)?.commit ?? '0'.repeat(40),
      remotes: ['origin', 'mirror'],
      grants: documents.flatMap((document) =>
        intentsOf(JSON.parse(document) as IntentDocument).map((intent) => ({
          sha256: intent.payload.sha256,
          size: intent.payload.size,
          key: intent.key,
          mode: intent.mode,
          intent: sha256(document),
        })),
      ),
      journal: null,
      proof: {
        commits: this.history.slice(this.believed).map(({ raw }) => raw.toString('base64')),
        intents: documents.map((document) => Buffer.from(document).toString('base64')),
      },
      ...changes,
    };
  }

  async sendRaw(bytes: Uint8Array, source = 'build-logs', argument = 'build-debian'): Promise<string[]> {
    const answer = await callSocket(
      `${this.root}/run/build-infra/qubesbuilder.LogReceived.sock`,
      `qubesbuilder.LogReceived+${argument} ${source}`,
      bytes,
      { halfClose: true },
    );
    return answer.toString().trimEnd().split('\n');
  }

  /** @returns the reply, and the journal entries that came with it */
  async send(receipt: unknown): Promise<{ reply: ReceiptReply; entries: JournalEntry[] }> {
    const [first, ...rest] = await this.sendRaw(Buffer.from(JSON.stringify(receipt)));
    const reply = JSON.parse(first as string) as ReceiptReply;
    if (reply.result === 'accepted')
      this.believed = this.history.findIndex(({ commit }) => commit === reply.head) + 1;
    return { reply, entries: rest.map((line) => JSON.parse(line) as JournalEntry) };
  }

  /** The whole honest way: publishes an intent for `payload` and has it granted. */
  async grant(payload: string | Uint8Array, changes: Partial<Intent> = {}): Promise<void> {
    const document = this.document([this.intent(payload, changes)]);
    this.publish([this.file(document)]);
    const { reply } = await this.send(this.receipt([document]));
    if (reply.result !== 'accepted') throw new Error(`not granted: ${JSON.stringify(reply)}`);
  }

  journal(): JournalEntry[] {
    return readFileSync(`${this.root}/var/lib/build-infra/journal.jsonl`, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as JournalEntry);
  }

  events(): string[] {
    return this.journal().map(({ event, result }) => (event === 'refused' ? `refused ${result}` : event));
  }
}
