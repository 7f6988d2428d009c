// SPDX-License-Identifier: GPL-2.0-or-later
// qubesbuilder.BuildLog: raw lines until the end, from our own sender (with a header, answers while it goes)
// or from upstream's builders (only the final answer). docs/formats.md, "Log stream".
import type { Socket } from 'node:net';
import { readDocument, type Check } from '../shared/json-document.js';
import { checkWith } from '../shared/json-schema.js';
import { AnyRefusal } from '../shared/refusal.js';
import { Refusal } from './refusals.js';
import type { Call } from '../shared/calls/socket-service.js';
import {
  logHeaderPrefix,
  logHeaderSchema,
  writeLogAnswer,
  type LogAnswer,
  type LogHeader,
} from '../shared/formats/log-stream.js';
import type { Log, Sender } from './log.js';
import type { LogStore } from './log-store.js';

export interface LogPublication {
  /** where the whole log is published; ends in .xz for a large one */
  path: string;
  commit: string;
  sha256: string;
}

export interface BuildLogOptions {
  store: LogStore;
  sources: ReadonlySet<string>;
  /**
   * resolves once the ended log is confirmed on every required remote. @throws Refusal NOT_PUBLISHED after a
   * while
   */
  publication: (log: Log) => Promise<LogPublication>;
}

const headerLimitBytes = 8192;
const checkHeader: Check<LogHeader> = checkWith(logHeaderSchema);

/**
 * The sender's first line where it is a header, and what came after. Bytes that are no header are all `rest`.
 */
function readHeader(stream: Socket): Promise<{ header: LogHeader | null; line: Buffer; rest: Buffer }> {
  const prefix = Buffer.from(logHeaderPrefix);
  return new Promise((resolve, reject) => {
    let seen: Buffer = Buffer.alloc(0);
    const done = (act: () => void): void => {
      stream.pause();
      stream.off('data', onData).off('end', onEnd).off('close', onClose);
      try {
        act();
      } catch (error) {
        reject(error);
      }
    };
    const raw = (): void => done(() => resolve({ header: null, line: Buffer.alloc(0), rest: seen }));
    const onData = (chunk: Buffer): void => {
      seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
      const compared = Math.min(prefix.length, seen.length);
      if (!seen.subarray(0, compared).equals(prefix.subarray(0, compared))) return raw();
      const end = seen.indexOf(10);
      if (end > headerLimitBytes || (end < 0 && seen.length > headerLimitBytes))
        return done(() => reject(new Refusal('BAD_HEADER', 'the header is too long')));
      if (end < 0) return;
      done(() =>
        resolve({
          header: parseHeader(seen.subarray(prefix.length, end)),
          line: seen.subarray(0, end + 1),
          rest: seen.subarray(end + 1),
        }),
      );
    };
    const onEnd = (): void => raw();
    const onClose = (): void =>
      done(() => reject(new Refusal('NO_CALLER', 'the caller went away before its first byte')));
    stream.on('data', onData).on('end', onEnd).on('close', onClose);
    stream.resume();
  });
}

/** @throws Refusal BAD_HEADER */
function parseHeader(untrusted: Uint8Array): LogHeader {
  try {
    return readDocument(untrusted, headerLimitBytes, checkHeader);
  } catch (error) {
    if (error instanceof AnyRefusal) throw new Refusal('BAD_HEADER', error.detail, error.field);
    throw error;
  }
}

/**
 * Feeds the log until the sender ends. Resolves at its end, or early where the log ended already. @throws
 * Refusal when the log takes no more
 */
function receive(
  log: Log,
  stream: Socket,
  first: Buffer[],
  mark: string,
  answer: (answer: LogAnswer) => void,
  header: LogHeader | null,
): Promise<'end' | 'gone'> {
  return new Promise((resolve, reject) => {
    const own = header !== null;
    let answered = -1;
    const finish = (act: () => void): void => {
      stream.off('data', onData).off('end', onEnd).off('close', onClose);
      act();
    };
    const sender: Sender = {
      synced: (lines) => {
        if (own && lines - 1 > answered && answered >= 0)
          answer({ kind: 'synced', lines: (answered = lines - 1) });
      },
      room: () => stream.resume(),
      stopped: (why) =>
        finish(() => {
          stream.pause();
          reject(why);
        }),
    };
    const onData = (chunk: Buffer): void => {
      if (log.push(sender, chunk) === 'wait') stream.pause();
    };
    const onEnd = (): void =>
      finish(() => {
        if (!own || log.saidEnd) {
          log.close(undefined);
          resolve('end');
        } else {
          log.detach(sender);
          reject(
            new Refusal('NO_END', 'the stream ended without its end line; the log waits for its sender'),
          );
        }
      });
    const onClose = (): void =>
      finish(() => {
        // A raw sender cannot come back.
        if (own) log.detach(sender);
        else log.close('the sender broke off');
        resolve('gone');
      });
    log
      .attach(sender, mark)
      .then(async () => {
        if (first.length > 0)
          log.push(sender, Buffer.concat(first.splice(0, own && header.continues === undefined ? 1 : 0)));
        if (own) {
          await log.flush();
          answer({ kind: 'opened', path: log.record.path, lines: (answered = Math.max(0, log.lines - 1)) });
        }
        stream.on('data', onData).on('end', onEnd).on('close', onClose);
        const rest = Buffer.concat(first);
        const room = rest.length === 0 || log.push(sender, rest) === 'more';
        if (stream.readableEnded) onEnd();
        else if (stream.destroyed) onClose();
        else if (room) stream.resume();
      })
      .catch((error: unknown) => finish(() => reject(error)));
  });
}

export function buildLogHandler(options: BuildLogOptions): (call: Call) => Promise<void> {
  return async ({ source, argument, stream }) => {
    const answer = (line: LogAnswer): void => {
      if (stream.writable) stream.write(writeLogAnswer(line));
    };
    if (!options.sources.has(source)) throw new Refusal('UNKNOWN_SOURCE', 'this VM sends no logs here');
    const { header, line, rest } = await readHeader(stream);
    const continues = header?.continues;
    const log =
      continues === undefined
        ? await options.store.open(source, argument, header)
        : await options.store.reopen(source, header as LogHeader);
    if (continues !== undefined) await log.settled();
    if (log.ended) {
      answer({ kind: 'opened', path: log.record.path, lines: Math.max(0, (log.record.lines ?? 1) - 1) });
    } else {
      const mark =
        continues === undefined
          ? 'starting log'
          : `the sender came back, going on after its line ${Math.max(0, log.lines - 1)}`;
      const first = header === null ? [rest] : continues === undefined ? [line, rest] : [rest];
      try {
        if ((await receive(log, stream, first, mark, answer, header)) === 'gone') return;
      } catch (error) {
        if (continues === undefined || !(error instanceof Refusal) || error.code !== 'LOG_ENDED') throw error;
        await log.settled();
        answer({ kind: 'opened', path: log.record.path, lines: Math.max(0, (log.record.lines ?? 1) - 1) });
      }
    }
    const publication = await options.publication(log);
    answer({ kind: 'path', path: publication.path });
    answer({ kind: 'published', commit: publication.commit, sha256: publication.sha256 });
    stream.end();
  };
}
