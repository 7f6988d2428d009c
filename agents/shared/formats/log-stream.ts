// SPDX-License-Identifier: GPL-2.0-or-later
// docs/formats.md, "Log stream": what our own sender says to BuildLog beyond raw lines, and what BuildLog
// answers.
import { jobIdPattern, logPathPattern, plainNamePattern } from './names.js';

export const logHeaderPrefix = '> build-infra log@1 ';

/** The JSON after the prefix on the sender's first line. */
export interface LogHeader {
  job: string;
  component: string;
  /** fetch, build, sign, publish */
  stage: string;
  /** After a break: the log to go on with, and how many of the sender's lines it knows to be synced. */
  continues?: { path: string; lines: number };
}

export const logHeaderSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['job', 'component', 'stage'],
  properties: {
    job: { type: 'string', pattern: jobIdPattern },
    component: { type: 'string', pattern: plainNamePattern },
    stage: { type: 'string', pattern: plainNamePattern },
    continues: {
      type: 'object',
      additionalProperties: false,
      required: ['path', 'lines'],
      properties: {
        path: { type: 'string', pattern: logPathPattern },
        lines: { type: 'integer', minimum: 0 },
      },
    },
  },
} as const;

/**
 * The sender's last line; without it a log that stays broken is marked as truncated. The number is the
 * stage's exit status.
 */
export function logEndLine(status: number): string {
  return `> end status=${status}`;
}
export const logEndPattern = /^> end status=([0-9]{1,3})$/;

/**
 * The receiver's answers, one a line. opened: to a sender with a header only, at once; `lines` is how many of
 * the sender's lines (header not counted) are on disk: it
 *   goes on after those. synced: as they reach the disk. path, then published: to everyone, after the end.
 */
export type LogAnswer =
  | { kind: 'opened'; path: string; lines: number }
  | { kind: 'synced'; lines: number }
  | { kind: 'path'; path: string }
  | { kind: 'published'; commit: string; sha256: string }
  | { kind: 'refused'; code: string; detail: string };

export function writeLogAnswer(answer: LogAnswer): string {
  switch (answer.kind) {
    case 'opened':
      return `opened ${answer.path} ${answer.lines}\n`;
    case 'synced':
      return `synced ${answer.lines}\n`;
    case 'path':
      return `${answer.path}\n`;
    case 'published':
      return `published ${answer.commit} sha256:${answer.sha256}\n`;
    case 'refused':
      return `refused ${answer.code} ${answer.detail}\n`;
  }
}

/** undefined for a line that is none of them. */
export function readLogAnswer(line: string): LogAnswer | undefined {
  const words = line.split(' ');
  const isLog = (path: string | undefined): path is string =>
    path !== undefined && new RegExp(logPathPattern).test(path);
  const count = (word: string | undefined): number | undefined =>
    word !== undefined && /^(0|[1-9][0-9]{0,14})$/.test(word) ? Number(word) : undefined;
  if (words[0] === 'opened' && words.length === 3 && isLog(words[1]) && count(words[2]) !== undefined) {
    return { kind: 'opened', path: words[1], lines: count(words[2]) as number };
  }
  if (words[0] === 'synced' && words.length === 2 && count(words[1]) !== undefined)
    return { kind: 'synced', lines: count(words[1]) as number };
  const published = /^published ([0-9a-f]{40}|[0-9a-f]{64}) sha256:([0-9a-f]{64})$/.exec(line);
  if (published !== null)
    return { kind: 'published', commit: published[1] as string, sha256: published[2] as string };
  const refused = /^refused ([A-Z][A-Z0-9_]{0,63})(?: (.*))?$/.exec(line);
  if (refused !== null) return { kind: 'refused', code: refused[1] as string, detail: refused[2] ?? '' };
  return isLog(line) ? { kind: 'path', path: line } : undefined;
}

/**
 * A receiver's line where this VM's clock was set back: this, and the stamp of the line before. Its own stamp
 * is the new time.
 */
export const clockSetBackMark = 'clock set back from ';
