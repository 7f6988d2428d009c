// SPDX-License-Identifier: GPL-2.0-or-later
// What a program asked of the kernel, as `strace -f -yy` wrote it down, and questions about the order of it:
// what was on disk when something was said or done. Pure, but for the two functions at the end that start
// strace.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { until } from './until.js';

export interface SystemCall {
  pid: number;
  name: string;
  /** the first descriptor's file or socket path; of calls without one, the first text */
  of: string;
  /** all text in the arguments, joined by newlines */
  text: string;
  /** as strace prints them */
  args: string;
  /** undefined: it never came back */
  result: number | undefined;
  /** lines of the record: another call that ended before this one began happened before it */
  begin: number;
  end: number;
}

const letters: Record<string, string> = { n: '\n', t: '\t', r: '\r', v: '\v', f: '\f' };
const unescaped = (text: string): string =>
  Buffer.from(
    text.replace(/\\([0-7]{1,3}|.)/g, (_, code: string) =>
      /^[0-7]/.test(code) ? String.fromCharCode(parseInt(code, 8)) : (letters[code] ?? code),
    ),
    'latin1',
  ).toString('utf8');

function call(
  pid: number,
  name: string,
  args: string,
  result: string | undefined,
  begin: number,
  end: number,
): SystemCall {
  const [, about = ''] = /^(?:AT_FDCWD|-?\d+)<((?:->|[^<>]|<[^<>]*>)*)>/.exec(args) ?? [];
  const withoutPaths = args.replace(
    /(^|[ ,{[(=])(AT_FDCWD|-?\d+)<(?:->|[^<>]|<[^<>]*>)*>(?:\(deleted\))?/g,
    '$1$2',
  );
  const texts = [...withoutPaths.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, text]) =>
    unescaped(text as string),
  );
  const of =
    args.startsWith('AT_FDCWD') || about === '' ? (texts[0] ?? '') : (/"(.*)"/.exec(about)?.[1] ?? about);
  return {
    pid,
    name,
    of,
    text: texts.join('\n'),
    args,
    result: result === undefined || result === '?' ? undefined : Number(result),
    begin,
    end,
  };
}

/** @throws Error for a line that is none of strace's: nothing is left out unseen */
export function readSystemCalls(record: string): SystemCall[] {
  const calls: SystemCall[] = [];
  const open = new Map<number, { name: string; args: string; begin: number }>();
  const lines = record.split('\n');
  // The last line may not be whole yet.
  for (const [index, line] of lines.slice(0, -1).entries()) {
    const [, pidText, rest = ''] = /^(\d+) +(.*)$/s.exec(line) ?? [];
    const pid = Number(pidText);
    const whole = /^(\w+)\((.*)\) += (\?|-?\d+)(?:<(?:->|[^<>]|<[^<>]*>)*>(?:\(deleted\))?)?(?: .*)?$/s.exec(
      rest,
    );
    const begun = /^(\w+)\((.*) <unfinished \.\.\.>(?:\) += \?)?$/s.exec(rest);
    const ended =
      /^<\.\.\. (\w+) resumed>(.*)\) += (\?|-?\d+)(?:<(?:->|[^<>]|<[^<>]*>)*>(?:\(deleted\))?)?(?: .*)?$/s.exec(
        rest,
      );
    if (begun !== null) {
      open.set(pid, { name: begun[1] as string, args: begun[2] as string, begin: index });
    } else if (whole !== null) {
      calls.push(
        call(
          pid,
          whole[1] as string,
          whole[2] as string,
          whole[3],
          index,
          whole[3] === '?' ? Infinity : index,
        ),
      );
    } else if (ended !== null) {
      const before = open.get(pid);
      if (before === undefined || before.name !== ended[1])
        throw new Error(`line ${index + 1} ends a call that had not begun: ${line}`);
      open.delete(pid);
      calls.push(call(pid, before.name, before.args + (ended[2] as string), ended[3], before.begin, index));
    } else if (!/^(\+\+\+|---) .* (\+\+\+|---)$/.test(rest)) {
      throw new Error(`line ${index + 1} is none of strace's: ${line}`);
    }
  }
  for (const [pid, { name, args, begin }] of open)
    calls.push(call(pid, name, args, undefined, begin, Infinity));
  return calls.sort((a, b) => a.begin - b.begin);
}

export interface Step {
  what: string;
  is: (call: SystemCall) => boolean;
  /** it must not have happened earlier either */
  notBefore?: boolean;
}

const writes = new Set(['write', 'writev', 'pwrite64', 'pwritev', 'sendto', 'sendmsg']);
type Match = string | RegExp;
const fits = (text: string, match: Match): boolean =>
  typeof match === 'string' ? text === match : match.test(text);

