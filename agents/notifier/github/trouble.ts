// SPDX-License-Identifier: GPL-2.0-or-later
// What can be wrong with an answer, sorted by what to do about it.
import { OwnRefusal, printable } from '../../shared/refusal.js';
import type { SharedCode } from '../../shared/refusals.js';
import { silenceOf } from '../../shared/formats/wanted-silence.js';
import type { NotifierCode } from '../refusals.js';
import type { Answer } from './exchange.js';

/**
 * later: the world's fault, and whether the request was acted on is unknown. limited: GitHub wants silence for a while. token: nothing will work
 * until a person acts. no: an answer about this very request, which was not acted on.
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

/** A secondary limit that says no time: GitHub's documentation asks for at least a minute. */
export const shortestSilenceMs = 60_000;

const bodyBytes = 65_536;
const errorsLimit = 5;
const messageLimit = 200;

interface Said {
  /** GitHub's own words: a hint for the person who reads our journal, and for how long to wait. Printable and short */
  message: string;
  /** names a limit; or only asks to come back later, which a server that is down says too */
  slowDown: 'limit' | 'later' | undefined;
  isJson: boolean;
  /** has a `message` or `errors`, and is none of the things that we ask for */
  isError: boolean;
}

/** GitHub has no one way to say it: all of these come, with several statuses, and not always with a header. */
const limitWords =
  /rate[ -]?limit|abuse[ -](?:detection|rate)|too quickly|too many requests|login attempts exceeded/i;
const laterWords =
  /temporarily blocked|slow ?down|(?:re)?try (?:your request )?again (?:later|soon|in )|wait (?:a|an|for|some|[0-9]+) ?(?:few|moment|minute|hour|second|while)/i;

const text = (untrusted: unknown): string =>
  typeof untrusted === 'string' ? printable(untrusted).slice(0, messageLimit).trim() : '';

/** One of `errors`: words, or the names of what was wrong. Never its `value`: that is what we sent, with strangers' words in it. */
function errorText(untrusted: unknown): string {
  if (typeof untrusted !== 'object' || untrusted === null) return text(untrusted);
  const { resource, field, code, message } = untrusted as Record<string, unknown>;
  const place = [text(resource), text(field)].filter((word) => word !== '').join('.');
  return [place, text(message) === '' ? text(code) : text(message)].filter((word) => word !== '').join(' ');
}

function slowDownIn(texts: readonly string[]): Said['slowDown'] {
  if (texts.some((one) => limitWords.test(one))) return 'limit';
  return texts.some((one) => laterWords.test(one)) ? 'later' : undefined;
}

function saidIn(body: Buffer): Said {
  const bytes = body.subarray(0, bodyBytes).toString('utf8');
  let untrusted: unknown;
  try {
    untrusted = JSON.parse(bytes);
  } catch {
    // Below: as for whatever else is no object.
  }
  // A page of HTML, or plain words: not shown, but it may say the same.
  if (typeof untrusted !== 'object' || untrusted === null)
    return { message: 'no message', slowDown: slowDownIn([bytes]), isJson: false, isError: false };
  const { message, errors, documentation_url: page, id } = untrusted as Record<string, unknown>;
  const listed = (Array.isArray(errors) ? errors.slice(0, errorsLimit) : [errors])
    .map(errorText)
    .filter((one) => one !== '');
  const more =
    Array.isArray(errors) && errors.length > errorsLimit ? [`and ${errors.length - errorsLimit} more`] : [];
  const words = text(message);
  const whole = [words === '' ? 'no message' : words, [...listed, ...more].join('; ')]
    .filter((one) => one !== '')
    .join(': ');
  return {
    message: whole.slice(0, 2 * messageLimit),
    slowDown: slowDownIn([words, ...listed, text(page)]),
    isJson: true,
    isError: id === undefined && (typeof message === 'string' || errors !== undefined),
  };
}

/** Whether the answer, whatever its number, is only "slow down". */
function isLimit(
  status: number,
  headers: Answer['headers'],
  said: Said,
  silence: number | undefined,
): boolean {
  if (status === 429) return true;
  if (status >= 400 && status < 500 && status !== 407 && status !== 408) {
    // The last request of a window says that none is left, also where it was answered.
    const asksForSilence = silence !== undefined && (status === 403 || headers.has('retry-after'));
    return said.slowDown !== undefined || (asksForSilence && status !== 401);
  }
  return said.isJson && said.slowDown === 'limit' && (status >= 500 || said.isError);
}

/** Undefined for a success. */
export function troubleOf(answer: Answer, now: Date): GitHubTrouble | undefined {
  const { status, headers } = answer;
  const isSuccess = status >= 200 && status < 300;
  if (isSuccess && answer.body.length > bodyBytes) return undefined;
  const said = saidIn(answer.body);
  if (isSuccess && !said.isError) return undefined;
  const { message } = said;
  const silence = silenceOf(headers, now);
  if (isLimit(status, headers, said, silence))
    return new GitHubTrouble(
      'limited',
      'RATE_LIMITED',
      `GitHub answered ${status}: ${message}`,
      status,
      silence,
    );
  if (isSuccess)
    return new GitHubTrouble(
      'later',
      'BAD_ANSWER',
      `GitHub answered ${status} with an error: ${message}`,
      status,
      silence,
    );
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
