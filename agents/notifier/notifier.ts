// SPDX-License-Identifier: GPL-2.0-or-later
// One notifier over one state folder: all parts together, and the loop that waits for more.
import { rmSync, watch } from 'node:fs';
import { join } from 'node:path';
import { makeFolder } from '../shared/durable-files.js';
import type { Reporter } from '../shared/calls/socket-service.js';
import { announce } from './announcement.js';
import { Deliveries } from './deliveries.js';
import { isRefusedCommand } from '../shared/formats/refused-command.js';
import { dryRun } from './dry-run.js';
import { githubClient } from './github/client.js';
import type { ExchangeLimits } from './github/exchange.js';
import { systemClock, type Clock } from '../shared/clock.js';
import { Pace } from './github/pace.js';
import { OutboxReader } from './outbox-reader.js';
import { answerRefused } from './refused-commands.js';
import { holdState } from './single-instance.js';
import { SubjectStates } from './subject-state.js';
import { Templates } from './templates.js';
import type { NotifyConfig } from './config.js';

export interface NotifierOptions {
  config: NotifyConfig;
  outbox: string;
  state: string;
  token: () => string;
  report: Reporter;
  limits?: ExchangeLimits;
  clock?: Clock;
  /** between two requests that write */
  writePauseMs?: number;
}

export const defaultLimits = { timeoutMs: 30_000, answerBytes: 16 * 1024 * 1024 };
/** A watch may miss something, and a full disk may have been emptied. */
const lookAgainMs = 10_000;
const forgetAfterMs = 365 * 24 * 3600_000;

export class Notifier {
  readonly deliveries: Deliveries;
  readonly #options: NotifierOptions;
  readonly #held: { close: () => unknown };
  readonly #outbox: OutboxReader;
  #wake: () => void = () => undefined;
  #stopped = false;

  private constructor(options: NotifierOptions, held: { close: () => unknown }) {
    this.#options = options;
    this.#held = held;
    const { config, report } = options;
    const clock = options.clock ?? systemClock;
    const state = config.dryRun ? join(options.state, 'dry-run') : options.state;
    if (config.dryRun) rmSync(state, { recursive: true, force: true });
    makeFolder(state, 0o700);
    const templates = new Templates(config.templates);
    this.#outbox = new OutboxReader(options.outbox, state, report);
    const pace = new Pace(join(state, 'silent-until'), clock, options.writePauseMs);
    const states = new SubjectStates(join(state, 'subjects'));
    states.forgetOlderThan(new Date(clock.wall() - forgetAfterMs));
    const github = config.dryRun
      ? dryRun(config.account, report)
      : githubClient({
          baseUrl: config.baseUrl,
          token: options.token,
          limits: options.limits ?? defaultLimits,
          pace,
          clock,
        });
    const saying = {
      github,
      config,
      templates,
      states,
      report,
      now: () => new Date(clock.wall()),
      isDone: (key: string) => this.#outbox.isDone(key),
    };
    this.deliveries = new Deliveries({
      outbox: this.#outbox,
      pace,
      clock,
      report,
      announce: (document) =>
        isRefusedCommand(document) ? answerRefused(document, saying) : announce(document, saying),
    });
  }

  /** @throws Refusal ALREADY_RUNNING, NO_TEMPLATES, BAD_TEMPLATE, those of a damaged state */
  static async open(options: NotifierOptions): Promise<Notifier> {
    makeFolder(options.state, 0o700);
    const held = await holdState(options.state);
    try {
      return new Notifier(options, held);
    } catch (error) {
      held.close();
      throw error;
    }
  }

  /** Until stop(). */
  async run(): Promise<void> {
    let watching: { close: () => void } | undefined;
    while (!this.#stopped) {
      try {
        watching ??= watch(this.#options.outbox, () => this.#wake());
      } catch {
        // It is not there yet; the reader says so.
      }
      const pause = await this.deliveries.work();
      if (this.#stopped) break;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(pause ?? lookAgainMs, lookAgainMs));
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    watching?.close();
  }

  stop(): void {
    this.#stopped = true;
    this.#wake();
  }

  /** Lets another one start on this state. */
  close(): void {
    this.stop();
    this.#outbox.close();
    this.#held.close();
  }
}
