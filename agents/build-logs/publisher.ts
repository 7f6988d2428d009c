// SPDX-License-Identifier: GPL-2.0-or-later
// The publisher: everything that waits goes into one commit, signed by the logs key, pushed to every remote
// and read back there. Only then do receipts leave and callers get their answer. docs/life-of-a-build.md.
// What a kill interrupts is found again in the files of the logs and in the repository: a commit that exists
// is pushed on, a log that is not whole in it is published on. What waits: intents-to-publish,
// logs-to-publish, keys-journals. One commit of it: publication-round, commit-chain. Then: confirmation.
import { intentPath } from '../shared/formats/publication.js';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import type { StampTime } from './stamp-time.js';
import { BranchMoved, CommitChain } from './commit-chain.js';
import type { BuildLogsConfig } from './config.js';
import { Confirmation } from './confirmation.js';
import { demandRoom, diskFull, isDiskFull, roomIn } from './disk-space.js';
import type { GitRepository } from './git-repository.js';
import { IntentShares } from './intent-shares.js';
import { IntentsToPublish, type PublishedIntent, type WaitingIntent } from './intents-to-publish.js';
import { KeysJournals } from './keys-journals.js';
import { stamp } from './line-stamper.js';
import type { Log } from './log.js';
import type { LogStore } from './log-store.js';
import { LogsToPublish, type PublishedLog } from './logs-to-publish.js';
import { ObjectPacking } from './object-packing.js';
import { publishRound } from './publication-round.js';
import type { Receipts, GrantedIntent } from './receipts.js';
import type { Remote } from './remote.js';
import type { Signer } from './signer.js';
import { WakeUp } from './wake-up.js';

export interface PublisherOptions {
  config: BuildLogsConfig;
  repository: GitRepository;
  signer: Signer;
  logs: LogStore;
  remotes: readonly Remote[];
  receipts: ReadonlyMap<string, Receipts>;
  report: Reporter;
  clock: StampTime;
  /** publications between two packings of the repository */
  packEvery?: number;
}

/** Intents that come so close together share a commit. */
const gatherMs = 3;
const failureRetryMs = 2000;
/** Of one build VM, waiting in memory, bytes. */
const waitingBytes = 64 * 1024 * 1024;

export class Publisher {
  readonly #options: PublisherOptions;
  readonly #chain: CommitChain;
  readonly #intents = new IntentsToPublish();
  readonly #shares: IntentShares;
  readonly #logs: LogsToPublish;
  readonly #journals: KeysJournals;
  readonly #confirmation: Confirmation;
  readonly #packing: ObjectPacking;
  readonly #wakeUp = new WakeUp(() => this.#work());
  #working = false;
  #again = false;
  #started = false;
  #stopped = false;

