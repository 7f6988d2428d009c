// SPDX-License-Identifier: GPL-2.0-or-later
// A forge sends a webhook once. Whatever it said while nobody listened here is asked for: the comments of the
// configured repositories since the last one that was seen. They go the way of a webhook from there on, and
// are believed as little. Asked without a token: what anybody can read is enough. Tags need no such question:
// the poller of each build VM lists them anyhow.
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Reporter } from '../shared/calls/socket-service.js';
import { makeFolder, readIfThere, writeDurably } from '../shared/durable-files.js';
import { silenceOf, type Headers } from '../shared/formats/wanted-silence.js';
import { readDocument, type Check } from '../shared/json-document.js';
import { checkWith, text } from '../shared/json-schema.js';
import { systemClock, type Clock } from '../shared/clock.js';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import { commentKey, readCommentPage } from './comment-event.js';
import type { CommandsConfig } from './config.js';
import type { DeliverySpool } from './delivery-spool.js';

export interface Answer {
  status: number;
  headers: Headers;
  body: Buffer;
}

/** A hundred comments, each of the 65,536 characters that GitHub takes at most, in its longest spelling. */
const answerLimitBytes = 64 * 1024 * 1024;
const timeoutMs = 60_000;
/** One list may be older than another: what is so much older than the newest comment is looked at again. */
const overlapMs = 120_000;
/** Of a first start: what was said before has been taken care of by hand. */
const firstLookMs = 3600_000;
/** One question, about one repository: 30 of the 60 in an hour that GitHub answers to anybody. */
const pauseMs = 120_000;
const longestPauseMs = 3600_000;
const pagesAtOnce = 20;

const seenLimitBytes = 1024 * 1024;
const checkSeen: Check<Record<string, string>> = checkWith({
  type: 'object',
  additionalProperties: text('^[0-9T:.-]{19,30}Z$'),
});

/** @throws what fetch says; Refusal TOO_LARGE */
async function get(url: string): Promise<Answer> {
  const headers = { accept: 'application/vnd.github+json', 'user-agent': 'build-infra' };
  const response = await fetch(url, { headers, redirect: 'manual', signal: AbortSignal.timeout(timeoutMs) });
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += (chunk as Uint8Array).length;
    if (size > answerLimitBytes)
      throw new Refusal('TOO_LARGE', `the answer has more than ${answerLimitBytes} bytes`);
    chunks.push(chunk as Uint8Array);
  }
  return { status: response.status, headers: response.headers, body: Buffer.concat(chunks) };
}

/** As GitHub spells times. */
const spelled = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;

/** A delivery id of its own for each comment: the same one whenever it is found. */
function deliveryOf(key: string): string {
  const hex = createHash('sha256').update(key).digest('hex');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5');
}

export interface MissedCommentsOptions {
  commands: CommandsConfig;
  /** the API: https://api.github.com */
  api: string;
  /**
   * keeps `asked.json`: of each repository the time of the newest comment that was seen, by the forge's clock
   */
  folder: string;
  spool: DeliverySpool;
  onAccepted: () => void;
  report: Reporter;
  clock?: Clock;
  get?: (url: string) => Promise<Answer>;
  pauseMs?: number;
}

