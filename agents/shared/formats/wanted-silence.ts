// SPDX-License-Identifier: GPL-2.0-or-later
// How long a server of HTTP wants to be left alone: `retry-after` (RFC 9110, 10.2.3), and the
// `x-ratelimit-*` of GitHub's API. Both are text of a stranger: odd ones say nothing.

/** A server's headers, by their names in lower case; nothing for one that did not come. */
export interface Headers {
  get: (name: string) => string | null | undefined;
}

/** No answer may silence us for longer: GitHub's own windows are an hour. */
export const longestSilenceMs = 3_660_000;

/**
 * Seconds from `from` (milliseconds since 1970) that a `retry-after` asks for: a number, or one of HTTP's
 * three spellings of a date (RFC 9110, 5.6.7).
 */
function retryAfter(untrusted: string, from: number): number | undefined {
  const spelled = untrusted.trim();
  const seconds = /^[0-9]{1,15}(?:\.[0-9]{1,9})?$/.exec(spelled)?.[0];
  if (seconds !== undefined) return Math.ceil(Number(seconds));
  if (!/^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[A-Za-z]*,? [A-Za-z0-9 :-]{10,40}$/.test(spelled)) return undefined;
  // The oldest of the spellings names no zone: all of them are of Greenwich.
  const at = Date.parse(/ (?:GMT|UTC)$/.test(spelled) ? spelled : `${spelled} GMT`);
  return Number.isNaN(at) ? undefined : Math.ceil((at - from) / 1000);
}

/**
 * Milliseconds until the time that the answer names, from 1000 to `longestSilenceMs`; undefined where it
 * names none.
 * @param now our clock; the server's own, in `date`, is the better one
 */
export function silenceOf(headers: Headers, now: Date): number | undefined {
  const theirNow = Date.parse(headers.get('date') ?? '');
  const from = Number.isNaN(theirNow) ? now.getTime() : theirNow;
  const after = retryAfter(headers.get('retry-after') ?? '', from);
  if (after !== undefined) return Math.min(Math.max(after, 1) * 1000, longestSilenceMs);
  const reset = /^[0-9]{1,15}$/.exec(headers.get('x-ratelimit-reset')?.trim() ?? '')?.[0];
  if (headers.get('x-ratelimit-remaining')?.trim() !== '0' || reset === undefined) return undefined;
  return Math.min(Math.max(Number(reset) * 1000 - from, 0) + 1000, longestSilenceMs);
}
