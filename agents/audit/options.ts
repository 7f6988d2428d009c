// SPDX-License-Identifier: GPL-2.0-or-later
import { parseArgs } from 'node:util';
import { journalKeyPattern } from '../shared/formats/journal-head.js';
import { matches, objectIdPattern, vmNamePattern } from '../shared/formats/names.js';
import { defaultLimits, type Limits } from '../published/budget.js';

export const usage = `Usage: build-infra audit --logs URL_OR_PATH... --logs-key FILE|FPR [--apt URL_OR_PATH... --dnf URL_OR_PATH... --signing-key FILE|FPR]...
Checks what the farm has published, from the published repositories alone. It asks no VM and trusts nothing but the keys.

  --logs URL_OR_PATH     a logs repository: path, file://, git://, http(s)://; all that are given must agree (repeat, or one after the other)
  --logs-key FILE|FPR    the key that signs its commits
  --apt URL_OR_PATH      an APT repository: path, file://, http(s)://; each distribution has one (repeat)
  --dnf URL_OR_PATH      DNF repositories: a distribution's folder, whose name is the distribution's, with a folder for each suite, or one of these:
                         path, file://, http(s)://; repeat
  --signing-key FILE|FPR the key that signs packages, Release files and repomd.xml: of every repository; where there are several keys, of the
                         repositories named before it and after the key before
  --suite NAME           look at this suite too (over HTTP only those that an intent names are known); repeat
  --journal-key VM=HEX   the key with which the keys VM of that name signs where its journal ends; each keys VM that has a journal needs one (repeat; one
                         that was replaced has several)
  --contains COMMIT      this commit, seen in an earlier audit, must still be in the history; repeat
  --json                 one JSON document instead of the table
Limits, of everything together; whoever serves the repositories may want the auditor to never end. Beyond one: exit 2, and what was not checked.
  --max-seconds N        time (${defaultLimits.seconds})
  --max-memory MIB       memory of the audit, and of each git (${defaultLimits.memoryMiB})
  --max-download MIB     what git stores of one logs repository (${defaultLimits.downloadMiB})
  --max-read MIB         what is read and unpacked (${defaultLimits.readMiB})
  --max-objects N        git objects that are read (${defaultLimits.objects})
Ends with 0 if everything is as it should be, 1 if something is wrong (with the evidence), 2 if it could not be checked.
`;

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

/** What was wrong with the command line, for one line on stderr. */
export class Misuse extends Error {
  override readonly name = 'Misuse';
}

/** Which key is whose: one key is that of all; of several, each belongs to the repositories between the key before and itself. */
function readRepositories(options: readonly { name: string; value: string }[]): Repository[] {
  const keys = options.filter(({ name }) => name === 'signing-key');
  const [only] = keys;
  const repositories: Repository[] = [];
  let waiting: Omit<Repository, 'signingKey'>[] = [];
  for (const { name, value } of options) {
    if (name === 'apt' || name === 'dnf') waiting.push({ kind: name, source: value });
    if (name !== 'signing-key' || keys.length === 1) continue;
    if (waiting.length === 0) throw new Misuse('a --signing-key stands after the --apt and --dnf that it is the key of');
    repositories.push(...waiting.map((one) => ({ ...one, signingKey: value })));
    waiting = [];
  }
  if ((waiting.length > 0) !== (keys.length === 1)) throw new Misuse('--apt and --dnf belong together with --signing-key');
  return [...repositories, ...waiting.map((one) => ({ ...one, signingKey: (only as { value: string }).value }))];
}

/** `help` if asked for. @throws Misuse */
export function readOptions(argv: readonly string[]): AuditOptions | 'help' {
  let parsed;
  try {
    parsed = parseArgs({
      args: [...argv], allowPositionals: true, tokens: true,
      options: {
        'logs': { type: 'string', multiple: true }, 'logs-key': { type: 'string' }, 'apt': { type: 'string', multiple: true }, 'dnf': { type: 'string', multiple: true },
        'signing-key': { type: 'string', multiple: true },
        'suite': { type: 'string', multiple: true }, 'journal-key': { type: 'string', multiple: true }, 'contains': { type: 'string', multiple: true },
        'max-seconds': { type: 'string' }, 'max-memory': { type: 'string' }, 'max-download': { type: 'string' }, 'max-read': { type: 'string' }, 'max-objects': { type: 'string' },
        'json': { type: 'boolean' }, 'help': { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new Misuse((error as Error).message);
  }
  const { values, tokens } = parsed;
  if (values.help === true) return 'help';
  // `--logs A B C`: what follows without a name belongs to --logs if that was the last option.
  const logs: string[] = [];
  let last = '';
  for (const token of tokens) {
    if (token.kind === 'option') last = token.name;
    if (token.kind === 'option' && token.name === 'logs') logs.push(token.value as string);
    if (token.kind === 'positional') {
      if (last !== 'logs') throw new Misuse(`unexpected argument ${token.value}`);
      logs.push(token.value);
    }
  }
  const logsKey = values['logs-key'];
  if (logs.length === 0) throw new Misuse('--logs is missing');
  if (logsKey === undefined) throw new Misuse('--logs-key is missing');
  const repositories = readRepositories(tokens.flatMap((token) => (token.kind === 'option' ? [{ name: token.name, value: token.value ?? '' }] : [])));
  const journalKeys = new Map<string, string[]>();
  for (const pin of values['journal-key'] ?? []) {
    const [, vm = '', key = ''] = /^([^=]*)=(.*)$/.exec(pin) ?? [];
    if (!matches(vmNamePattern, vm) || !matches(journalKeyPattern, key)) throw new Misuse('--journal-key needs VM=HEX, the name of a keys VM and 64 hexadecimal digits in lower case');
    journalKeys.set(vm, [...journalKeys.get(vm) ?? [], key]);
  }
  for (const commit of values.contains ?? []) if (!matches(objectIdPattern, commit)) throw new Misuse('--contains needs a full commit id');
  for (const suite of values.suite ?? []) if (!/^[A-Za-z0-9][A-Za-z0-9._/-]{0,100}$/.test(suite)) throw new Misuse('--suite is not the name of a suite');
  const limit = (name: 'max-seconds' | 'max-memory' | 'max-download' | 'max-read' | 'max-objects', otherwise: number): number => {
    const given = values[name];
    if (given !== undefined && !/^[1-9][0-9]{0,11}$/.test(given)) throw new Misuse(`--${name} is not a number`);
    return given === undefined ? otherwise : Number(given);
  };
  const limits: Limits = {
    seconds: limit('max-seconds', defaultLimits.seconds), memoryMiB: limit('max-memory', defaultLimits.memoryMiB), downloadMiB: limit('max-download', defaultLimits.downloadMiB),
    readMiB: limit('max-read', defaultLimits.readMiB), objects: limit('max-objects', defaultLimits.objects),
  };
  return {
    limits, logs, logsKey, repositories, suites: values.suite ?? [], journalKeys, contains: values.contains ?? [], json: values.json === true,
  };
}
