// SPDX-License-Identifier: GPL-2.0-or-later
// What waits to be said. The outbox is the build agent's and only read; what was done with each document is
// noted in a ledger of our own.
//   <outbox>/<number>-<key>.json   written by the build agent, oldest first by name, taken away by it when
//   old
//   <state>/again/<name>           set aside before, and wanted again by a person
//   <state>/aside/<name>           set aside, with the reason in <name>.reason
//   <state>/ledger                 "<key> <time> done|aside", a line each
import {
  constants,
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readdirSync,
  readSync,
  unlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { AppendOnlyLines } from '../shared/append-only-lines.js';
import { makeFolder, renameDurably, writeDurably } from '../shared/durable-files.js';
import { notificationLimitBytes } from '../shared/formats/notification.js';
import { checkOutboxDocument, type OutboxDocument } from '../shared/formats/refused-command.js';
import { readDocument } from '../shared/json-document.js';
import { printable } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { Reporter } from '../shared/calls/socket-service.js';

export interface Waiting {
  name: string;
  notification: OutboxDocument;
  again: boolean;
}

const namePattern = /^[0-9]{12}-[0-9a-f]{64}\.json$/;
const ledgerLimit = 40_000;

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException).code;

/**
 * What can be done about a disk that is full or cannot be read is done by a person, and then everything is
 * there still.
 */
function openPlainFile(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    // A link, a socket: about the file, for ever.
    if (['ELOOP', 'ENXIO'].includes(codeOf(error) ?? ''))
      throw new Refusal('BAD_DOCUMENT', 'it is no plain file');
    throw error;
  }
}

function readPlainFile(path: string): Buffer {
  const fd = openPlainFile(path);
  try {
    const facts = fstatSync(fd);
    if (!facts.isFile()) throw new Refusal('BAD_DOCUMENT', 'it is no plain file');
    if (facts.size > notificationLimitBytes)
      throw new Refusal('TOO_LARGE', `the document is larger than ${notificationLimitBytes} bytes`);
    const bytes = Buffer.alloc(facts.size);
    for (let done = 0; done < bytes.length;) {
      const got = readSync(fd, bytes, done, bytes.length - done, done);
      if (got === 0) break;
      done += got;
    }
    return bytes;
  } finally {
    closeSync(fd);
  }
}

export class OutboxReader {
  readonly #outbox: string;
  readonly #state: string;
  readonly #report: Reporter;
  readonly #over = new Map<string, 'done' | 'aside'>();
  #ledger: AppendOnlyLines;
  #lines: number;
  #absent = false;
  readonly #unread = new Set<string>();

  constructor(outbox: string, state: string, report: Reporter) {
    this.#outbox = outbox;
    this.#state = state;
    this.#report = report;
    for (const folder of ['aside', 'again']) makeFolder(join(state, folder), 0o700);
    const { file, lines } = AppendOnlyLines.open(join(state, 'ledger'), 0o600);
    for (const line of lines) {
      const [key, , outcome] = line.split(' ');
      if (key !== undefined && (outcome === 'done' || outcome === 'aside')) this.#over.set(key, outcome);
    }
    this.#ledger = file;
    this.#lines = lines.length;
  }

