// SPDX-License-Identifier: GPL-2.0-or-later
// A build-logs VM in a temporary folder: the real agent as a process, real git remotes, a real logs key, and
// a keys VM that only keeps the receipts' protocol. Calls go straight to the sockets
// (test/support/direct-client.ts for the other direction).
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readGitCommit } from '../../agents/shared/formats/git-commit.js';
import {
  intentFormat,
  intentsOf,
  publishedPayloads,
  type HashedFile,
  type Intent,
  type IntentDocument,
  type IntentReply,
} from '../../agents/shared/formats/intent.js';
import { readPublicationMessage } from '../../agents/shared/formats/publication.js';
import { type AgentProcess, type HowStarted, startAgent } from '../support/agent-process.js';
import { writeDirectClient } from '../support/direct-client.js';
import { GpgHome } from '../support/gpg-home.js';
import { until } from '../support/until.js';
import { FakeKeysVm } from './fake-keys-vm.js';

const compiled = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const agentProgram = join(compiled, 'agents/build-logs/main.js');
export const signingKey = 'A'.repeat(40);

/** More than the agent's own limit: its refusal says more than "not in time". */
const patienceSeconds = 150;

export interface RigOptions {
  remotes?: { name: string; required: boolean }[];
  publishSeconds?: number;
  intentSeconds?: number;
  reopenSeconds?: number;
  logBytes?: number;
  openLogs?: number;
  payloadBytes?: number;
  intentsPerDay?: number;
  intentBytesPerDay?: number;
  sources?: string[];
  /** where the agent's state is, instead of a folder of the rig */
  root?: string;
}