export class MissedComments {
  readonly #options: MissedCommentsOptions;
  readonly #path: string;
  readonly #seen: Map<string, string>;
  #trouble = '';
  #failures = 0;
  #turn = 0;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: MissedCommentsOptions) {
    this.#options = options;
    makeFolder(options.folder, 0o700);
    this.#path = join(options.folder, 'asked.json');
    this.#seen = new Map(Object.entries(this.#remembered()));
    // From its first start on nothing is missed, also where nobody had written anything until then.
    for (const repository of options.commands.repositories) {
      if (Number.isNaN(Date.parse(this.#seen.get(repository) ?? '')))
        this.#see(repository, spelled(this.#now().getTime() - firstLookMs));
    }
  }

  #remembered(): Record<string, string> {
    try {
      return readDocument(readIfThere(this.#path) ?? Buffer.from('{}'), seenLimitBytes, checkSeen);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#options.report(`webhooks: asked.json is damaged, so the last hour is asked for: ${error.line()}`);
      return {};
    }
  }

  /** Asks soon, and then again and again, the repositories in turn. */
  start(): void {
    this.#timer = setTimeout(() => void this.#next(), 1000);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #next(): Promise<void> {
    const { repositories } = this.#options.commands;
    const repository = repositories[this.#turn++ % repositories.length] as string;
    const pause = await this.ask(repository);
    if (!this.#stopped) this.#timer = setTimeout(() => void this.#next(), pause);
  }

  /**
   * Everything of one repository since the last time. Returns the pause until the next question, in ms; says
   * a trouble once. Never rejects.
   */
  async ask(repository: string): Promise<number> {
    const shortest = this.#options.pauseMs ?? pauseMs;
    let wanted: number | undefined;
    try {
      const refused = await this.#askAll(repository);
      if (refused === undefined) {
        this.#failures = 0;
        this.#say('');
        return shortest;
      }
      wanted = silenceOf(refused.headers, this.#now());
      this.#say(
        `${repository}: answered ${refused.status}${refused.status === 404 ? ', as for a repository that not everybody can read' : ''}`,
      );
    } catch (error) {
      this.#say(`${repository}: ${error instanceof Refusal ? error.line() : printable(causeOf(error))}`);
    }
    this.#failures += 1;
    const growing = shortest * 2 ** Math.min(this.#failures - 1, 20);
    return Math.max(shortest, Math.min(wanted ?? growing, longestPauseMs));
  }

  /** @returns an answer that is no list of comments */
  async #askAll(repository: string): Promise<Answer | undefined> {
    const { api, spool, commands, onAccepted } = this.#options;
    let since = spelled(Date.parse(this.#seen.get(repository) as string) - overlapMs);
    let sameSecond = 1;
    for (let page = 0; page < pagesAtOnce; page++) {
      const query = new URLSearchParams({
        sort: 'updated',
        direction: 'asc',
        since,
        per_page: '100',
        page: String(sameSecond),
      });
      const answer = await (this.#options.get ?? get)(
        `${api}/repos/${repository}/issues/comments?${query.toString()}`,
      );
      if (answer.status !== 200) return answer;
      const { size, newest, found } = readCommentPage(answer.body, answerLimitBytes, repository);
      for (const comment of found) {
        const key = commentKey(comment);
        const accepted = await spool.accept(deliveryOf(key), [key], comment, commands.buildVms, this.#now());
        if (accepted === 'known') continue;
        this.#options.report(
          `webhooks: comment ${comment.id} in ${repository} had not come: accepted ${deliveryOf(key)}`,
        );
        onAccepted();
      }
      if (newest !== undefined) this.#see(repository, newest);
      if (size < 100 || newest === undefined) return undefined;
      sameSecond = newest === since ? sameSecond + 1 : 1;
      since = newest;
    }
    return undefined;
  }

  #see(repository: string, time: string): void {
    // A time that there is not, in what the forge says, would be asked for ever after.
    if (Number.isNaN(Date.parse(time)) || Date.parse(this.#seen.get(repository) ?? '') >= Date.parse(time))
      return;
    this.#seen.set(repository, time);
    writeDurably(this.#path, `${JSON.stringify(Object.fromEntries(this.#seen))}\n`, 0o600);
  }

  #say(trouble: string): void {
    if (trouble !== this.#trouble) {
      this.#options.report(
        trouble === ''
          ? 'webhooks: the forge answers again what comments there are'
          : `webhooks: cannot ask for comments that did not come: ${trouble}`,
      );
    }
    this.#trouble = trouble;
  }

  #now(): Date {
    return new Date((this.#options.clock ?? systemClock).wall());
  }
}

/** fetch says "fetch failed", and only its cause says why. */
const causeOf = (error: unknown): string => {
  const { cause, message } = error as Error;
  return cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? cause.message) : message;
};
