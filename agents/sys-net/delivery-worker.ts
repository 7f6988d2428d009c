// SPDX-License-Identifier: GPL-2.0-or-later
// Tells each build VM of each accepted push or comment, until it answers. At least once: after a kill between
// the answer and our note of it the build VM is told again, and says `known`, or that the command was used.
import { systemClock, type Clock } from '../shared/clock.js';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import type { DeliverySpool, PendingDelivery } from './delivery-spool.js';

/** The calls to a build VM: each resolves to the answer's bytes, rejects on anything else. */
export interface BuildVmCalls {
  /** TriggerBuild */
  trigger: (vm: string, component: string) => Promise<Buffer>;
  /** ProcessGithubCommand */
  command: (vm: string, block: string) => Promise<Buffer>;
}

export interface WorkerOptions {
  report: Reporter;
  clock?: Clock;
  /** the first pause after a failed attempt; doubles up to `longestPauseMs` */
  firstPauseMs?: number;
  /**
   * so long nothing must have come before a call begins, yet no call waits longer than ten times that: to
   * start a program takes as long as to receive a hundred webhooks, and one call tells of all that have come
   * for its component
   */
  quietMs?: number;
  longestPauseMs?: number;
  /**
   * from reception: longer than a command is good for; of pushes the build VM's own poller is what is left
   */
  giveUpMs?: number;
}

/**
 * The build VM's last word: one line that begins with queued, known or refused; undefined for anything else,
 * which is tried again.
 */
export const readTriggerAnswer = (untrusted: Buffer): string | undefined =>
  lastWord(
    untrusted,
    /^(?:(?:queued|known) [A-Za-z0-9][A-Za-z0-9.+~_-]{0,199}|refused [A-Z][A-Z0-9_]{0,63}(?: [\x20-\x7e]{0,600})?)$/,
  );
/** For a command: accepted or refused. `later`, as everything else, is tried again. */
export const readCommandAnswer = (untrusted: Buffer): string | undefined =>
  lastWord(
    untrusted,
    /^(?:accepted [A-Za-z0-9][A-Za-z0-9.+~_-]{0,199}|refused [A-Z][A-Z0-9_]{0,63}(?: [\x20-\x7e]{0,600})?)$/,
  );

function lastWord(untrusted: Buffer, words: RegExp): string | undefined {
  const text = untrusted.subarray(0, 4096).toString('latin1');
  const line = text.endsWith('\n') ? text.slice(0, -1) : text;
  return words.test(line) ? line : undefined;
}

const kinds = ['push', 'comment'] as const;

/**
 * One VM's turn at a time: a VM that is down costs one call per pause, however much waits for it. Pushes and
 * comments have queues of their own: what anybody may write under an issue does not make a tag wait.
 */
class VmQueue {
  #timer: NodeJS.Timeout | undefined;
  #busy = false;
  #failures = 0;
  #stopped = false;
  #turn = 0;

  constructor(
    readonly vm: string,
    readonly kind: (typeof kinds)[number],
    readonly spool: DeliverySpool,
    readonly calls: BuildVmCalls,
    readonly options: Required<WorkerOptions>,
    readonly quiet: () => Promise<void>,
  ) {}

