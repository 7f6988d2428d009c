// SPDX-License-Identifier: GPL-2.0-or-later
// The only files that a logs repository may hold, by their paths. docs/formats.md, "The logs repository".
import {
  fingerprintPattern,
  logPathPattern,
  matches,
  publishedPathPattern,
  vmNamePattern,
} from '../../shared/formats/names.js';

export type PathKind = 'log' | 'intent' | 'payload' | 'journal' | 'journal-heads' | 'key';

let lastRealDay = '';

/** YYYY-MM-DD of a day that there is. */
export function isRealDay(text: string): boolean {
  if (text === lastRealDay) return true;
  const isReal = isDay(text);
  if (isReal) lastRealDay = text;
  return isReal;
}

function isDay(text: string): boolean {
  const time = /^\d{4}-\d\d-\d\d$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(text);
}

/** Of the path of a log: its name is a time that there is. */
function isRealTime(path: string): boolean {
  const [, day, hours, minutes, seconds] =
    /\/log_(\d{4}-\d\d-\d\d)_(\d\d)-(\d\d)-(\d\d)[^/]*$/.exec(path) ?? [];
  return isRealDay(day ?? '') && Number(hours) < 24 && Number(minutes) < 60 && Number(seconds) < 60;
}

/** The only files that a logs repository may hold. */
export function pathKind(path: string): PathKind | undefined {
  const isPlain: boolean = matches(publishedPathPattern, path);
  const isLog: boolean = matches(logPathPattern, path);
  if (!isPlain) return undefined;
  if (isLog) return isRealTime(path) ? 'log' : undefined;
  const [top, second = '', third = '', fourth = '', ...more] = path.split('/');
  const [fifth = ''] = more;
  if (
    top === 'payloads' &&
    more.length === 1 &&
    matches(vmNamePattern, second) &&
    isRealDay(third) &&
    [fourth, fifth].every((hash) => /^[0-9a-f]{64}$/.test(hash))
  )
    return 'payload';
  if (more.length > 0) return undefined;
  if (
    top === 'intents' &&
    matches(vmNamePattern, second) &&
    isRealDay(third) &&
    /^[0-9a-f]{64}\.json$/.test(fourth)
  )
    return 'intent';
  if (top === 'journal' && fourth === '' && matches(vmNamePattern, second) && /^\d{8,12}\.jsonl$/.test(third))
    return 'journal';
  if (
    top === 'journal' &&
    fourth === '' &&
    matches(vmNamePattern, second) &&
    /^heads-\d{8,12}\.jsonl$/.test(third)
  )
    return 'journal-heads';
  if (
    top === 'keys' &&
    third === '' &&
    second.endsWith('.asc') &&
    matches(fingerprintPattern, second.slice(0, -4))
  )
    return 'key';
  return undefined;
}