export const writing = (path: Match, text: RegExp = /^/): Step => ({
  what: `write ${text} to ${path}`,
  is: (one) => writes.has(one.name) && fits(one.of, path) && text.test(one.text) && (one.result ?? 0) > 0,
});
/** fsync, or fdatasync where the file's name and length are all that a reader needs */
export const syncing = (path: Match): Step => ({
  what: `sync ${path}`,
  is: (one) => ['fsync', 'fdatasync'].includes(one.name) && fits(one.of, path) && one.result === 0,
});
export const renaming = (from: Match, to: Match): Step => ({
  what: `rename ${from} to ${to}`,
  is: (one) =>
    one.name.startsWith('rename') &&
    one.result === 0 &&
    fits(one.text.split('\n')[0] ?? '', from) &&
    fits(one.text.split('\n')[1] ?? '', to),
});
export const starting = (command: RegExp): Step => ({
  what: `start ${command}`,
  is: (one) =>
    one.name === 'execve' && one.result === 0 && command.test(one.text.split('\n').slice(1).join(' ')),
});
/** This is what the others must come before: it is an error if it happened earlier. */
export const onlyThen = (step: Step): Step => ({ ...step, notBefore: true });

/**
 * Finds each step after the one before it had ended.
 * @returns the calls that are the steps
 * @throws Error naming the step that is missing, or that came too early
 */
export function inOrder(calls: readonly SystemCall[], steps: readonly Step[]): SystemCall[] {
  let done = -1;
  let before = 'the beginning';
  return steps.map((step) => {
    const found = calls.find((one) => (step.notBefore === true || one.begin > done) && step.is(one));
    if (found === undefined) throw new Error(`no "${step.what}" after "${before}"`);
    if (found.begin <= done) throw new Error(`"${step.what}" began before "${before}" was done`);
    done = found.end;
    before = step.what;
    return found;
  });
}

/**
 * Files and folders below `folder` whose last change a power cut at the beginning of `at` could have undone:
 * written and not synced since, or given a name in a folder that was not synced since. What lies in an
 * `except` is left out.
 */
export function notOnDisk(
  calls: readonly SystemCall[],
  folder: string,
  at: SystemCall,
  except: RegExp = /^$/,
): string[] {
  const changed = new Map<string, number>();
  const known = new Set<string>();
  const change = (path: string, end: number): void => {
    if (path.startsWith(`${folder}/`) || path === folder) changed.set(path, end);
  };
  for (const one of calls.filter(
    ({ end, begin, result }) => begin < at.begin && end < Infinity && (result ?? -1) >= 0,
  )) {
    if (except.test(one.of)) continue;
    if (writes.has(one.name) || one.name === 'ftruncate') change(one.of, one.end);
    // A sync covers what was written before it began, and counts once it has ended.
    if (
      ['fsync', 'fdatasync'].includes(one.name) &&
      one.end < at.begin &&
      one.begin > (changed.get(one.of) ?? Infinity)
    )
      changed.delete(one.of);
    if (one.name === 'openat' && one.args.includes('O_CREAT') && !known.has(one.of))
      change(dirname(one.of), one.end);
    if (one.name === 'openat') known.add(one.of);
    if (one.name.startsWith('rename')) {
      const [from = '', to = ''] = one.text.split('\n');
      const since = changed.get(from);
      // What had the name before is gone, written or not.
      changed.delete(to);
      changed.delete(from);
      if (since !== undefined) changed.set(to, since);
      known.add(to);
      change(dirname(to), one.end);
    }
  }
  return [...changed.keys()].sort();
}

const traced = [
  'openat',
  'write',
  'writev',
  'pwrite64',
  'pwritev',
  'sendto',
  'sendmsg',
  'fsync',
  'fdatasync',
  'ftruncate',
  'rename',
  'renameat',
  'renameat2',
  'unlink',
  'unlinkat',
  'execve',
];

/**
 * What to put before a command line, so that its calls and those of its children are recorded in `file`. The
 * process itself keeps its number.
 */
export const recordingTo = (file: string): string[] => [
  'strace',
  '-D',
  '-f',
  '--seccomp-bpf',
  '-yy',
  '-s',
  '65536',
  '-e',
  `trace=${traced.join()}`,
  '-e',
  'signal=none',
  '-o',
  file,
  '--',
];

/**
 * Why nothing can be recorded here, or false: in some sandboxes and containers nobody may trace a process.
 */
export function cannotRecord(): string | false {
  const tried = spawnSync('strace', ['-D', '-f', '--seccomp-bpf', '-o', '/dev/null', '--', 'true'], {
    encoding: 'utf8',
  });
  return tried.status === 0
    ? false
    : `system calls cannot be recorded here: ${tried.error?.message ?? tried.stderr.trim()}`;
}

/** Waits until `last` is in the record. */
export async function recorded(file: string, last: Step): Promise<SystemCall[]> {
  return until(
    `"${last.what}" in the record`,
    () => {
      const calls = existsSync(file) ? readSystemCalls(readFileSync(file, 'utf8')) : [];
      return calls.some((one) => last.is(one)) ? calls : undefined;
    },
    60,
  );
}