  /** Something new waits. A pause that is on goes on. */
  wake(): void {
    if (this.#stopped || this.#busy || this.#timer !== undefined) return;
    this.#busy = true;
    void this.#run();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #run(): Promise<void> {
    for (;;) {
      const waiting = this.spool.waitingFor(this.vm).filter((pending) => pending[this.kind] !== undefined);
      if (this.#stopped || waiting.length === 0) {
        this.#busy = false;
        return;
      }
      await this.quiet();
      if (this.#stopped) return;
      // After a failure the next one gets its turn: one component that fails for ever does not hold up the
      // others.
      const pending = waiting[this.#turn % waiting.length] as PendingDelivery;
      if (await this.spool.calling(pending.delivery, this.vm, () => this.#attempt(pending))) {
        this.#failures = 0;
        this.#turn = 0;
        continue;
      }
      this.#turn += 1;
      const pause = Math.min(
        this.options.firstPauseMs * 2 ** Math.min(this.#failures, 30),
        this.options.longestPauseMs,
      );
      this.#failures += 1;
      this.#timer = setTimeout(() => {
        this.#timer = undefined;
        this.wake();
      }, pause);
      this.#busy = false;
      return;
    }
  }

  /** Whether this delivery is done with for this VM. */
  async #attempt(pending: PendingDelivery): Promise<boolean> {
    const { report, clock, giveUpMs } = this.options;
    const { push, comment } = pending;
    const what = `${pending.delivery} ${push === undefined ? `comment in ${printable(comment?.repository ?? '')}` : `${push.component} ${push.tag}`} to ${this.vm}`;
    let failure: string;
    try {
      const untrustedAnswer =
        push === undefined
          ? await this.calls.command(this.vm, comment?.block ?? '')
          : await this.calls.trigger(this.vm, push.component);
      const answer =
        push === undefined ? readCommandAnswer(untrustedAnswer) : readTriggerAnswer(untrustedAnswer);
      if (answer !== undefined) {
        if (this.#stopped) return false;
        await this.spool.record(pending.delivery, this.vm, answer);
        report(`${what}: ${printable(answer)}`);
        return true;
      }
      failure = `no answer of a build VM: ${printable(untrustedAnswer.toString('latin1')).slice(0, 80)}`;
    } catch (error) {
      failure = error instanceof Refusal ? error.line() : printable(String((error as Error).message));
    }
    if (this.#stopped) return false;
    let tooOld = clock.wall() - Date.parse(pending.received) > giveUpMs;
    try {
      if (tooOld) await this.spool.record(pending.delivery, this.vm, `gave up: ${failure}`);
    } catch (error) {
      // A full disk: the state stays as it was, and the pause keeps us from spinning.
      failure += `; and not noted: ${printable(String((error as Error).message))}`;
      tooOld = false;
    }
    report(`${what}: ${tooOld ? 'gave up' : 'will try again'}: ${failure}`);
    return tooOld;
  }
}

export class DeliveryWorker {
  readonly #queues = new Map<string, VmQueue>();
  readonly #spool: DeliverySpool;
  readonly #calls: BuildVmCalls;
  readonly #options: Required<WorkerOptions>;
  #waking = false;
  #woken = -Infinity;
  #stopped = false;

  constructor(spool: DeliverySpool, calls: BuildVmCalls, options: WorkerOptions) {
    this.#spool = spool;
    this.#calls = calls;
    this.#options = {
      clock: systemClock,
      firstPauseMs: 1000,
      longestPauseMs: 300_000,
      quietMs: 50,
      giveUpMs: 7 * 24 * 3600_000,
      ...options,
    };
  }

  /** Call after each accepted delivery, and once at the start. */
  wake(): void {
    this.#woken = performance.now();
    if (this.#waking) return;
    this.#waking = true;
    setImmediate(() => {
      this.#waking = false;
      if (!this.#stopped) this.#wakeQueues();
    });
  }

  async #quiet(): Promise<void> {
    const { quietMs } = this.#options;
    for (let n = 0; n < 10 && performance.now() - this.#woken < quietMs; n++)
      await new Promise((resolve) => setTimeout(resolve, quietMs));
  }

  #wakeQueues(): void {
    for (const vm of this.#spool.vms()) {
      for (const kind of kinds) {
        const name = `${kind} ${vm}`;
        let queue = this.#queues.get(name);
        if (queue === undefined)
          this.#queues.set(
            name,
            (queue = new VmQueue(vm, kind, this.#spool, this.#calls, this.#options, () => this.#quiet())),
          );
        queue.wake();
      }
    }
  }

  stop(): void {
    this.#stopped = true;
    for (const queue of this.#queues.values()) queue.stop();
  }
}