  /**
   * Everything that waits and is not in `known`, oldest first. What is no document is set aside at once; what
   * cannot be read now may be read the next time.
   */
  waiting(known: ReadonlySet<string>): Waiting[] {
    const found = [
      ...this.#namesIn(join(this.#state, 'again'), true),
      ...this.#namesIn(this.#outbox, false),
    ].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : Number(b.again) - Number(a.again)));
    const keys = new Set<string>();
    return found.flatMap(({ name, again }): Waiting[] => {
      if (known.has(name) || (!again && this.#over.has(name.slice(13, -5)))) return [];
      try {
        const notification = this.#read(name, again);
        this.#unread.delete(name);
        if (notification === undefined) return [];
        const outcome = this.#over.get(notification.key);
        if (outcome === 'done' || (outcome === 'aside' && !again) || keys.has(notification.key)) {
          if (again) unlinkSync(join(this.#state, 'again', name));
          return [];
        }
        keys.add(notification.key);
        return [{ name, notification, again }];
      } catch (error) {
        // A file that went away meanwhile is the build agent's tidying up.
        if (codeOf(error) !== 'ENOENT' && !this.#unread.has(name)) {
          this.#report(`${name}: waits for a disk that works, ${printable(String(error))}`);
          this.#unread.add(name);
        }
        return [];
      }
    });
  }

  /** Undefined for what was set aside. @throws what is wrong with a disk */
  #read(name: string, again: boolean): OutboxDocument | undefined {
    try {
      const notification = readDocument(
        readPlainFile(join(again ? join(this.#state, 'again') : this.#outbox, name)),
        notificationLimitBytes,
        checkOutboxDocument,
      );
      if (notification.key !== name.slice(13, -5))
        throw new Refusal('BAD_DOCUMENT', 'its name is not that of its key', 'key');
      return notification;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      this.#setAside(name, again, name.slice(13, -5), error.message);
      return undefined;
    }
  }

  /** Whether the same document came twice and the other one was dealt with. */
  isOver({ notification, again }: Waiting): boolean {
    const outcome = this.#over.get(notification.key);
    return outcome === 'done' || (outcome === 'aside' && !again);
  }

  isDone(key: string): boolean {
    return this.#over.get(key) === 'done';
  }

  /** Durable when it returns. */
  done(waiting: Waiting): void {
    this.#note(waiting.notification.key, 'done');
    if (waiting.again) unlinkSync(join(this.#state, 'again', waiting.name));
  }

  /** Durable when it returns. @param what it says, for the journal @throws what is wrong with a disk: it waits still */
  setAside(waiting: Waiting, reason: string, what: string): void {
    this.#setAside(waiting.name, waiting.again, waiting.notification.key, reason, what);
  }

  /** A person's wish: everything that was set aside (or one name) is tried again. @returns the names */
  static wantAgain(state: string, which: string): string[] {
    const aside = join(state, 'aside');
    const names = existsSync(aside)
      ? readdirSync(aside).filter(
          (name) => namePattern.test(name) && (which === 'all' || name === which || name === `${which}.json`),
        )
      : [];
    makeFolder(join(state, 'again'), 0o700);
    for (const name of names) renameDurably(join(aside, name), join(state, 'again', name));
    return names;
  }

  close(): void {
    this.#ledger.close();
  }

  #namesIn(folder: string, again: boolean): { name: string; again: boolean }[] {
    try {
      const names = readdirSync(folder)
        .filter((name) => namePattern.test(name))
        .map((name) => ({ name, again }));
      if (!again) this.#absent = false;
      return names;
    } catch (error) {
      if (!again && !this.#absent)
        this.#report(
          `the outbox cannot be read: ${printable(String((error as NodeJS.ErrnoException).code))} ${folder}`,
        );
      if (!again) this.#absent = true;
      return [];
    }
  }

  #setAside(name: string, again: boolean, key: string, reason: string, what?: string): void {
    const from = join(again ? join(this.#state, 'again') : this.#outbox, name);
    const kept = join(this.#state, 'aside', name);
    try {
      writeDurably(`${kept}.reason`, `${printable(reason)}\n`, 0o600);
      if (again) renameDurably(from, kept);
      else writeDurably(kept, readPlainFile(from), 0o600);
    } catch (error) {
      if (!(error instanceof Refusal) && codeOf(error) !== 'ENOENT') throw error;
      this.#report(`${name}: not kept aside: ${printable(String(error))}`);
    }
    this.#note(key, 'aside');
    // The file's name is what `again` takes.
    this.#report(
      what === undefined
        ? `${name}: set aside, ${printable(reason)}`
        : `${what}: set aside, ${printable(reason)} (${name})`,
    );
  }

  #note(key: string, outcome: 'done' | 'aside'): void {
    this.#ledger.append([`${key} ${new Date().toISOString()} ${outcome}`]);
    this.#over.delete(key);
    this.#over.set(key, outcome);
    this.#lines += 1;
    if (this.#lines > ledgerLimit) this.#compact();
  }

  /** The younger half: the build agent takes documents away long before as many have followed. */
  #compact(): void {
    const kept = [...this.#over].slice(-ledgerLimit / 2);
    const path = join(this.#state, 'ledger');
    writeDurably(path, kept.map(([key, outcome]) => `${key} - ${outcome}\n`).join(''), 0o600);
    this.#ledger.close();
    ({ file: this.#ledger } = AppendOnlyLines.open(path, 0o600));
    this.#over.clear();
    for (const [key, outcome] of kept) this.#over.set(key, outcome);
    this.#lines = kept.length;
  }
}
