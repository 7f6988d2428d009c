// SPDX-License-Identifier: GPL-2.0-or-later
import { Misuse, type CommandCall, type OptionRow } from '../shared/command-line/program.js';
import { readCall } from '../shared/command-line/run-program.js';
import { journalKeyPattern } from '../shared/formats/journal-head.js';
import { matches, objectIdPattern, vmNamePattern } from '../shared/formats/names.js';
import { defaultLimits, type Limits } from '../published/budget.js';

export interface Repository {
  kind: 'apt' | 'dnf';
  source: string;
  /** as given: a fingerprint or a file */
  signingKey: string;
}

export interface AuditOptions {
  logs: string[];
  logsKey: string;
  repositories: Repository[];
  suites: string[];
  /** keys VM → its journal keys */
  journalKeys: Map<string, string[]>;
  contains: string[];
  json: boolean;
  limits: Limits;
}

/**
 * Which key is whose: one key is that of all; of several, each belongs to the repositories between the key
 * before and itself.
 */
function readRepositories(options: CommandCall['inOrder']): Repository[] {
  const keys = options.filter(({ name }) => name === 'signing-key');
  const [only] = keys;
  const repositories: Repository[] = [];
  let waiting: Omit<Repository, 'signingKey'>[] = [];
  for (const { name, value } of options) {
    if (name === 'apt' || name === 'dnf') waiting.push({ kind: name, source: value });
    if (name !== 'signing-key' || keys.length === 1) continue;
    if (waiting.length === 0)
      throw new Misuse('a --signing-key stands after the --apt and --dnf that it is the key of');
    repositories.push(...waiting.map((one) => ({ ...one, signingKey: value })));
    waiting = [];
  }
  if (waiting.length > 0 !== (keys.length === 1))
    throw new Misuse('--apt and --dnf belong together with --signing-key');
  return [
    ...repositories,
    ...waiting.map((one) => ({ ...one, signingKey: (only as { value: string }).value })),
  ];
}

/**
 * `--logs A B C`: what follows without a name belongs to --logs if that was the last option. @throws Misuse
 */
function readLogs(given: CommandCall['inOrder']): string[] {
  const logs: string[] = [];
  let last: string | undefined;
  for (const { name, value } of given) {
    last = name ?? last;
    if (name === undefined && last !== 'logs') throw new Misuse(`unexpected argument ${value}`);
    if (last === 'logs') logs.push(value);
  }
  if (logs.length === 0) throw new Misuse('--logs is missing');
  return logs;
}

/** keys VM → its journal keys. @throws Misuse */
function readJournalKeys(pins: readonly string[]): Map<string, string[]> {
  const journalKeys = new Map<string, string[]>();
  for (const pin of pins) {
    const [, vm = '', key = ''] = /^([^=]*)=(.*)$/.exec(pin) ?? [];
    if (!matches(vmNamePattern, vm) || !matches(journalKeyPattern, key)) {
      throw new Misuse(
        '--journal-key needs VM=HEX, the name of a keys VM and 64 hexadecimal digits in lower case',
      );
    }
    journalKeys.set(vm, [...(journalKeys.get(vm) ?? []), key]);
  }
  return journalKeys;
}

/** @throws Misuse */
export function optionsOf({ inOrder, value, values, has }: CommandCall): AuditOptions {
  const logs = readLogs(inOrder);
  const logsKey = value('logs-key');
  if (logsKey === undefined) throw new Misuse('--logs-key is missing');
  const repositories = readRepositories(inOrder);
  const journalKeys = readJournalKeys(values('journal-key'));
  const [contains, suites] = [[...values('contains')], [...values('suite')]];
  if (!contains.every((commit) => matches(objectIdPattern, commit)))
    throw new Misuse('--contains needs a full commit id');
  if (!suites.every((suite) => /^[A-Za-z0-9][A-Za-z0-9._/-]{0,100}$/.test(suite)))
    throw new Misuse('--suite is not the name of a suite');
  const limit = (name: string, otherwise: number): number => {
    const given = value(name);
    if (given !== undefined && !/^[1-9][0-9]{0,11}$/.test(given))
      throw new Misuse(`--${name} is not a number`);
    return given === undefined ? otherwise : Number(given);
  };
  const limits: Limits = {
    seconds: limit('max-seconds', defaultLimits.seconds),
    memoryMiB: limit('max-memory', defaultLimits.memoryMiB),
    downloadMiB: limit('max-download', defaultLimits.downloadMiB),
    readMiB: limit('max-read', defaultLimits.readMiB),
    objects: limit('max-objects', defaultLimits.objects),
  };
  return { limits, logs, logsKey, repositories, suites, journalKeys, contains, json: has('json') };
}

export const auditOptions: readonly OptionRow[] = [
  {
    name: 'logs',
    value: 'URL_OR_PATH',
    does: 'a logs repository: path, file://, git://, http(s)://; all that are given must agree (repeat, or one after the other)',
  },
  { name: 'logs-key', value: 'FILE|FPR', does: 'the key that signs its commits' },
  {
    name: 'apt',
    value: 'URL_OR_PATH',
    does: 'an APT repository: path, file://, http(s)://; each distribution has one (repeat)',
  },
  {
    name: 'dnf',
    value: 'URL_OR_PATH',
    does: "DNF repositories: a distribution's folder, whose name is the distribution's, with a folder for each suite, or one of these: path, file://, http(s)://; repeat",
  },
  {
    name: 'signing-key',
    value: 'FILE|FPR',
    does: 'the key that signs packages, Release files and repomd.xml: of every repository; where there are several keys, of the repositories named before it and after the key before',
  },
  {
    name: 'suite',
    value: 'NAME',
    does: 'looks at this suite too (over HTTP only those that an intent names are known); repeat',
  },
  {
    name: 'journal-key',
    value: 'VM=HEX',
    does: 'the key with which the keys VM of that name signs where its journal ends; each keys VM that has a journal needs one (repeat; one that was replaced has several)',
  },
  {
    name: 'contains',
    value: 'COMMIT',
    does: 'this commit, seen in an earlier audit, must still be in the history; repeat',
  },
  { name: 'json', does: 'prints one JSON document instead of the table' },
  { name: 'max-seconds', value: 'N', does: `limit of time (${defaultLimits.seconds})` },
  {
    name: 'max-memory',
    value: 'MIB',
    does: `limit of memory of the audit, and of each git (${defaultLimits.memoryMiB})`,
  },
  {
    name: 'max-download',
    value: 'MIB',
    does: `limit of what git stores of one logs repository (${defaultLimits.downloadMiB})`,
  },
  { name: 'max-read', value: 'MIB', does: `limit of what is read and unpacked (${defaultLimits.readMiB})` },
  { name: 'max-objects', value: 'N', does: `limit of git objects that are read (${defaultLimits.objects})` },
];

/** @param argv what follows `build-infra audit`. @throws Misuse */
export function readOptions(argv: readonly string[]): AuditOptions {
  return optionsOf(readCall({ takes: '[URL_OR_PATH]...', options: auditOptions }, argv));
}
