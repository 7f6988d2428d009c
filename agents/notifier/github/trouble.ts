// SPDX-License-Identifier: GPL-2.0-or-later
// What can be wrong with an answer, sorted by what to do about it.
import { OwnRefusal, printable } from '../../shared/refusal.js';
import type { SharedCode } from '../../shared/refusals.js';
import type { NotifierCode } from '../refusals.js';
import type { Answer } from './exchange.js';

/**
 * later: the world's fault, and whether the request was acted on is unknown. limited: GitHub wants silence
 * for a while. token: nothing will work until a person acts. no: an answer about this very request, which was
 * not acted on.
 */
export type TroubleKind = 'later' | 'limited' | 'token' | 'no';

export class GitHubTrouble extends OwnRefusal<NotifierCode | SharedCode> {
  readonly kind: TroubleKind;
  readonly status: number;
  /** how long to be silent, or undefined where GitHub did not say */
  readonly waitMs: number | undefined;

  constructor(
    kind: TroubleKind,
    code: NotifierCode | SharedCode,
    detail: string,
    status = 0,
    waitMs?: number,
  ) {
    super(code, detail);
    this.kind = kind;
    this.status = status;
    this.waitMs = waitMs;
  }
}

/** No answer may silence us for longer: GitHub's own windows are an hour. */
export const longestSilenceMs = 3_660_000;
/** A secondary limit that says no time: GitHub's documentation asks for at least a minute. */
export const shortestSilenceMs = 60_000;

/**
 * Milliseconds until the time that the answer names, or undefined. `now` is our clock; GitHub's own is in
 * `date`.
 */
export function silenceOf(headers: Answer['headers'], now: Date): number | undefined {
  const after = /^[0-9]{1,9}$/.exec(headers.get('retry-after') ?? '')?.[0];
  if (after !== undefined) return Math.min(Math.max(Number(after), 1) * 1000, longestSilenceMs);
  const reset = /^[0-9]{1,12}$/.exec(headers.get('x-ratelimit-reset') ?? '')?.[0];
  if (headers.get('x-ratelimit-remaining') !== '0' || reset === undefined) return undefined;
  const theirNow = Date.parse(headers.get('date') ?? '');
  const from = Number.isNaN(theirNow) ? now.getTime() : theirNow;
  return Math.min(Math.max(Number(reset) * 1000 - from, 0) + 1000, longestSilenceMs);
}

/** GitHub's own words about a refusal: a hint for the person who reads our journal, and nothing else. */
function messageOf(body: Buffer): string {
  try {
    const untrusted = JSON.parse(body.subarray(0, 65_536).toString('utf8')) as { message?: unknown } | null;
    return typeof untrusted?.message === 'string' ? printable(untrusted.message).slice(0, 200) : 'no message';
  } catch {
    return 'no message';
  }
}

/** Undefined for a success. */
export function troubleOf(answer: Answer, now: Date): GitHubTrouble | undefined {
  const { status, headers } = answer;
  if (status >= 200 && status < 300) return undefined;
  const message = messageOf(answer.body);
  const silence = silenceOf(headers, now);
  if (
    status === 429 ||
    (status === 403 && (silence !== undefined || /rate limit|abuse detection/i.test(message)))
  ) {
    return new GitHubTrouble(
      'limited',
      'RATE_LIMITED',
      `GitHub answered ${status}: ${message}`,
      status,
      silence,
    );
  }
  if (status === 401)
    return new GitHubTrouble(
      'token',
      'BAD_CREDENTIALS',
      `GitHub does not accept the token: ${message}`,
      status,
    );
  if (status >= 300 && status < 400)
    return new GitHubTrouble(
      'no',
      'MOVED',
      `GitHub answered ${status}: the repository has another name now, and no redirect is followed`,
      status,
    );
  // 407 is a proxy's, and about no document of ours.
  if (status >= 500 || status === 407 || status === 408 || status < 200)
    return new GitHubTrouble(
      'later',
      'GITHUB_FAILED',
      `GitHub answered ${status}: ${message}`,
      status,
      silence,
    );
  return new GitHubTrouble('no', 'GITHUB_REFUSED', `GitHub answered ${status}: ${message}`, status);
}
