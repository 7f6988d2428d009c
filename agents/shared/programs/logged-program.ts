// SPDX-License-Identifier: GPL-2.0-or-later
// A program whose every line goes to the stage's log while it runs. Bounded in time and output; waits when
// the log cannot keep up.
import type { Readable } from 'node:stream';
import { AnyRefusal, printable } from '../refusal.js';
import { Refusal } from '../refusals.js';
import { isCancelled } from './cancellation.js';
import { endGroup, endOf, startProgram } from './program.js';
import { pieceBytes, pieceMark } from './tool-line.js';
import { toolBegins } from './tool-watch.js';

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
export interface LineSink {
  /** Our own word, never a tool's. */
  say: (text: string) => void;
  /** One line of a tool, without its newline. @returns false when the producer should wait for drained() */
  tool: (line: Buffer) => boolean;
  drained: () => Promise<void>;
  /** Resolves if the log is lost for good; whoever produces lines then stops. */
  readonly whenFailed: Promise<AnyRefusal>;
}

/** With the mark and the space, no longer than one piece. */
const cutBytes = pieceBytes - 64;
const space = Buffer.from(' ');
const none = Buffer.alloc(0);
const defaultLimitBytes = 200 * 1024 * 1024;

/**
 * Feeds lines of `stream` to the sink until it ends. A line without end is passed on in pieces: memory stays
 * bounded.
 */
async function pour(
  stream: Readable,
  log: LineSink,
  count: (bytes: number) => void,
  heldUp: (by: 1 | -1) => void,
): Promise<void> {
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
      for (; at + cutBytes < rest.length; at += cutBytes)
        roomy =
          log.tool(
            Buffer.concat([
              at === 0 ? none : space,
              rest.subarray(at, at + cutBytes),
              Buffer.from(pieceMark),
            ]),
          ) && roomy;
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
export async function runLogged(
  argv: readonly string[],
  log: LineSink,
  options: LoggedOptions,
): Promise<number> {
  const limit = options.limitBytes ?? defaultLimitBytes;
  log.say(options.label ?? `run ${printable(argv.join(' '))}`);
  const ended = toolBegins();
  const child = startProgram(argv, options);
  let refusal: AnyRefusal | undefined;
  const stop = (why: AnyRefusal): void => {
    refusal ??= why;
    endGroup(child.pid);
  };
  const timer = setTimeout(
    () => stop(new Refusal('TIMED_OUT', `stopped after ${Math.round(options.timeoutMs / 1000)} s`)),
    options.timeoutMs,
  );
  void log.whenFailed.then(stop);
  let size = 0;
  let heldUp = 0;
  const count = (bytes: number): void => {
    size += bytes;
    if (size > limit) stop(new Refusal('OUTPUT_LIMIT', `stopped after ${limit} bytes of output`));
  };
  const pours = [child.stdout, child.stderr].map((stream) =>
    pour(stream, log, count, (by) => (heldUp += by)).catch((error: unknown) => {
      if (error instanceof AnyRefusal) stop(error);
      else stop(new Refusal('LOG_FAILED', printable(String(error))));
    }),
  );
  const result = await endOf(
    child,
    Promise.all(pours),
    () => heldUp > 0 && refusal === undefined && !isCancelled(),
  );
  clearTimeout(timer);
  endGroup(child.pid);
  ended();
  if (refusal !== undefined) throw refusal;
  return result.exitCode ?? 128 + (signalNumbers[result.signal ?? 'SIGKILL'] ?? 9);
}

const signalNumbers: Record<string, number> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGPIPE: 13,
  SIGTERM: 15,
};