export function sha256(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A caller's connection to BuildLog, after policy: who calls is in the descriptor. */
export class Caller {
  readonly socket: Socket;
  answer = '';
  #ended = false;

  constructor(socketPath: string, service: string, source: string) {
    this.socket = connect({ path: socketPath, allowHalfOpen: true });
    this.socket.on('data', (chunk) => (this.answer += chunk.toString('latin1')));
    this.socket.on('error', () => (this.#ended = true));
    this.socket.on('end', () => (this.#ended = true)).on('close', () => (this.#ended = true));
    this.socket.write(`${service} ${source}\0`);
  }

  get ended(): boolean {
    return this.#ended;
  }

  get lines(): string[] {
    return this.answer.split('\n').slice(0, -1);
  }

  send(data: string | Uint8Array): this {
    this.socket.write(data);
    return this;
  }

  async end(data?: string | Uint8Array, seconds = patienceSeconds): Promise<string[]> {
    this.socket.end(data ?? '');
    await until(`the call ends (so far: ${this.answer.slice(-300)})`, () => this.#ended, seconds);
    return this.lines;
  }

  async line(pattern: RegExp, seconds = 60): Promise<string> {
    await until(
      `a line ${pattern} (so far: ${this.answer.slice(-300)})`,
      () => this.lines.some((line) => pattern.test(line)),
      seconds,
    );
    return this.lines.findLast((line) => pattern.test(line)) as string;
  }
}

export class Rig {
  readonly folder: string;
  readonly root: string;
  readonly keys = new Map<string, FakeKeysVm>();
  readonly options: RigOptions;
  readonly #home: GpgHome;
  logsKey = '';
  #saidBefore = '';
  readonly #payloads = new Map<string, Buffer>();
  agent: AgentProcess | undefined;

  private constructor(options: RigOptions) {
    this.options = options;
    this.folder = mkdtempSync(join(tmpdir(), 'bl-'));
    this.root = options.root ?? join(this.folder, 'r');
    this.#home = new GpgHome(this.gnupg);
  }

  static async make(options: RigOptions = {}): Promise<Rig> {
    const rig = new Rig(options);
    rig.logsKey = rig.#home.makeKey('build-logs <logs@example.invalid>');
    for (const folder of ['rw/config/build-infra', 'run/build-infra', 'var/lib', 'usr/bin'])
      mkdirSync(join(rig.root, folder), { recursive: true });
    for (const { name } of rig.remotes)
      execFileSync('git', ['init', '--quiet', '--bare', '--initial-branch=main', rig.remote(name)]);
    const routes: Record<string, string> = {};
    for (const source of rig.sources) {
      const keysVm = new FakeKeysVm(source, join(rig.folder, `${source}.sock`));
      await keysVm.listen();
      rig.keys.set(source, keysVm);
      routes[`qubesbuilder.LogReceived+${source}`] = keysVm.path;
    }
    rig.#writeClient(routes);
    rig.writeConfig();
    return rig;
  }

  /** One that runs until the test is over. */
  static async started(
    t: { teardown: (act: () => unknown) => void },
    options: RigOptions = {},
  ): Promise<Rig> {
    const rig = await Rig.make(options);
    t.teardown(() => rig.stop());
    return rig.start();
  }

  /** of the first source */
  get keysVm(): FakeKeysVm {
    return this.keys.get(this.sources[0] as string) as FakeKeysVm;
  }

  get gnupg(): string {
    return join(this.root, 'home/user/.gnupg');
  }

  /** the public logs key, armored */
  get publicLogsKey(): Buffer {
    return this.#home.exported(this.logsKey);
  }

  get remotes(): { name: string; required: boolean }[] {
    return (
      this.options.remotes ?? [
        { name: 'origin', required: true },
        { name: 'mirror', required: true },
      ]
    );
  }

  get sources(): string[] {
    return this.options.sources ?? ['build-debian'];
  }

  get state(): string {
    return join(this.root, 'var/lib/build-infra');
  }

  get socket(): string {
    return join(this.root, 'run/build-infra/qubesbuilder.BuildLog.sock');
  }

  stateFile(name: string): string {
    return readFileSync(join(this.state, name), 'utf8');
  }

  remote(name: string): string {
    return join(this.folder, `${name}.git`);
  }

  /** One client for all keys VMs: which one is called stands in the argument, as policy has it. */
  #writeClient(routes: Record<string, string>): void {
    const path = join(this.root, 'usr/bin/qrexec-client-vm');
    for (const [service, socket] of Object.entries(routes)) {
      const source = service.split('+')[1] as string;
      writeDirectClient(`${path}.${source}`, 'build-logs', { 'qubesbuilder.LogReceived': socket });
    }
    writeFileSync(path, `#!/bin/sh\nexec "$0.\${2#*+}" "$@"\n`, { mode: 0o755 });
  }

  writeConfig(change: object = {}): void {
    const {
      publishSeconds = 60,
      intentSeconds = 120,
      reopenSeconds = 30,
      logBytes = 268435456,
      openLogs = 64,
      intentsPerDay = 20_000,
      intentBytesPerDay = 536_870_912,
    } = this.options;
    writeFileSync(
      join(this.root, 'rw/config/build-infra/build-logs.json'),
      JSON.stringify({
        format: 'build-infra/build-logs-config@1',
        vm: 'build-logs',
        logsKey: this.logsKey,
        remotes: this.remotes.map(({ name, required }) => ({ name, url: this.remote(name), required })),
        sources: this.sources.map((vm) => ({
          vm,
          keysVm: vm.replace('build', 'keys'),
          keys: [signingKey],
          journalKey: this.keys.get(vm)?.journalKey ?? null,
          payloadBytes: this.options.payloadBytes ?? 268435456,
        })),
        publishSeconds,
        intentSeconds,
        reopenSeconds,
        logBytes,
        openLogs,
        intentsPerDay,
        intentBytesPerDay,
        ...change,
      }),
    );
  }

  async start(how: HowStarted = {}): Promise<this> {
    this.agent = await startAgent([...(how.under ?? []), process.execPath, how.program ?? agentProgram], {
      PATH: process.env['PATH'],
      HOME: this.folder,
      BUILD_INFRA_ROOT: this.root,
      __STRYKER_ACTIVE_MUTANT__: process.env['__STRYKER_ACTIVE_MUTANT__'],
    });
    return this;
  }

  /** What all its agents said. */
  get report(): string {
    return this.#saidBefore + (this.agent?.said() ?? '');
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    await this.agent?.kill(signal);
    this.#saidBefore = this.report;
    this.agent = undefined;
  }

  async stop(): Promise<void> {
    await this.kill('SIGTERM');
    for (const keysVm of this.keys.values()) await keysVm.close();
    this.#home.close();
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  call(argument = '', source = 'build-debian'): Caller {
    return new Caller(this.socket, `qubesbuilder.BuildLog+${argument}`, source);
  }

  header(more: object = {}): string {
    return `> build-infra log@1 ${JSON.stringify({ job: 'hello-1.0-abcdef', component: 'hello', stage: 'build', ...more })}\n`;
  }

  /** An intent for new bytes, which ask() sends behind it. */
  intent(change: Partial<Intent> & Record<string, unknown> = {}): Record<string, unknown> {
    return {
      format: intentFormat,
      job: 'hello-1.0-abcdef',
      component: 'hello',
      version: '1.0',
      dist: 'bookworm',
      purpose: 'other',
      key: signingKey,
      mode: 'detach',
      payload: this.payload(randomBytes(8)),
      logs: [],
      artifacts: [],
      nonce: randomBytes(16).toString('hex'),
      ...change,
    };
  }

  payload(bytes: Buffer, name = 'hello.dsc'): HashedFile {
    this.#payloads.set(sha256(bytes), bytes);
    return { name, size: bytes.length, sha256: sha256(bytes) };
  }

  /** What follows the document, and these bytes of the document itself. */
  input(document: unknown): { line: string; payloads: Buffer } {
    const line = `${typeof document === 'string' ? document : JSON.stringify(document)}\n`;
    try {
      const parsed = JSON.parse(line) as IntentDocument;
      return {
        line,
        payloads: Buffer.concat(
          publishedPayloads(intentsOf(parsed)).map(
            (payload) => this.#payloads.get(payload.sha256) ?? Buffer.alloc(0),
          ),
        ),
      };
    } catch {
      return { line, payloads: Buffer.alloc(0) };
    }
  }

  async ask(document: unknown, source = 'build-debian', seconds = patienceSeconds): Promise<IntentReply> {
    const { line, payloads } = this.input(document);
    return this.send(Buffer.concat([Buffer.from(line), payloads]), source, seconds);
  }

  /** Exactly these bytes. */
  async send(bytes: Uint8Array, source = 'build-debian', seconds = patienceSeconds): Promise<IntentReply> {
    const lines = await this.call('intent', source).end(bytes, seconds);
    return JSON.parse(lines.at(-1) ?? '{"result":"nothing"}') as IntentReply;
  }

  git(repository: string, ...argv: string[]): string {
    return execFileSync('git', ['--git-dir', repository, ...argv], { encoding: 'utf8', maxBuffer: 1 << 30 });
  }

  /** The file at a path in a remote, at a commit. */
  file(path: string, remote = 'origin', commit = 'main'): Buffer {
    return execFileSync('git', ['--git-dir', this.remote(remote), 'cat-file', 'blob', `${commit}:${path}`], {
      maxBuffer: 1 << 30,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** A commit as it is in a remote. */
  object(commit: string, remote = 'origin'): Buffer {
    return execFileSync('git', ['--git-dir', this.remote(remote), 'cat-file', 'commit', commit]);
  }

  /** Every remote has what the agent has committed. */
  async allPushed(): Promise<void> {
    const head = (repository: string): string =>
      this.git(repository, 'for-each-ref', '--format=%(objectname)', 'refs/heads/main').trim();
    await until('all remotes have the last commit', () => {
      const ours = head(join(this.state, 'repository.git'));
      return ours !== '' && this.remotes.every(({ name }) => head(this.remote(name)) === ours);
    });
  }

  /**
   * Every commit of a remote is signed, follows on the last one, and tells the truth about its files, which
   * only grow.
   * @returns the number of commits
   */
  checkHistory(remote = 'origin'): number {
    const commits = this.git(this.remote(remote), 'rev-list', '--reverse', 'main').trim().split('\n');
    const seen = new Map<string, Buffer>();
    commits.forEach((id, index) => {
      const body = this.object(id, remote);
      const commit = readGitCommit(body);
      const message = readPublicationMessage(commit.message);
      if (
        commit.id !== id ||
        message.seq !== index + 1 ||
        (commit.parents[0] ?? '') !== (commits[index - 1] ?? '')
      )
        throw new Error(`commit ${id} is out of line`);
      const signature = join(this.folder, 'signature');
      writeFileSync(signature, commit.signature);
      execFileSync('gpg', ['--homedir', this.gnupg, '--batch', '--verify', signature, '-'], {
        input: commit.signedBytes,
        stdio: ['pipe', 'ignore', 'ignore'],
      });
      const changed = this.git(
        this.remote(remote),
        'diff-tree',
        '--root',
        '-r',
        '--no-commit-id',
        '--name-only',
        '--diff-filter=AM',
        id,
      )
        .trim()
        .split('\n')
        .sort()
        .join('\n');
      if (
        changed !==
        message.files
          .map((file) => file.path)
          .sort()
          .join('\n')
      )
        throw new Error(`commit ${id} names other files than it changes:\n${changed}`);
      for (const file of message.files) {
        const bytes = this.file(file.path, remote, id);
        if (bytes.length !== file.size || sha256(bytes) !== file.sha256)
          throw new Error(`${file.path} in ${id} is not what the message says`);
        const before = seen.get(file.path);
        if (before !== undefined && !bytes.subarray(0, before.length).equals(before))
          throw new Error(`${file.path} did not only grow in ${id}`);
        seen.set(file.path, bytes);
      }
    });
    return commits.length;
  }

  readState(path: string): string {
    return readFileSync(join(this.state, path), 'utf8');
  }
}

/** The text of the sender's lines in a log, without stamps, our own header and the receiver's lines. */
export function textOf(log: Buffer | string, vm = 'build-debian'): string[] {
  const prefix = `${vm}: `;
  return log
    .toString('latin1')
    .split('\n')
    .map((line) => line.slice(33))
    .filter((line) => line.startsWith(prefix))
    .map((line) => line.slice(prefix.length))
    .filter((line) => !line.startsWith('> build-infra log@1 '));
}
