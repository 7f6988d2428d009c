// SPDX-License-Identifier: GPL-2.0-or-later
// A program whose every line goes to the stage's log while it runs. Bounded in time and output; waits when the log cannot keep up.
import type { Readable } from 'node:stream';
import { printable, Refusal } from '../../shared/refusal.js';
import { isCancelled } from '../jobs/cancellation.js';
import { commandBegins } from '../jobs/command-clock.js';
import type { LogSender } from './log-sender.js';
import { endGroup, endOf, startProgram } from '../program.js';
import { pieceBytes, pieceMark } from './tool-line.js';

export interface LoggedOptions {
  cwd?: string;
  env?: Record<string, string>;
  timeoutMs: number;
  /** of stdout and stderr together; then the program is ended */
  limitBytes?: number;
  /** what the log says instead of the whole argv */
  label?: string;
}

/** What a stage writes to; LogSender in the agent, stdout in an engine. */
export type LineSink = Pick<LogSender, 'say' | 'tool' | 'drained' | 'whenFailed'>;

/** What the gate says when it could not do its work now: no answer about these bytes, and worth asking again for a long time. */
const gateIsAway = new Set(['NOT_PUBLISHED', 'PUBLICATION_NOT_SEEN', 'REMOTE_MISSING', 'KEYS_VM_UNREACHABLE', 'CALL_TIMED_OUT', 'NO_ANSWER', 'BUSY', 'TOO_SLOW', 'TOO_MANY_CALLS', 'TOO_MANY_INTENTS', 'DAY_SHARE_USED', 'DISK_FULL', 'STORAGE_FAILED', 'PUBLICATION_FAILED']);

/** The same sink, which remembers the last line that the gpg client said about a refusal. */
export interface Hearing extends LineSink {
  lastRefusal: string | undefined;
  /** Why signing failed: GATE_UNREACHABLE where the gate was away, else `code`; in the gate's words, or `otherwise` where it said nothing. */
  refusal(code: string, otherwise: string): Refusal;
}

export function hearingRefusals(log: LineSink): Hearing {
  const hearing: Hearing = {
    lastRefusal: undefined,
    refusal: (code, otherwise) => {
      const said = /^refused ([A-Z][A-Z0-9_]*) /.exec(hearing.lastRefusal ?? '')?.[1];
      const why = hearing.lastRefusal ?? otherwise;
      return said !== undefined && gateIsAway.has(said) ? new Refusal('GATE_UNREACHABLE', why) : new Refusal(code, why);
    },
    say: (text: string) => log.say(text),
    tool: (line: Buffer) => {
      const said = /build-infra: (refused [A-Z][A-Z0-9_]* .*|fault.*)$/.exec(line.subarray(0, 1000).toString('latin1'))?.[1];
      if (said !== undefined) hearing.lastRefusal = printable(said);
      return log.tool(line);
    },
    drained: () => log.drained(),
    whenFailed: log.whenFailed,
  };
  return hearing;
}

/** With the mark and the space, no longer than one piece. */
const cutBytes = pieceBytes - 64;
const space = Buffer.from(' ');
const none = Buffer.alloc(0);
const defaultLimitBytes = 200 * 1024 * 1024;

/**
 * Feeds lines of `stream` to the sink until it ends. A line without end is passed on in pieces: memory stays bounded.
 */
async function pour(stream: Readable, log: LineSink, count: (bytes: number) => void, heldUp: (by: 1 | -1) => void): Promise<void> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    count(chunk.length);
    let from = 0;
    let roomy = true;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      const piece = chunk.subarray(from, end);
      roomy = log.tool(rest.length === 0 ? piece : Buffer.concat([rest, piece])) && roomy;
      rest = Buffer.alloc(0);
      from = end + 1;
    }
    rest = Buffer.concat([rest, chunk.subarray(from)]);
    if (rest.length >= 4 * pieceBytes) {
      let at = 0;
      for (; at + cutBytes < rest.length; at += cutBytes) roomy = log.tool(Buffer.concat([at === 0 ? none : space, rest.subarray(at, at + cutBytes), Buffer.from(pieceMark)])) && roomy;
      // With the space of a line that was cut, as LogSender has it.
      rest = Buffer.concat([space, rest.subarray(at)]);
    }
    if (roomy) continue;
    heldUp(1);
    await log.drained();
    heldUp(-1);
  }
  if (rest.length > 0) log.tool(rest);
}

/**
 * Runs the program and returns its exit status (128 + n after signal n).
 * @throws Refusal TIMED_OUT, OUTPUT_LIMIT, NO_LOG_SINK; the program and its group are gone by then
 */
export async function runLogged(argv: readonly string[], log: LineSink, options: LoggedOptions): Promise<number> {
  const limit = options.limitBytes ?? defaultLimitBytes;
  log.say(options.label ?? `run ${printable(argv.join(' '))}`);
  const ended = commandBegins();
  const child = startProgram(argv, options);
  let refusal: Refusal | undefined;
  const stop = (why: Refusal): void => {
    refusal ??= why;
    endGroup(child.pid);
  };
  const timer = setTimeout(() => stop(new Refusal('TIMED_OUT', `stopped after ${Math.round(options.timeoutMs / 1000)} s`)), options.timeoutMs);
  void log.whenFailed.then(stop);
  let size = 0;
  let heldUp = 0;
  const count = (bytes: number): void => {
    size += bytes;
    if (size > limit) stop(new Refusal('OUTPUT_LIMIT', `stopped after ${limit} bytes of output`));
  };
  const pours = [child.stdout, child.stderr].map((stream) => pour(stream as unknown as Readable, log, count, (by) => (heldUp += by)).catch((error: unknown) => {
    if (error instanceof Refusal) stop(error);
    else stop(new Refusal('LOG_FAILED', printable(String(error))));
  }));
  const result = await endOf(child, Promise.all(pours), () => heldUp > 0 && refusal === undefined && !isCancelled());
  clearTimeout(timer);
  endGroup(child.pid);
  ended();
  if (refusal !== undefined) throw refusal;
  return result.exitCode ?? 128 + (signalNumbers[result.signal ?? 'SIGKILL'] ?? 9);
}

const signalNumbers: Record<string, number> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGPIPE: 13, SIGTERM: 15 };
