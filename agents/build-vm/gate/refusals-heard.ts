// SPDX-License-Identifier: GPL-2.0-or-later
// What the gpg client said in a tool's output while something was being signed: a tool's own complaint names
// no code.
import { printable } from '../../shared/refusal.js';
import { Refusal } from '../refusals.js';
import type { LineSink } from '../../shared/programs/logged-program.js';

/**
 * What the gate says when it could not do its work now: no answer about these bytes, and worth asking again
 * for a long time.
 */
export const gateIsAway: ReadonlySet<string> = new Set([
  'NOT_PUBLISHED',
  'PUBLICATION_NOT_SEEN',
  'REMOTE_MISSING',
  'KEYS_VM_UNREACHABLE',
  'CALL_TIMED_OUT',
  'NO_ANSWER',
  'BUSY',
  'TOO_SLOW',
  'TOO_MANY_CALLS',
  'TOO_MANY_INTENTS',
  'DAY_SHARE_USED',
  'DISK_FULL',
  'STORAGE_FAILED',
  'PUBLICATION_FAILED',
]);

/** The same sink, which remembers the last line that the gpg client said about a refusal. */
export interface Hearing extends LineSink {
  lastRefusal: string | undefined;
  /**
   * Why signing failed: GATE_UNREACHABLE where the gate was away, else `code`; in the gate's words, or
   * `otherwise` where it said nothing.
   */
  refusal: (code: 'SIGN_FAILED' | 'PUBLISH_FAILED', otherwise: string) => Refusal;
}

export function hearingRefusals(log: LineSink): Hearing {
  const hearing: Hearing = {
    lastRefusal: undefined,
    refusal: (code, otherwise) => {
      const said = /^refused ([A-Z][A-Z0-9_]*) /.exec(hearing.lastRefusal ?? '')?.[1];
      const why = hearing.lastRefusal ?? otherwise;
      return said !== undefined && gateIsAway.has(said)
        ? new Refusal('GATE_UNREACHABLE', why)
        : new Refusal(code, why);
    },
    say: (text: string) => log.say(text),
    tool: (line: Buffer) => {
      const said = /build-infra: (refused [A-Z][A-Z0-9_]* .*|fault.*)$/.exec(
        line.subarray(0, 1000).toString('latin1'),
      )?.[1];
      if (said !== undefined) hearing.lastRefusal = printable(said);
      return log.tool(line);
    },
    drained: () => log.drained(),
    whenFailed: log.whenFailed,
  };
  return hearing;
}
