// SPDX-License-Identifier: GPL-2.0-or-later
// The publisher: everything that waits goes into one commit, signed by the logs key, pushed to every remote and read back there. Only
// then do receipts leave and callers get their answer. docs/life-of-a-build.md. What a kill interrupts is found again in the files
// of the logs and in the repository: a commit that exists is pushed on, a log that is not whole in it is published on.
import { createHash } from 'node:crypto';
import { printable, Refusal } from '../shared/refusal.js';
import type { Reporter } from '../shared/socket-service.js';
import { gitObjectId, readGitCommit } from '../shared/formats/git-commit.js';
import { intentPath, readPublicationMessage, writePublicationMessage, type PublishedFile } from '../shared/formats/publication.js';
import type { BuildLogsConfig } from './config.js';
import { demandRoom, diskFull, isDiskFull } from './disk-space.js';
import type { GitRepository } from './git-repository.js';
import { stamp, type Clock } from './line-stamper.js';
import type { Log } from './log.js';
import { beginsWithBlob, isFarBehind, packLog, writeLogBlob, type LogBlob } from './log-blob.js';
import type { LogStore } from './log-store.js';
import type { Receipts, GrantedIntent } from './receipts.js';
import type { Remote, Target } from './remote.js';
import type { Signer } from './signer.js';

export interface PublisherOptions {
  config: BuildLogsConfig;
  repository: GitRepository;
  signer: Signer;
  logs: LogStore;
  remotes: readonly Remote[];
  receipts: ReadonlyMap<string, Receipts>;
  report: Reporter;
  clock: Clock;
}

export interface PublishedIntent {
  commit: string;
  grantedUntil: string;
}

interface WaitingIntent extends GrantedIntent {
  source: string;
  path: string;
  /** in a commit; before that it waits for one */
  committed: boolean;
  settled: boolean;
  resolve(published: PublishedIntent): void;
  reject(error: Error): void;
}

/** What rides on a commit until it is confirmed. */
interface Batch extends Target {
  intents: WaitingIntent[];
  ended: { log: Log; blob: LogBlob }[];
}

interface LogState {
  publishedBytes: number;
  /** its last published form was found again after a start and is a prefix of the file */
  compared: boolean;
  /** ms; when its new lines are to be published at the latest */
  due: number | undefined;
  inBatch: boolean;
  /** xz is at work on it beside publications */
  packing: boolean;
  /** how often it was, since the last publication: a log that grows faster than xz works is published all the same */
  packed: number;
  waiters: { resolve(as: { path: string; commit: string; sha256: string }): void; reject(error: Error): void }[];
}

/** Raw bytes of intents that go into one publication of one source: what fits into one receipt. */
const intentBytesPerBatch = 1_500_000;
const gatherMs = 3;
const failureRetryMs = 2000;
/** Loose objects are packed after so many publications, or so many bytes of new blobs. */
const packEvery = 400;
/** A log that grows faster than xz works is published after so many rounds beside. */
const packRounds = 3;
const packBytes = 256 * 1024 * 1024;
/** As many entries as a keys VM sends back at once. */
const entriesAtOnce = 1000;