  constructor(options: PublisherOptions) {
    this.#options = options;
    const { config, repository, signer, clock, report, receipts, remotes } = options;
    this.#shares = new IntentShares({
      perDay: config.intentsPerDay,
      bytesPerDay: config.intentBytesPerDay,
      today: () => this.#today(),
      sources: [...receipts.keys()],
      published: (source, day) => this.#publishedOn(source, day),
    });
    const wakes = {
      wakeAt: (time: number) => this.#wakeUp.at(time),
      wake: () => this.#work(),
      publishMs: config.publishSeconds * 1000,
    };
    const chain = (this.#chain = new CommitChain({ repository, signer, clock, vm: config.vm }));
    const logs = (this.#logs = new LogsToPublish({ store: options.logs, repository, report, ...wakes }));
    const journals = (this.#journals = new KeysJournals({
      receipts,
      logs: options.logs,
      repository,
      chain,
      report,
      ...wakes,
    }));
    this.#confirmation = new Confirmation({ remotes, receipts, logs, journals });
    this.#packing = new ObjectPacking(repository, report, options.packEvery);
  }

  get started(): boolean {
    return this.#started;
  }

  async isPublished(path: string): Promise<boolean> {
    return (await this.#chain.find(path)) !== undefined;
  }

  /**
   * Takes up where the last start was stopped. `commit` is the head of the repository, checked; null for an
   * empty one.
   */
  async start(commit: string | null): Promise<void> {
    if (commit !== null) {
      const head = await this.#chain.open(commit);
      await this.#journals.recover();
      await this.#shares.start();
      this.#confirmation.push(head);
    }
    this.#started = true;
    for (const log of this.#options.logs.all()) this.changed(log);
    for (const source of this.#options.receipts.keys()) this.#journals.wantLastEntries(source);
    this.#work();
  }

  /** A log has new lines on disk, or has ended. */
  changed(log: Log): void {
    this.#logs.changed(log);
  }

  journalGrew(): void {
    this.#journals.grew();
  }

  /** A remote's lane moved. */
  remoteChanged(): void {
    this.#work();
  }

  /** For receipts: see CommitChain. */
  commitsAfter(from: string | null, to: string): Promise<Buffer[] | undefined> {
    return this.#chain.commitsAfter(from, to);
  }

  /** For whoever asks a remote what it shows: see CommitChain. */
  newestCommits(from: string, limitBytes: number): Buffer[] {
    return this.#chain.newestCommits(from, limitBytes);
  }

  /** @throws Refusal NOT_PUBLISHED when it is not confirmed on every required remote in time */
  publication(log: Log): Promise<PublishedLog> {
    const done = log.record.published;
    if (done !== undefined) return Promise.resolve(done);
    return this.#inTime((resolve, reject) => {
      this.#logs.wait(log, { resolve, reject });
      this.#work();
    });
  }

  /**
   * Whether this build VM may have so many bytes more published today.
   * @throws Refusal TOO_MANY_INTENTS, DAY_SHARE_USED
   */
  demandShare(source: string, bytes: number): void {
    const waiting = this.#intents.used(source);
    if (waiting.bytes + bytes > waitingBytes)
      throw new Refusal('TOO_MANY_INTENTS', `${waiting.bytes} bytes of ${source} wait already`);
    this.#shares.demand(source, bytes, waiting);
  }

  /**
   * Publishes an intent that has been checked, says when it is confirmed, and asks for its grants. @throws
   * Refusal NOT_PUBLISHED, HISTORY_DIVERGED, DISK_FULL, or as demandShare, or the keys VM's
   */
  async publish(
    intent: GrantedIntent & Pick<WaitingIntent, 'source' | 'publishedBytes' | 'confirmed'>,
  ): Promise<PublishedIntent> {
    const room = await roomIn(this.#options.repository.path);
    const said = await this.#logs.said(intent.source);
    // Nothing is waited for from here on: of many at once each is counted for the next.
    this.demandShare(intent.source, intent.publishedBytes);
    if (this.#intents.used().bytes + intent.publishedBytes > room) throw diskFull();
    let waiting: WaitingIntent | undefined;
    return this.#inTime<PublishedIntent>((resolve, reject) => {
      waiting = { ...intent, said, day: this.#today(), settled: false, resolve, reject };
      const diverged = this.#confirmation.diverged();
      if (diverged !== undefined) return reject(diverged);
      this.#intents.add(waiting);
      setTimeout(() => this.#work(), gatherMs);
    }).finally(() => {
      if (waiting !== undefined) waiting.settled = true;
    });
  }

  /**
   * Whether this very document waits or was published today. The keys VM counts over all time; this only
   * answers sooner.
   */
  async isKnownIntent(source: string, sha256: string): Promise<boolean> {
    return (
      this.#intents.has(source, sha256) || (await this.isPublished(intentPath(source, this.#today(), sha256)))
    );
  }

  #today(): string {
    return stamp(this.#options.clock()).slice(0, 10);
  }

  async #publishedOn(source: string, day: string): Promise<{ intents: number; bytes: number }> {
    const { head } = this.#chain;
    const folders = ['intents', 'payloads'].map((top) => `${top}/${source}/${day}`);
    const files = head === null ? [] : await this.#options.repository.filesBelow(head.commit, folders);
    return {
      intents: files.filter(({ path }) => path.startsWith('intents/')).length,
      bytes: files.reduce((sum, { size }) => sum + size, 0),
    };
  }

  /** @param sign -1: what was taken did not get into a commit */
  #charge(intents: readonly WaitingIntent[], sign: 1 | -1): void {
    for (const { source, publishedBytes } of intents) this.#shares.add(source, sign, sign * publishedBytes);
  }

  #inTime<T>(begin: (resolve: (value: T) => void, reject: (error: Error) => void) => void): Promise<T> {
    const seconds = this.#options.config.intentSeconds;
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => {
        const missing = this.#confirmation.missing(this.#chain.head?.seq ?? Infinity);
        reject(
          new Refusal(
            'NOT_PUBLISHED',
            `not confirmed within ${seconds} s${missing === '' ? '' : ` on remote ${missing}`}`,
          ),
        );
      }, seconds * 1000);
      const done =
        <V>(act: (value: V) => void) =>
        (value: V): void => {
          clearTimeout(timer);
          act(value);
        };
      begin(done(resolve), done(reject));
    });
  }

  /**
   * Settles what is confirmed, then commits what waits, one at a time. Cheap where there is nothing to do.
   */
  #work(): void {
    if (!this.#started || this.#stopped) return;
    this.#settle();
    if (this.#working) {
      this.#again = true;
      return;
    }
    // While a push is under way more may gather: it all goes into the next commit.
    if (this.#confirmation.busy) return;
    if (!this.#hasWork()) return;
    this.#working = true;
    void this.#publishWaiting()
      .catch((error: unknown) => this.#failed(error))
      .finally(() => {
        this.#working = false;
        if (this.#again || this.#hasWork()) {
          this.#again = false;
          this.#work();
        }
      });
  }

  #settle(): void {
    const diverged = this.#confirmation.diverged();
    if (diverged !== undefined) this.#intents.refuseAll(diverged);
    this.#confirmation.settle();
    const head = this.#chain.head;
    if (head !== null && this.#journals.wanted && this.#confirmation.isComplete(head.seq))
      this.#journals.askForLastEntries(head.commit, this.#confirmation.confirmedOn(head.seq));
  }

  #hasWork(): boolean {
    const now = performance.now();
    return (
      this.#intents.some(({ said }) => this.#logs.covers(said)) ||
      this.#journals.isDue(now) ||
      this.#logs.due(now).length > 0
    );
  }

  async #publishWaiting(): Promise<void> {
    const { repository, signer, config, report } = this.#options;
    const chosen = this.#logs.choose(performance.now(), this.#intents.sources());
    const intents = this.#intents.take(({ said }) => this.#logs.covers(said, chosen));
    this.#charge(intents, 1);
    try {
      const batch = await publishRound(intents, chosen, {
        repository,
        chain: this.#chain,
        logs: this.#logs,
        journals: this.#journals,
        signer,
        logsKey: config.logsKey,
        wrote: (bytes) => this.#packing.wrote(bytes),
      });
      if (batch === undefined) return;
      this.#confirmation.add(batch);
      for (const { log } of batch.logs) this.changed(log);
      this.#settle();
      this.#packing.published();
    } catch (error) {
      this.#intents.putBack(intents);
      this.#charge(intents, -1);
      await repository.objects.sync().catch(() => undefined);
      // What was taken for this commit is due again, though nothing new may come.
      for (const log of this.#options.logs.all()) this.changed(log);
      this.#journals.grew();
      report('what was to be published waits for the next attempt');
      throw error;
    }
  }

  async #failed(error: unknown): Promise<void> {
    if (error instanceof BranchMoved) {
      this.#options.report(error.message);
      return this.#journals.recover();
    }
    this.#options.report(`publication failed: ${printable(String((error as Error).stack ?? error))}`);
    // git, gpg and xz do not say that it was the disk.
    const full =
      isDiskFull(error) || (await demandRoom(this.#options.repository.path).then(() => false, isDiskFull));
    this.#intents.refuseAll(
      full
        ? diskFull()
        : new Refusal('PUBLICATION_FAILED', 'the build-logs VM could not make the publication'),
    );
    return new Promise((resolve) => setTimeout(resolve, failureRetryMs).unref());
  }

  stop(): void {
    this.#stopped = true;
    this.#wakeUp.stop();
    for (const remote of this.#options.remotes) remote.stop();
  }
}