export class Publisher {
  readonly #options: PublisherOptions;
  readonly #logStates = new WeakMap<Log, LogState>();
  #head: (Target & { tree: string }) | null = null;
  #intents: WaitingIntent[] = [];
  #batches: Batch[] = [];
  readonly #recent = new Map<string, Buffer>();
  #journalDue: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;
  #working = false;
  #again = false;
  #started = false;
  #stopped = false;
  /** build VMs whose keys VM is to be asked for its last entries once all is confirmed */
  readonly #wantsJournal = new Set<string>();
  #sincePacked = 0;
  #bytesSincePacked = 0;
  #packing = false;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  get started(): boolean {
    return this.#started;
  }

  async isPublished(path: string): Promise<boolean> {
    return await this.#options.repository.find(this.#head?.tree ?? null, path) !== undefined;
  }

  /** Takes up where the last start was stopped. `commit` is the head of the repository, checked; null for an empty one. */
  async start(commit: string | null): Promise<void> {
    if (commit !== null) {
      const { tree, message } = readGitCommit(await this.#commit(commit));
      this.#head = { commit, tree, seq: readPublicationMessage(message).seq };
      for (const receipts of this.#options.receipts.values()) await this.#recoverJournal(receipts);
      for (const remote of this.#options.remotes) remote.aim(this.#head);
    }
    this.#started = true;
    for (const log of this.#options.logs.all()) this.changed(log);
    for (const receipts of this.#options.receipts.values()) if (receipts.owed) this.#wantsJournal.add(receipts.source.vm);
    this.#work();
  }

  async #recoverJournal(receipts: Receipts): Promise<void> {
    const { journal, source } = receipts;
    const folder = await this.#options.repository.find(this.#head?.tree ?? null, `journal/${source.keysVm}`);
    const last = folder === undefined ? undefined : (await this.#options.repository.tree(folder.id)).at(-1);
    if (last === undefined) return;
    const body = await this.#options.repository.object(last.id, 'blob') as Buffer;
    const before = Number(last.name.split('.')[0]) * 256;
    const lines = body.toString('utf8').split('\n').slice(0, -1);
    if (journal.entries < before + lines.length && journal.entries >= before) journal.append(lines.slice(journal.entries - before));
    journal.publishedEntries = Math.min(before + lines.length, journal.entries);
    if (journal.entries > journal.publishedEntries) this.journalGrew();
  }

  #state(log: Log): LogState {
    let state = this.#logStates.get(log);
    if (state === undefined) this.#logStates.set(log, state = { publishedBytes: -1, compared: false, due: undefined, inBatch: false, packing: false, packed: 0, waiters: [] });
    return state;
  }

  /** A log has new lines on disk, or has ended. */
  changed(log: Log): void {
    if (log.record.state === 'published') return;
    const state = this.#state(log);
    if (log.ended) return this.#work();
    if (log.readyBytes <= state.publishedBytes || state.due !== undefined) return;
    state.due = Date.now() + this.#options.config.publishSeconds * 1000;
    this.#wakeAt(state.due);
  }

  journalGrew(): void {
    this.#journalDue ??= Date.now() + this.#options.config.publishSeconds * 1000;
    this.#wakeAt(this.#journalDue);
  }

  /** @throws Refusal NOT_PUBLISHED when it is not confirmed on every required remote in time */
  publication(log: Log): Promise<{ path: string; commit: string; sha256: string }> {
    const done = log.record.published;
    if (done !== undefined) return Promise.resolve(done);
    return this.#inTime((resolve, reject) => {
      this.#state(log).waiters.push({ resolve, reject });
      this.#work();
    });
  }

  /** Publishes an intent that has been checked, and asks for its grants. @throws Refusal NOT_PUBLISHED, HISTORY_DIVERGED, DISK_FULL, or the keys VM's */
  publish(intent: GrantedIntent & { source: string }): Promise<PublishedIntent> {
    const day = stamp(this.#options.clock()).slice(0, 10);
    let waiting: WaitingIntent | undefined;
    return this.#inTime<PublishedIntent>((resolve, reject) => {
      waiting = { ...intent, path: intentPath(intent.source, day, intent.sha256), committed: false, settled: false, resolve, reject };
      const diverged = this.#diverged();
      if (diverged !== undefined) return reject(diverged);
      this.#intents.push(waiting);
      setTimeout(() => this.#work(), gatherMs);
    }).finally(() => {
      if (waiting !== undefined) waiting.settled = true;
    });
  }

  /** Whether this very document waits or was published today. The keys VM counts over all time; this only answers sooner. */
  async isKnownIntent(source: string, sha256: string): Promise<boolean> {
    return this.#intents.some((intent) => intent.sha256 === sha256 && intent.source === source) || await this.isPublished(intentPath(source, stamp(this.#options.clock()).slice(0, 10), sha256));
  }

  #diverged(): Refusal | undefined {
    const names = this.#options.remotes.filter((remote) => remote.diverged).map((remote) => remote.name);
    return names.length === 0 ? undefined : new Refusal('HISTORY_DIVERGED', `remote ${names.join(', ')} holds another history; nothing is granted`);
  }

  #inTime<T>(begin: (resolve: (value: T) => void, reject: (error: Error) => void) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => reject(this.#notPublished()), this.#options.config.intentSeconds * 1000);
      const done = <V>(act: (value: V) => void) => (value: V): void => {
        clearTimeout(timer);
        act(value);
      };
      begin(done(resolve), done(reject));
    });
  }

  #notPublished(): Refusal {
    const seq = this.#head?.seq ?? Infinity;
    const missing = this.#options.remotes.filter((remote) => remote.required && remote.confirmedSeq < seq);
    const why = missing.map((remote) => `${remote.name}${remote.trouble === '' ? '' : ` (${remote.trouble})`}`).join(', ');
    return new Refusal('NOT_PUBLISHED', `not confirmed within ${this.#options.config.intentSeconds} s${why === '' ? '' : ` on remote ${why}`}`);
  }

  #wakeAt(time: number): void {
    if (time >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = time;
    this.#timer = setTimeout(() => {
      this.#timerAt = Infinity;
      this.#work();
    }, Math.max(0, Math.min(time - Date.now(), 2 ** 30)));
  }

  /** Settles what is confirmed, then commits what waits, one at a time. Cheap where there is nothing to do. */
  #work(): void {
    if (!this.#started || this.#stopped) return;
    this.#settle();
    if (this.#working) {
      this.#again = true;
      return;
    }
    // While a push is under way more may gather: it all goes into the next commit.
    if (this.#options.remotes.some((remote) => remote.required && remote.busy)) return;
    if (!this.#hasWork()) return;
    this.#working = true;
    void this.#publishWaiting().catch(async (error: unknown) => {
      this.#options.report(`publication failed: ${printable(String((error as Error).stack ?? error))}`);
      // git, gpg and xz do not say that it was the disk.
      const full = isDiskFull(error) || await demandRoom(this.#options.repository.path).then(() => false, isDiskFull);
      const refusal = full ? diskFull() : new Refusal('PUBLICATION_FAILED', 'the build-logs VM could not make the publication');
      for (const intent of this.#intents.splice(0)) intent.reject(refusal);
      return new Promise((resolve) => setTimeout(resolve, failureRetryMs).unref());
    }).finally(() => {
      this.#working = false;
      if (this.#again || this.#hasWork()) {
        this.#again = false;
        this.#work();
      }
    });
  }

  #dueLogs(now: number): Log[] {
    return this.#options.logs.all().filter((log) => {
      if (log.record.state === 'published') return false;
      const state = this.#state(log);
      return (log.ended ? !state.inBatch : (state.due ?? Infinity) <= now) && !this.#mustBePacked(log);
    });
  }

  /** One build VM's large log must not keep another's intents waiting: it is packed beside them first. */
  #mustBePacked(log: Log): boolean {
    const state = this.#state(log);
    if (state.packing) return true;
    if (state.inBatch || state.packed >= packRounds || !isFarBehind(log)) return false;
    state.packing = true;
    state.packed++;
    packLog(log, log.readyBytes)
      .catch((error: unknown) => this.#options.report(`${log.record.path}: cannot be packed: ${printable(String(error))}`))
      .finally(() => {
        state.packing = false;
        this.#work();
      });
    return true;
  }

  #unpackedVms(): Set<string> {
    const vms = new Set(this.#intents.map((intent) => intent.source));
    return new Set([...vms].filter((vm) => this.#options.logs.of(vm).filter((log) => log.record.state !== 'published' && this.#mustBePacked(log)).length > 0));
  }

  #hasWork(): boolean {
    this.#intents = this.#intents.filter((intent) => !intent.settled);
    const now = Date.now();
    const unpacked = this.#unpackedVms();
    return this.#intents.some((intent) => !unpacked.has(intent.source)) || (this.#journalDue ?? Infinity) <= now || this.#dueLogs(now).length > 0;
  }

  #takeIntents(): WaitingIntent[] {
    const used = new Map<string, number>();
    const unpacked = this.#unpackedVms();
    const taken: WaitingIntent[] = [];
    this.#intents = this.#intents.filter((intent) => {
      const sum = (used.get(intent.source) ?? 0) + intent.bytes.length;
      if (intent.settled || sum > intentBytesPerBatch || unpacked.has(intent.source)) return !intent.settled;
      used.set(intent.source, sum);
      taken.push(intent);
      return false;
    });
    return taken;
  }

  async #publishWaiting(): Promise<void> {
    const { repository, logs, receipts, report } = this.#options;
    const root = this.#head?.tree ?? null;
    const intents = this.#takeIntents();
    try {
      const chosen = new Set(this.#dueLogs(Date.now()));
      const vms = new Set([...intents.map((intent) => intent.source), ...[...chosen].map((log) => log.record.vm)]);
      for (const vm of vms) for (const log of logs.of(vm)) if (log.record.state !== 'published' && !this.#state(log).inBatch && !this.#state(log).packing) chosen.add(log);
      await Promise.all([...chosen].map((log) => log.flush().catch(() => undefined)));

      const files: PublishedFile[] = [];
      const changes = new Map<string, string | null>();
      const blobs: { log: Log; blob: LogBlob; ended: boolean }[] = [];
      const put = (path: string, object: { id: string; size: number; sha256: string }): void => {
        changes.set(path, object.id);
        files.push({ path, size: object.size, sha256: object.sha256 });
        this.#bytesSincePacked += object.size;
      };
      for (const log of chosen) {
        const { ended } = log;
        const state = this.#state(log);
        state.due = undefined;
        state.packed = 0;
        if (!ended && (log.readyBytes === 0 || log.readyBytes === state.publishedBytes)) continue;
        const blob = await writeLogBlob(log, repository);
        const before = await repository.find(root, blob.path);
        if (!await this.#mayFollow(log, blob, before?.id)) continue;
        blobs.push({ log, blob, ended });
        if (before?.id === blob.id) continue;
        put(blob.path, blob);
        if (blob.path !== log.record.path && await repository.find(root, log.record.path) !== undefined) changes.set(log.record.path, null);
      }
      for (const intent of intents) if (!changes.has(intent.path)) put(intent.path, repository.objects.write('blob', intent.bytes));
      const journals: { receipts: Receipts; entries: number }[] = [];
      for (const each of receipts.values()) {
        journals.push({ receipts: each, entries: each.journal.entries });
        for (const file of each.journal.unpublishedFiles()) put(file.path, repository.objects.write('blob', file.body));
      }
      this.#journalDue = undefined;
      // An outsider who knows the fingerprint finds the key where the history begins.
      if (this.#head === null && files.length > 0) put(`keys/${this.#options.config.logsKey}.asc`, repository.objects.write('blob', Buffer.from(await this.#options.signer.publicKey())));

      const batch: Batch = { commit: '', seq: 0, intents, ended: blobs.filter(({ ended }) => ended) };
      if (files.length > 0) await this.#commitFiles(files, changes, intents.length);
      if (this.#head === null) return;
      batch.commit = this.#head.commit;
      batch.seq = this.#head.seq;
      for (const { receipts: each, entries } of journals) each.journal.publishedEntries = entries;
      for (const { log, blob } of blobs) this.#state(log).publishedBytes = blob.plainBytes;
      for (const { log } of batch.ended) this.#state(log).inBatch = true;
      for (const intent of intents) intent.committed = true;
      this.#batches.push(batch);
      for (const remote of this.#options.remotes) remote.aim(this.#head);
      for (const { log } of blobs) this.changed(log);
      this.#settle();
      this.#packSometimes();
    } catch (error) {
      this.#intents.push(...intents);
      await repository.objects.sync().catch(() => undefined);
      report('what was to be published waits for the next attempt');
      throw error;
    }
  }

  /** A file of the repository may only grow. After a start the published form is compared once; later our own count says it. */
  async #mayFollow(log: Log, blob: LogBlob, published: string | undefined): Promise<boolean> {
    const state = this.#state(log);
    if (published === undefined || published === blob.id || state.compared) {
      state.compared = true;
      return true;
    }
    const size = (await this.#options.repository.object(published, 'blob'))?.length ?? -1;
    const file = blob.path === log.record.path ? log.file : `${log.file}.xz`;
    if (size >= 0 && size <= blob.size && await beginsWithBlob(file, published, size)) return state.compared = true;
    this.#options.report(`ALARM ${log.record.path}: the published form is not a beginning of the file; it is not published any further`);
    for (const waiter of state.waiters.splice(0)) waiter.reject(new Refusal('LOG_DIFFERS', 'the log differs from what is published'));
    state.inBatch = true;
    return false;
  }

  async #commitFiles(files: PublishedFile[], changes: ReadonlyMap<string, string | null>, intents: number): Promise<void> {
    const { repository, signer, config, clock } = this.#options;
    const before = this.#head;
    const tree = await repository.withFiles(before?.tree ?? null, changes);
    const seq = (before?.seq ?? 0) + 1;
    const subject = `Publish ${files.length} file${files.length === 1 ? '' : 's'}${intents === 0 ? '' : `, ${intents} intent${intents === 1 ? '' : 's'}`}`;
    const who = `${config.vm} <${config.vm}@build-infra.invalid> ${Math.floor(clock() / 1e6)} +0000`;
    const head = [`tree ${tree}`, ...(before === null ? [] : [`parent ${before.commit}`]), `author ${who}`, `committer ${who}`].join('\n');
    const message = `\n\n${writePublicationMessage({ subject, files, seq })}`;
    const signature = await signer.sign(Buffer.from(head + message));
    const body = Buffer.from(`${head}\ngpgsig ${signature.trimEnd().replaceAll('\n', '\n ')}${message}`);
    const { id } = repository.objects.write('commit', body);
    try {
      await repository.moveBranch(before?.commit ?? null, id);
    } catch (error) {
      // The branch may have moved although git complained: what it shows counts.
      if (await repository.head() !== id) throw error;
    }
    this.#remember(id, body);
    this.#head = { commit: id, seq, tree };
  }

  /** Whatever is confirmed on every required remote now is published: logs are answered, receipts leave. */
  #settle(): void {
    const required = this.#options.remotes.filter((remote) => remote.required);
    const confirmed = Math.min(...required.map((remote) => remote.confirmedSeq));
    const diverged = this.#diverged();
    if (diverged !== undefined) {
      for (const intent of [...this.#intents, ...this.#batches.flatMap((batch) => batch.intents)]) if (!intent.settled) intent.reject(diverged);
    }
    while (this.#batches[0] !== undefined && this.#batches[0].seq <= confirmed) this.#settleBatch(this.#batches.shift() as Batch, diverged);
    if (this.#wantsJournal.size > 0) this.#askForJournals();
  }

  #settleBatch(batch: Batch, diverged: Refusal | undefined): void {
    const { receipts, logs } = this.#options;
    const ended = new Set<string>();
    for (const { log, blob } of batch.ended) {
      try {
        logs.published(log, { path: blob.path, commit: batch.commit, sha256: blob.sha256, size: blob.size, at: Date.now() });
      } catch (error) {
        this.#options.report(`${log.record.path}: ${printable(String(error))}`);
      }
      ended.add(log.record.vm);
      for (const waiter of this.#state(log).waiters.splice(0)) waiter.resolve({ path: blob.path, commit: batch.commit, sha256: blob.sha256 });
    }
    logs.forgetOld();
    const names = this.#confirmedOn(batch.seq);
    for (const [source, each] of receipts) {
      const intents = batch.intents.filter((intent) => intent.source === source && !intent.settled);
      if (intents.length > 0 && diverged === undefined) {
        each.send(batch.commit, names, intents).then(
          (grantedUntil) => intents.forEach((intent) => intent.resolve({ commit: batch.commit, grantedUntil })),
          (error: unknown) => intents.forEach((intent) => intent.reject(error instanceof Refusal ? error : new Refusal('KEYS_VM_UNREACHABLE', 'the receipt failed'))),
        );
      }
      if (ended.has(source) && each.owed) this.#wantsJournal.add(source);
    }
  }

  #confirmedOn(seq: number): string[] {
    return this.#options.remotes.filter((remote) => remote.confirmedSeq >= seq).map((remote) => remote.name).sort();
  }

  /** The receipt without grants, after the last log of a job: the keys VM's entries come back and go out with one more publication. */
  #askForJournals(): void {
    const target = this.#head;
    if (target === null || this.#batches.length > 0 || this.#diverged() !== undefined) return;
    if (this.#options.remotes.some((remote) => remote.required && remote.confirmedSeq < target.seq)) return;
    for (const source of this.#wantsJournal) {
      if (this.#options.logs.of(source).some((log) => !log.ended)) continue;
      this.#wantsJournal.delete(source);
      this.#askForJournal(this.#options.receipts.get(source) as Receipts, target.commit).catch((error: unknown) =>
        this.#options.report(`the last entries of the keys VM of ${source} are missing: ${printable(String((error as Error).message))}`));
    }
  }

  async #askForJournal(receipts: Receipts, commit: string): Promise<void> {
    const names = this.#confirmedOn(this.#head?.seq ?? 0);
    for (;;) {
      const before = receipts.journal.entries;
      await receipts.send(commit, names, []);
      if (receipts.journal.entries > before) this.#journalDue = Date.now();
      if (receipts.journal.entries - before < entriesAtOnce) break;
    }
    this.#work();
  }

  #remember(commit: string, body: Buffer): void {
    if (this.#recent.size >= 500) this.#recent.delete(this.#recent.keys().next().value as string);
    this.#recent.set(commit, body);
  }

  async #commit(id: string): Promise<Buffer> {
    const known = this.#recent.get(id);
    if (known !== undefined) return known;
    const body = await this.#options.repository.object(id, 'commit');
    if (body === undefined || gitObjectId('commit', body) !== id) throw new Error(`commit ${id} is missing`);
    return body;
  }

  /** For receipts: raw commits after `from` up to `to`, oldest first; undefined where `from` is not among them. */
  async commitsAfter(from: string | null, to: string): Promise<Buffer[] | undefined> {
    const bodies: Buffer[] = [];
    for (let id: string | undefined = to; id !== undefined && id !== from;) {
      const body = await this.#commit(id);
      bodies.unshift(body);
      id = readGitCommit(body).parents[0];
      if (id === undefined && from !== null) return undefined;
    }
    return bodies;
  }

  #packSometimes(): void {
    if ((++this.#sincePacked < packEvery && this.#bytesSincePacked < packBytes) || this.#packing) return;
    this.#sincePacked = this.#bytesSincePacked = 0;
    this.#packing = true;
    this.#options.repository.pack().catch((error: unknown) => this.#options.report(`git repack: ${printable(String(error))}`)).finally(() => (this.#packing = false));
  }

  /** A remote's lane moved. */
  remoteChanged(): void {
    this.#work();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    for (const remote of this.#options.remotes) remote.stop();
  }
}

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
